//! Settings of the broker adapters.

use std::time::Duration;

/// Time between two looks at the binding.
pub const BINDING_CHECK: Duration = Duration::from_secs(2);

/// How to reach RabbitMQ.
#[derive(Clone)]
pub struct RabbitMqConfig {
    /// `amqp://user:password@host:port/vhost?heartbeat=10`, or `amqps://`. A secret: it is never
    /// logged whole.
    pub url: String,
    /// The direct exchange that triggers are published to.
    pub exchange: String,
    /// Messages that the broker may have under way to us unacknowledged.
    pub prefetch: u16,
    /// Timeout for a published trigger to be read back through the broker.
    pub publish_timeout: Duration,
    /// Interval of the binding checks; [`BINDING_CHECK`] by default. An exchange that is deleted
    /// takes its bindings along, and the queue's consumer is not notified.
    pub binding_check: Duration,
}
