//! The nodes on the same log: their beacons and leases, and the confirmation that every one of them
//! has executed a command.
//!
//! Without a broker there is only this one.

#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ht_broker::{Broker, Placed};
use ht_control::nodes::{Change, Known, Nodes, Progress};
use ht_proto::entry::Position;
use ht_proto::note::{Note, Report};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::config::NodesConfig;

/// Commands whose execution is awaited here to be reported, and notes under way.
pub(crate) const TASKS_MAX: usize = 4_096;

/// Time limit for the last note of a node.
const LEAVE: Duration = Duration::from_millis(500);

/// The nodes, and what this one reports to them.
#[derive(Debug)]
pub(crate) struct Peers {
    name: Box<str>,
    /// The name of this run.
    boot: Box<str>,
    interval: Duration,
    begun: Instant,
    nodes: Mutex<Nodes>,
    /// A beacon of this node is in the log.
    sent: AtomicBool,
    /// One was in the log and was read back.
    announced: CancellationToken,
    /// Nodes have executed commands.
    changed: watch::Sender<()>,
    to_report: mpsc::Sender<ToReport>,
    reports: Mutex<Option<mpsc::Receiver<ToReport>>>,
}

/// Something that is to be reported.
#[derive(Debug)]
pub(crate) enum ToReport {
    /// The execution of a command.
    Executing {
        position: Position,
        /// None: to this node alone.
        key: Option<Box<str>>,
    },
    /// This.
    Ready(Report),
}

impl Peers {
    pub(crate) fn new(config: &NodesConfig) -> Self {
        let ms = |period: Duration| u64::try_from(period.as_millis()).unwrap_or(u64::MAX);
        let boot: Box<str> = Uuid::new_v4().simple().to_string()[..12].into();
        let name: Box<str> = config.name().into();
        let (to_report, reports) = mpsc::channel(TASKS_MAX);
        let (beacon, lease) = (ms(config.beacon), ms(config.lease));
        Self {
            nodes: Mutex::new(Nodes::new(&name, &boot, beacon, lease)),
            name,
            boot,
            interval: config.beacon,
            begun: Instant::now(),
            sent: AtomicBool::new(false),
            announced: CancellationToken::new(),
            changed: watch::Sender::new(()),
            to_report,
            reports: Mutex::new(Some(reports)),
        }
    }

    /// The name of this node.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The name of this run of it.
    pub(crate) fn boot(&self) -> &str {
        &self.boot
    }

    /// There is no log: this node is alone.
    pub(crate) fn close(&self) {
        self.lock().close();
        self.announced.cancel();
    }

    /// A beacon of this node is in the log: on its way to every node, however far those are.
    pub(crate) fn beacon_sent(&self) {
        self.sent.store(true, Ordering::Relaxed);
        self.announce(self.lock().has_own());
    }

    /// Whether the log has carried a beacon to every node, this one included.
    pub(crate) fn is_announced(&self) -> bool {
        self.announced.is_cancelled()
    }

    /// Ready when it has.
    pub(crate) async fn until_announced(&self) {
        self.announced.cancelled().await;
    }

    fn announce(&self, has_own: bool) {
        if has_own && self.sent.load(Ordering::Relaxed) {
            self.announced.cancel();
        }
    }

    /// How many nodes hold a lease, this one included.
    pub(crate) fn count(&self) -> u64 {
        self.lock().len() as u64
    }

    /// These nodes by the names of their runs, and the seconds since their last beacon.
    pub(crate) fn alive(&self) -> Vec<(Box<str>, Known, f64)> {
        let now = self.now();
        let nodes = self.lock();
        let alive = nodes.alive().map(|(boot, known)| {
            let age = Duration::from_millis(now.saturating_sub(known.heard_at));
            (boot.into(), known.clone(), age.as_secs_f64())
        });
        alive.collect()
    }

    /// Interval of the beacons.
    pub(crate) fn interval(&self) -> Duration {
        self.interval
    }

    /// What is to be reported. None if they were taken before.
    pub(crate) fn take_reports(&self) -> Option<mpsc::Receiver<ToReport>> {
        let mut reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        reports.take()
    }

    /// A command has its place here, and its sender waits for every node. `is_own`: at this node.
    pub(crate) fn confirm(&self, key: Box<str>, placed: Placed, is_own: bool) {
        let position = placed.position;
        let key = if is_own {
            self.lock().expect(position.get(), key);
            None
        } else {
            Some(key)
        };
        // If there are too many, the sender receives no confirmation.
        let _ = self
            .to_report
            .try_send(ToReport::Executing { position, key });
    }

    /// Waits until all nodes have executed the command at this position. None if it is not waited
    /// for.
    pub(crate) async fn confirmed(&self, position: Position, by: Instant) -> Option<Progress> {
        let mut changed = self.changed.subscribe();
        loop {
            changed.mark_unchanged();
            let progress = self.lock().progress(position.get())?;
            if progress.is_done() {
                return Some(progress);
            }
            if timeout_at(by, changed.changed()).await.is_err() {
                return Some(progress);
            }
        }
    }

    /// Reads a note.
    pub(crate) fn heard(&self, note: Note) {
        let boot = note.boot.clone();
        let mut nodes = self.lock();
        let changes = nodes.heard(note.clone(), self.now());
        let (list, has_own) = (nodes.list_for(&note), nodes.has_own());
        drop(nodes);
        if let Some(list) = list {
            // Without it the new node knows the others after a lease.
            let _ = self.to_report.try_send(ToReport::Ready(list));
        }
        self.announce(has_own);
        self.changed.send_replace(());
        for (change, name) in changes {
            match change {
                Change::Joined if boot == self.boot => {}
                Change::Joined => tracing::info!(node = &*name, "another node reads the log"),
                Change::Left => tracing::info!(node = &*name, "another node has shut down"),
                Change::Lost => tracing::warn!(
                    node = &*name,
                    "another node has sent no beacon for nodes.lease: it has failed, or it lost \
                     its connection to the broker. Look at its log"
                ),
            }
        }
    }

    /// Tells the others that this node shuts down and has no connections.
    pub(crate) async fn leave(&self, broker: &Broker) {
        let note = self.note(Report::Leaving);
        // If it does not arrive, the lease ends.
        let _ = timeout(LEAVE, broker.note(&note, LEAVE)).await;
    }

    /// All shards of this node have executed the command at this position.
    pub(crate) fn executed_here(&self, position: Position, matched: u64) {
        self.lock().executed_here(position.get(), matched);
        self.changed.send_replace(());
    }

    /// A note of this node.
    pub(crate) fn note(&self, report: Report) -> Note {
        Note {
            node: self.name.clone(),
            boot: self.boot.clone(),
            report,
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, Nodes> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
