//! A log in memory that retains its records, and everything that goes wrong with such logs.

use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use ht_broker::MissedReason;
use ht_broker::encoding::Message;
use ht_broker::log::{
    AppendError, Appended, Batch, Bounds, Caps, From, Kind, Log, NewEntry, Record, Tail, TailError,
    Trouble,
};
use ht_proto::entry::Position;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Records that are read together at most.
const BATCH_MAX: usize = 64;

/// The log. Its positions have holes, as those of some engines.
#[derive(Debug)]
pub struct FaultyLog {
    state: Mutex<State>,
    /// Something has changed for readers.
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct State {
    /// Oldest first.
    records: Vec<(Instant, Record)>,
    last: u64,
    /// How many records it was given.
    appended: u64,
    /// Why it cannot be read or written.
    trouble: Option<TailError>,
    /// How many connections were opened.
    opened: u64,
    /// So many of them, the first ones, bring nothing, without a word.
    silent: u64,
    /// Appended entries are confirmed, and are not in the log.
    forgets: bool,
    /// Cancelled when the connections of now are lost.
    connections: CancellationToken,
}

impl Default for FaultyLog {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            changed: watch::Sender::new(()),
        }
    }
}

impl FaultyLog {
    /// An empty log.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Every connection is lost; new ones can be opened.
    pub fn cut(&self) {
        std::mem::take(&mut self.lock().connections).cancel();
    }

    /// Every connection is lost, and none can be opened until [`FaultyLog::heal`].
    pub fn lose(&self) {
        self.lock().trouble = Some(TailError::Lost(trouble("it is down")));
        self.cut();
    }

    /// The engine starts: it is reachable, and its log is not there until [`FaultyLog::heal`].
    pub fn boot(&self) {
        self.lock().trouble = Some(TailError::NotYet(trouble("it is starting")));
        self.cut();
    }

    /// Readers get nothing more over their connections, which stay open. Those that are opened from
    /// now on work.
    pub fn silence(&self) {
        let mut state = self.lock();
        state.silent = state.opened;
    }

    /// Whether appended entries are confirmed and forgotten.
    pub fn forget(&self, forgets: bool) {
        self.lock().forgets = forgets;
    }

    /// It can be used again.
    pub fn heal(&self) {
        self.lock().trouble = None;
    }

    /// Drops all but the last records.
    pub fn trim(&self, keep: usize) {
        let mut state = self.lock();
        let dropped = state.records.len().saturating_sub(keep);
        state.records.drain(..dropped);
    }

    /// Loses the last records: their positions are given again.
    pub fn rewind(&self, count: usize) {
        let mut state = self.lock();
        let left = state.records.len().saturating_sub(count);
        state.records.truncate(left);
        let last = state.records.last();
        state.last = last.map_or(0, |(_, record)| number(record));
    }

    /// It is deleted and made anew.
    pub fn renew(&self) {
        let mut state = self.lock();
        state.records.clear();
        state.last = 0;
    }

    /// The messages that it has.
    #[must_use]
    pub fn bodies(&self) -> Vec<String> {
        let state = self.lock();
        let bodies = state.records.iter().map(|(_, record)| &record.message.body);
        bodies
            .map(|body| String::from_utf8_lossy(body).into_owned())
            .collect()
    }

    fn add(&self, batch: Vec<NewEntry>) -> Result<Vec<Option<Appended>>, AppendError> {
        let mut state = self.lock();
        if let Some(trouble) = &state.trouble {
            return Err(AppendError::Unavailable(trouble.to_string()));
        }
        let count = batch.len();
        if state.forgets {
            return Ok(vec![None; count]);
        }
        for entry in batch {
            // Every seventh position has no record.
            state.last += if state.last % 7 == 5 { 2 } else { 1 };
            state.appended += 1;
            let record = Record {
                position: Position::new(state.last),
                kind: entry.kind,
                key: Some(entry.key),
                stamp: state.appended,
                message: Message {
                    body: entry.body,
                    content_encoding: None,
                },
            };
            state.records.push((Instant::now(), record));
        }
        drop(state);
        self.changed.send_replace(());
        Ok(vec![None; count])
    }

