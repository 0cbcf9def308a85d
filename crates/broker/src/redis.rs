//! Redis, or Valkey: a stream as the log.
//!
//! All entries are records of one stream. A script appends them (`redis/append.lua`), so their ids
//! are dense, and every node reads them in one order. Works with Redis 7.0 and later, and with Valkey.
//!
//! # What is delivered
//! Every record, in order, to every node that reads before it is trimmed: a node that was
//! disconnected resumes where it was. How durable a record is that was appended is up to the server:
//! with `appendonly yes` it survives a crash of the server, and with `appendfsync everysec` all but
//! the last second a crash of the machine. A failover loses what the replica did not have.
//!
//! # What was lost is found
//! The id of a record names the life of the stream (`redis/record.rs`). A node that reads makes sure
//! each second, and whenever it connects, that the record that it has read last is still there. If it
//! is another one, or the stream is another one, the log was rewound: it begins a new epoch.
//!
//! # Connections
//! A node has two: to read, and to append and trim; and one more once something older than the window
//! was asked for.
//!
//! # Secrets
//! The url holds a password. No log line of this crate contains more of it than [`describe`] shows.

mod address;
mod cause;
mod link;
mod probe;
mod record;
mod tail;
mod writer;

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use ht_proto::entry::Position;
use tokio::sync::{Mutex, Notify};

pub use crate::redis::address::{Endpoint, UrlError, describe};
pub use crate::redis::probe::{ProbeError, ProbeReport, probe};

use crate::append_queue::AppendQueue;
use crate::config::RedisConfig;
use crate::keep_up::keep_up;
use crate::log::{
    AppendError, Appended, Bounds, Caps, From, LinkChange, Log, NewEntry, Record, Tail, TailError,
};
use crate::redis::address::Address;
use crate::redis::cause::Cause;
use crate::redis::link::{Ends, Link};
use crate::redis::record::{Id, position};
use crate::redis::tail::Reader;

/// The script that appends, for nodes and publishers alike.
pub const APPEND: &str = include_str!("redis/append.lua");

/// Records that [`Log::read`] returns together at most.
const READ_MAX: usize = 10_000;

/// Records that are requested at once for that.
const READ_STEP: usize = 64;

/// The Redis adapter.
pub struct Redis {
    server: Arc<Server>,
    queue: AppendQueue,
    /// A connection for what is asked now and then.
    asking: Mutex<Option<Link>>,
}

/// Where the log is.
struct Server {
    address: Address,
    stream: String,
    retention: Duration,
    retention_entries: u64,
    /// The life of the stream that was read last; 0 before.
    life: AtomicU64,
    /// The connection that appends may not be the right one any more.
    doubt: Notify,
}

/// What is wrong with a [`RedisConfig`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The url.
    #[error(transparent)]
    Url(#[from] UrlError),
}

impl Server {
    fn new(config: &RedisConfig) -> Result<Self, ConfigError> {
        Ok(Self {
            address: address::read(config)?,
            stream: config.stream.clone(),
            retention: config.retention,
            retention_entries: config.retention_entries,
            life: AtomicU64::new(0),
            doubt: Notify::new(),
        })
    }

    /// Whether a stream of this life is the one that was read before, as far as is known.
    fn is_same_life(&self, life: u64) -> bool {
        [0, life].contains(&self.life.load(Ordering::Relaxed))
    }
}

impl Redis {
    /// An adapter that is not connected yet: [`Log::tail`] and [`Log::work`] do that.
    ///
    /// # Errors
    /// When the configuration cannot be used.
    pub fn new(config: &RedisConfig) -> Result<Self, ConfigError> {
        Ok(Self {
            server: Arc::new(Server::new(config)?),
            queue: AppendQueue::default(),
            asking: Mutex::default(),
        })
    }

