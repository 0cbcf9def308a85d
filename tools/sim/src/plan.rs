//! External events of one run: made from a seed, and a list, so that a failing run can be
//! shortened.

mod command;
mod crowd;
mod page;
mod weather;

use fastrand::Rng;
use ht_overload::GuardConfig;

use crate::api::{Bootstrap, Mood};
use crate::gate::GateLimits;
use crate::mutant::Mutant;
use crate::orders::{Order, TENANTS};
use crate::plan::weather::Weather;

/// Parameters of admission, beside the seed.
const ENTRANCE: u64 = 0x656e_7472;

/// What pages do, beside the seed.
const PAGES: u64 = 0x7061_6765;

/// More publications than a run has.
pub(crate) const WINDOW: usize = 100_000;

/// Everything that a run depends on.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Range of the delays.
    pub seed: u64,
    pub(crate) shape: Shape,
    pub(crate) actions: Vec<Timed>,
    /// The bug that is planted.
    pub mutant: Option<Mutant>,
}

/// Constants of a run.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) nodes: usize,
    pub(crate) shards: usize,
    pub(crate) clients: usize,
    /// Rooms match as they are written.
    pub(crate) exact: bool,
    pub(crate) outbox_bytes: usize,
    pub(crate) outbox_total_bytes: usize,
    /// Capacity of a shard's inbox.
    pub(crate) inbox_bytes: usize,
    /// The log retains its records for a while, with a position.
    pub(crate) retains: bool,
    /// How long the actions continue, in ms.
    pub(crate) duration: u64,
    /// Longest delay of a message between the log and a node, in ms.
    pub(crate) lag: u64,
    pub(crate) guard: GuardConfig,
    pub(crate) gate: GateLimits,
    /// For how many connections each counts when a node drains.
    pub(crate) counts_for: u64,
    /// The API is asked again about open sessions.
    pub(crate) rechecks: bool,
    /// Sessions that it cannot be asked about keep what they may do.
    pub(crate) keeps: bool,
    /// Publications that a node remembers.
    pub(crate) window: usize,
    /// Every other client keeps a cursor, and recovers what it missed.
    pub(crate) pages: bool,
    /// Pages have tickets that let them in again.
    pub(crate) tickets: bool,
    /// Tenants with equal everything, which share nodes and log.
    pub(crate) tenants: usize,
}

impl Shape {
    /// The tenant of a client. Some of each are pages.
    pub(crate) fn tenant(&self, client: usize) -> usize {
        client / 2 % self.tenants
    }
}

/// An action and its time in ms.
#[derive(Clone, Debug)]
pub(crate) struct Timed {
    pub(crate) at: u64,
    pub(crate) action: Action,
}

/// How fast a client reads.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    All,
    /// So many bytes every 200 ms.
    Slow(usize),
    Stalled,
}

/// An external event. One that is impossible at the time is skipped.
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
    /// A page subscribes, and wants what followed its cursor.
    SubscribeSince {
        client: usize,
        room: usize,
    },
    Unsubscribe {
        client: usize,
        which: usize,
    },
    /// The line of a page breaks, and it comes back.
    Blink {
        client: usize,
        silent: bool,
        /// Within so many ms.
        within: u64,
    },
    /// The log loses so many of its last records, and is away for so many ms.
    Rewind(usize, u64),
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
    /// The API commands something, between two publications to a room.
    Command {
        node: usize,
        order: Order,
        around: usize,
    },
    /// The node is killed and restarts after so many ms.
    Crash(usize, u64),
    /// The node shuts down gracefully, after this delay, and restarts after so many ms.
    Drain {
        node: usize,
        delay: u64,
        back: u64,
    },
    /// A node that drains has one more second.
    Hurry(usize),
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
    /// The API is like this for so many ms.
    Mood(Mood, u64),
    /// So many want in from one address, for so many ms.
    Crowd {
        node: usize,
        address: u8,
        count: usize,
        /// They all bring the same.
        same: bool,
        bootstrap: Bootstrap,
        patience: u64,
    },
}

impl Action {
    /// The node that it needs; the first if it needs none.
    fn node(self) -> usize {
        match self {
            Self::Connect { node, .. }
            | Self::Publish { node, .. }
            | Self::Command { node, .. }
            | Self::Crash(node, _)
            | Self::Drain { node, .. }
            | Self::Hurry(node)
            | Self::Stall(node, ..)
            | Self::Lose(node, _)
            | Self::Repeat(node, _)
            | Self::Unbind(node)
            | Self::CutConsumer(node, _)
            | Self::CutPublisher(node)
            | Self::Crowd { node, .. } => node,
            Self::Subscribe { .. }
            | Self::SubscribeSince { .. }
            | Self::Blink { .. }
            | Self::Rewind(..)
            | Self::Unsubscribe { .. }
            | Self::Ping(_)
            | Self::Read(..)
            | Self::Cut { .. }
            | Self::Leave(_)
            | Self::Mood(..) => 0,
        }
    }
}

impl Plan {
    /// The plan of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let mut entrance = Rng::with_seed(seed ^ ENTRANCE);
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
            guard: crowd::guard(&mut entrance),
            gate: crowd::gate(&mut entrance),
            counts_for: [1, 100][entrance.usize(0..2)],
            rechecks: entrance.u8(0..4) > 0,
            keeps: entrance.bool(),
            window: [WINDOW, 5, WINDOW][entrance.usize(0..3)],
            pages: seed % 2 == 1,
            tickets: seed % 8 > 3,
            tenants: if seed % 4 > 1 { TENANTS } else { 1 },
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
        actions.extend(crowd::actions(&shape, &mut entrance));
        command::repeat(&mut actions, &shape, &mut entrance);
        crowd::meanwhile(&mut actions, &shape, &mut entrance);
        if shape.pages {
            let mut rng = Rng::with_seed(seed ^ PAGES);
            page::meanwhile(&mut actions, &shape, &mut rng);
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

    /// Ways to make a plan simpler; `None` if it is as simple as possible.
    pub(crate) const SIMPLER: [fn(&Self) -> Option<Self>; 7] = [
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
            let mut alone = plan.clone();
            alone.shape.tenants = 1;
            (plan.shape.tenants > 1).then_some(alone)
        },
        |plan| {
            let mut plain = plan.clone();
            plain.shape.tickets = false;
            plan.shape.tickets.then_some(plain)
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
