//! The counters of the shards, readable by others. No shard accesses any of it while it delivers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ht_core::stats::Stats;
use prometheus_client::metrics::histogram::Histogram;

use crate::turns::Turns;

/// Upper bounds of the histogram of catch-ups, in seconds.
const CATCH_UPS: [f64; 12] = [
    0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0,
];

/// The totals of all shards of a pipeline.
#[derive(Debug)]
pub(crate) struct Totals {
    /// By shard: its totals as of its last turn.
    shards: Vec<Published>,
    /// By shard: its longest turns.
    turns: Vec<Turns>,
    /// Admitted connections that are open; exact at every moment.
    connections: AtomicU64,
    /// The same of all pipelines.
    of_node: Arc<AtomicU64>,
    /// How long sessions took to catch up, in all pipelines.
    catch_ups: Histogram,
    since: Instant,
    online_since: String,
}

impl Totals {
    /// For this number of shards.
    pub(crate) fn new(shards: usize) -> Self {
        Self {
            shards: (0..shards).map(|_| Published::default()).collect(),
            turns: (0..shards).map(|_| Turns::default()).collect(),
            connections: AtomicU64::new(0),
            of_node: Arc::default(),
            catch_ups: Histogram::new(CATCH_UPS),
            since: Instant::now(),
            online_since: online_since(),
        }
    }

    /// Those of another pipeline of the same node, with this number of shards.
    pub(crate) fn beside(&self, shards: usize) -> Self {
        Self {
            of_node: Arc::clone(&self.of_node),
            catch_ups: self.catch_ups.clone(),
            since: self.since,
            online_since: self.online_since.clone(),
            ..Self::new(shards)
        }
    }

    /// A connection was admitted.
    pub(crate) fn opened(&self) {
        self.connections.fetch_add(1, Ordering::AcqRel);
        self.of_node.fetch_add(1, Ordering::AcqRel);
    }

    /// A connection that was admitted has ended.
    pub(crate) fn ended(&self) {
        self.connections.fetch_sub(1, Ordering::AcqRel);
        self.of_node.fetch_sub(1, Ordering::AcqRel);
    }

    /// A session has caught up, in this time.
    pub(crate) fn caught_up(&self, took: Duration) {
        self.catch_ups.observe(took.as_secs_f64());
    }

    /// How long sessions took to catch up.
    pub(crate) fn catch_ups(&self) -> &Histogram {
        &self.catch_ups
    }

    /// Publishes the counters of a shard, and the length of the turn that ends now.
    pub(crate) fn publish(&self, shard: usize, stats: &Stats, turn: Duration) {
        self.shards[shard].store(stats);
        self.turns[shard].note(turn, self.since.elapsed());
    }

    /// Admitted connections that are open.
    pub(crate) fn connections(&self) -> u64 {
        self.connections.load(Ordering::Acquire)
    }

    /// The same in all pipelines of the node.
    pub(crate) fn connections_of_node(&self) -> u64 {
        self.of_node.load(Ordering::Acquire)
    }

    /// By shard: admitted connections that are open, as of their last turns.
    pub(crate) fn connections_by_shard(&self) -> Vec<u64> {
        let shards = self.shards.iter();
        shards.map(|shard| shard.load().connections).collect()
    }

    /// The same of one shard.
    pub(crate) fn connections_of(&self, shard: usize) -> u64 {
        let shard = self.shards.get(shard);
        shard.map_or(0, |shard| shard.load().connections)
    }

    /// By shard: its longest turn in the last one to two minutes, in seconds.
    pub(crate) fn longest_turns(&self) -> Vec<f64> {
        let uptime = self.since.elapsed();
        let longest = self.turns.iter().map(|turns| turns.longest(uptime));
        longest.map(|turn| turn.as_secs_f64()).collect()
    }

    /// When the node was started, in local time, in the format of the original.
    pub(crate) fn online_since(&self) -> &str {
        &self.online_since
    }

    /// The sum over all shards, as of their last turns.
    pub(crate) fn sum(&self) -> Stats {
        self.sum_with(None)
    }

    /// The same for the shard `index`, whose own numbers are newer.
    pub(crate) fn sum_for(&self, index: usize, own: &Stats) -> Stats {
        self.sum_with(Some((index, own)))
    }

    fn sum_with(&self, own: Option<(usize, &Stats)>) -> Stats {
        let mut sum = [0u64; Stats::LEN];
        for (index, shard) in self.shards.iter().enumerate() {
            let stats = match own {
                Some((known, stats)) if known == index => stats.to_array(),
                _ => shard.to_array(),
            };
            sum.iter_mut()
                .zip(stats)
                .for_each(|(sum, value)| *sum = sum.wrapping_add(value));
        }
        Stats::from_array(sum)
    }
}

/// Now, in local time, to the microsecond, in the format of the original.
fn online_since() -> String {
    let now = jiff::ZonedDateTime::now();
    now.strftime("%Y-%m-%dT%H:%M:%S%.6f").to_string()
}

/// A shard's totals, readable by others.
#[derive(Debug)]
struct Published([AtomicU64; Stats::LEN]);

impl Default for Published {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl Published {
    fn store(&self, stats: &Stats) {
        for (shared, value) in self.0.iter().zip(stats.to_array()) {
            shared.store(value, Ordering::Relaxed);
        }
    }

    fn load(&self) -> Stats {
        Stats::from_array(self.to_array())
    }

    fn to_array(&self) -> [u64; Stats::LEN] {
        std::array::from_fn(|index| self.0[index].load(Ordering::Relaxed))
    }
}
