//! Following the log: connect, read, have the records placed, and after every loss begin anew.

mod before;
mod read_back;

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use ht_proto::command::Confirm;
use ht_proto::entry::{Entry, Position};
use ht_proto::note::{Note, Report};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::Health;
use crate::backoff::Backoff;
use crate::broker::{Broker, Parsing};
use crate::epochs::Epochs;
use crate::follow::before::Before;
use crate::follow::read_back::{rewound, unbound};
use crate::log::{Batch, From, Kind, LinkChange, Record, Tail, TailError, Trouble};
use crate::missed::{Missed, MissedReason};
use crate::outage::{Notice, Outage};
use crate::progress::Progress;
use crate::sequencer::{Refusal, Sequencer};

/// Shortest wait before the next attempt, after a first failure.
const BACKOFF_LEAST: Duration = Duration::from_millis(200);

/// Longest wait before the next attempt.
const BACKOFF_MOST: Duration = Duration::from_secs(5);

/// A connection that lasted so long makes the next failure a first one again.
const LASTED: Duration = Duration::from_secs(10);

/// How long a connection that is not needed any more may take to be closed gracefully. A shutdown
/// has this twice, after at most [`SHUTDOWN_PLACE`].
const CLOSE: Duration = Duration::from_millis(500);

/// Grace period of the sequencer, from the moment of shutdown, for the batch that it works on.
const SHUTDOWN_PLACE: Duration = Duration::from_secs(1);

/// Why following one tail ended.
enum End {
    /// Requested shutdown; the last batch is done.
    Shutdown,
    /// No more records.
    Lost(TailError),
}

/// Reads the log and has its records placed until `shutdown`.
pub(crate) async fn run(broker: &Broker, sequencer: &dyn Sequencer, shutdown: &CancellationToken) {
    let mut backoff = Backoff::new(BACKOFF_LEAST, BACKOFF_MOST);
    let mut outage = Outage::default();
    let mut follower = Follower {
        broker,
        sequencer,
        shutdown,
        progress: Progress::new(broker.log.caps(), broker.name()),
        reads_back: false,
        missed: None,
        before: Before::default(),
        epochs: Epochs::default(),
    };
    loop {
        let opened = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            opened = Arc::clone(&broker.log).tail(follower.from()) => opened,
        };
        let error = match opened {
            Ok(tail) => {
                broker.log.log_link(&connected(&mut outage));
                let since = Instant::now();
                let end = follower.follow(tail).await;
                if since.elapsed() >= LASTED {
                    backoff.reset();
                }
                match end {
                    End::Shutdown => break,
                    End::Lost(error) => error,
                }
            }
            Err(error) => error,
        };
        follower.progress.lost(&error);
        broker.counters.failed();
        broker.set_not_ready(error.to_string());
        if let TailError::Lost(trouble) | TailError::NotYet(trouble) = &error {
            log_lost(broker, trouble, &mut outage);
        }
        let wait = backoff.wait(Uuid::new_v4().as_fields().0);
        tokio::select! {
            () = shutdown.cancelled() => break,
            () = tokio::time::sleep(wait) => {}
        }
    }
    broker.set_not_ready("shutting down".into());
    broker.log.close(CLOSE).await;
}

fn connected(outage: &mut Outage) -> LinkChange<'static> {
    outage
        .over(Instant::now())
        .map_or(LinkChange::Connected, LinkChange::Reconnected)
}

fn log_lost(broker: &Broker, trouble: &Trouble, outage: &mut Outage) {
    match outage.note(&trouble.cause, Instant::now()) {
        Notice::Nothing => {}
        Notice::Cause => broker.log.log_link(&LinkChange::Lost(trouble)),
        Notice::Still { lasting, attempts } => broker.log.log_link(&LinkChange::StillLost {
            trouble,
            lasting,
            attempts,
        }),
    }
}

