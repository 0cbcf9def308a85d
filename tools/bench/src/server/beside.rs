//! Processes that a server depends on and that are measured apart.

use super::Process;
use super::rabbitmq::RabbitMq;

/// A broker or store beside a server. It ends when this is dropped.
#[derive(Debug)]
pub enum Beside {
    /// A RabbitMQ.
    RabbitMq(RabbitMq),
    /// A program that was started like a server.
    Process(Process),
}

impl Beside {
    /// The number of its process.
    #[must_use]
    pub fn id(&self) -> u32 {
        match self {
            Self::RabbitMq(rabbitmq) => rabbitmq.id(),
            Self::Process(process) => process.id(),
        }
    }
}
