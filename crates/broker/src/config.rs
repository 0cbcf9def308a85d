//! What the broker adapters need to know.

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
    /// How long a published trigger may take to come back through the broker.
    pub publish_timeout: Duration,
    /// How often the binding is made sure of; [`BINDING_CHECK`] unless there is a reason. An
    /// exchange that is deleted takes its bindings along, and the queue's consumer is not notified.
    pub binding_check: Duration,
}
