//! PostgreSQL: a table as the log, and an outbox for publishers that commit their data with it.
//!
//! The schema ([`Schema::sql`]) is made by the operator or by a migration, not by the gateway. All
//! entries are rows of one table. Appending locks the row of the head, so positions are dense and in
//! the order of commits, and a reader that has read a position never finds an earlier one later.
//! Works with PostgreSQL 12 and later.
//!
//! # What is delivered
//! Every record, in order, to every node that reads before it is trimmed: a node that was
//! disconnected resumes where it was. A record that was appended is on disk (`fsync`, and
//! `synchronous_commit`, which a session switches on if the server's default is `off`).
//!
//! # Outbox
//! Publishers insert into the outbox in their own transactions, without a lock and, while many do,
//! without a notification. One node moves committed rows to the log (`keeper.rs`); which one does
//! not matter. A transaction that stays open delays nobody: its rows are moved when it commits.
//!
//! # Connections
//! A node has three: to read, to append, and to move the outbox; and one more once something older
//! than the window was asked for. A pooler between must be in session mode, because `LISTEN` and the
//! advisory lock belong to a session.
//!
//! # Secrets
//! The url holds a password. No log line of this crate contains more of it than [`describe`] shows.

mod address;
mod cause;
mod keeper;
mod link;
mod pace;
mod probe;
mod schema;
mod tail;
mod tls;
mod writer;

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use ht_proto::entry::Position;
use tokio::sync::Mutex;
use tokio_postgres::Statement;

pub use crate::postgres::address::{Endpoint, UrlError, describe};
pub use crate::postgres::probe::{ProbeError, ProbeReport, probe};
pub use crate::postgres::schema::{Schema, SchemaError};

use crate::append_queue::AppendQueue;
use crate::config::PostgresConfig;
use crate::keep_up::keep_up;
use crate::log::{
    AppendError, Appended, Bounds, Caps, From, LinkChange, Log, NewEntry, Record, Tail, TailError,
};
use crate::postgres::address::Address;
use crate::postgres::cause::Cause;
use crate::postgres::link::{Ends, Link};
use crate::postgres::tail::Reader;

/// Records that [`Log::read`] returns together at most.
const READ_MAX: i64 = 10_000;

/// The PostgreSQL adapter.
pub struct Postgres {
    server: Arc<Server>,
    queue: AppendQueue,
    /// A connection for what is asked now and then.
    asking: Mutex<Option<(Link, Statement)>>,
}

/// Where the log is.
struct Server {
    address: Address,
    schema: Schema,
    retention: Duration,
    retention_rows: i64,
}

/// What is wrong with a [`PostgresConfig`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The url.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// The schema's name.
    #[error(transparent)]
    Schema(#[from] SchemaError),
}

impl Server {
    fn new(config: &PostgresConfig) -> Result<Self, ConfigError> {
        let mut address = address::parse(&config.url)?;
        if let Some(user) = &config.username {
            address.config.user(user);
        }
        if let Some(password) = &config.password {
            address.config.password(password);
        }
        Ok(Self {
            address,
            schema: Schema::new(&config.log)?,
            retention: config.retention,
            retention_rows: i64::try_from(config.retention_rows).unwrap_or(i64::MAX),
        })
    }
}

impl Postgres {
    /// An adapter that is not connected yet: [`Log::tail`] and [`Log::work`] do that.
    ///
    /// # Errors
    /// When the configuration cannot be used.
    pub fn new(config: &PostgresConfig) -> Result<Self, ConfigError> {
        Ok(Self {
            server: Arc::new(Server::new(config)?),
            queue: AppendQueue::default(),
            asking: Mutex::default(),
        })
    }

    /// Logs that the server refuses what it is asked for. What concerns reading, too, is logged by
    /// whoever reads the log.
    fn log_refusal(&self, what: &str, cause: &Cause) {
        if cause.is_refusal() && !cause.is_schema() {
            tracing::warn!(
                database = %self.server.address.endpoint,
                %cause,
                advice = Some(cause.advice()).filter(|advice| !advice.is_empty()),
                "cannot {what} PostgreSQL: retrying"
            );
        }
    }

    /// The answer of the connection for questions, which is made if there is none.
    async fn ask(&self, question: &Question) -> Result<Answer, Cause> {
        let mut asking = self.asking.lock().await;
        if let Some((link, select)) = asking.as_mut() {
            match question.ask(link, select, &self.server).await {
                Ok(answer) => return Ok(answer),
                // Lost since the last question, perhaps: a new connection decides.
                Err(_) => *asking = None,
            }
        }
        let mut link = Link::open(&self.server).await?;
        let select = tail::prepare(&mut link, &self.server).await?;
        let answer = question.ask(&mut link, &select, &self.server).await?;
        *asking = Some((link, select));
        Ok(answer)
    }
}