    /// The ends of the log and its records in a range, as many as fit into so many bytes.
    async fn ask(
        &self,
        range: Option<(u64, u64)>,
        bytes_max: usize,
    ) -> Result<(Option<Ends>, Vec<Record>), Cause> {
        let mut asking = self.asking.lock().await;
        if let Some(link) = asking.as_mut() {
            match self.look(link, range, bytes_max).await {
                Ok(found) => return Ok(found),
                // Lost since the last question, perhaps: a new connection decides.
                Err(_) => *asking = None,
            }
        }
        let mut link = Link::open(&self.server).await?;
        let found = self.look(&mut link, range, bytes_max).await?;
        *asking = Some(link);
        Ok(found)
    }

    async fn look(
        &self,
        link: &mut Link,
        range: Option<(u64, u64)>,
        bytes_max: usize,
    ) -> Result<(Option<Ends>, Vec<Record>), Cause> {
        let stream = &self.server.stream;
        let ends = link.ends(stream).await?;
        let mut records = Vec::new();
        let (Some(found), Some((mut from, to))) = (ends, range) else {
            return Ok((ends, records));
        };
        let (to, mut bytes) = (to.min(found.last.number), 0);
        while from <= to && records.len() < READ_MAX {
            let [start, end] = [from, to].map(|number| Id {
                number,
                ..found.last
            });
            let step = link.range(stream, start, Some(end), READ_STEP).await?;
            let Some(last) = step.last() else { break };
            from = last.id.number + 1;
            for it in step {
                bytes += it.record.message.body.len();
                if bytes > bytes_max && !records.is_empty() {
                    return Ok((ends, records));
                }
                records.push(it.record);
            }
        }
        Ok((ends, records))
    }
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redis")
            .field("server", &self.server.address.endpoint)
            .field("stream", &self.server.stream)
            .finish_non_exhaustive()
    }
}

impl Log for Redis {
    fn name(&self) -> &'static str {
        "redis"
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
            // The connection that appends may be one to the server that was there before.
            self.doubt();
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
            let range = Some((first.get(), last.get()));
            match self.ask(range, bytes_max).await? {
                (Some(ends), _) if ends.first > first.get() => Err(TailError::Trimmed(first)),
                (_, records) => Ok(records),
            }
        })
    }

    fn bounds(&self) -> BoxFuture<'_, Result<Bounds, TailError>> {
        Box::pin(async move {
            let (ends, _) = self.ask(None, 0).await?;
            Ok(Bounds {
                first: ends.map(|ends| position(ends.first)),
                last: ends.map(|ends| ends.last.position()),
            })
        })
    }

    fn work(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let log = |cause: &Cause| {
                // What concerns reading, too, is logged by whoever reads the log.
                if cause.concerns_appending() {
                    tracing::warn!(
                        server = %self.server.address.endpoint,
                        %cause,
                        advice = Some(cause.advice()).filter(|advice| !advice.is_empty()),
                        "cannot append to Redis: retrying"
                    );
                }
            };
            keep_up(|| writer::run(&self.queue, &self.server), log).await;
        })
    }

    fn doubt(&self) {
        self.server.doubt.notify_one();
    }

    fn log_link(&self, change: &LinkChange<'_>) {
        let (server, stream) = (&self.server.address.endpoint, &self.server.stream);
        match change {
            LinkChange::Connected => tracing::info!(%server, stream, "connected to Redis"),
            LinkChange::Reconnected(outage) => tracing::info!(
                %server,
                stream,
                outage_seconds = outage.as_secs_f64(),
                "reconnected to Redis"
            ),
            LinkChange::Lost(trouble) => tracing::warn!(
                %server,
                stream,
                cause = trouble.cause,
                advice = Some(trouble.advice).filter(|advice| !advice.is_empty()),
                "Redis is unavailable: retrying until it is back"
            ),
            LinkChange::StillLost {
                trouble,
                lasting,
                attempts,
            } => tracing::warn!(
                %server,
                stream,
                cause = trouble.cause,
                outage_seconds = lasting.as_secs_f64(),
                attempts,
                "Redis is still unavailable"
            ),
        }
    }

    fn close(&self, limit: Duration) -> BoxFuture<'_, ()> {
        Box::pin(self.queue.close(limit))
    }
}
