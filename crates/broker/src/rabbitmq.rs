//! RabbitMQ: a direct exchange, and for each node a queue of its own.
//!
//! The exchange is direct, transient, not auto-deleted, without arguments; one that exists with
//! other arguments is used as it is. Each connection declares a fresh queue
//! `hightemplar_<uuid>`: exclusive and transient, bound with the routing key `*` taken literally.
//! Works with RabbitMQ 3.10 to 4.
//!
//! # What is delivered
//! While the connection lives, every message that the exchange routes to the queue is handed to
//! the dispatcher once, in order, and acknowledged when it has its place. The queue dies with the
//! connection. So over an outage delivery is *at most once*: what the broker still held for this
//! node, and what was published until the queue was declared again, does not reach this node. It
//! is never delivered twice: nothing is redelivered into another connection's queue.
//!
//! Whatever a node may have missed it knows and reports ([`Dispatch::missed`]): after every new
//! connection, consumer or binding, and where a number is missing among the messages of a node
//! (`sequence.rs`, `holes.rs`). A heartbeat with every look at the binding carries a number too, so
//! that the last messages before a silence are not missed quietly.
//!
//! Whoever publishes through [`Broker::publish`] knows more: a place that comes back means that
//! this node delivered the trigger. Without one, publishing again with the same `id` makes it *at
//! least once* for the API and still once for each client.
//!
//! # Bounds
//! The broker may have `prefetch` messages under way to us; together with the longest message it
//! allows, that bounds what waits here while shards are slow.
//!
//! # Secrets
//! The url holds a password. Nothing in this crate logs more of it than [`describe`] shows. The
//! client library underneath logs whole frames at trace level, the login among them: keep the
//! targets of [`NOISY_TARGETS`] out of the log, whatever level is asked for.

mod address;
mod cause;
mod counters;
mod echo;
mod holes;
mod intake;
mod outage;
mod outlet;
mod probe;
mod sequence;
mod sockets;
mod supervise;
mod waiters;
mod wire;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use ht_proto::trigger::Trigger;
use ht_telemetry::throttle::Throttle;
use lapin::types::ShortString;
use lapin::uri::AMQPUri;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

pub use crate::rabbitmq::address::{Endpoint, UrlError, describe};
pub use crate::rabbitmq::probe::{ProbeError, ProbeReport, probe};

use crate::config::RabbitMqConfig;
use crate::encoding::Message;
use crate::rabbitmq::counters::Counters;
use crate::rabbitmq::echo::Echo;
use crate::rabbitmq::holes::Holes;
use crate::rabbitmq::outlet::Outlet;
use crate::rabbitmq::sequence::{Numbering, Sequence};
use crate::rabbitmq::waiters::Waiters;
use crate::{Broker, Counts, Dispatch, Health, Missed, MissedReason, Place, PublishError};

/// Log targets of the client library. They must stay off: at trace level they show the login.
pub const NOISY_TARGETS: [&str; 4] = ["lapin", "amq_protocol", "amq_protocol_tcp", "tcp_stream"];

/// Longest name of an exchange, in bytes (AMQP 0-9-1, 1.1).
const EXCHANGE_NAME_MAX: usize = 127;

/// Bad messages are told of this often at most.
const REJECTED_LOG: Duration = Duration::from_secs(10);

/// Reads one message as a trigger.
pub type Parse = Arc<dyn Fn(Message) -> Parsing + Send + Sync>;

/// What a message is: a trigger, or else the sentence that says what is wrong with it.
pub enum Parsing {
    /// It was read at once.
    Done(Result<Trigger, String>),
    /// It is long and being read elsewhere; those behind it wait.
    Aside(BoxFuture<'static, Result<Trigger, String>>),
}

/// The RabbitMQ adapter.
pub struct RabbitMq {
    uri: AMQPUri,
    endpoint: Endpoint,
    exchange: ShortString,
    prefetch: u16,
    binding_check: Duration,
    parse: Parse,
    health: watch::Sender<Health>,
    rejected: Mutex<Throttle>,
    counts: Counters,
    waiters: Waiters,
    echo: Echo,
    outlet: Outlet,
    /// Numbers what this node publishes.
    numbering: Arc<Numbering>,
    /// What is missing of what others and this node published.
    holes: Mutex<Holes>,
    /// The clock of `holes` begins here.
    since: Instant,
    /// Something that was published did not come back: perhaps nothing is bound any more.
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
}

impl RabbitMq {
    /// An adapter that is not connected yet: [`Broker::run`] does that. `parse` reads each
    /// message; what it refuses is counted and dropped.
    ///
    /// # Errors
    /// When the configuration cannot be used.
    pub fn new(config: RabbitMqConfig, parse: Parse) -> Result<Self, ConfigError> {
        let uri = address::parse(&config.url)?;
        let exchange = exchange_name(&config)?;
        let numbering = Arc::new(Numbering::default());
        let outlet = Outlet::new(
            uri.clone(),
            exchange.clone(),
            config.publish_timeout,
            Arc::clone(&numbering),
        );
        Ok(Self {
            endpoint: address::endpoint(&uri),
            // Zero would mean without bound.
            prefetch: config.prefetch.max(1),
            binding_check: config.binding_check,
            parse,
            health: watch::Sender::new(Health::NotReady("not connected yet".into())),
            rejected: Mutex::new(Throttle::new(REJECTED_LOG)),
            counts: Counters::default(),
            waiters: Waiters::default(),
            echo: Echo::default(),
            outlet,
            numbering,
            holes: Mutex::default(),
            since: Instant::now(),
            check_binding: Notify::new(),
            uri,
            exchange,
        })
    }