/// A node that follows the log.
struct Follower<'a> {
    broker: &'a Broker,
    sequencer: &'a dyn Sequencer,
    shutdown: &'a CancellationToken,
    progress: Progress,
    /// What was there before is not all read back yet.
    reads_back: bool,
    /// The gap that is to be reported once it is.
    missed: Option<Missed>,
    /// What was before that.
    before: Before,
    epochs: Epochs,
}

impl Follower<'_> {
    /// Where the next tail begins.
    fn from(&self) -> From {
        let reading = &self.broker.reading;
        match self.progress.from() {
            From::Head if self.retains() => From::Back {
                age: reading.age,
                positions: reading.positions,
            },
            from @ (From::Head | From::At(_) | From::Back { .. }) => from,
        }
    }

    /// Reads a tail to its end. Records read before a loss are still placed.
    async fn follow(&mut self, mut tail: Box<dyn Tail>) -> End {
        let shutdown = self.shutdown;
        let end = tokio::select! {
            biased;
            () = given_up(shutdown) => End::Shutdown,
            end = self.read(&mut *tail) => end,
        };
        if let End::Lost(error) = &end {
            self.broker.set_not_ready(error.to_string());
        }
        self.broker.waiters.lose_all();
        self.broker.probes.lost();
        tail.close(CLOSE).await;
        end
    }

    async fn read(&mut self, tail: &mut dyn Tail) -> End {
        let mut batch = match self.begin(tail).await {
            Ok(batch) => batch,
            Err(end) => return end,
        };
        self.broker.health.send_replace(Health::Ready);
        loop {
            if let Err(error) = self.deliver(batch).await {
                return End::Lost(error);
            }
            batch = match self.next(tail, self.broker.reading.silence).await {
                Ok(batch) => batch,
                Err(end) => return end,
            };
        }
    }

    /// Reads back what this node needs of the log. Returns what follows that.
    async fn begin(&mut self, tail: &mut dyn Tail) -> Result<Batch, End> {
        if let From::Back { .. } = self.from() {
            self.reads_back = true;
            self.before = Before::default();
        }
        let missed = self.progress.begun();
        self.missed = self.missed.take().or(missed);
        if self.reads_back {
            // A tail that is lost meanwhile is continued by the next one.
            let rest = self.read_back(tail).await?;
            self.reads_back = false;
            if let Some(missed) = self.missed.take() {
                self.sequencer.caught_up(missed);
            }
            return Ok(rest);
        }
        if let Some(missed) = self.missed.take() {
            self.sequencer.missed(missed);
        }
        Ok(Batch::default())
    }

    /// The next batch of a tail, within `limit`.
    async fn next(&self, tail: &mut dyn Tail, limit: Option<Duration>) -> Result<Batch, End> {
        let silent = async {
            match limit.filter(|_| self.retains()) {
                Some(limit) => tokio::time::sleep(limit).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.shutdown.cancelled() => Err(End::Shutdown),
            batch = tail.next() => batch.map_err(End::Lost),
            () = silent => Err(End::Lost(TailError::Lost(Trouble {
                cause: format!(
                    "nothing was read for {:?}, although this node appends a beacon more often",
                    limit.unwrap_or_default()
                ),
                advice: "see whether the broker hangs, and whether this node may publish",
                reason: MissedReason::Reconnect,
            }))),
        }
    }

    /// Has a batch placed in its order, a probe in its turn among the triggers.
    ///
    /// # Errors
    /// The tail does not continue the last one.
    async fn deliver(&mut self, batch: Batch) -> Result<(), TailError> {
        self.missed(batch.missed).await;
        self.check(&batch.records)?;
        let mut placing = Placing::default();
        for record in batch.records {
            if !self.progress.is_new(record.position) {
                continue;
            }
            match record.kind {
                Kind::Trigger => placing.add(record, self).await,
                // One of a later version is passed over.
                Kind::Note => {
                    if let Some(note) = Note::parse(&record.message.body) {
                        if self.begins_epoch(&note) {
                            std::mem::take(&mut placing).place(self).await;
                            if self.begin_epoch(&note).await {
                                self.sequencer.missed(rewound());
                            }
                        }
                        if note.report == Report::Gap && self.retains() {
                            std::mem::take(&mut placing).place(self).await;
                            self.sequencer.missed(unbound());
                        }
                        self.sequencer.note(note);
                    }
                }
                Kind::Probe => {
                    let key = record.key.unwrap_or_default();
                    if self.broker.probes.is_awaited(&key) {
                        std::mem::take(&mut placing).place(self).await;
                        let taken = self.sequencer.probe().await;
                        self.broker.probes.replied(&key, taken);
                    }
                }
            }
        }
        placing.place(self).await;
        self.broker.set_read(self.progress.last());
        Ok(())
    }

    /// The entry of a record, and the confirmation that its sender waits for.
    fn read_entry(
        &self,
        position: Option<Position>,
        parsed: Result<ht_proto::record::Record, String>,
    ) -> Result<(Confirm, Entry), Refusal> {
        let record = parsed.map_err(Refusal::Wrong)?;
        let (tenant, confirm) = (self.sequencer.tenant(&record)?, record.confirm());
        let entry = Entry {
            position,
            tenant,
            ..Entry::of(record)
        };
        Ok((confirm, entry))
    }

    /// Checks that these records continue the last ones, and remembers the last of them.
    fn check(&mut self, records: &[Record]) -> Result<(), TailError> {
        let (Some(first), Some(last)) = (records.first(), records.last()) else {
            return Ok(());
        };
        if first.position.is_none() {
            return Ok(());
        }
        self.progress.resume(first.position, digest(first))?;
        self.progress.remember(last.position, digest(last));
        Ok(())
    }
}

