//! Reading the log, over a connection that waits at the server for what is appended.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::BoxFuture;
use redis::cmd;
use tokio::time::Instant;

use crate::log::{Batch, From, Record, Tail, TailError};
use crate::redis::Server;
use crate::redis::link::{Ends, Link, REQUEST, Request, check_role};
use crate::redis::record::{self, Id, Stored, position};

/// Records that are read together at most.
const BATCH_MAX: usize = 256;

/// Their bytes together, estimated by the size of those before.
const BATCH_BYTES: usize = 4 << 20;

/// How long the server waits for a record before it answers that there is none.
const BLOCK: Duration = Duration::from_secs(1);

/// How often it is made sure that the log is the one that was read before.
const VERIFY: Duration = Duration::from_secs(1);

/// A reader of the log.
pub(super) struct Reader {
    server: Arc<Server>,
    link: Link,
    /// The life that is read; unknown of an empty log.
    life: Option<u64>,
    /// The number that is read next.
    next: u64,
    /// The record that was read last, and its digest.
    last: Option<(Id, u64)>,
    /// How many records are asked for.
    count: usize,
    /// What is waited for.
    request: Option<Request>,
    /// When the log is verified again.
    verify: Instant,
}

impl Reader {
    /// Connects, and begins there.
    pub(super) async fn open(server: Arc<Server>, from: From) -> Result<Self, TailError> {
        let mut link = Link::open(&server).await?;
        let stream = &server.stream;
        let ends = link.ends(stream).await?;
        let end = ends.map_or(1, |ends| ends.last.number.saturating_add(1));
        let next = match (from, ends) {
            (From::At(at), ends) => {
                retained(&mut link, &server, ends, at.get()).await?;
                at.get()
            }
            (From::Back { age, positions }, Some(ends)) => {
                let young = link.younger(stream, ends, end, age).await?;
                young.min(end.saturating_sub(positions)).max(ends.first)
            }
            (From::Head, _) | (_, None) => end,
        };
        let mut reader = Self {
            server,
            link,
            life: None,
            next: next.max(1),
            last: None,
            count: BATCH_MAX,
            request: None,
            verify: Instant::now() + VERIFY,
        };
        if let Some(ends) = ends {
            reader.lives(ends.last.life);
        }
        Ok(reader)
    }

    async fn batch(&mut self) -> Result<Batch, TailError> {
        loop {
            if self.request.is_none() && Instant::now() >= self.verify {
                self.verify().await?;
            }
            let request = self.request.get_or_insert_with(|| {
                let after = Id {
                    life: self.life.unwrap_or(0),
                    number: self.next - 1,
                };
                let mut read = cmd("XREAD");
                read.arg("COUNT").arg(self.count);
                read.arg("BLOCK").arg(BLOCK.as_millis() as u64);
                read.arg("STREAMS")
                    .arg(&self.server.stream)
                    .arg(after.text());
                self.link.send(read, BLOCK + REQUEST)
            });
            let answer = self.link.answer(request).await;
            self.request = None;
            let stored = record::read(answer?)?;
            if let Some(last) = stored.last() {
                let size = stored.iter().map(|it| it.record.message.body.len());
                let size = size.sum::<usize>() / stored.len();
                self.count = (BATCH_BYTES / size.max(1)).clamp(1, BATCH_MAX);
                let last = (last.id, digest(&last.record));
                self.follows(&stored)?;
                self.last = Some(last);
                return Ok(Batch {
                    missed: Vec::new(),
                    records: stored.into_iter().map(|it| it.record).collect(),
                });
            }
        }
    }

    /// Makes sure that these follow what was read: numbers are dense.
    fn follows(&mut self, stored: &[Stored]) -> Result<(), TailError> {
        for Stored { id, .. } in stored {
            let life = self.life.unwrap_or(id.life);
            if id.life != life || id.number < self.next {
                return Err(TailError::Rewound(position(self.next - 1)));
            }
            if id.number > self.next {
                return Err(TailError::Trimmed(position(self.next)));
            }
            self.lives(life);
            self.next += 1;
        }
        Ok(())
    }

    fn lives(&mut self, life: u64) {
        self.life = Some(life);
        self.server.life.store(life, Ordering::Relaxed);
    }

    /// Makes sure that the server still takes records, and that it has the log that was read: a
    /// failover does not always end a connection.
    async fn verify(&mut self) -> Result<(), TailError> {
        self.verify = Instant::now() + VERIFY;
        let info = self.link.ask(cmd("INFO").arg("replication")).await?;
        check_role(record::text(&info).unwrap_or_default())?;
        let Some((id, digest_read)) = self.last else {
            return Ok(());
        };
        let found = self.link.range(&self.server.stream, id, None, 1).await?;
        let is_same = |found: &Stored| {
            let newer = found.id.life == id.life && found.id.number > id.number;
            newer || (found.id == id && digest(&found.record) == digest_read)
        };
        match found.first() {
            Some(found) if is_same(found) => Ok(()),
            _ => Err(TailError::Rewound(id.position())),
        }
    }
}

impl Tail for Reader {
    fn next(&mut self) -> BoxFuture<'_, Result<Batch, TailError>> {
        Box::pin(self.batch())
    }

    fn close(self: Box<Self>, _limit: Duration) -> BoxFuture<'static, ()> {
        // A client that goes away needs no farewell.
        Box::pin(async {})
    }
}

/// Makes sure that the log that this node reads has a record.
async fn retained(
    link: &mut Link,
    server: &Server,
    ends: Option<Ends>,
    number: u64,
) -> Result<(), TailError> {
    let rewound = TailError::Rewound(position(number));
    let Some(ends) = ends.filter(|ends| server.is_same_life(ends.last.life)) else {
        return Err(rewound);
    };
    if number > ends.last.number {
        return Err(rewound);
    }
    if number < ends.first {
        return Err(TailError::Trimmed(position(number)));
    }
    let id = Id {
        number,
        ..ends.last
    };
    let found = link.range(&server.stream, id, Some(id), 1).await?;
    // Nobody but the retention removes records, and that begins with the oldest.
    if found.is_empty() {
        Err(rewound)
    } else {
        Ok(())
    }
}

/// Tells a record from another one with its id.
fn digest(record: &Record) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&record.key, record.stamp, &record.message.body).hash(&mut hasher);
    hasher.finish()
}
