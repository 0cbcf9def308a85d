//! The contract of every engine: each has a file here that passes it to both suites, the one of a
//! [`Log`](ht_broker::log::Log) and the one of a broker that uses it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use ht_broker::log::Log;

mod broker;
mod faults;
mod follow;
mod log;
mod memory;
mod nats;
mod postgres;
mod rabbitmq;
mod redis;
mod stream;
#[path = "../support/mod.rs"]
mod support;

/// One kind of engine, with an empty namespace of its own.
trait Engine {
    /// A log there, as one more node opens it.
    fn log(&self) -> Arc<dyn Log>;

    /// Publishes these bodies as a backend does, in order. Done once the log has accepted them: what is
    /// appended afterwards comes after them.
    async fn publish(&self, bodies: Vec<Vec<u8>>);
}