/// What is asked now and then.
enum Question {
    Ends,
    Records { from: i64, to: i64, bytes: i64 },
}

enum Answer {
    Ends(Ends),
    Records(Vec<Record>),
}

impl Question {
    async fn ask(
        &self,
        link: &mut Link,
        select: &Statement,
        server: &Server,
    ) -> Result<Answer, Cause> {
        match *self {
            Self::Ends => link.ends(server).await.map(Answer::Ends),
            Self::Records { from, to, bytes } => {
                let limits = (READ_MAX, bytes);
                let rows = tail::select(&link.client, select, (from, to), limits);
                let rows = link.ask(rows).await?;
                Ok(Answer::Records(rows.iter().map(tail::record).collect()))
            }
        }
    }
}

impl std::fmt::Debug for Postgres {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Postgres")
            .field("database", &self.server.address.endpoint)
            .field("schema", &self.server.schema.name())
            .finish_non_exhaustive()
    }
}

impl Log for Postgres {
    fn name(&self) -> &'static str {
        "postgres"
    }

    fn caps(&self) -> Caps {
        Caps { retains: true }
    }

    fn append(
        &self,
        batch: Vec<NewEntry>,
        within: Duration,
    ) -> BoxFuture<'_, Result<Vec<Option<Appended>>, AppendError>> {
        Box::pin(self.queue.append(batch, within))
    }

    fn tail(self: Arc<Self>, from: From) -> BoxFuture<'static, Result<Box<dyn Tail>, TailError>> {
        Box::pin(async move {
            let reader = Reader::open(Arc::clone(&self.server), from).await?;
            Ok(Box::new(reader) as Box<dyn Tail>)
        })
    }

    fn read(
        &self,
        range: RangeInclusive<Position>,
        bytes_max: usize,
    ) -> BoxFuture<'_, Result<Vec<Record>, TailError>> {
        Box::pin(async move {
            let (first, last) = range.into_inner();
            let question = Question::Records {
                from: tail::number(first),
                to: tail::number(last),
                bytes: i64::try_from(bytes_max).unwrap_or(i64::MAX),
            };
            let Answer::Records(records) = self.ask(&question).await? else {
                return Ok(Vec::new());
            };
            // Positions are dense: the first one is there, or was trimmed, or is still to come.
            let oldest = match records.first() {
                Some(record) => record.position,
                None => self.bounds().await?.first,
            };
            match oldest {
                Some(oldest) if oldest > first => Err(TailError::Trimmed(first)),
                _ => Ok(records),
            }
        })
    }

    fn bounds(&self) -> BoxFuture<'_, Result<Bounds, TailError>> {
        Box::pin(async move {
            let Answer::Ends(ends) = self.ask(&Question::Ends).await? else {
                return Err(TailError::NotRetained);
            };
            Ok(Bounds {
                first: ends.first.map(tail::position),
                last: ends.last.map(tail::position),
            })
        })
    }

    fn work(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let log = |what: &'static str| move |cause: &Cause| self.log_refusal(what, cause);
            let (server, queue) = (&self.server, &self.queue);
            let appending = keep_up(|| writer::run(queue, server), log("append to"));
            let keeping = keep_up(|| keeper::run(server), log("move the outbox in"));
            tokio::join!(appending, keeping);
        })
    }

    fn log_link(&self, change: &LinkChange<'_>) {
        let (database, schema) = (&self.server.address.endpoint, self.server.schema.name());
        match change {
            LinkChange::Connected => {
                tracing::info!(%database, schema, "connected to PostgreSQL");
            }
            LinkChange::Reconnected(outage) => tracing::info!(
                %database,
                schema,
                outage_seconds = outage.as_secs_f64(),
                "reconnected to PostgreSQL"
            ),
            LinkChange::Lost(trouble) => tracing::warn!(
                %database,
                schema,
                cause = trouble.cause,
                advice = Some(trouble.advice).filter(|advice| !advice.is_empty()),
                "PostgreSQL is unavailable: retrying until it is back"
            ),
            LinkChange::StillLost {
                trouble,
                lasting,
                attempts,
            } => tracing::warn!(
                %database,
                schema,
                cause = trouble.cause,
                outage_seconds = lasting.as_secs_f64(),
                attempts,
                "PostgreSQL is still unavailable"
            ),
        }
    }

    fn close(&self, limit: Duration) -> BoxFuture<'_, ()> {
        Box::pin(self.queue.close(limit))
    }
}