/// Tells a record from another one at its position.
fn digest(record: &Record) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&record.key, record.stamp, &record.message.body).hash(&mut hasher);
    hasher.finish()
}

/// Who waits for an entry.
struct Waiting {
    /// The number of our own publisher.
    own: Option<u64>,
    /// The key of the entry, if every node is to confirm it.
    confirm: Option<Box<str>>,
}

/// Entries that are placed together.
#[derive(Default)]
struct Placing {
    entries: Vec<Entry>,
    /// For each entry, who waits for it.
    waiting: Vec<Waiting>,
}

impl Placing {
    async fn add(&mut self, record: Record, follower: &Follower<'_>) {
        let broker = follower.broker;
        broker.counters.received();
        let key = record.key;
        let own = key.as_ref().and_then(|key| broker.waiters.number(key));
        let parsed = match (broker.parse)(record.message) {
            Parsing::Done(parsed) => parsed,
            Parsing::Offloaded(parsing) => parsing.await,
        };
        match follower.read_entry(record.position, parsed) {
            Ok((confirms, entry)) => {
                let confirm = key.filter(|_| confirms == Confirm::Everywhere);
                self.waiting.push(Waiting { own, confirm });
                self.entries.push(entry);
            }
            Err(refusal) => {
                broker.reject(&refusal);
                if let Some(number) = own {
                    broker.waiters.dropped(number);
                }
            }
        }
    }

    /// Has them placed, and notifies the publishers.
    async fn place(self, follower: &Follower<'_>) {
        if self.entries.is_empty() {
            return;
        }
        let places = follower.sequencer.place(self.entries).await;
        for (placed, Waiting { own, confirm }) in places.into_iter().zip(self.waiting) {
            if let Some(key) = confirm {
                // First: the publisher asks for it as soon as it knows the position.
                follower.sequencer.confirm(&key, placed, own.is_some());
            }
            if let Some(number) = own {
                follower.broker.waiters.placed(number, placed);
            }
        }
    }
}

async fn given_up(shutdown: &CancellationToken) {
    shutdown.cancelled().await;
    tokio::time::sleep(SHUTDOWN_PLACE).await;
}
