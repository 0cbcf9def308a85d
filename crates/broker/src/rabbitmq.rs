//! RabbitMQ: a direct exchange, and for each node a queue of its own.
//!
//! The exchange is direct, transient, not auto-deleted, without arguments; one that exists with
//! other arguments is used as it is. Each connection declares a fresh queue
//! `hightemplar_<uuid>`: exclusive and transient, bound with the routing key `*` taken literally.
//! Works with RabbitMQ 3.10 to 4.
//!
//! # What is delivered
//! While the connection lives, every message that the exchange routes to the queue is read once, in
//! order, and acknowledged when it is placed. The queue is deleted with the connection. So over an
//! outage delivery is *at most once*: messages that the broker still held for this node, and those
//! published until the queue is declared again, do not reach this node. No message is delivered
//! twice: nothing is redelivered into another connection's queue.
//!
//! A node detects and reports every possible loss: after every new connection, consumer or binding,
//! and when a number is missing among the messages of a node
//! ([`gap_detector`](crate::gap_detector)). A heartbeat with every check of the binding carries a
//! number too, so that a loss of the last messages before a silence is detected as well.
//!
//! A caller of [`Broker::publish`](crate::Broker::publish) gets a stronger guarantee: a returned
//! position means that this node delivered the trigger. Without one, publishing again with the same
//! `id` makes it *at least once* for the API and still once for each client.
//!
//! # Probes
//! A probe is published to the exchange as triggers are, over the same connection, but with the
//! name of this node's own queue as the routing key, to which no other queue is bound: neither
//! other nodes nor Python gateways on the same exchange receive it. An existing exchange that is
//! not direct may route it to others all the same. Nodes recognise it by its type and ignore it; to
//! a Python gateway it is a trigger without rooms.
//!
//! # Bounds
//! The broker may have `prefetch` unacknowledged messages; together with the longest message it
//! allows, that bounds the backlog here while shards are slow.
//!
//! # Secrets
//! The url holds a password. No log line of this crate contains more of it than [`describe`] shows.
//! The client library underneath logs whole frames at trace level, the login among them: keep the
//! targets of [`NOISY_TARGETS`] out of the log, whatever the log level.

mod address;
mod binding;
mod cause;
mod consumer;
mod numbering;
mod probe;
mod publisher;
mod sockets;
mod stream;
mod wire;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use lapin::types::ShortString;
use lapin::uri::AMQPUri;
use tokio::sync::Notify;
use tokio::time::timeout;

pub use crate::rabbitmq::address::{Endpoint, UrlError, describe};
pub use crate::rabbitmq::probe::{ProbeError, ProbeReport, probe};
pub use crate::rabbitmq::stream::RabbitMqStream;

use crate::config::RabbitMqConfig;
use crate::log::{
    AppendError, Appended, Caps, From, Kind, LinkChange, Log, NewEntry, Tail, TailError,
};
use crate::rabbitmq::consumer::Consumer;
use crate::rabbitmq::numbering::Numbering;
use crate::rabbitmq::publisher::Publisher;

/// Log targets of the client library. They must stay off: at trace level they show the login.
pub const NOISY_TARGETS: [&str; 4] = ["lapin", "amq_protocol", "amq_protocol_tcp", "tcp_stream"];

/// Longest name of an exchange, in bytes (AMQP 0-9-1, 1.1).
const EXCHANGE_NAME_MAX: usize = 127;

/// Longest name of a queue, in bytes.
const QUEUE_NAME_MAX: usize = 255;

/// The RabbitMQ adapter.
pub struct RabbitMq {
    uri: AMQPUri,
    endpoint: Endpoint,
    exchange: ShortString,
    is_durable: bool,
    prefetch: u16,
    binding_check: Duration,
    publisher: Publisher,
    /// The queue of this node, once there is one.
    queue: Mutex<ShortString>,
    /// Numbers this node's messages, and detects missing messages of all nodes.
    numbering: Arc<Numbering>,
    /// A published message was not read back: the queue may no longer be bound.
    check_binding: Notify,
}

/// What is wrong with a [`RabbitMqConfig`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The url.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// The exchange's name.
    #[error("the exchange's name must have 1 to {EXCHANGE_NAME_MAX} bytes")]
    Exchange,
    /// The stream's name.
    #[error("the stream's name must have 1 to {QUEUE_NAME_MAX} bytes")]
    Stream,
}

