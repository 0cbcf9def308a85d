//! What one node does for all: it moves the outbox to the log, and trims the log.
//!
//! The node holds an advisory lock on a connection of its own; the others try to take it each
//! second. Order and completeness do not depend on that: each move is one transaction that locks
//! the head of the log.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::Statement;

use crate::postgres::Server;
use crate::postgres::cause::Cause;
use crate::postgres::link::Link;
use crate::postgres::pace::{Next, Pace};

/// How often the lock is tried for.
const TRY: Duration = Duration::from_secs(1);

/// Rows that are moved together.
const MOVE_ROWS: i32 = 1_000;

/// Their bytes together, unless a single one has more.
const MOVE_BYTES: i64 = 8 << 20;

/// How often the log is trimmed.
const TRIM_EVERY: Duration = Duration::from_secs(10);

/// Records that are deleted together.
const TRIM_ROWS: i32 = 5_000;

const LOCK: &str = "SELECT pg_try_advisory_lock(hashtextextended('{channel}', 0))";
const MOVE: &str = "SELECT {schema}.ht_move($1, $2)";
const TRIM: &str =
    "SELECT trimmed, upto FROM {schema}.ht_trim($1, make_interval(secs => $2), $3, $4)";
const SLEEP: &str = "SELECT {schema}.ht_sleep($1)";

/// Does it until the connection is lost. Returns why.
pub(super) async fn run(server: &Server) -> Cause {
    match keep(server).await {
        Ok(never) => never,
        Err(cause) => cause,
    }
}

async fn keep(server: &Server) -> Result<Cause, Cause> {
    let mut keeper = Keeper::open(server).await?;
    while !keeper.lock(server).await? {
        tokio::select! {
            () = sleep(TRY) => {}
            cause = keeper.link.idle() => return Err(cause),
        }
    }
    tracing::debug!("this node moves the outbox and trims the log");
    keeper.notify(true).await?;
    let mut pace = Pace::new();
    loop {
        keeper.link.forget();
        let found = keeper.move_rows().await?;
        match pace.looked(found, MOVE_ROWS) {
            Next::Again => {}
            Next::Notify(notify) => keeper.notify(notify).await?,
            Next::Wait(limit) => {
                keeper.trim_if_due(server).await?;
                if let Ok(notified) = timeout(limit, keeper.link.notified()).await {
                    notified?;
                }
            }
        }
    }
}

/// A connection that moves and trims.
struct Keeper {
    link: Link,
    move_rows: Statement,
    trim: Statement,
    sleep: Statement,
    /// No record up to this position is left.
    trimmed: i64,
    /// When the log is trimmed again.
    trim_at: Instant,
}

impl Keeper {
    async fn open(server: &Server) -> Result<Self, Cause> {
        let mut link = Link::open(server).await?;
        link.listen(&server.schema.outbox_channel()).await?;
        let mut statements = Vec::new();
        for sql in [MOVE, TRIM, SLEEP] {
            let sql = server.schema.fill(sql);
            let client = Arc::clone(&link.client);
            statements.push(link.ask(async move { client.prepare(&sql).await }).await?);
        }
        let [move_rows, trim, sleep] = statements
            .try_into()
            .map_err(|_| Cause::Other(String::new()))?;
        Ok(Self {
            link,
            move_rows,
            trim,
            sleep,
            trimmed: 0,
            trim_at: Instant::now(),
        })
    }

    /// Tries to become the one.
    async fn lock(&mut self, server: &Server) -> Result<bool, Cause> {
        let sql = server.schema.fill(LOCK);
        let client = Arc::clone(&self.link.client);
        let locking = async move { client.query_one(&sql, &[]).await?.try_get(0) };
        self.link.ask(locking).await
    }

    /// Moves the oldest rows. Returns how many.
    async fn move_rows(&mut self) -> Result<i32, Cause> {
        let (client, statement) = (Arc::clone(&self.link.client), self.move_rows.clone());
        let moving = async move {
            client
                .query_one(&statement, &[&MOVE_ROWS, &MOVE_BYTES])
                .await
        };
        let row = self.link.ask(moving).await?;
        Ok(row.get(0))
    }

    /// Trims the log now and then, a part at a time: the outbox does not wait for it.
    async fn trim_if_due(&mut self, server: &Server) -> Result<(), Cause> {
        if Instant::now() < self.trim_at {
            return Ok(());
        }
        let (client, statement) = (Arc::clone(&self.link.client), self.trim.clone());
        let (above, age) = (self.trimmed, server.retention.as_secs_f64());
        let keep = server.retention_rows;
        let trimming = async move {
            client
                .query_one(&statement, &[&above, &age, &keep, &TRIM_ROWS])
                .await
        };
        match self.link.ask(trimming).await {
            Ok(row) => {
                self.trimmed = row.get::<_, Option<i64>>(1).unwrap_or(above);
                if row.get::<_, i64>(0) == i64::from(TRIM_ROWS) {
                    return Ok(());
                }
            }
            // The outbox matters more.
            Err(cause) if cause.is_refusal() => {
                tracing::warn!(%cause, "the log in PostgreSQL could not be trimmed: retrying");
            }
            Err(cause) => return Err(cause),
        }
        self.trim_at = Instant::now() + TRIM_EVERY;
        Ok(())
    }

    async fn notify(&mut self, notify: bool) -> Result<(), Cause> {
        let (client, statement) = (Arc::clone(&self.link.client), self.sleep.clone());
        let setting = async move { client.execute(&statement, &[&notify]).await };
        self.link.ask(setting).await.map(drop)
    }
}
