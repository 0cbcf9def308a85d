//! Recovery from gaps: what a node may have missed is counted, logged and reported to clients (see
//! docs/protocol.md, "Gaps").
//!
//! Whoever finds that publications may not have reached clients calls [`Node::missed`] (all shards)
//! or [`Node::shard_missed`]. The gap is counted, one warning is logged, and the connections that
//! were open at that moment are closed in waves with 1012 `gap <ms>`, so that their clients
//! reconnect and fetch again without all of them calling the API at once. Several gaps close a
//! connection once; one that opens after the moment stays open.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::future::join_all;
use ht_broker::{Missed, MissedReason};
use ht_control::waves::{GapWaves, WAVE};
use ht_core::shard::Wave;
use ht_proto::label::Label;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::gaps::GapReason;
use crate::inbox::{self, Input};
use crate::live::Live;
use crate::node::Node;

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
        self.gaps.count(reason);
        let told = self.gaps.note(|_| true);
        self.warn(reason, &missed.cause, told, connections);
    }

    /// Publications that were placed did not reach this shard until now.
    pub(crate) fn shard_missed(&self, shard: usize, cause: &str) {
        self.gaps.count(GapReason::ShardOverflow);
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
pub(crate) async fn run(
    node: Arc<Node>,
    live: Live,
    inboxes: Vec<inbox::Sender>,
    shutdown: CancellationToken,
) {
    let shards = inboxes.iter().enumerate();
    let shards = shards.map(|(index, inbox)| close_shard(index, inbox, &node, &live));
    tokio::select! {
        () = shutdown.cancelled() => {}
        _ = join_all(shards) => {}
    }
}

/// One shard's part. Shards do not wait for each other. Ends with the shard.
async fn close_shard(index: usize, inbox: &inbox::Sender, node: &Node, live: &Live) {
    let last = || node.gaps.of_shard(index);
    loop {
        node.gaps.changed(index).await;
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
            node.gaps.count_closed(closed);
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