    fn set_health(&self, health: Health) {
        self.health.send_replace(health);
    }

    /// Reports a gap. The queue is bound again: what is published from now on arrives.
    fn missed(&self, reason: MissedReason, cause: String, dispatch: &dyn Dispatch) {
        self.holes().told(self.outlet.last_used());
        dispatch.missed(Missed { reason, cause });
    }

    /// Looks at the number of a message that arrived, and reports a gap where one is missing.
    fn note_sequence(&self, sequence: &Sequence, dispatch: &dyn Dispatch) {
        let own = sequence.node == self.numbering.node;
        let mut holes = self.holes();
        if holes.note(sequence, self.since.elapsed()) {
            holes.told_by(sequence.node, self.outlet.last_used());
            drop(holes);
            let (reason, whose) = if own {
                // Only a queue that is not bound misses what its own node published.
                (MissedReason::BindingLost, "of this node's own".to_owned())
            } else {
                let node = sequence.node;
                (MissedReason::Skipped, format!("of the node {node}"))
            };
            let cause = format!("messages {whose} are missing in this node's queue");
            dispatch.missed(Missed { reason, cause });
        }
        if own {
            self.numbering.came_back(sequence.position);
        }
    }

    /// A new queue is bound.
    fn begin_queue(&self) {
        let (own, last) = (self.numbering.node, self.outlet.last_used());
        self.holes().begin(own, last, self.since.elapsed());
    }

    fn holes(&self) -> MutexGuard<'_, Holes> {
        self.holes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a message that is no trigger, and tells of it once in a while.
    fn reject(&self, reason: &str, now: Instant) {
        self.counts.rejected();
        let told = self
            .rejected
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .tell(now);
        if let Some(suppressed) = told {
            tracing::warn!(
                reason = cause::line(reason),
                suppressed,
                "a message from RabbitMQ was dropped: it is no trigger"
            );
        }
    }
}

fn exchange_name(config: &RabbitMqConfig) -> Result<ShortString, ConfigError> {
    if (1..=EXCHANGE_NAME_MAX).contains(&config.exchange.len()) {
        Ok(ShortString::from(config.exchange.as_str()))
    } else {
        Err(ConfigError::Exchange)
    }
}

impl std::fmt::Debug for RabbitMq {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RabbitMq")
            .field("broker", &self.endpoint)
            .finish_non_exhaustive()
    }
}

impl Broker for RabbitMq {
    fn name(&self) -> &'static str {
        "rabbitmq"
    }

    fn run(
        self: Arc<Self>,
        dispatch: Arc<dyn Dispatch>,
        shutdown: CancellationToken,
    ) -> BoxFuture<'static, ()> {
        Box::pin(async move { supervise::run(&self, &*dispatch, &shutdown).await })
    }

    fn publish(&self, triggers: Vec<Trigger>) -> BoxFuture<'_, Result<Vec<Place>, PublishError>> {
        Box::pin(async move {
            // Without a consumer nothing would come back.
            if let Health::NotReady(why) = self.health() {
                return Err(PublishError::Unavailable(why));
            }
            let places = self.outlet.publish(&triggers, &self.waiters).await;
            if places.is_err() {
                self.check_binding.notify_one();
            }
            places
        })
    }

    fn probe(&self) -> BoxFuture<'_, Result<Duration, PublishError>> {
        Box::pin(async move {
            let mut health = self.health.subscribe();
            let open = health.wait_for(|health| *health == Health::Ready).await;
            drop(open.map_err(|_| PublishError::Unavailable("it was let go".into()))?);
            let sent = Instant::now();
            let probe = self.echo.probe();
            if let Err(error) = self.outlet.probe(&probe).await {
                self.check_binding.notify_one();
                return Err(error);
            }
            let Some(taken) = probe.back().await else {
                let lost = "the connection was lost while a probe was under way";
                return Err(PublishError::Unavailable(lost.into()));
            };
            taken.0.await;
            Ok(sent.elapsed())
        })
    }

    fn health(&self) -> Health {
        self.health.borrow().clone()
    }

    fn counts(&self) -> Counts {
        self.counts.totals()
    }
}
