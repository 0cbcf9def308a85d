//! What the tests of several crates share: a real RabbitMQ, a publisher as backends have it, and
//! waiting for a condition. For tests only: everything here panics with a sentence when it cannot
//! do its work.

mod eventually;
pub mod publisher;
pub mod rabbitmq;

pub use crate::eventually::eventually;
pub use crate::eventually::eventually_blocking;
