//! How often each kind of action happens in a run.

use fastrand::Rng;

use crate::api::Bootstrap;
use crate::plan::{Action, Pace, Shape, command};
use crate::rooms::{GRANTS, ROOMS};

/// Possible actions and their relative frequency.
const KINDS: [(Kind, u32); 18] = [
    (Kind::Connect, 20),
    (Kind::Subscribe, 20),
    (Kind::Unsubscribe, 6),
    (Kind::Ping, 3),
    (Kind::Leave, 3),
    (Kind::Publish, 25),
    (Kind::Read, 3),
    (Kind::Cut, 2),
    (Kind::CutSilently, 2),
    (Kind::Crash, 2),
    (Kind::Drain, 2),
    (Kind::Stall, 3),
    (Kind::Lose, 3),
    (Kind::Repeat, 3),
    (Kind::Unbind, 2),
    (Kind::CutConsumer, 2),
    (Kind::CutPublisher, 3),
    (Kind::Command, 5),
];

/// Minimum for any effect to be visible.
const NEEDED: usize = 6;

#[derive(Clone, Copy, Debug)]
enum Kind {
    Connect,
    Subscribe,
    Unsubscribe,
    Ping,
    Leave,
    Publish,
    Read,
    Cut,
    CutSilently,
    Crash,
    Drain,
    Stall,
    Lose,
    Repeat,
    Unbind,
    CutConsumer,
    CutPublisher,
    Command,
}

/// How often each kind happens in a run: some never, some often, so that few runs are alike.
pub(super) struct Weather {
    weights: [u32; KINDS.len()],
    /// The API fails now and then.
    fails: bool,
}

impl Weather {
    pub(super) fn new(rng: &mut Rng) -> Self {
        Self {
            weights: std::array::from_fn(|kind| {
                let factors = match kind < NEEDED {
                    true => [1, 1, 2, 4],
                    false => [0, 0, 1, 5],
                };
                KINDS[kind].1 * factors[rng.usize(0..4)]
            }),
            fails: rng.bool(),
        }
    }

    fn kind(&self, rng: &mut Rng) -> Kind {
        let mut left = rng.u32(0..self.weights.iter().sum());
        let kinds = KINDS.iter().zip(self.weights);
        let found = kinds.into_iter().find(|(_, weight)| {
            let is_it = left < *weight;
            left = left.saturating_sub(*weight);
            is_it
        });
        found.map_or(Kind::Ping, |((kind, _), _)| *kind)
    }

    pub(super) fn action(&self, shape: &Shape, rng: &mut Rng) -> Action {
        let client = rng.usize(0..shape.clients);
        let node = rng.usize(0..shape.nodes);
        match self.kind(rng) {
            Kind::Connect => Action::Connect {
                client,
                node,
                grants: rng.usize(0..GRANTS.len()),
                bootstrap: self.bootstrap(rng),
            },
            Kind::Subscribe => Action::Subscribe {
                client,
                room: rng.usize(0..ROOMS.len()),
            },
            Kind::Unsubscribe => Action::Unsubscribe {
                client,
                which: rng.usize(0..8),
            },
            Kind::Ping => Action::Ping(client),
            Kind::Leave => Action::Leave(client),
            Kind::Publish => Action::Publish {
                node,
                rooms: [rng.usize(0..ROOMS.len()), rng.usize(0..ROOMS.len())],
                count: rng.usize(1..5),
                bytes: [10, 300, 6_000][rng.usize(0..3)],
            },
            Kind::Read => {
                let slow = Pace::Slow(rng.usize(1..2_000));
                Action::Read(client, [Pace::All, slow, Pace::Stalled][rng.usize(0..3)])
            }
            Kind::Cut => Action::Cut {
                client,
                silent: false,
            },
            Kind::CutSilently => Action::Cut {
                client,
                silent: true,
            },
            Kind::Crash => Action::Crash(node, rng.u64(100..20_000)),
            Kind::Drain => Action::Drain {
                node,
                delay: [0, 800][rng.usize(0..2)],
                back: rng.u64(100..20_000),
            },
            Kind::Stall => Action::Stall(node, rng.usize(0..shape.shards), rng.u64(1..3_000)),
            Kind::Lose => Action::Lose(node, rng.usize(1..4)),
            Kind::Repeat => Action::Repeat(node, rng.usize(1..4)),
            Kind::Unbind => Action::Unbind(node),
            Kind::CutConsumer => Action::CutConsumer(node, rng.u64(200..8_000)),
            Kind::CutPublisher => Action::CutPublisher(node),
            Kind::Command => Action::Command {
                node,
                order: command::order(shape, rng),
                around: rng.usize(0..ROOMS.len()),
            },
        }
    }

    fn bootstrap(&self, rng: &mut Rng) -> Bootstrap {
        match rng.u8(0..8) {
            0 if self.fails => Bootstrap::Refuses(rng.u64(1..3_000)),
            1 if self.fails => Bootstrap::Hangs,
            2 | 3 if self.fails => Bootstrap::Admits(rng.u64(1..9_000)),
            _ => Bootstrap::Admits(rng.u64(1..50)),
        }
    }
}
