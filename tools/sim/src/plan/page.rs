//! What pages do: their lines break, and they come back with the text that they kept.

use fastrand::Rng;

use crate::api::Bootstrap;
use crate::plan::{Action, Shape, Timed};
use crate::rooms::{GRANTS, ROOMS};

/// Adds what pages do, much of it around what happens anyway, and what befalls their log.
pub(super) fn meanwhile(actions: &mut Vec<Timed>, shape: &Shape, rng: &mut Rng) {
    if shape.clients < 2 {
        return;
    }
    let rewinds = [0, 0, 3][rng.usize(0..3)];
    let times: Vec<_> = actions.iter().map(|timed| timed.at).collect();
    let count = rng.usize(20..200);
    let own = (0..count + rewinds).map(|number| {
        let at = match times.get(rng.usize(0..=times.len())) {
            Some(at) => at + rng.u64(0..400),
            None => rng.u64(0..shape.duration),
        };
        let action = match number < rewinds {
            true => Action::Rewind(rng.usize(1..20), rng.u64(200..4_000)),
            false => action(shape, rng),
        };
        Timed {
            at: at.min(shape.duration),
            action,
        }
    });
    let own: Vec<_> = own.collect();
    actions.extend(own);
}

fn action(shape: &Shape, rng: &mut Rng) -> Action {
    let client = 2 * rng.usize(0..shape.clients / 2) + 1;
    let room = rng.usize(0..ROOMS.len());
    match rng.u8(0..12) {
        0 | 1 => Action::Connect {
            client,
            node: rng.usize(0..shape.nodes),
            grants: rng.usize(0..GRANTS.len()),
            bootstrap: Bootstrap::Admits(rng.u64(1..50)),
        },
        2 | 3 => Action::Subscribe { client, room },
        4 | 5 => Action::SubscribeSince { client, room },
        6 => Action::Ping(client),
        7 => Action::Unsubscribe {
            client,
            which: rng.usize(0..8),
        },
        _ => Action::Blink {
            client,
            silent: rng.bool(),
            within: [500, 500, 8_000][rng.usize(0..3)],
        },
    }
}
