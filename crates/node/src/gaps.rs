//! Gaps of a node: publications that may not have reached it or a part of it.
//! [`crate::recovery`] finds and closes the connections concerned.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ht_broker::MissedReason;
use ht_control::gaps;
use ht_proto::entry::TenantId;
use ht_proto::label::Label;
use ht_proto::server::GapCause;
use tokio::sync::Notify;

use crate::config::GapPolicy;
use crate::counters::Labels;

/// Why publications may not have reached clients of this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GapReason {
    /// They may not have reached the node.
    Broker(MissedReason),
    /// They reached the node, but not one of its shards, which was too far behind.
    ShardOverflow,
}

/// Reasons that a broker reports.
const OF_BROKER: usize = MissedReason::ALL.len();

impl Label for GapReason {
    const ALL: &'static [Self] = &{
        let mut all = [Self::ShardOverflow; OF_BROKER + 1];
        let mut at = 0;
        while at < OF_BROKER {
            all[at] = Self::Broker(MissedReason::ALL[at]);
            at += 1;
        }
        all
    };

    fn as_str(self) -> &'static str {
        match self {
            Self::Broker(reason) => reason.as_str(),
            Self::ShardOverflow => "shard-overflow",
        }
    }

    fn index(self) -> usize {
        match self {
            Self::Broker(reason) => reason.index(),
            Self::ShardOverflow => OF_BROKER,
        }
    }
}

impl Missing {
    const NOTHING: Self = Self {
        upto: 0,
        cause: GapCause::Overload,
    };

    /// Both.
    pub(crate) fn and(self, other: Self) -> Self {
        let is_broker = [self.cause, other.cause].contains(&GapCause::Broker);
        Self {
            upto: self.upto.max(other.upto),
            cause: if is_broker {
                GapCause::Broker
            } else {
                other.cause
            },
        }
    }
}

impl GapReason {
    /// The word for clients.
    pub(crate) const fn cause(self) -> GapCause {
        match self {
            Self::Broker(_) => GapCause::Broker,
            Self::ShardOverflow => GapCause::Overload,
        }
    }

    /// What an operator can do about it.
    pub(crate) const fn remedy(self) -> &'static str {
        match self {
            Self::Broker(reason) => reason.remedy(),
            Self::ShardOverflow => {
                "give the node more cores, raise threads or limits.inbox_bytes, or publish less"
            }
        }
    }
}

/// What may be missing in a shard.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Missing {
    /// Publications up to this position.
    pub(crate) upto: u64,
    pub(crate) cause: GapCause,
}

/// Gaps of one tenant each.
#[derive(Debug, Default)]
struct TenantGaps {
    /// There are some that the shard does not know.
    is_new: AtomicBool,
    /// Those.
    new: Mutex<Vec<(TenantId, u32)>>,
    /// Those whose clients are to be told or closed: the numbers, and what may be missing.
    missing: Mutex<BTreeMap<TenantId, (u32, Missing)>>,
}

/// The gaps of a node.
#[derive(Debug)]
pub(crate) struct Gaps {
    numbers: gaps::Gaps,
    /// By shard: the last position up to which publications may be missing, and whether they may
    /// not have reached the node.
    missing: Vec<Mutex<Missing>>,
    /// By shard: gaps of one tenant.
    of_tenants: Vec<TenantGaps>,
    /// By shard: notified of a new gap.
    changed: Vec<Notify>,
    /// Whether clients are closed because of a gap.
    close: AtomicBool,
    /// Of all pipelines of the node.
    counts: Arc<Labels<GapReason>>,
    /// Connections that were closed because of a gap, in all pipelines of the node.
    closed: Arc<AtomicU64>,
}

impl Gaps {
    pub(crate) fn new(shards: usize) -> Self {
        Self {
            numbers: gaps::Gaps::new(shards),
            missing: (0..shards).map(|_| Mutex::new(Missing::NOTHING)).collect(),
            of_tenants: (0..shards).map(|_| TenantGaps::default()).collect(),
            changed: (0..shards).map(|_| Notify::new()).collect(),
            close: AtomicBool::new(true),
            counts: Arc::default(),
            closed: Arc::default(),
        }
    }

