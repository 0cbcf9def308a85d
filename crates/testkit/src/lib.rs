//! Shared test tools of several crates: a real RabbitMQ, PostgreSQL, NATS and Redis, a publisher as backends have it, the
//! contract of a sequencer, and waiting for a condition. For tests only: everything here panics
//! with a message when it fails.

mod eventually;
pub mod log;
pub mod nats;
pub mod postgres;
pub mod publisher;
pub mod rabbitmq;
pub mod redis;
pub mod sequencer;

pub use crate::eventually::{eventually, eventually_blocking};
