//! RabbitMQ: one stream that all nodes read, bound to the exchange beside the queues of others.
//!
//! The stream is durable and retains messages by age and size. It is bound to the exchange with the
//! routing key `*`, so publishers change nothing, and with its own name, which this engine uses for
//! what concerns nodes alone: queues of other gateways never receive it. Works over AMQP 0.9.1 with
//! RabbitMQ 3.10 to 4.
//!
//! # Positions
//! A position is the offset of a message in the stream plus one: offsets begin with 0, grow, and are
//! left out where a segment begins.
//!
//! # What is accepted
//! RabbitMQ confirms messages that a stream never gets while the broker is starting. So a message
//! counts as published only once it is read back from the stream, which the follower of the log
//! waits for anyway. Messages are published as mandatory: without a binding they are returned.
//!
//! # What a broker does without a word
//! A consumer that attaches beyond the end waits until the stream has grown to that offset; one that
//! attaches before the first record gets the first. [`end`] finds out by a message of its own that
//! is read back.
//!
//! # Declarations
//! The stream is declared where it does not exist, and its arguments are never compared: retention
//! is the operator's to change, by a policy. One that exists and cannot be reached is waited for.

mod binding;
mod declare;
mod end;
mod read;
mod tail;

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use ht_proto::entry::Position;
use lapin::types::ShortString;
use lapin::uri::AMQPUri;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::config::{RabbitMqConfig, StreamConfig};
use crate::log::{
    AppendError, Appended, Bounds, Caps, From, Kind, LinkChange, Log, NewEntry, Record, Tail,
    TailError,
};
use crate::rabbitmq::cause::Cause;
use crate::rabbitmq::publisher::Publisher;
use crate::rabbitmq::stream::tail::StreamTail;
use crate::rabbitmq::{ConfigError, Endpoint, address, exchange_name, log_link};

pub(super) use crate::rabbitmq::stream::declare::{exists, queue_name};

/// A stream that is unavailable for longer than this will hardly come back.
const HOPELESS: Duration = Duration::from_secs(30);

/// The engine.
pub struct RabbitMqStream {
    uri: AMQPUri,
    endpoint: Endpoint,
    exchange: ShortString,
    is_durable: bool,
    name: ShortString,
    config: StreamConfig,
    prefetch: u16,
    binding_check: Duration,
    publisher: Publisher,
    /// A message was routed to the stream since the last check of the binding.
    is_proven: AtomicBool,
    /// A message was not: the binding may be lost.
    check_binding: Notify,
    /// A tail was there before: what the exchange did not route meanwhile is lost.
    was_there: AtomicBool,
    /// Since when the stream exists and is unavailable.
    unavailable: Mutex<Option<Instant>>,
}

impl RabbitMqStream {
    /// An adapter that is not connected yet: [`Log::tail`] does that.
    ///
    /// # Errors
    /// When the configuration cannot be used.
    pub fn new(config: &RabbitMqConfig, stream: StreamConfig) -> Result<Self, ConfigError> {
        let uri = address::parse(&config.url)?;
        let exchange = exchange_name(config)?;
        let name = queue_name(&stream)?;
        let publisher = Publisher::to_stream(uri.clone(), exchange.clone(), name.clone());
        Ok(Self {
            endpoint: address::endpoint(&uri),
            // Zero would mean without bound, which a stream refuses.
            prefetch: config.prefetch.max(1),
            is_durable: config.durable,
            binding_check: config.binding_check,
            config: stream,
            is_proven: AtomicBool::new(false),
            check_binding: Notify::new(),
            was_there: AtomicBool::new(false),
            unavailable: Mutex::default(),
            uri,
            exchange,
            name,
            publisher,
        })
    }

    /// The stream is there and unavailable, with these words of the broker.
    fn unavailable(&self, text: String) -> Cause {
        let mut since = self.lock();
        let since = *since.get_or_insert_with(Instant::now);
        if since.elapsed() < HOPELESS {
            Cause::NotYet(text)
        } else {
            Cause::Hopeless(text)
        }
    }

    fn available(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.unavailable
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for RabbitMqStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RabbitMqStream")
            .field("broker", &self.endpoint)
            .finish_non_exhaustive()
    }
}

/// The position of the message with this offset.
fn position(offset: u64) -> Position {
    Position::new(offset.saturating_add(1)).unwrap_or(Position::MAX)
}

/// The offset of the message at this position.
fn offset(position: Position) -> u64 {
    position.get().saturating_sub(1)
}

impl Log for RabbitMqStream {
    fn name(&self) -> &'static str {
        "rabbitmq"
    }

    fn caps(&self) -> Caps {
        Caps { retains: true }
    }

    fn append(
        &self,
        batch: Vec<NewEntry>,
        within: Duration,
    ) -> BoxFuture<'_, Result<Vec<Option<Appended>>, AppendError>> {
        Box::pin(async move {
            let appended = self.publisher.publish(&batch, within).await;
            if appended.is_err() {
                self.check_binding.notify_one();
            } else if batch.iter().any(|entry| entry.kind != Kind::Trigger) {
                // Routed with the key that no queue of others is bound with.
                self.is_proven.store(true, Ordering::Relaxed);
            }
            appended.map(|()| vec![None; batch.len()])
        })
    }

    fn tail(self: Arc<Self>, from: From) -> BoxFuture<'static, Result<Box<dyn Tail>, TailError>> {
        Box::pin(async move {
            let tail = StreamTail::open(self, from).await?;
            Ok(Box::new(tail) as Box<dyn Tail>)
        })
    }

    fn read(
        &self,
        range: RangeInclusive<Position>,
        bytes_max: usize,
    ) -> BoxFuture<'_, Result<Vec<Record>, TailError>> {
        Box::pin(self.read_range(range, bytes_max))
    }

    fn bounds(&self) -> BoxFuture<'_, Result<Bounds, TailError>> {
        Box::pin(async { Ok(self.ends().await?) })
    }

    fn doubt(&self) {
        self.publisher.doubt();
        self.check_binding.notify_one();
    }

    fn log_link(&self, change: &LinkChange<'_>) {
        let consequence = "the log is read on from where this node was";
        log_link(&self.endpoint, &self.exchange, consequence, change);
    }

    fn close(&self, limit: Duration) -> BoxFuture<'_, ()> {
        Box::pin(self.publisher.close(limit))
    }
}
