//! A log in use: its records are read, parsed and placed, and this node's publications are appended
//! and read back.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use ht_proto::entry::Position;
use ht_proto::note::{EpochName, Note};
use ht_proto::record::Record;
use ht_telemetry::throttle::Throttle;
use tokio::sync::watch;
use tokio::task::unconstrained;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::config::Reading;
use crate::counters::Counters;
use crate::encoding::Message;
use crate::line::line;
use crate::log::{AppendError, Kind, Log, NewEntry};
use crate::order::Placed;
use crate::probes::Probes;
use crate::sequencer::{Refusal, Sequencer};
use crate::waiters::Waiters;
use crate::{Counts, Health, follow};

/// Bad messages are logged this often at most.
const REJECTED_LOG: Duration = Duration::from_secs(10);

/// Messages of tenants are logged this often at most, where there are none.
const OF_TENANTS_LOG: Duration = Duration::from_secs(600);

/// A probe is waited for as long as its sender likes.
const PROBE_WITHIN: Duration = Duration::from_secs(3_600);

/// The message of a probe: a trigger without rooms, for consumers that do not support probes.
pub(crate) const PROBE: &[u8] = br#"{"rooms": [], "data": null}"#;

/// Reads one message as a trigger or a command.
pub type Parse = Arc<dyn Fn(Message) -> Parsing + Send + Sync>;

/// Parse result of a message: a trigger or a command, or else the sentence that describes its
/// error.
pub enum Parsing {
    /// It was read at once.
    Done(Result<Record, String>),
    /// It is long and parsed on another thread; later messages wait for it.
    Offloaded(BoxFuture<'static, Result<Record, String>>),
}

/// The transport of triggers and commands to every node: a log, and its follower.
pub struct Broker {
    pub(crate) log: Arc<dyn Log>,
    pub(crate) parse: Parse,
    pub(crate) publish_timeout: Duration,
    pub(crate) reading: Reading,
    epoch: Mutex<Option<EpochName>>,
    /// The last position that was read of a log that gives positions.
    read: AtomicU64,
    pub(crate) health: watch::Sender<Health>,
    pub(crate) counters: Counters,
    pub(crate) waiters: Waiters,
    pub(crate) probes: Probes,
    rejected: Mutex<Throttle>,
    of_tenants: Mutex<Throttle>,
}

impl Broker {
    /// A broker that is not connected yet: [`Broker::run`] connects it. `parse` reads each message;
    /// those that it rejects are counted and dropped. `publish_timeout`: limit on the time until a
    /// published trigger is read back.
    #[must_use]
    pub fn new(log: Arc<dyn Log>, parse: Parse, publish_timeout: Duration) -> Self {
        Self {
            log,
            parse,
            publish_timeout,
            reading: Reading::default(),
            epoch: Mutex::default(),
            read: AtomicU64::new(0),
            health: watch::Sender::new(Health::NotReady("not connected yet".into())),
            counters: Counters::default(),
            waiters: Waiters::default(),
            probes: Probes::default(),
            rejected: Mutex::new(Throttle::new(REJECTED_LOG)),
            of_tenants: Mutex::new(Throttle::new(OF_TENANTS_LOG)),
        }
    }

    /// The same broker, which reads a log that retains its records like this.
    #[must_use]
    pub fn reading(self, reading: Reading) -> Self {
        Self { reading, ..self }
    }

    /// The epoch of the log, where it gives positions and this node knows it.
    #[must_use]
    pub fn epoch(&self) -> Option<EpochName> {
        *self.epoch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_epoch(&self, epoch: Option<EpochName>) {
        *self.epoch.lock().unwrap_or_else(PoisonError::into_inner) = epoch;
    }

    /// The position up to which all records of a log that gives positions have their place here.
    #[must_use]
    pub fn read_up_to(&self) -> Position {
        Position::new(self.read.load(Ordering::Acquire)).unwrap_or(Position::MAX)
    }

    pub(crate) fn set_read(&self, position: Option<Position>) {
        let position = position.unwrap_or(Position::START);
        self.read.store(position.get(), Ordering::Release);
    }

    /// The log's name in logs, metrics and `/ready`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.log.name()
    }

    /// Whether its log retains what was published, so that a node that was away reads it later.
    #[must_use]
    pub fn retains(&self) -> bool {
        self.log.caps().retains
    }

    /// Reads the log and has its records placed until `shutdown`, through every outage.
    pub async fn run(self: Arc<Self>, sequencer: Arc<dyn Sequencer>, shutdown: CancellationToken) {
        tokio::select! {
            () = follow::run(&self, &*sequencer, &shutdown) => {}
            () = self.log.work() => {}
        }
    }

    /// Publishes triggers and commands, in order, to every node, this one included. Ready when all
    /// of them have their position in this node's order.
    ///
    /// # Errors
    /// When they were not published, or it is not known whether they were.
    pub async fn publish<R: Into<Record>>(
        &self,
        records: Vec<R>,
    ) -> Result<Vec<Placed>, AppendError> {
        // Without a tail nothing would be read back.
        if let Health::NotReady(why) = self.health() {
            return Err(AppendError::Unavailable(why));
        }
        if records.is_empty() {
            return Ok(Vec::new());
        }
        self.append(records.into_iter().map(Into::into).collect())
            .await
    }

