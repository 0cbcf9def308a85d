//! Recovery from gaps: what a node may have missed is counted, logged and reported to clients (see
//! docs/protocol.md, "Gaps").
//!
//! Code that finds that publications may not have reached clients calls [`GapReports::missed`] (all
//! shards) or [`GapReports::shard_missed`]. The gap is counted and one warning is logged. Once the
//! gap has a position ([`GapReports::tell`]), the connections that were open at that moment are told
//! of it in waves, if their clients accept events, or closed with 1012 `gap <ms>`: so they fetch
//! again without all of them calling the API at once. Several gaps close a connection once; one that
//! is opened after the moment stays open.

use std::sync::Arc;

use futures_util::future::join_all;
use ht_broker::{Missed, MissedReason};
use ht_control::waves::{GapWaves, WAVE};
use ht_core::shard::{Gap, Wave};
use ht_proto::entry::{Position, TenantId};
use ht_proto::label::Label;
use ht_proto::server::GapCause;
use ht_telemetry::throttle::Throttles;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::gaps::{GapReason, Gaps, Missing};
use crate::inbox::{self, Input};
use crate::lifecycle::Lifecycle;
use crate::live::Live;
use crate::node::Node;
use crate::totals::Totals;

/// Takes reports of gaps.
#[derive(Clone)]
pub(crate) struct GapReports {
    gaps: Arc<Gaps>,
    totals: Arc<Totals>,
    lifecycle: Arc<Lifecycle>,
    throttles: Arc<Throttles>,
}

impl GapReports {
    /// For the gaps of a node.
    pub(crate) fn new(node: &Node) -> Self {
        Self {
            gaps: Arc::clone(&node.gaps),
            totals: Arc::clone(&node.totals),
            lifecycle: Arc::clone(&node.lifecycle),
            throttles: Arc::clone(&node.throttles),
        }
    }

    /// Publications may not have reached this node until now. False: no client can have missed any.
    pub(crate) fn missed(&self, missed: &Missed) -> bool {
        let reason = GapReason::Broker(missed.reason);
        let connections = self.totals.connections();
        if missed.reason == MissedReason::Start {
            self.lifecycle.connected();
            if connections == 0 {
                // A client that subscribes from now on receives everything.
                return false;
            }
        }
        self.gaps.count(reason);
        self.warn(reason, &missed.cause, connections);
        true
    }

    /// What is placed from now on does not reach the clients: they are told when that is over, and
    /// get no cursors before.
    pub(crate) fn begin(&self) {
        self.gaps.begin();
    }

    /// The clients of all shards are told that publications up to this position may not have
    /// reached them.
    pub(crate) fn tell(&self, upto: Position) {
        let missing = Missing {
            upto: upto.get(),
            cause: GapCause::Broker,
        };
        self.gaps.note(|_| true, missing);
    }

    /// Publications up to this position, which were placed, did not reach this shard.
    pub(crate) fn shard_missed(&self, shard: usize, upto: u64) {
        let missing = Missing {
            upto,
            cause: GapReason::ShardOverflow.cause(),
        };
        self.gaps.note(|index| index == shard, missing);
    }

    /// The same of publications of one tenant.
    pub(crate) fn tenant_missed(&self, shard: usize, tenant: TenantId, upto: u64) {
        let missing = Missing {
            upto,
            cause: GapReason::ShardOverflow.cause(),
        };
        self.gaps.note_tenant(shard, tenant, missing);
    }

    /// Counts and logs that.
    pub(crate) fn report_shard_missed(&self, shard: usize, cause: &str) {
        self.gaps.count(GapReason::ShardOverflow);
        let connections = self.totals.connections_of(shard);
        self.warn(GapReason::ShardOverflow, cause, connections);
    }

    fn warn(&self, reason: GapReason, cause: &str, connections: u64) {
        let Some(suppressed) = self.throttles.allow(reason.as_str()) else {
            return;
        };
        let clients = if self.gaps.closes() {
            "are closed with 1012 gap, to reconnect and fetch again, or receive a gap event"
        } else {
            "receive a gap event if they accept events, and are not closed: recovery.gap_old is \
             \"ignore\""
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

/// Closes connections because of gaps.
pub(crate) struct GapCloser {
    pub(crate) gaps: Arc<Gaps>,
    pub(crate) totals: Arc<Totals>,
    pub(crate) live: Live,
    pub(crate) inboxes: Vec<inbox::Sender>,
}

impl GapCloser {
    /// Closes them until `shutdown`.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let shards = self.inboxes.iter().enumerate();
        let shards = shards.map(|(index, inbox)| self.close_shard(index, inbox));
        tokio::select! {
            () = shutdown.cancelled() => {}
            _ = join_all(shards) => {}
        }
    }

    /// Recovers one shard. Shards do not wait for each other. Ends with the shard.
    async fn close_shard(&self, index: usize, inbox: &inbox::Sender) {
        let last = || self.gaps.of_shard(index);
        loop {
            self.gaps.changed(index).await;
            let open = self.totals.connections();
            let own = self.totals.connections_of(index);
            let waves = GapWaves::new(open, own, self.live.now().recovery.gap_period);
            let mut interval = tokio::time::interval(WAVE);
            let mut missing = self.gaps.take_missing(index);
            loop {
                interval.tick().await;
                let number = last();
                missing = missing.and(self.gaps.take_missing(index));
                let gap = Gap {
                    number,
                    tenant: None,
                    upto: missing.upto,
                    cause: missing.cause,
                    close: self.gaps.closes().then_some(waves.close),
                };
                let Some(wave) = close(inbox, gap, waves.count).await else {
                    return;
                };
                let closed = u64::try_from(wave.closed).unwrap_or(u64::MAX);
                self.gaps.count_closed(closed);
                if wave.finished && last() == number {
                    break;
                }
            }
            while let Some(of_tenant) = self.gaps.take_missing_of_tenant(index) {
                if !self.close_tenant(inbox, of_tenant, &waves).await {
                    return;
                }
            }
        }
    }

    /// Tells the clients of one tenant, or closes them. False: the shard has ended.
    async fn close_tenant(
        &self,
        inbox: &inbox::Sender,
        (tenant, number, missing): (TenantId, u32, Missing),
        waves: &GapWaves,
    ) -> bool {
        let gap = Gap {
            number,
            tenant: Some(tenant),
            upto: missing.upto,
            cause: missing.cause,
            close: self.gaps.closes().then_some(waves.close),
        };
        let mut interval = tokio::time::interval(WAVE);
        loop {
            interval.tick().await;
            let Some(wave) = close(inbox, gap, waves.count).await else {
                return false;
            };
            let closed = u64::try_from(wave.closed).unwrap_or(u64::MAX);
            self.gaps.count_closed(closed);
            if wave.finished {
                return true;
            }
        }
    }
}

/// One wave; `None` if the shard has ended.
async fn close(inbox: &inbox::Sender, gap: Gap, count: usize) -> Option<Wave> {
    let (done, wave) = oneshot::channel();
    let input = Input::CloseMissed { gap, count, done };
    inbox.send(input).ok()?;
    wave.await.ok()
}

#[cfg(test)]
mod tests;
