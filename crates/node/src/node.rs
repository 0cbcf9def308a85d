//! What the parts of a node share: its counters, and who they are asked by.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use ht_backend::{Backend, GuardCounts};
use ht_broker::Broker;
use ht_control::interest::InterestIndex;
use ht_core::account::Accounts;
use ht_core::index::Matching;
use ht_core::outbox::Outboxes;
use ht_core::stats::Stats;
use ht_edge::descriptors::Descriptors;
use ht_edge::permits::Permits;
use ht_proto::server::Status;
use tokio_util::sync::CancellationToken;

use crate::config::BuildInfo;
use crate::counters::Counters;
use crate::delivery::Delivery;
use crate::gaps::Gaps;
use crate::in_flight::InFlight;
use crate::inbox;
use crate::memory::Memory;
use crate::throttle::Throttles;
use crate::turns::Turns;

/// A node's shared state. No shard touches any of it while it delivers.
pub(crate) struct Node {
    /// By shard: its totals as of its last turn.
    pub(crate) shards: Vec<Published>,
    /// By shard: its longest turns.
    pub(crate) turns: Vec<Turns>,
    /// What waits for all slow clients.
    pub(crate) outboxes: Arc<Outboxes>,
    /// What clients make the node keep beside that.
    pub(crate) accounts: Arc<Accounts>,
    pub(crate) memory: Memory,
    pub(crate) interest: InterestIndex,
    /// The shards' inboxes, once there are shards.
    pub(crate) inboxes: OnceLock<Vec<inbox::Sender>>,
    /// Admitted connections that are open; exact at every moment.
    pub(crate) connections: AtomicU64,
    /// The same and those to come, against the limits of connections.
    pub(crate) permits: Arc<Permits>,
    pub(crate) counters: Counters,
    pub(crate) throttles: Throttles,
    pub(crate) triggers_in_flight: InFlight,
    /// What probes found of the way that triggers go.
    pub(crate) delivery: Delivery,
    pub(crate) descriptors: Descriptors,
    pub(crate) gaps: Gaps,
    pub(crate) broker: Option<Arc<Broker>>,
    /// Publications reach this node: there is no broker, or it was connected for the first time.
    pub(crate) connected: CancellationToken,
    backend: Option<Arc<dyn Backend>>,
    pub(crate) build: BuildInfo,
    /// The node is about to leave.
    pub(crate) draining: AtomicBool,
    /// It has closed its connections: a trigger reaches nobody here any more.
    pub(crate) deserted: AtomicBool,
    /// A shard ended by a panic.
    pub(crate) broken: AtomicBool,
    since: Instant,
    online_since: String,
}

impl Node {
    pub(crate) fn new(shards: usize, matching: Matching, broker: Option<Arc<Broker>>) -> Self {
        let connected = CancellationToken::new();
        if broker.is_none() {
            connected.cancel();
        }
        Self {
            outboxes: Arc::default(),
            accounts: Arc::default(),
            memory: Memory::default(),
            shards: (0..shards).map(|_| Published::default()).collect(),
            turns: (0..shards).map(|_| Turns::default()).collect(),
            interest: InterestIndex::new(shards, matching),
            inboxes: OnceLock::new(),
            connections: AtomicU64::new(0),
            permits: Arc::new(Permits::new(shards)),
            since: Instant::now(),
            counters: Counters::default(),
            throttles: Throttles::default(),
            triggers_in_flight: InFlight::default(),
            delivery: Delivery::new(shards),
            descriptors: Descriptors::of_process(),
            gaps: Gaps::new(shards),
            broker,
            connected,
            backend: None,
            build: BuildInfo::default(),
            draining: AtomicBool::new(false),
            deserted: AtomicBool::new(false),
            broken: AtomicBool::new(false),
            online_since: online_since(),
        }
    }

    /// The same node, which asks this backend.
    pub(crate) fn with_backend(self, backend: Arc<dyn Backend>) -> Self {
        Self {
            backend: Some(backend),
            ..self
        }
    }

    /// The same node, of a program that was built like this.
    pub(crate) fn built(self, build: BuildInfo) -> Self {
        Self { build, ..self }
    }

    /// What holds calls to the backend back; nothing where nothing does.
    pub(crate) fn guard(&self) -> GuardCounts {
        let guard = self.backend.as_ref().and_then(|backend| backend.guard());
        guard.unwrap_or_default()
    }

    /// How long it has been running.
    pub(crate) fn age(&self) -> Duration {
        self.since.elapsed()
    }

    /// Admitted connections by shard, as of their last turns.
    pub(crate) fn connections_by_shard(&self) -> impl Iterator<Item = u64> + '_ {
        let stats = self.shards.iter().map(Published::load);
        stats.map(|numbers| Stats::from_array(numbers).connections)
    }

    /// A number of each shard's inbox.
    pub(crate) fn by_inbox(&self, read: fn(&inbox::Sender) -> usize) -> Vec<u64> {
        let inboxes = self.inboxes.get().map_or(&[][..], Vec::as_slice);
        inboxes.iter().map(|inbox| read(inbox) as u64).collect()
    }

    /// By shard: its longest turn in the last one to two minutes, in seconds.
    pub(crate) fn longest_turns(&self) -> Vec<f64> {
        let longest = self.turns.iter().map(|turns| turns.longest(self.age()));
        longest.map(|turn| turn.as_secs_f64()).collect()
    }

    /// The sum over all shards, as of their last turns.
    pub(crate) fn totals(&self) -> Stats {
        self.sum(None)
    }

    /// The answer to a client of the shard `index`, whose own totals are newer.
    pub(crate) fn status(&self, index: usize, own: &Stats) -> Status {
        let sum = self.sum(Some((index, own)));
        let received = self
            .broker
            .as_ref()
            .map_or(0, |broker| broker.counts().received);
        Status {
            open_connections: self.connections.load(Ordering::Acquire),
            num_rooms: self.interest.rooms(),
            online_since: self.online_since.clone(),
            rabbitmq_messages_received: received,
            ws_messages_received: sum.messages,
            ws_messages_send: sum.deliveries,
            ws_messages_send_error: sum.undelivered,
            ws_messages_send_queued: sum.queued,
        }
    }

    fn sum(&self, own: Option<(usize, &Stats)>) -> Stats {
        let mut sum = [0u64; Stats::LEN];
        for (index, shard) in self.shards.iter().enumerate() {
            let stats = match own {
                Some((known, stats)) if known == index => stats.to_array(),
                _ => shard.load(),
            };
            sum.iter_mut()
                .zip(stats)
                .for_each(|(sum, value)| *sum = sum.wrapping_add(value));
        }
        Stats::from_array(sum)
    }
}

/// Now, in local time, to the microsecond, as the original writes it.
fn online_since() -> String {
    let now = jiff::ZonedDateTime::now();
    now.strftime("%Y-%m-%dT%H:%M:%S%.6f").to_string()
}

/// A shard's totals where others may read them.
#[derive(Debug)]
pub(crate) struct Published([AtomicU64; Stats::LEN]);

impl Default for Published {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl Published {
    pub(crate) fn store(&self, stats: &Stats) {
        for (shared, value) in self.0.iter().zip(stats.to_array()) {
            shared.store(value, Ordering::Relaxed);
        }
    }

    fn load(&self) -> [u64; Stats::LEN] {
        std::array::from_fn(|index| self.0[index].load(Ordering::Relaxed))
    }
}
