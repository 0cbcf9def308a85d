//! Which commands the API publishes.

use fastrand::Rng;

use crate::orders::{Deed, Order, USERS, Whom};
use crate::plan::{Action, Shape, Timed};
use crate::rooms::{GRANTS, ROOMS};

/// A command. Its connection is named by its client; its tenant is chosen when it is published.
pub(super) fn order(shape: &Shape, rng: &mut Rng) -> Order {
    let client = rng.usize(0..shape.clients);
    let one = match rng.u8(0..4) {
        0 => Whom::SignIn(client),
        1 => Whom::Connection(client),
        _ => Whom::User(client % USERS),
    };
    let whom = match rng.u8(0..8) {
        0 => Whom::Everyone,
        1 => Whom::Label(rng.usize(0..GRANTS.len())),
        2 => Whom::Room(rng.usize(0..ROOMS.len())),
        _ => one,
    };
    let deed = match rng.u8(0..4) {
        0 => Deed::Invalidate(None),
        _ => Deed::Invalidate(Some(rng.usize(0..GRANTS.len()))),
    };
    if rng.bool() {
        return Order {
            tenant: 0,
            whom,
            deed,
        };
    }
    match rng.u8(0..6) {
        // One answer for unlike clients would be a mistake.
        0..=2 => Order {
            tenant: 0,
            whom: one,
            deed: Deed::Permit(rng.usize(0..GRANTS.len())),
        },
        3 => Order {
            tenant: 0,
            whom,
            deed: Deed::Disconnect,
        },
        _ => Order {
            tenant: 0,
            whom,
            deed: Deed::Unsubscribe(rng.usize(0..ROOMS.len())),
        },
    }
}

/// Has the API change its mind while it is asked again: twice as many commands of that kind, the
/// others soon after the first ones.
pub(super) fn repeat(actions: &mut Vec<Timed>, shape: &Shape, rng: &mut Rng) {
    let again = actions.iter().filter_map(|timed| {
        let Action::Command {
            node,
            order,
            around,
        } = timed.action
        else {
            return None;
        };
        let Deed::Invalidate(_) = order.deed else {
            return None;
        };
        let grants = rng.usize(0..GRANTS.len());
        let deed = Deed::Invalidate(Some(grants));
        let at = timed.at + [50, 500, 3_000].map(|most| rng.u64(0..most))[rng.usize(0..3)];
        Some(Timed {
            at: at.min(shape.duration),
            action: Action::Command {
                node,
                order: Order { deed, ..order },
                around,
            },
        })
    });
    let again: Vec<_> = again.collect();
    actions.extend(again);
}
