//! Gaps: what a node may have missed is known and told (see docs/protocol.md, "Gaps").
//!
//! Whoever finds that publications may not have reached clients calls [`Node::missed`] (all shards)
//! or [`Node::shard_missed`]. The gap is counted, one warning is logged, and the connections that
//! were open at that moment are closed in waves with 1012 `gap <ms>`, so that their clients
//! reconnect and fetch again without all of them asking the API at once. Several gaps close a
//! connection once; one that opens after the moment is left alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use futures_util::future::join_all;
use ht_broker::{Missed, MissedReason};
use ht_control::gaps;
use ht_control::waves::{GapWaves, WAVE};
use ht_core::shard::Wave;
use ht_proto::label::Label;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use crate::config::GapPolicy;
use crate::counters::Labels;
use crate::inbox::{self, Input};
use crate::live::Live;
use crate::node::Node;

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

impl GapReason {
    /// What an operator can do about it.
    const fn remedy(self) -> &'static str {
        match self {
            Self::Broker(reason) => reason.remedy(),
            Self::ShardOverflow => {
                "give the node more cores, raise threads or limits.inbox_bytes, or publish less"
            }
        }
    }
}

/// The gaps of a node.
#[derive(Debug)]
pub(crate) struct Gaps {
    numbers: gaps::Gaps,
    /// By shard: it has a new one.
    changed: Vec<Notify>,
    /// Whether clients are closed for a gap.
    close: AtomicBool,
    counts: Labels<GapReason>,
    /// Connections that were closed for a gap.
    closed: AtomicU64,
}

impl Gaps {
    pub(crate) fn new(shards: usize) -> Self {
        Self {
            numbers: gaps::Gaps::new(shards),
            changed: (0..shards).map(|_| Notify::new()).collect(),
            close: AtomicBool::new(true),
            counts: Labels::default(),
            closed: AtomicU64::new(0),
        }
    }

    /// What becomes of clients from now on.
    pub(crate) fn set_policy(&self, policy: GapPolicy) {
        self.close
            .store(policy == GapPolicy::Reconnect, Ordering::Relaxed);
    }

    /// The number of the last gap: a connection that opens now is after it.
    pub(crate) fn last(&self) -> u32 {
        self.numbers.last()
    }

    /// Gaps by reason.
    pub(crate) fn counts(&self) -> Vec<u64> {
        self.counts.all()
    }

    /// Connections that were closed for a gap.
    pub(crate) fn closed(&self) -> u64 {
        self.closed.load(Ordering::Relaxed)
    }

    /// Has the connections of these shards closed that are open now. False: they are not to be.
    fn note(&self, concerned: impl Fn(usize) -> bool) -> bool {
        if !self.close.load(Ordering::Relaxed) {
            return false;
        }
        self.numbers.note(&concerned);
        let shards = self.changed.iter().enumerate();
        for (_, changed) in shards.filter(|(index, _)| concerned(*index)) {
            changed.notify_one();
        }
        true
    }
}

impl Node {
    /// Publications may not have reached this node until now.
    pub(crate) fn missed(&self, missed: &Missed) {
        let reason = GapReason::Broker(missed.reason);
        let connections = self.connections.load(Ordering::Acquire);
        if missed.reason == MissedReason::Start {
            self.connected.cancel();
            if connections == 0 {
                // Whoever subscribes from now on hears everything.
                return;
            }
        }
        self.gaps.counts.add(reason);
        let told = self.gaps.note(|_| true);
        self.warn(reason, &missed.cause, told, connections);
    }

    /// Publications that were placed did not reach this shard until now.
    pub(crate) fn shard_missed(&self, shard: usize, cause: &str) {
        self.gaps.counts.add(GapReason::ShardOverflow);
        let told = self.gaps.note(|index| index == shard);
        let connections = self.connections_by_shard().nth(shard).unwrap_or(0);
        self.warn(GapReason::ShardOverflow, cause, told, connections);
    }

    fn warn(&self, reason: GapReason, cause: &str, told: bool, connections: u64) {
        let Some(suppressed) = self.throttles.tell(reason.as_str()) else {
            return;
        };
        let clients = if told {
            "are closed with 1012 gap, to reconnect and fetch again"
        } else {
            "are not told: recovery.gap_old is \"ignore\""
        };
        tracing::warn!(
            reason = reason.as_str(),
            cause,
            connections,
            clients,
            remedy = reason.remedy(),
            suppressed,
            "gap: this node may have missed publications"
        );
    }
}

/// Closes connections for gaps until `shutdown`.
pub(crate) async fn tell(
    node: Arc<Node>,
    live: Live,
    inboxes: Vec<inbox::Sender>,
    shutdown: CancellationToken,
) {
    let shards = inboxes.iter().enumerate();
    let shards = shards.map(|(index, inbox)| tell_shard(index, inbox, &node, &live));
    tokio::select! {
        () = shutdown.cancelled() => {}
        _ = join_all(shards) => {}
    }
}

/// One shard's part. Shards do not wait for each other. Ends with the shard.
async fn tell_shard(index: usize, inbox: &inbox::Sender, node: &Node, live: &Live) {
    let last = || node.gaps.numbers.of_shard(index);
    loop {
        node.gaps.changed[index].notified().await;
        let open = node.connections.load(Ordering::Acquire);
        let own = node.connections_by_shard().nth(index).unwrap_or(0);
        let waves = GapWaves::new(open, own, live.now().recovery.gap_period);
        let mut interval = tokio::time::interval(WAVE);
        loop {
            interval.tick().await;
            let number = last();
            let Some(wave) = close(inbox, number, &waves).await else {
                return;
            };
            let closed = u64::try_from(wave.closed).unwrap_or(u64::MAX);
            node.gaps.closed.fetch_add(closed, Ordering::Relaxed);
            if wave.finished && last() == number {
                break;
            }
        }
    }
}

/// One wave; none where the shard has ended.
async fn close(inbox: &inbox::Sender, number: u32, waves: &GapWaves) -> Option<Wave> {
    let (done, wave) = oneshot::channel();
    let input = Input::CloseMissed {
        number,
        count: waves.count,
        close: waves.close,
        done,
    };
    inbox.send(input).ok()?;
    wave.await.ok()
}

#[cfg(test)]
mod tests;