    /// Those of another pipeline of the same node, with this number of shards.
    pub(crate) fn beside(&self, shards: usize) -> Self {
        Self {
            close: AtomicBool::new(self.closes()),
            counts: Arc::clone(&self.counts),
            closed: Arc::clone(&self.closed),
            ..Self::new(shards)
        }
    }

    /// Sets how clients are handled from now on.
    pub(crate) fn set_policy(&self, policy: GapPolicy) {
        self.close
            .store(policy == GapPolicy::Reconnect, Ordering::Relaxed);
    }

    /// The number of the last gap: a connection that is opened now is later than that gap.
    pub(crate) fn last(&self) -> u32 {
        self.numbers.last()
    }

    /// The number of the last gap that concerns this shard.
    pub(crate) fn of_shard(&self, shard: usize) -> u32 {
        self.numbers.of_shard(shard)
    }

    /// Waits for a gap of this shard since the last wait.
    pub(crate) async fn changed(&self, shard: usize) {
        self.changed[shard].notified().await;
    }

    /// Gaps by reason.
    pub(crate) fn counts(&self) -> Vec<u64> {
        self.counts.all()
    }

    /// Connections that were closed because of a gap.
    pub(crate) fn closed(&self) -> u64 {
        self.closed.load(Ordering::Relaxed)
    }

    /// Counts a gap.
    pub(crate) fn count(&self, reason: GapReason) {
        self.counts.add(reason);
    }

    /// Counts connections that were closed because of a gap.
    pub(crate) fn count_closed(&self, connections: u64) {
        self.closed.fetch_add(connections, Ordering::Relaxed);
    }

    /// Whether clients that accept no events are closed.
    pub(crate) fn closes(&self) -> bool {
        self.close.load(Ordering::Relaxed)
    }

    /// What may be missing in a shard, since that was last taken.
    pub(crate) fn take_missing(&self, shard: usize) -> Missing {
        let mut missing = lock(&self.missing[shard]);
        std::mem::replace(&mut missing, Missing::NOTHING)
    }

    /// Clients get no more cursors until they are told of a gap, which is not over yet.
    pub(crate) fn begin(&self) {
        self.numbers.note(|_| true);
    }

    /// Gaps of one tenant each that a shard does not know yet.
    pub(crate) fn take_tenant_gaps(&self, shard: usize) -> Vec<(TenantId, u32)> {
        let gaps = &self.of_tenants[shard];
        if !gaps.is_new.load(Ordering::SeqCst) {
            return Vec::new();
        }
        let mut new = lock(&gaps.new);
        gaps.is_new.store(false, Ordering::SeqCst);
        std::mem::take(&mut *new)
    }

    /// A tenant of a shard with a gap of its own, its number, and what may be missing since that was
    /// last taken.
    pub(crate) fn take_missing_of_tenant(&self, shard: usize) -> Option<(TenantId, u32, Missing)> {
        let (tenant, (number, missing)) = lock(&self.of_tenants[shard].missing).pop_first()?;
        Some((tenant, number, missing))
    }

    /// Has the connections of a tenant in a shard that are open now closed, or their clients told.
    pub(crate) fn note_tenant(&self, shard: usize, tenant: TenantId, missing: Missing) {
        let gaps = &self.of_tenants[shard];
        let number = self.numbers.next();
        let mut all = lock(&gaps.missing);
        let known = all.entry(tenant).or_insert((number, missing));
        *known = (number, known.1.and(missing));
        drop(all);
        lock(&gaps.new).push((tenant, number));
        gaps.is_new.store(true, Ordering::SeqCst);
        self.changed[shard].notify_one();
    }

    /// Has the connections of these shards that are open now closed, or their clients told.
    pub(crate) fn note(&self, concerned: impl Fn(usize) -> bool, missing: Missing) {
        let shards = self.missing.iter().enumerate();
        for (_, shard) in shards.filter(|(index, _)| concerned(*index)) {
            let mut shard = lock(shard);
            *shard = shard.and(missing);
        }
        self.numbers.note(&concerned);
        let shards = self.changed.iter().enumerate();
        for (_, changed) in shards.filter(|(index, _)| concerned(*index)) {
            changed.notify_one();
        }
    }
}

fn lock<T>(part: &Mutex<T>) -> MutexGuard<'_, T> {
    part.lock().unwrap_or_else(PoisonError::into_inner)
}