    /// What is read first, the number of the connection, and its end.
    fn begin(&self, from: From) -> Result<(u64, u64, CancellationToken), TailError> {
        let mut state = self.lock();
        if let Some(trouble) = &state.trouble {
            return Err(trouble.clone());
        }
        let next = match from {
            From::Head => state.last + 1,
            From::At(position) if position.get() > state.last => {
                return Err(TailError::Rewound(position));
            }
            From::At(position) if state.lacks(position) => {
                return Err(TailError::Trimmed(position));
            }
            From::At(position) => position.get(),
            From::Back { age, positions } => state.back(age, positions),
        };
        state.opened += 1;
        Ok((next, state.opened, state.connections.clone()))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn lacks(&self, position: Position) -> bool {
        let first = self.records.first();
        first.is_some_and(|(_, first)| number(first) > position.get())
    }

    fn back(&self, age: Duration, positions: u64) -> u64 {
        let is_wanted = |(at, record): &&(Instant, Record)| {
            at.elapsed() <= age || self.last - number(record) < positions
        };
        let first = self.records.iter().find(is_wanted);
        first.map_or(self.last + 1, |(_, record)| number(record))
    }

    fn from(&self, position: u64) -> impl Iterator<Item = &Record> {
        let records = self.records.iter().map(|(_, record)| record);
        records.skip_while(move |record| number(record) < position)
    }
}

fn number(record: &Record) -> u64 {
    record.position.map_or(0, Position::get)
}

fn trouble(cause: &str) -> Trouble {
    Trouble {
        cause: cause.to_owned(),
        advice: "",
        reason: MissedReason::Reconnect,
    }
}

impl Log for FaultyLog {
    fn name(&self) -> &'static str {
        "faulty"
    }

    fn caps(&self) -> Caps {
        Caps { retains: true }
    }

    fn append(
        &self,
        batch: Vec<NewEntry>,
        _within: Duration,
    ) -> BoxFuture<'_, Result<Vec<Option<Appended>>, AppendError>> {
        Box::pin(async { self.add(batch) })
    }

    fn tail(self: Arc<Self>, from: From) -> BoxFuture<'static, Result<Box<dyn Tail>, TailError>> {
        Box::pin(async move {
            let (next, number, connection) = self.begin(from)?;
            let changed = self.changed.subscribe();
            let tail = FaultyTail {
                log: self,
                next,
                number,
                changed,
                connection,
            };
            Ok(Box::new(tail) as Box<dyn Tail>)
        })
    }

    fn read(
        &self,
        range: RangeInclusive<Position>,
        bytes_max: usize,
    ) -> BoxFuture<'_, Result<Vec<Record>, TailError>> {
        Box::pin(async move {
            let state = self.lock();
            if state.lacks(*range.start()) {
                return Err(TailError::Trimmed(*range.start()));
            }
            let mut bytes = 0;
            let records = state.from(range.start().get());
            let records = records.take_while(|record| record.position <= Some(*range.end()));
            let fits = |record: &&Record| {
                let first = bytes == 0;
                bytes += record.message.body.len();
                first || bytes <= bytes_max
            };
            Ok(records.take_while(fits).cloned().collect())
        })
    }

    fn bounds(&self) -> BoxFuture<'_, Result<Bounds, TailError>> {
        Box::pin(async {
            let state = self.lock();
            let position = |record: Option<&(Instant, Record)>| record.and_then(|it| it.1.position);
            Ok(Bounds {
                first: position(state.records.first()),
                last: position(state.records.last()),
            })
        })
    }
}

/// A reader of the log.
struct FaultyTail {
    log: Arc<FaultyLog>,
    /// The position that is read next.
    next: u64,
    /// Of its connection.
    number: u64,
    changed: watch::Receiver<()>,
    connection: CancellationToken,
}

impl FaultyTail {
    /// What there is to read now.
    fn records(&mut self) -> Vec<Record> {
        let state = self.log.lock();
        let records = state.from(self.next).take(BATCH_MAX);
        let records: Vec<_> = records.cloned().collect();
        if self.number <= state.silent {
            return Vec::new();
        }
        drop(state);
        if let Some(last) = records.last() {
            self.next = number(last) + 1;
        }
        records
    }
}

impl Tail for FaultyTail {
    fn next(&mut self) -> BoxFuture<'_, Result<Batch, TailError>> {
        Box::pin(async move {
            loop {
                if self.connection.is_cancelled() {
                    return Err(TailError::Lost(trouble("the connection was cut")));
                }
                self.changed.mark_unchanged();
                let records = self.records();
                if !records.is_empty() {
                    let missed = Vec::new();
                    return Ok(Batch { missed, records });
                }
                tokio::select! {
                    () = self.connection.cancelled() => {}
                    _ = self.changed.changed() => {}
                }
            }
        })
    }

    fn close(self: Box<Self>, _limit: Duration) -> BoxFuture<'static, ()> {
        Box::pin(async {})
    }
}

/// A trigger as another node appends it.
#[must_use]
pub fn trigger(key: &str, body: impl Into<bytes::Bytes>) -> NewEntry {
    NewEntry {
        tenant: None,
        kind: Kind::Trigger,
        key: key.into(),
        body: body.into(),
    }
}
