//! One node: the parts that the server composes, without threads and sockets.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use fastrand::Rng;
use ht_broker::gap_detector::GapDetector;
use ht_broker::log::Caps;
use ht_broker::numbers::{Line, Sequence};
use ht_broker::order::Order;
use ht_broker::progress::Progress;
use ht_control::drain::Drain;
use ht_control::gaps::Gaps;
use ht_control::input::Batch;
use ht_control::interest::InterestIndex;
use ht_control::waves::GapWaves;
use ht_control::window::PublicationWindow;
use ht_core::account::Accounts;
use ht_core::command::Command;
use ht_core::index::Matching;
use ht_core::limits::Limits;
use ht_core::outbox::Outboxes;
use ht_core::shard::{
    Compression, KeepaliveSettings, PermissionSettings, RecoverySettings, Settings, StreamSettings,
};
use ht_core::window::{Beginning, Reader, WindowLimits};
use ht_overload::{CallGuard, CallId, CallTime, RecheckId, Rechecks, WaiterId};
use ht_proto::entry::Position;
use uuid::Uuid;

use crate::api::{Asker, Brought, Credentials, HOLD_TIMEOUT, Says};
use crate::gate::{Clock, Gate, HandshakePermit, Permit};
use crate::hasher;
use crate::mutant::Mutant;
use crate::oracle::{epoch, unknown_epoch};
use crate::outside::Outside;
use crate::plan::Plan;
use crate::shard::{Haste, SimShard};

/// How many trigger ids are remembered: more than a run has.
const IDS: usize = 100_000;

/// A message in the log.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) node: usize,
    pub(crate) life: usize,
    /// The publishing connection, by its number.
    pub(crate) line: u32,
    pub(crate) sequence: Sequence,
    /// The trigger, and which attempt of its publisher it is; `None` for a heartbeat.
    pub(crate) trigger: Option<(usize, u64)>,
}

/// A message on its way to a node.
#[derive(Debug)]
pub(crate) struct Delivery {
    /// When it arrives.
    pub(crate) ready: u64,
    /// Its position, where the log has some.
    pub(crate) position: Option<Position>,
    pub(crate) message: Rc<Message>,
}

/// An attempt to publish, which waits for its position.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) trigger: usize,
    pub(crate) tries: usize,
    /// The log has it: the end of the publishing connection does no harm.
    pub(crate) is_taken: bool,
}

/// Publishers whose messages a queue received, by life: it cannot detect losses of others.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    lives: BTreeSet<usize>,
}

impl Heard {
    /// A message arrived.
    pub(crate) fn arrived(&mut self, message: &Message) {
        self.lives.insert(message.life);
    }

    /// Whether the node detects losses of this publisher now.
    pub(crate) fn notices(&self, life: usize, own: usize) -> bool {
        life == own || self.lives.contains(&life)
    }
}

/// A node that is about to shut down.
#[derive(Debug)]
pub(crate) struct Draining {
    pub(crate) drain: Drain,
    /// When it began.
    pub(crate) since: u64,
    /// When its next step is planned.
    pub(crate) due: Option<u64>,
    /// Messages that were in its queue when it began to catch up.
    pub(crate) owed: Vec<usize>,
    /// The consuming connection that had them.
    pub(crate) link: u32,
    /// After how many ms it is back.
    pub(crate) back: u64,
    /// The shards were told to close the rest.
    pub(crate) is_last: bool,
}

