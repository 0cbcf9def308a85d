//! What a node reports to the others over the log: that it is there, and what it has executed.

use std::sync::Arc;
use std::time::Duration;

use ht_broker::{Broker, Health, Sequencer as _};
use ht_proto::note::{Beacon, EpochName, LastEntry, Report};
use ht_telemetry::throttle::Throttles;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, timeout};
use tokio_util::sync::CancellationToken;

use crate::peers::{Peers, TASKS_MAX, ToReport};
use crate::sequencer::NodeSequencer;
use crate::totals::Totals;

/// Time limit for a command to be executed here, to be reported.
const EXECUTE: Duration = Duration::from_secs(60);

/// Time limit for a note to be appended to the log.
const APPEND: Duration = Duration::from_secs(5);

/// Interval of the attempts to send the first beacon: clients wait for it.
const RETRY: Duration = Duration::from_millis(200);

/// What the beacons are made of, and where they go.
pub(crate) struct Reporter {
    pub(crate) peers: Arc<Peers>,
    pub(crate) broker: Arc<Broker>,
    pub(crate) sequencer: Arc<NodeSequencer>,
    pub(crate) totals: Arc<Totals>,
    pub(crate) throttles: Arc<Throttles>,
}

impl Reporter {
    /// Sends beacons, and reports what was executed, until `shutdown`.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let Some(mut reports) = self.peers.take_reports() else {
            return;
        };
        let this = Arc::new(self);
        let mut health = this.broker.health_changes();
        let mut interval = tokio::time::interval(this.peers.interval());
        let retry = this.peers.interval().min(RETRY);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut tasks = JoinSet::new();
        loop {
            let is_free = tasks.len() < TASKS_MAX;
            tokio::select! {
                () = shutdown.cancelled() => return,
                Some(report) = reports.recv(), if is_free => {
                    tasks.spawn(Arc::clone(&this).report(report));
                }
                _ = interval.tick(), if is_free => {
                    tasks.spawn(Arc::clone(&this).beacon());
                }
                // At once when it reads the log again: the others wait for it from then on.
                Ok(()) = health.changed(), if is_free => {
                    if *health.borrow_and_update() == Health::Ready {
                        interval.reset_immediately();
                    }
                }
                Some(sent) = tasks.join_next() => {
                    if matches!(sent, Ok(false)) && !this.peers.is_announced() {
                        interval.reset_after(retry);
                    }
                }
            }
        }
    }

    /// Sends a beacon. Returns whether that succeeded.
    async fn beacon(self: Arc<Self>) -> bool {
        let of_log = self.broker.epoch();
        let epoch = of_log.map_or_else(|| self.sequencer.epoch(), |name| name.epoch);
        let report = Report::Beacon(Beacon {
            epoch: epoch.to_string().into(),
            made: of_log.map(|name| name.made),
            position: self.sequencer.last().await.get(),
            connections: self.totals.connections(),
            is_joining: !self.peers.is_announced(),
            last: self.last_entry(of_log).await,
        });
        let is_sent = self.send(report).await;
        if is_sent {
            self.peers.beacon_sent();
        }
        is_sent
    }

    /// The last entry of the log, for nodes that will read it back without that.
    /// It has this epoch.
    async fn last_entry(&self, of_log: Option<EpochName>) -> Option<LastEntry> {
        let epoch = of_log?.epoch;
        // First: what is read meanwhile comes after it.
        let read = self.broker.read_up_to();
        let cursor = self.sequencer.last_entry().await;
        let cursor = cursor.filter(|cursor| cursor.epoch == epoch)?;
        Some(LastEntry {
            cursor,
            read: read.max(cursor.position),
        })
    }

    /// Reports something: that a command was executed, once all shards have.
    async fn report(self: Arc<Self>, report: ToReport) -> bool {
        let (position, key) = match report {
            ToReport::Ready(report) => return self.send(report).await,
            ToReport::Executing { position, key } => (position, key),
        };
        let matched = self.sequencer.matched_at(position);
        let Ok(Some(matched)) = timeout(EXECUTE, matched).await else {
            return true;
        };
        match key {
            None => {
                self.peers.executed_here(position, matched);
                true
            }
            Some(key) => self.send(Report::Executed { key, matched }).await,
        }
    }

    async fn send(&self, report: Report) -> bool {
        let note = self.peers.note(report);
        let sent = self.broker.note(&note, APPEND).await;
        if let Err(error) = &sent
            && self.broker.health() == Health::Ready
            && let Some(suppressed) = self.throttles.allow("notes")
        {
            tracing::warn!(
                cause = %error,
                suppressed,
                "cannot report to the other nodes over the broker: they take this node for lost \
                 after nodes.lease. It needs permission to publish to the exchange"
            );
        }
        sent.is_ok()
    }
}
