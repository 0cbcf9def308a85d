//! NATS JetStream: one stream that all nodes read.
//!
//! Each entry is a message of the stream. Triggers have the subject that publishers use, notes and
//! probes subjects of their own below it, which publishers need no right for. Works with NATS 2.9 and
//! later.
//!
//! # Positions
//! A position is the sequence number of a message in the stream. They grow by one; what was deleted by
//! hand is left out. They begin anew when the stream is made anew, which the time of its creation
//! shows.
//!
//! # What is accepted
//! An entry is accepted when the server acknowledges it. Where an acknowledgement does not come,
//! nobody knows: a server that was stopped stores it when it goes on.
//!
//! # Reading
//! A consumer begins at a number that does not exist without a word, and stands still without a word
//! when a restarted server has forgotten it. So numbers are compared with the state of the stream
//! ([`Log::tail`]) and with those of the deliveries, and a consumer has to give a sign of life every
//! second (`consumer.rs`). It is not the library's ordered consumer, which is silent for too long.
//!
//! # Connections
//! A node has two: to read, and to append and to ask. The library reconnects by itself; here a
//! connection ends when it is lost, so that whoever uses it knows. It logs for itself, too: keep
//! [`NOISY_TARGETS`] out of the log.
//!
//! # Secrets
//! The url and the login hold secrets. No log line of this crate contains more of them than
//! [`describe`] shows.

mod address;
mod cause;
mod consumer;
mod link;
mod login;
mod names;
mod probe;
mod stream;
mod stumble;
mod tail;
mod writer;

use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use ht_proto::entry::Position;

pub use crate::nats::address::{Endpoint, UrlError, describe};
pub use crate::nats::names::{NameError, Names};
pub use crate::nats::probe::{ProbeError, ProbeReport, probe};

use crate::config::NatsConfig;
use crate::log::{
    AppendError, Appended, Bounds, Caps, From, LinkChange, Log, NewEntry, Record, Tail, TailError,
};
use crate::nats::address::Address;
use crate::nats::login::Login;
use crate::nats::stumble::Stumbles;
use crate::nats::tail::Reader;
use crate::nats::writer::Writer;

/// Log targets of the client library. It repeats what this engine logs, with other words.
pub const NOISY_TARGETS: [&str; 1] = ["async_nats"];

/// The NATS adapter.
pub struct Nats {
    server: Arc<Server>,
    writer: Writer,
}

/// Where the log is.
struct Server {
    address: Address,
    login: Login,
    names: Names,
    retention: Duration,
    retention_bytes: u64,
    replicas: u8,
    /// When the stream that was read last was made.
    created: Mutex<Option<String>>,
    /// Where tails were lost.
    stumbles: Mutex<Stumbles>,
}

/// What is wrong with a [`NatsConfig`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The url.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// The name of the stream, or the subject.
    #[error(transparent)]
    Name(#[from] NameError),
}

impl Server {
    fn new(config: &NatsConfig) -> Result<Self, ConfigError> {
        let address = address::parse(&config.url)?;
        Ok(Self {
            login: Login::new(config, &address),
            names: Names::new(&config.subject, &config.stream)?,
            retention: config.retention,
            retention_bytes: config.retention_bytes,
            replicas: config.replicas,
            created: Mutex::default(),
            stumbles: Mutex::default(),
            address,
        })
    }

    fn created(&self) -> MutexGuard<'_, Option<String>> {
        self.created.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stumbles(&self) -> MutexGuard<'_, Stumbles> {
        self.stumbles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Nats {
    /// An adapter that is not connected yet: [`Log::tail`] and [`Log::append`] do that.
    ///
    /// # Errors
    /// When the configuration cannot be used.
    pub fn new(config: &NatsConfig) -> Result<Self, ConfigError> {
        Ok(Self {
            server: Arc::new(Server::new(config)?),
            writer: Writer::default(),
        })
    }
}

impl std::fmt::Debug for Nats {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Nats")
            .field("server", &self.server.address.endpoint)
            .field("stream", &self.server.names.stream())
            .finish_non_exhaustive()
    }
}

impl Log for Nats {
    fn name(&self) -> &'static str {
        "nats"
    }

    fn caps(&self) -> Caps {
        Caps { retains: true }
    }

    fn append(
        &self,
        batch: Vec<NewEntry>,
        within: Duration,
    ) -> BoxFuture<'_, Result<Vec<Option<Appended>>, AppendError>> {
        Box::pin(async move { self.writer.append(&self.server, &batch, within).await })
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
            let link = self.writer.link(&self.server).await?;
            self.server.read(&link, range.into_inner(), bytes_max).await
        })
    }

    fn bounds(&self) -> BoxFuture<'_, Result<Bounds, TailError>> {
        Box::pin(async move {
            let link = self.writer.link(&self.server).await?;
            let stream = self.server.stream(&link).await?;
            Ok(Bounds {
                first: stream.first(),
                last: stream.last(),
            })
        })
    }

    fn doubt(&self) {
        self.writer.forget();
    }

    fn log_link(&self, change: &LinkChange<'_>) {
        let (server, stream) = (&self.server.address.endpoint, self.server.names.stream());
        match change {
            LinkChange::Connected => tracing::info!(%server, stream, "connected to NATS"),
            LinkChange::Reconnected(outage) => tracing::info!(
                %server,
                stream,
                outage_seconds = outage.as_secs_f64(),
                "reconnected to NATS"
            ),
            LinkChange::Lost(trouble) => tracing::warn!(
                %server,
                stream,
                cause = trouble.cause,
                advice = Some(trouble.advice).filter(|advice| !advice.is_empty()),
                "NATS is unavailable: retrying until it is back"
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
                "NATS is still unavailable"
            ),
        }
    }

    fn close(&self, _limit: Duration) -> BoxFuture<'_, ()> {
        Box::pin(async { self.writer.forget() })
    }
}
