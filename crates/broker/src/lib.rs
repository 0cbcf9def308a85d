//! Where triggers come from and where they are published, behind two small traits.
//!
//! A [`Log`](log::Log) carries messages that every node reads in one order; an engine implements it
//! and knows nothing else of the gateway. The [`Sequencer`] gives what is read its place in the
//! order of the node and is the only door to the shards. The [`Broker`] stands between: it parses
//! each message, once, has batches placed, and gives a publisher its places.
//!
//! What is decided without clock, socket or runtime stands in [`order`], [`progress`], [`numbers`],
//! [`holes`] and [`gap_detector`].

mod backoff;
mod broker;
pub mod config;
mod counters;
pub mod encoding;
mod follow;
pub mod gap_detector;
pub mod holes;
mod line;
pub mod log;
pub mod memory;
mod missed;
pub mod numbers;
pub mod order;
mod outage;
mod probes;
pub mod progress;
#[cfg(feature = "rabbitmq")]
pub mod rabbitmq;
mod sequencer;
mod waiters;

pub use crate::broker::{Broker, Parse, Parsing};
pub use crate::log::AppendError;
pub use crate::missed::{Missed, MissedReason};
pub use crate::order::Placed;
pub use crate::sequencer::{Sequencer, Taken};

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
    /// Messages taken from the broker, good or bad.
    pub received: u64,
    /// Messages that are no triggers and were dropped.
    pub rejected: u64,
    /// Times that the connection to the broker was lost or could not be made.
    pub failures: u64,
}
