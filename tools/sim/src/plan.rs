//! What happens from outside in one run: made from a seed, and a list, so that a failing run can be
//! shortened.

use fastrand::Rng;

use crate::mutant::Mutant;
use crate::rooms::{GRANTS, ROOMS};

/// Everything that a run depends on.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What delays are drawn from.
    pub seed: u64,
    pub(crate) shape: Shape,
    pub(crate) actions: Vec<Timed>,
    /// The bug that is planted.
    pub mutant: Option<Mutant>,
}

/// What stays the same during a run.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) nodes: usize,
    pub(crate) shards: usize,
    pub(crate) clients: usize,
    /// Rooms match as they are written.
    pub(crate) exact: bool,
    pub(crate) outbox_bytes: usize,
    pub(crate) outbox_total_bytes: usize,
    /// What may wait for a shard.
    pub(crate) inbox_bytes: usize,
    /// The log keeps what it took for a while, with a position.
    pub(crate) retains: bool,
    /// How long the actions go on, in ms.
    pub(crate) duration: u64,
    /// Longest delay of a message between the log and a node, in ms.
    pub(crate) lag: u64,
}

/// An action and its time in ms.
#[derive(Clone, Debug)]
pub(crate) struct Timed {
    pub(crate) at: u64,
    pub(crate) action: Action,
}

/// What the API says to a client that connects, and after how many ms.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bootstrap {
    Admits(u64),
    Fails(u64),
    Hangs,
}

/// How fast a client reads.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    All,
    /// So many bytes every 200 ms.
    Slow(usize),
    Stalled,
}

/// Something that happens from outside. What makes no sense at the time is passed over.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Action {
    Connect {
        client: usize,
        node: usize,
        grants: usize,
        bootstrap: Bootstrap,
    },
    Subscribe {
        client: usize,
        room: usize,
    },
    Unsubscribe {
        client: usize,
        which: usize,
    },
    Ping(usize),
    Read(usize, Pace),
    /// The line breaks; the other end notices, or does not.
    Cut {
        client: usize,
        silent: bool,
    },
    Leave(usize),
    Publish {
        node: usize,
        rooms: [usize; 2],
        count: usize,
        bytes: usize,
    },
    /// The node vanishes and comes again after so many ms.
    Crash(usize, u64),
    Drain(usize, u64),
    /// A shard's thread does nothing for so many ms.
    Stall(usize, usize, u64),
    /// The log drops so many messages on the way to one node.
    Lose(usize, usize),
    /// The log delivers so many messages twice to one node.
    Repeat(usize, usize),
    /// The queue of a node is not bound any more.
    Unbind(usize),
    /// A node loses its consuming connection for so many ms.
    CutConsumer(usize, u64),
    /// A node loses its publishing connection.
    CutPublisher(usize),
}

impl Action {
    /// The node that it needs; the first where it needs none.
    fn node(self) -> usize {
        match self {
            Self::Connect { node, .. }
            | Self::Publish { node, .. }
            | Self::Crash(node, _)
            | Self::Drain(node, _)
            | Self::Stall(node, ..)
            | Self::Lose(node, _)
            | Self::Repeat(node, _)
            | Self::Unbind(node)
            | Self::CutConsumer(node, _)
            | Self::CutPublisher(node) => node,
            Self::Subscribe { .. }
            | Self::Unsubscribe { .. }
            | Self::Ping(_)
            | Self::Read(..)
            | Self::Cut { .. }
            | Self::Leave(_) => 0,
        }
    }
}

