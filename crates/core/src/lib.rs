//! The pure heart of the gateway: sessions, the registry and its matching, outbox policy.
//!
//! No I/O, no clock, no threads, no lock: time and randomness are arguments.

pub mod body;
pub mod grant;
pub mod index;
pub mod limits;
pub mod outbox;
pub mod peer;
pub mod publication;
pub mod registry;
pub mod shard;
pub mod stats;

mod connection;
mod keepalive;
mod rate;
mod timer;

/// The hash function of every table. By default it is seeded at random, because clients choose
/// much of what is hashed; a fixed seed is for measurements.
pub use foldhash::quality::SeedableRandomState as Hasher;
