//! The pure core of the gateway: sessions, the registry and its matching, outbox policy.
//!
//! No I/O, no clock, no threads, no lock: time and randomness are arguments.

pub mod account;
pub mod body;
pub mod bucket;
pub mod budget;
pub mod command;
pub mod grant;
pub mod index;
pub mod limits;
pub mod outbox;
pub mod peer;
pub mod publication;
pub mod recheck;
pub mod recovery;
pub mod refusal;
pub mod select;
pub mod shard;
pub mod stats;
pub mod stream;
pub mod tally;
pub mod who;
pub mod window;
pub mod world;

/// Plays the operations that these bytes choose against the model of the tests, and panics where
/// the two differ. For the fuzzer.
#[cfg(fuzzing)]
pub fn fuzz_operations(bytes: &[u8]) {
    shard::tests::model::fuzz(bytes);
}

mod connection;
mod holders;
mod keepalive;
mod outboxes;
mod rate;
mod recent;
mod registry;
mod session;
mod sessions;
mod table;
pub mod ticket;
mod timer;
mod transport;
mod welcome;
mod wildcards;

/// The hash function of every table. By default it is seeded at random, because clients choose
/// much of what is hashed; a fixed seed is for measurements.
pub use foldhash::quality::SeedableRandomState as Hasher;