impl RabbitMq {
    /// An adapter that is not connected yet: [`Log::tail`] does that.
    ///
    /// # Errors
    /// When the configuration cannot be used.
    pub fn new(config: &RabbitMqConfig) -> Result<Self, ConfigError> {
        let uri = address::parse(&config.url)?;
        let exchange = exchange_name(config)?;
        let numbering = Arc::<Numbering>::default();
        Ok(Self {
            endpoint: address::endpoint(&uri),
            // Zero would mean without bound.
            prefetch: config.prefetch.max(1),
            is_durable: config.durable,
            binding_check: config.binding_check,
            publisher: Publisher::new(uri.clone(), exchange.clone(), Arc::clone(&numbering)),
            queue: Mutex::default(),
            numbering,
            check_binding: Notify::new(),
            uri,
            exchange,
        })
    }

    /// The queue of this node.
    fn own_queue(&self) -> ShortString {
        let queue = self.queue.lock();
        queue.unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn append_all(&self, batch: &[NewEntry], within: Duration) -> Result<(), AppendError> {
        // A probe is published alone, because it has another routing key.
        for part in batch.chunk_by(|one, next| one.kind == next.kind && one.kind != Kind::Probe) {
            match part {
                [probe] if probe.kind == Kind::Probe => {
                    let sent = self.publisher.probe(self.own_queue(), probe);
                    let late = |_| AppendError::Unconfirmed {
                        seconds: within.as_secs(),
                    };
                    timeout(within, sent).await.map_err(late)??;
                }
                triggers => self.publisher.publish(triggers, within).await?,
            }
        }
        Ok(())
    }
}

fn exchange_name(config: &RabbitMqConfig) -> Result<ShortString, ConfigError> {
    if (1..=EXCHANGE_NAME_MAX).contains(&config.exchange.len()) {
        Ok(ShortString::from(config.exchange.as_str()))
    } else {
        Err(ConfigError::Exchange)
    }
}

/// Logs a change of the connection. `consequence`: what an outage meant for this node.
fn log_link(broker: &Endpoint, exchange: &ShortString, consequence: &str, change: &LinkChange<'_>) {
    match change {
        LinkChange::Connected => {
            tracing::info!(%broker, %exchange, "connected to RabbitMQ");
        }
        LinkChange::Reconnected(outage) => tracing::info!(
            %broker,
            %exchange,
            outage_seconds = outage.as_secs_f64(),
            "reconnected to RabbitMQ: {consequence}"
        ),
        LinkChange::Lost(trouble) => tracing::warn!(
            %broker,
            cause = trouble.cause,
            advice = Some(trouble.advice).filter(|advice| !advice.is_empty()),
            "RabbitMQ is unavailable: retrying until it is back"
        ),
        LinkChange::StillLost {
            trouble,
            lasting,
            attempts,
        } => tracing::warn!(
            %broker,
            cause = trouble.cause,
            outage_seconds = lasting.as_secs_f64(),
            attempts,
            "RabbitMQ is still unavailable"
        ),
    }
}

impl std::fmt::Debug for RabbitMq {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RabbitMq")
            .field("broker", &self.endpoint)
            .finish_non_exhaustive()
    }
}

impl Log for RabbitMq {
    fn name(&self) -> &'static str {
        "rabbitmq"
    }

    fn caps(&self) -> Caps {
        Caps { retains: false }
    }

    fn append(
        &self,
        batch: Vec<NewEntry>,
        within: Duration,
    ) -> BoxFuture<'_, Result<Vec<Option<Appended>>, AppendError>> {
        Box::pin(async move {
            let appended = self.append_all(&batch, within).await;
            if appended.is_err() {
                self.check_binding.notify_one();
            }
            appended.map(|()| vec![None; batch.len()])
        })
    }

    fn tail(self: Arc<Self>, from: From) -> BoxFuture<'static, Result<Box<dyn Tail>, TailError>> {
        Box::pin(async move {
            if from != From::Head {
                return Err(TailError::NotRetained);
            }
            let consumer = Consumer::open(self).await?;
            Ok(Box::new(consumer) as Box<dyn Tail>)
        })
    }

    fn doubt(&self) {
        self.publisher.doubt();
        self.check_binding.notify_one();
    }

    fn log_link(&self, change: &LinkChange<'_>) {
        let consequence = "triggers published during the outage did not reach this node";
        log_link(&self.endpoint, &self.exchange, consequence, change);
    }

    fn close(&self, limit: Duration) -> BoxFuture<'_, ()> {
        Box::pin(self.publisher.close(limit))
    }
}
