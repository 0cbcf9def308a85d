//! Reading the log, over a connection that is notified of what is appended.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use ht_proto::entry::Position;
use tokio::time::{Instant, timeout_at};
use tokio_postgres::{Client, Error, Row, Statement};

use crate::encoding::Message;
use crate::log::{Batch, From, Kind, Record, Tail, TailError};
use crate::postgres::Server;
use crate::postgres::cause::Cause;
use crate::postgres::link::{Head, Link};

/// Records that are read together at most.
const BATCH_MAX: i64 = 1_000;

/// Their bytes together, unless a single one has more.
const BATCH_BYTES: i64 = 4 << 20;

/// A notification can be lost with a pooler between; then this is how late a record is.
const POLL: Duration = Duration::from_secs(1);

/// Records from one position to another, as many as fit.
const SELECT: &str = "
SELECT pos, kind, key, body, (extract(epoch FROM at) * 1000000)::bigint FROM (
  SELECT *, (sum(octet_length(body)) OVER (ORDER BY pos))::bigint AS upto FROM (
    SELECT pos, kind, key, body, at FROM {schema}.ht_log WHERE pos BETWEEN $1 AND $2
    ORDER BY pos LIMIT $3
  ) AS next
) AS measured
WHERE upto <= $4 OR upto = octet_length(body) ORDER BY pos";

/// The newest record that is older than this.
const OLD: &str = "
SELECT pos FROM {schema}.ht_log WHERE at < clock_timestamp() - make_interval(secs => $1)
ORDER BY pos DESC LIMIT 1";

/// A reader of the log.
pub(super) struct Reader {
    server: Arc<Server>,
    link: Link,
    select: Statement,
    /// The log that is read.
    epoch: i32,
    /// The position that is read next.
    next: i64,
    /// There may be something to read.
    due: bool,
    /// When it is looked without a notification.
    poll: Instant,
    /// The head says that there is something to read.
    behind: bool,
}

impl Reader {
    /// Connects, and begins there.
    pub(super) async fn open(server: Arc<Server>, from: From) -> Result<Self, TailError> {
        let mut link = Link::open(&server).await?;
        // Before the end is read: what is appended after that is notified of.
        link.listen(server.schema.name()).await?;
        let select = prepare(&mut link, &server).await?;
        let head = link.head(&server).await?;
        let next = match from {
            From::Head => head.pos + 1,
            From::At(position) => {
                retained(&mut link, &server, head, number(position)).await?;
                number(position)
            }
            From::Back { age, positions } => {
                let young = young(&mut link, &server, age).await?;
                let last = i64::try_from(positions).unwrap_or(i64::MAX);
                let back = young.min(head.pos.saturating_sub(last).saturating_add(1));
                let first = link.ends(&server).await?.first;
                back.clamp(
                    first.unwrap_or(head.pos + 1).min(head.pos + 1),
                    head.pos + 1,
                )
            }
        };
        Ok(Self {
            server,
            link,
            select,
            epoch: head.epoch,
            next,
            due: true,
            poll: Instant::now() + POLL,
            behind: false,
        })
    }

    async fn batch(&mut self) -> Result<Batch, TailError> {
        loop {
            while !self.due {
                self.wait().await?;
            }
            self.link.forget();
            let read = select(
                &self.link.client,
                &self.select,
                (self.next, i64::MAX),
                (BATCH_MAX, BATCH_BYTES),
            );
            let rows = self.link.ask(read).await?;
            self.due = false;
            if rows.is_empty() {
                if std::mem::take(&mut self.behind) {
                    // It is there, and cannot be read: it was trimmed.
                    return Err(TailError::Trimmed(position(self.next)));
                }
                continue;
            }
            self.behind = false;
            let records: Vec<_> = rows.iter().map(record).collect();
            // Positions are dense: one that is left out was trimmed before it was read.
            if rows[0].get::<_, i64>(0) != self.next {
                return Err(TailError::Trimmed(position(self.next)));
            }
            let bytes: usize = records.iter().map(|record| record.message.body.len()).sum();
            self.next += rows.len() as i64;
            self.due = rows.len() as i64 == BATCH_MAX || bytes as i64 > BATCH_BYTES / 2;
            return Ok(Batch {
                missed: Vec::new(),
                records,
            });
        }
    }