/// A node; its parts are those of its current life.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) rng: Rng,
    /// The number of its life.
    pub(crate) life: usize,
    pub(crate) is_up: bool,
    pub(crate) draining: Option<Draining>,
    pub(crate) shards: Vec<SimShard>,
    pub(crate) interest: Rc<InterestIndex>,
    pub(crate) gaps: Gaps,
    /// By shard, the waves in which connections are closed for a gap now.
    pub(crate) closing: Vec<Option<GapWaves>>,
    /// By shard: publications up to this position may be missing.
    pub(crate) missing: Vec<u64>,
    pub(crate) order: Order,
    /// The position of the last command, also of one that may be lost.
    pub(crate) last_command: u64,
    /// The last publications.
    pub(crate) window: PublicationWindow,
    /// Decides about asking the API again.
    pub(crate) rechecks: Rechecks<Credentials, Asker>,
    /// When something is due there.
    pub(crate) rechecks_due: Option<u64>,
    /// The calls that it has made.
    pub(crate) recheck_visits: BTreeMap<RecheckId, usize>,
    /// Sessions that wait for an answer, with their connections.
    pub(crate) asking: BTreeMap<Asker, usize>,
    /// Commands that a planted bug holds back.
    pub(crate) late_commands: Vec<(usize, Arc<Command>)>,
    pub(crate) accounts: Arc<Accounts>,
    pub(crate) outboxes: Arc<Outboxes>,
    pub(crate) detector: GapDetector,
    pub(crate) line: Line,
    /// Counts publishing connections.
    pub(crate) lines: u32,
    /// When the log gets the last message of the connection.
    pub(crate) sent_until: u64,
    /// It consumes.
    pub(crate) is_linked: bool,
    /// How far it has read.
    pub(crate) progress: Progress,
    /// The epoch of the log that it has read.
    pub(crate) epoch: u32,
    /// Counts consuming connections.
    pub(crate) links: u32,
    /// Publications reach its queue.
    pub(crate) is_bound: bool,
    /// Messages that the log holds for it.
    pub(crate) queue: VecDeque<Delivery>,
    pub(crate) arrived_until: u64,
    /// Messages that the log will drop, and deliver twice.
    pub(crate) lose: usize,
    pub(crate) repeat: usize,
    /// Publishers of this node, by attempt.
    pub(crate) waiting: BTreeMap<u64, Waiting>,
    /// Publishers of which a missing message shows as one, by their lives.
    pub(crate) heard: Heard,
    pub(crate) guard: CallGuard<Brought, Says>,
    pub(crate) gate: Rc<RefCell<Gate>>,
    /// Clients that wait for the guard.
    pub(crate) waiters: BTreeMap<WaiterId, usize>,
    /// Clients whose tickets are looked at.
    pub(crate) resuming: BTreeSet<usize>,
    /// Calls that the API works on.
    pub(crate) calls: BTreeSet<CallId>,
    /// When waits beyond the timeout are ended next.
    pub(crate) guard_due: Option<u64>,
    /// A call of its own is under way.
    pub(crate) is_probing: bool,
    /// No more clients are admitted.
    pub(crate) is_closed: bool,
    /// Permits that a planted bug does not release.
    pub(crate) leaked: Vec<(Permit, HandshakePermit)>,
    /// Batches that were placed, by which planted bugs choose.
    pub(crate) batches: u64,
    /// A batch that a planted bug holds back.
    pub(crate) held: Vec<Option<Batch>>,
}

impl Node {
    /// The clock of the calls to the API, as the node reads it.
    pub(crate) fn call_time(&self) -> CallTime {
        CallTime {
            commands: self.last_command,
            gap: self.gaps.last(),
        }
    }

    /// A node in its first moment.
    pub(crate) fn new(plan: &Plan, index: usize, life: usize, clock: &Clock) -> Self {
        let shape = &plan.shape;
        let seed = plan.seed ^ (index as u64) << 32 ^ (life as u64) << 40;
        let matching = if shape.exact {
            Matching::Exact
        } else {
            Matching::Wildcard
        };
        let interest = InterestIndex::with_hasher(shape.shards, matching, hasher());
        let interest = Rc::new(interest);
        let limits = WindowLimits {
            entries: shape.window,
            ..WindowLimits::default()
        };
        let epoch = match (shape.retains, plan.mutant) {
            (_, Some(Mutant::OneEpoch)) => epoch(0),
            (true, _) => epoch(unknown_epoch(life)),
            (false, _) => epoch(u32::try_from(life).unwrap_or(u32::MAX)),
        };
        let window = PublicationWindow::new(limits, Beginning::of(epoch));
        let accounts = Arc::<Accounts>::default();
        let outboxes = Arc::new(Outboxes::new(shape.outbox_total_bytes));
        let settings = Settings {
            window: window.reader(),
            ..settings(plan, matching, &accounts, &outboxes)
        };
        let haste = match plan.mutant {
            Some(Mutant::HastyClose) => Some(Haste::Closes),
            Some(Mutant::EarlyCommand) => Some(Haste::Commands),
            _ => None,
        };
        let shards = (0..shape.shards).map(|index| {
            let outside = Outside {
                index,
                interest: Rc::clone(&interest),
                connected: BTreeSet::new(),
                entering: BTreeMap::new(),
                leaving: None,
                left: Vec::new(),
                held: BTreeMap::new(),
                applicants: BTreeMap::new(),
                turned_away: Vec::new(),
                carried_out: Vec::new(),
                tickets: None,
                leaks_rooms: plan.mutant == Some(Mutant::LeakedRoom),
            };
            SimShard::new(settings.clone(), outside, shape.inbox_bytes, haste)
        });
        let caps = Caps {
            retains: shape.retains,
        };
        let mut detector = GapDetector::new(Uuid::from_u128(life as u128 + 1));
        let line = detector.open_line();
        Self {
            rng: Rng::with_seed(seed),
            life,
            is_up: true,
            draining: None,
            shards: shards.collect(),
            interest,
            gaps: Gaps::new(shape.shards),
            closing: vec![None; shape.shards],
            missing: vec![0; shape.shards],
            order: Order::new(epoch, IDS),
            last_command: 0,
            window,
            rechecks: Rechecks::new(shape.guard.max_in_flight, HOLD_TIMEOUT),
            rechecks_due: None,
            recheck_visits: BTreeMap::new(),
            asking: BTreeMap::new(),
            late_commands: Vec::new(),
            accounts,
            outboxes,
            detector,
            line,
            lines: 1,
            sent_until: 0,
            is_linked: false,
            progress: Progress::new(caps, "the log"),
            epoch: unknown_epoch(life),
            links: 0,
            is_bound: false,
            queue: VecDeque::new(),
            arrived_until: 0,
            lose: 0,
            repeat: 0,
            waiting: BTreeMap::new(),
            heard: Heard::default(),
            guard: CallGuard::new(&shape.guard),
            gate: Gate::new(shape.gate, Rc::clone(clock)),
            waiters: BTreeMap::new(),
            resuming: BTreeSet::new(),
            calls: BTreeSet::new(),
            guard_due: None,
            is_probing: false,
            is_closed: false,
            leaked: Vec::new(),
            batches: 0,
            held: vec![None; shape.shards],
        }
    }

