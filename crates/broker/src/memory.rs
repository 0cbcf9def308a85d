//! A log in memory, for nodes of one process: a minimal implementation of the contract of [`Log`].
//! Tests and simulations run on it.
//!
//! A node without a broker does not use it: its `POST /trigger/` has the sequencer place the
//! entries directly, so that a publisher waits only for the shards that its own triggers concern.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use ht_proto::entry::Position;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::encoding::Message;
use crate::log::{
    AppendError, Appended, Batch, Bounds, Caps, From, Log, NewEntry, Record, Tail, TailError,
};

/// Records that are read together at most.
const BATCH_MAX: usize = 256;

/// The log.
#[derive(Debug)]
pub struct MemoryLog {
    records: Mutex<Records>,
    bytes_max: usize,
    /// The last position.
    head: watch::Sender<Position>,
}

#[derive(Debug, Default)]
struct Records {
    /// Oldest first, with positions that grow by one.
    queue: VecDeque<Record>,
    /// When each was appended.
    times: VecDeque<Instant>,
    bytes: usize,
}

impl MemoryLog {
    /// An empty log that retains the last records with at most `bytes_max` bytes together, and
    /// always the last one.
    #[must_use]
    pub fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self {
            records: Mutex::default(),
            bytes_max,
            head: watch::Sender::new(Position::START),
        })
    }

    fn add(&self, batch: Vec<NewEntry>) -> Vec<Option<Appended>> {
        let mut records = self.lock();
        let mut position = *self.head.borrow();
        let mut appended = Vec::with_capacity(batch.len());
        for entry in batch {
            position = position.next();
            records.bytes += entry.body.len();
            records.times.push_back(Instant::now());
            records.queue.push_back(Record {
                position: Some(position),
                kind: entry.kind,
                key: Some(entry.key),
                // It loses none.
                stamp: 0,
                message: Message {
                    body: entry.body,
                    content_encoding: None,
                },
            });
            appended.push(Some(Appended { position }));
        }
        while records.bytes > self.bytes_max && records.queue.len() > 1 {
            records.times.pop_front();
            let dropped = records.queue.pop_front();
            records.bytes -= dropped.map_or(0, |record| record.message.body.len());
        }
        self.head.send_replace(position);
        appended
    }

    fn lock(&self) -> MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Records {
    fn bounds(&self) -> Bounds {
        let position = |record: Option<&Record>| record.and_then(|record| record.position);
        Bounds {
            first: position(self.queue.front()),
            last: position(self.queue.back()),
        }
    }

    /// Those in this range, as far as they are retained.
    fn within(&self, range: RangeInclusive<Position>) -> impl Iterator<Item = &Record> {
        let before = self
            .queue
            .partition_point(|record| record.position < Some(*range.start()));
        let from = self.queue.range(before..);
        from.take_while(move |record| record.position <= Some(*range.end()))
    }

    /// The first of those that are not older than `age`, or among the last `positions`.
    fn back(&self, age: Duration, positions: u64) -> Option<Position> {
        let is_old = |at: &Instant| at.elapsed() > age;
        let young = self.times.len() - self.times.partition_point(is_old);
        let positions = usize::try_from(positions).unwrap_or(usize::MAX);
        let count = young.max(positions).min(self.queue.len());
        let first = self.queue.get(self.queue.len() - count)?;
        first.position
    }

    /// Whether a reader that needs this position next has missed it.
    fn lacks(&self, position: Position) -> bool {
        self.bounds().first.is_some_and(|first| first > position)
    }
}

impl Log for MemoryLog {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn caps(&self) -> Caps {
        Caps { retains: true }
    }

    fn append(
        &self,
        batch: Vec<NewEntry>,
        _within: Duration,
    ) -> BoxFuture<'_, Result<Vec<Option<Appended>>, AppendError>> {
        Box::pin(async { Ok(self.add(batch)) })
    }

    fn tail(self: Arc<Self>, from: From) -> BoxFuture<'static, Result<Box<dyn Tail>, TailError>> {
        Box::pin(async move {
            let records = self.lock();
            let head = *self.head.borrow();
            let next = match from {
                From::Head => head.next(),
                From::At(position) if position > head => {
                    return Err(TailError::Rewound(position));
                }
                From::At(position) if records.lacks(position) => {
                    return Err(TailError::Trimmed(position));
                }
                From::At(position) => position,
                From::Back { age, positions } => {
                    records.back(age, positions).unwrap_or(head.next())
                }
            };
            drop(records);
            let head = self.head.subscribe();
            let tail = MemoryTail {
                log: self,
                next,
                head,
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
            let records = self.lock();
            if records.lacks(*range.start()) {
                return Err(TailError::Trimmed(*range.start()));
            }
            let mut bytes = 0;
            let fits = |record: &&Record| {
                let first = bytes == 0;
                bytes += record.message.body.len();
                first || bytes <= bytes_max
            };
            Ok(records.within(range).take_while(fits).cloned().collect())
        })
    }

    fn bounds(&self) -> BoxFuture<'_, Result<Bounds, TailError>> {
        Box::pin(async { Ok(self.lock().bounds()) })
    }
}

/// A reader of the log in memory.
struct MemoryTail {
    log: Arc<MemoryLog>,
    /// The position that is read next.
    next: Position,
    head: watch::Receiver<Position>,
}

impl Tail for MemoryTail {
    fn next(&mut self) -> BoxFuture<'_, Result<Batch, TailError>> {
        Box::pin(async move {
            let next = self.next;
            // The sender lives as long as the log, which this reader holds.
            let _ = self.head.wait_for(|head| *head >= next).await;
            let records = self.log.lock();
            if records.lacks(next) {
                return Err(TailError::Trimmed(next));
            }
            let found = records.within(next..=Position::MAX).take(BATCH_MAX);
            let found: Vec<_> = found.cloned().collect();
            drop(records);
            let last = found.last().and_then(|record| record.position);
            self.next = last.map_or(next, Position::next);
            Ok(Batch {
                missed: Vec::new(),
                records: found,
            })
        })
    }

    fn close(self: Box<Self>, _limit: Duration) -> BoxFuture<'static, ()> {
        Box::pin(async {})
    }
}
