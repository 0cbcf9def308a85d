//! Sources of triggers and their publication, behind two small traits.
//!
//! A [`Log`](log::Log) transports messages that every node reads in one order; an engine implements
//! it and is independent of the rest of the gateway. The [`Sequencer`] assigns each message its
//! position in the order of the node and is the only entry point to the shards. The [`Broker`]
//! connects the two: it parses each message, once, has batches placed, and returns the positions to
//! a publisher.
//!
//! The decisions without clock, socket or runtime are in [`order`], [`progress`], [`epochs`],
//! [`numbers`], [`holes`] and [`gap_detector`].

#[cfg(any(feature = "postgres", feature = "redis"))]
mod append_queue;
mod backoff;
mod broker;
pub mod config;
mod counters;
pub mod encoding;
pub mod epochs;
mod follow;
pub mod gap_detector;
pub mod holes;
#[cfg(any(feature = "postgres", feature = "redis"))]
mod keep_up;
mod line;
pub mod log;
pub mod memory;
mod missed;
#[cfg(feature = "nats")]
pub mod nats;
pub mod numbers;
pub mod order;
mod outage;
#[cfg(feature = "postgres")]
pub mod postgres;
mod probes;
pub mod progress;
#[cfg(feature = "rabbitmq")]
pub mod rabbitmq;
#[cfg(feature = "redis")]
pub mod redis;
mod sequencer;
#[cfg(any(feature = "nats", feature = "postgres", feature = "redis"))]
mod tls;
mod waiters;

pub use crate::broker::{Broker, Parse, Parsing};
pub use crate::log::AppendError;
pub use crate::missed::{Missed, MissedReason};
pub use crate::order::Placed;
pub use crate::sequencer::{Refusal, Sequencer, Taken};

/// Whether a broker can be used, and why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// Connected and reading.
    Ready,
    /// Not usable now; the text is for the operator and holds no secret.
    NotReady(String),
}

/// Totals since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages received from the broker, valid or not.
    pub received: u64,
    /// Messages that are no triggers and were dropped.
    pub rejected: u64,
    /// Messages of tenants that were passed over, because this node has none.
    pub of_tenants: u64,
    /// Times that the connection to the broker was lost or could not be made.
    pub failures: u64,
}