    /// Admitted connections that are open.
    pub(crate) fn connections(&self) -> u64 {
        let shards = self.shards.iter();
        shards
            .map(|shard| shard.around.outside.connected.len() as u64)
            .sum()
    }

    /// The shard with the fewest connections.
    pub(crate) fn idlest(&self) -> usize {
        let load = |shard: &SimShard| shard.turns.shard.len() + shard.around.newcomers.len();
        let shards = 0..self.shards.len();
        shards
            .min_by_key(|&index| load(&self.shards[index]))
            .unwrap_or(0)
    }

    /// State left over although no client remains.
    pub(crate) fn leftover(&mut self) -> Option<String> {
        let mut left = Vec::new();
        let mut note = |what: &str, count: u64| {
            if count > 0 {
                left.push(format!("{count} {what}"));
            }
        };
        for shard in &mut self.shards {
            let stats = shard.turns.shard.stats();
            note("rooms", stats.rooms);
            note("subscriptions", stats.subscriptions);
            note("queued publications", stats.queued);
            note("admitted connections", stats.connections);
            note("connections", shard.turns.shard.len() as u64);
            note("connected", shard.around.outside.connected.len() as u64);
            note(
                "accounts of connections",
                shard.around.outside.held.len() as u64,
            );
            note(
                "deadlines",
                u64::from(shard.turns.shard.deadline().is_some()),
            );
            note("pieces of work", u64::from(shard.turns.shard.has_work()));
        }
        note("calls to the API", self.guard.in_flight() as u64);
        note("calls that wait", self.guard.waiting() as u64);
        note("clients that wait for a call", self.guard.waiters() as u64);
        note(
            "sessions that wait for the API",
            self.rechecks.waiting() as u64,
        );
        note("calls about them", self.rechecks.in_flight() as u64);
        note("permits", self.gate.borrow().taken() as u64);
        note("rooms in the interest index", self.interest.rooms());
        note("bytes in accounts", self.accounts.total() as u64);
        note("bytes in outboxes", self.outboxes.bytes() as u64);
        (!left.is_empty()).then(|| left.join(", "))
    }
}

fn settings(
    plan: &Plan,
    matching: Matching,
    accounts: &Arc<Accounts>,
    outboxes: &Arc<Outboxes>,
) -> Settings {
    Settings {
        matching,
        limits: Limits {
            outbox_bytes: plan.shape.outbox_bytes,
            message_timeout: 5_000,
            ..Limits::default()
        },
        first_frame_timeout: 10_000,
        idle_timeout: 120_000,
        outbox_age: 15_000,
        outboxes: Arc::clone(outboxes),
        accounts: Arc::clone(accounts),
        keepalive: KeepaliveSettings {
            interval: 20_000,
            timeout: 10_000,
        },
        status_clients: true,
        compression: Compression {
            threshold: 200,
            ..Compression::default()
        },
        permissions: PermissionSettings {
            recheck: plan.shape.rechecks,
            ..PermissionSettings::default()
        },
        recovery: RecoverySettings::default(),
        streams: StreamSettings::default(),
        window: Reader::default(),
    }
}