    /// Waits until there may be something to read. Now and then makes sure that the log is the one
    /// that was read before.
    async fn wait(&mut self) -> Result<(), TailError> {
        match timeout_at(self.poll, self.link.notified()).await {
            Ok(notified) => notified?,
            Err(_elapsed) => {
                let head = self.link.head(&self.server).await?;
                self.poll = Instant::now() + POLL;
                self.behind = head.pos >= self.next;
                if head.epoch != self.epoch || head.pos < self.next - 1 {
                    return Err(TailError::Rewound(position(self.next - 1)));
                }
            }
        }
        self.due = true;
        Ok(())
    }
}

impl Tail for Reader {
    fn next(&mut self) -> BoxFuture<'_, Result<Batch, TailError>> {
        Box::pin(self.batch())
    }

    fn close(self: Box<Self>, limit: Duration) -> BoxFuture<'static, ()> {
        Box::pin(self.link.close(limit))
    }
}

/// Makes sure that the log has a record.
async fn retained(
    link: &mut Link,
    server: &Server,
    head: Head,
    next: i64,
) -> Result<(), TailError> {
    if next > head.pos {
        return Err(TailError::Rewound(position(next)));
    }
    let first = link.ends(server).await?.first;
    if first.is_none_or(|first| first > next) {
        return Err(TailError::Trimmed(position(next)));
    }
    Ok(())
}

/// The position after the records that are older than this.
async fn young(link: &mut Link, server: &Server, age: Duration) -> Result<i64, Cause> {
    let sql = server.schema.fill(OLD);
    let age = age.as_secs_f64();
    let client = Arc::clone(&link.client);
    let asking = async move { client.query_opt(&sql, &[&age]).await };
    let old: Option<i64> = link.ask(asking).await?.map(|row| row.get(0));
    Ok(old.unwrap_or(0) + 1)
}

/// Prepares what [`select`] asks.
pub(super) async fn prepare(link: &mut Link, server: &Server) -> Result<Statement, Cause> {
    let sql = server.schema.fill(SELECT);
    let client = Arc::clone(&link.client);
    link.ask(async move { client.prepare(&sql).await }).await
}

/// Requests records from one position to another, with these limits on their number and bytes.
pub(super) fn select(
    client: &Arc<Client>,
    statement: &Statement,
    (from, to): (i64, i64),
    (count, bytes): (i64, i64),
) -> impl Future<Output = Result<Vec<Row>, Error>> + Send + use<> {
    let (client, statement) = (Arc::clone(client), statement.clone());
    async move {
        client
            .query(&statement, &[&from, &to, &count, &bytes])
            .await
    }
}

/// A record, as it was read.
pub(super) fn record(row: &Row) -> Record {
    Record {
        position: Some(position(row.get(0))),
        kind: kind(row.get(1)),
        key: row.get::<_, Option<&str>>(2).map(Into::into),
        stamp: row.get::<_, i64>(4).unsigned_abs(),
        message: Message {
            body: Bytes::copy_from_slice(row.get(3)),
            content_encoding: None,
        },
    }
}

/// The number of a kind in the table.
pub(super) const fn kind_number(kind: Kind) -> i16 {
    match kind {
        Kind::Trigger => 0,
        Kind::Note => 1,
        Kind::Probe => 2,
    }
}

/// The kind with this number. One of a later version is passed over like a note that is not
/// understood.
const fn kind(number: i16) -> Kind {
    match number {
        0 => Kind::Trigger,
        2 => Kind::Probe,
        _ => Kind::Note,
    }
}

/// A position, from the table.
pub(super) fn position(number: i64) -> Position {
    let number = u64::try_from(number).unwrap_or(0);
    Position::new(number).unwrap_or(Position::MAX)
}

/// A position, for the table.
pub(super) fn number(position: Position) -> i64 {
    i64::try_from(position.get()).unwrap_or(i64::MAX)
}