impl Plan {
    /// The plan of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let some = |rng: &mut Rng, bound: usize| [0, bound][rng.usize(0..2)];
        let shape = Shape {
            nodes: rng.usize(1..4),
            shards: rng.usize(1..4),
            clients: rng.usize(1..10),
            exact: rng.u8(0..4) == 0,
            retains: rng.bool(),
            outbox_bytes: some(&mut rng, 20_000),
            outbox_total_bytes: some(&mut rng, 60_000),
            inbox_bytes: [20_000, usize::MAX][rng.usize(0..2)],
            // Either there is a time to settle now and then, or everything happens at once.
            duration: [5_000, 30_000, 900_000][rng.usize(0..3)] + rng.u64(0..30_000),
            lag: [5, 50, 1_500][rng.usize(0..3)],
        };
        let weather = Weather::new(&mut rng);
        let count = rng.usize(20..400);
        let mut actions: Vec<_> = (0..count)
            .map(|_| Timed {
                at: rng.u64(0..shape.duration),
                action: weather.action(&shape, &mut rng),
            })
            .collect();
        // Much happens at about the same time.
        for index in 1..actions.len() {
            if rng.u8(0..3) > 0 {
                let at = actions[index - 1].at + rng.u64(0..40);
                actions[index].at = at.min(shape.duration);
            }
        }
        actions.sort_by_key(|timed| timed.at);
        Self {
            seed,
            shape,
            actions,
            mutant: None,
        }
    }

    /// The same with a planted bug.
    #[must_use]
    pub fn with(self, mutant: Mutant) -> Self {
        Self {
            mutant: Some(mutant),
            ..self
        }
    }

    /// Ways to make a plan simpler; none where it is as simple as it gets.
    pub(crate) const SIMPLER: [fn(&Self) -> Option<Self>; 5] = [
        |plan| {
            let nodes = plan.shape.nodes - 1;
            let mut plan = plan.clone();
            plan.shape.nodes = nodes;
            plan.actions.retain(|timed| timed.action.node() < nodes);
            (nodes > 0).then_some(plan)
        },
        |plan| {
            let mut plan = plan.clone();
            plan.shape.shards -= 1;
            (plan.shape.shards > 0).then_some(plan)
        },
        |plan| {
            let mut calm = plan.clone();
            calm.shape.inbox_bytes = usize::MAX;
            (plan.shape.inbox_bytes < usize::MAX).then_some(calm)
        },
        |plan| {
            let mut calm = plan.clone();
            calm.shape.lag = 5;
            (plan.shape.lag > calm.shape.lag).then_some(calm)
        },
        |plan| {
            let mut calm = plan.clone();
            calm.shape.outbox_bytes = 0;
            calm.shape.outbox_total_bytes = 0;
            (plan.shape.outbox_bytes + plan.shape.outbox_total_bytes > 0).then_some(calm)
        },
    ];

    /// How many actions there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.actions.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.actions.is_empty()
    }
}

/// What may happen, and how often beside the others.
const KINDS: [(Kind, u32); 17] = [
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
];

/// What is needed for anything to be seen at all.
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
}

/// How often each kind happens in a run: some never, some often, so that few runs are alike.
struct Weather {
    weights: [u32; KINDS.len()],
    /// The API fails now and then.
    fails: bool,
}

impl Weather {
    fn new(rng: &mut Rng) -> Self {
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

    fn action(&self, shape: &Shape, rng: &mut Rng) -> Action {
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
            Kind::Drain => Action::Drain(node, rng.u64(100..20_000)),
            Kind::Stall => Action::Stall(node, rng.usize(0..shape.shards), rng.u64(1..3_000)),
            Kind::Lose => Action::Lose(node, rng.usize(1..4)),
            Kind::Repeat => Action::Repeat(node, rng.usize(1..4)),
            Kind::Unbind => Action::Unbind(node),
            Kind::CutConsumer => Action::CutConsumer(node, rng.u64(200..8_000)),
            Kind::CutPublisher => Action::CutPublisher(node),
        }
    }

    fn bootstrap(&self, rng: &mut Rng) -> Bootstrap {
        match rng.u8(0..8) {
            0 if self.fails => Bootstrap::Fails(rng.u64(1..3_000)),
            1 if self.fails => Bootstrap::Hangs,
            2 | 3 if self.fails => Bootstrap::Admits(rng.u64(1..9_000)),
            _ => Bootstrap::Admits(rng.u64(1..50)),
        }
    }
}
