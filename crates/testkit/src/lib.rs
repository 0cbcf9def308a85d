//! What the tests of several crates share: a real RabbitMQ, a publisher as backends have it, the
//! contract of a sequencer, and waiting for a condition. For tests only: everything here panics with a sentence when it cannot
//! do its work.

mod eventually;
pub mod publisher;
pub mod rabbitmq;
pub mod sequencer;

pub use crate::eventually::{eventually, eventually_blocking};