    async fn append(&self, records: Vec<Record>) -> Result<Vec<Placed>, AppendError> {
        let started = Instant::now();
        let deadline = started + self.publish_timeout;
        let bytes = records.iter().map(|record| record.text().len()).sum();
        // Unconstrained: a call that yields before it is queued would lose its turn to later ones.
        let tickets = unconstrained(self.waiters.tickets(records.len(), bytes));
        let tickets = timeout_at(deadline, tickets).await;
        let mut tickets =
            tickets.map_err(|_| AppendError::Unavailable("too much is being published".into()))?;
        let entries = tickets.keys().zip(records);
        let entries = entries.map(|(key, record)| NewEntry {
            kind: Kind::Trigger,
            key,
            tenant: record.scope().cloned(),
            body: record.text().clone(),
        });
        let left = deadline.saturating_duration_since(Instant::now());
        let mut appending = self.log.append(entries.collect(), left);
        let unconfirmed = || {
            self.log.doubt();
            AppendError::Unconfirmed {
                seconds: started.elapsed().as_secs_f64().ceil() as u64,
            }
        };
        let mut placed = Box::pin(tickets.placed());
        tokio::select! {
            biased;
            all = &mut placed => {
                let all = all.ok_or_else(unconfirmed)?;
                // A message that was read back was published, whatever the confirms report.
                let _ = appending.await;
                return Ok(all);
            }
            appended = &mut appending => appended.map(drop)?,
        }
        let all = timeout_at(deadline, placed).await;
        all.ok().flatten().ok_or_else(unconfirmed)
    }

    /// Sends a note to every node, this one included. Ready when the log has it.
    ///
    /// # Errors
    /// When it was not appended, or it is not known whether it was.
    pub async fn note(&self, note: &Note, within: Duration) -> Result<(), AppendError> {
        // Without a tail nobody's notes are read here, this one neither.
        if let Health::NotReady(why) = self.health() {
            return Err(AppendError::Unavailable(why));
        }
        let entry = NewEntry {
            kind: Kind::Note,
            key: note.boot.clone(),
            tenant: None,
            body: note.message(),
        };
        self.log.append(vec![entry], within).await.map(drop)
    }

    /// Changes of [`Self::health`].
    #[must_use]
    pub fn health_changes(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    /// Sends a probe over the path of triggers: it is appended, read back and ordered by the
    /// sequencer. Ready when every shard has processed it, with the time since it was sent; waits
    /// until the broker is connected, and for a probe reply without a limit. It is not sent to
    /// clients, ignored by other nodes, and not counted as a message.
    ///
    /// # Errors
    /// When it cannot be read back any more.
    pub async fn probe(&self) -> Result<Duration, AppendError> {
        let mut health = self.health.subscribe();
        let open = health.wait_for(|health| *health == Health::Ready).await;
        drop(open.map_err(|_| AppendError::Unavailable("it was let go".into()))?);
        let sent = Instant::now();
        let probe = self.probes.probe();
        let entry = NewEntry {
            kind: Kind::Probe,
            key: probe.key.clone(),
            tenant: None,
            body: Bytes::from_static(PROBE),
        };
        self.log.append(vec![entry], PROBE_WITHIN).await?;
        let Some(taken) = probe.reply().await else {
            let lost = "the connection was lost while a probe was under way";
            return Err(AppendError::Unavailable(lost.into()));
        };
        taken.0.await;
        Ok(sent.elapsed())
    }

    /// Whether triggers can be received right now.
    #[must_use]
    pub fn health(&self) -> Health {
        self.health.borrow().clone()
    }

    /// Running totals for metrics.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counters.totals()
    }

    pub(crate) fn set_not_ready(&self, why: String) {
        self.health.send_replace(Health::NotReady(why));
    }

    /// Counts a message that is not placed, and logs it once in a while.
    pub(crate) fn reject(&self, refusal: &Refusal) {
        let reason = match refusal {
            Refusal::Wrong(reason) => reason,
            Refusal::OfTenants => return self.pass_over(),
        };
        self.counters.rejected();
        let mut throttle = self.rejected.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(suppressed) = throttle.allow(std::time::Instant::now()) {
            tracing::warn!(
                broker = self.name(),
                reason = line(reason),
                suppressed,
                "a message from the broker was dropped: it is not a trigger"
            );
        }
    }

    /// Counts a message of a tenant, where there are none.
    fn pass_over(&self) {
        self.counters.of_tenants();
        let throttle = self.of_tenants.lock();
        let mut throttle = throttle.unwrap_or_else(PoisonError::into_inner);
        if let Some(suppressed) = throttle.allow(std::time::Instant::now()) {
            tracing::warn!(
                broker = self.name(),
                suppressed,
                "this log carries tenants, and this node has none: what is theirs is not delivered \
                 here. Configure [tenants] as on the other nodes, or give this node another log"
            );
        }
    }
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Broker")
            .field("log", &self.name())
            .finish_non_exhaustive()
    }
}
