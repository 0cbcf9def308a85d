//! Where triggers come from and where they are published, behind one small trait.
//!
//! A broker knows the [`Dispatch`] trait and nothing else of the gateway: whatever it receives
//! it hands to the dispatcher, which gives it its place in the one total order.

mod backoff;
pub mod config;
pub mod encoding;
mod missed;
pub mod rabbitmq;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use ht_proto::trigger::Trigger;
use tokio_util::sync::CancellationToken;

pub use crate::missed::{Missed, MissedReason};

/// The only door to the shards.
pub trait Dispatch: Send + Sync + 'static {
    /// Gives each trigger its place in the order and hands it to the shards where somebody may
    /// hear it. Waits for a bounded time where the inbox of one of those shards is full. The places come
    /// back in the order of the triggers.
    ///
    /// Dropping the future before it is ready means that none of the triggers was placed.
    fn dispatch(&self, triggers: Vec<Trigger>) -> BoxFuture<'_, Vec<Place>>;

    /// Gives a probe its turn behind every trigger that was placed before, and hands it to every
    /// shard. It is no trigger: it gets no position, and nobody hears of it. Waits for no shard;
    /// what comes back is ready when every shard has taken the probe.
    fn probe(&self) -> BoxFuture<'_, Taken>;

    /// Reports a gap: publications may not have reached this node until now. Returns at once.
    fn missed(&self, missed: Missed);
}

/// A probe that had its turn: the future is ready when every shard has taken it.
pub struct Taken(pub BoxFuture<'static, ()>);

/// Where a trigger stands in this node's order of publications.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// 1 for the first publication since the node started.
    pub position: u64,
    /// The trigger's id was seen before: it keeps that first position and is not delivered again.
    pub duplicate: bool,
}

/// A way for triggers to reach every node.
pub trait Broker: Send + Sync + 'static {
    /// The broker's name in logs, metrics and `/ready`.
    fn name(&self) -> &'static str;

    /// Brings triggers in until `shutdown`, surviving every outage of the broker.
    fn run(
        self: Arc<Self>,
        dispatch: Arc<dyn Dispatch>,
        shutdown: CancellationToken,
    ) -> BoxFuture<'static, ()>;

    /// Publishes the triggers, in order, to every node, this one included. Ready when all of
    /// them have their place in this node's order.
    fn publish(&self, triggers: Vec<Trigger>) -> BoxFuture<'_, Result<Vec<Place>, PublishError>>;

    /// Sends a probe the way triggers go, to this node alone: it is published, comes back and
    /// takes its turn at the dispatcher. Ready when every shard has taken it, with the time since
    /// it was sent; waits for a broker that is away, and for an answer as long as it takes. No
    /// client and no other node sees it, and nothing counts it as a message.
    fn probe(&self) -> BoxFuture<'_, Result<Duration, PublishError>>;

    /// Whether triggers can come in right now.
    fn health(&self) -> Health;

    /// Running totals for metrics.
    fn counts(&self) -> Counts;
}

/// Whether a broker can be used, and why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// Connected, declared, bound and consuming.
    Ready,
    /// Not usable now; the text is for the operator and holds no secret.
    NotReady(String),
}

/// Why a trigger could not be published.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The broker cannot be reached; nothing was published.
    #[error("the broker is not available: {0}")]
    Unavailable(String),
    /// The broker took the triggers or may have, but they did not come back in time. Publishing
    /// again with the same `id` is safe.
    #[error("the broker did not deliver the trigger back within {seconds} s")]
    Unconfirmed {
        /// How long was waited.
        seconds: u64,
    },
}

/// Totals since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages taken from the broker, good or bad.
    pub received: u64,
    /// Messages that were no trigger and were dropped.
    pub rejected: u64,
    /// Times that the connection to the broker was lost or could not be made.
    pub failures: u64,
}
