//! The pure heart of the gateway: sessions, the registry and its matching, outbox policy.
//!
//! No I/O, no clock, no threads, no lock: time and randomness are arguments.

pub mod grant;
pub mod index;
pub mod limits;
pub mod peer;
pub mod publication;
pub mod registry;
pub mod shard;
pub mod stats;

mod connection;
mod timer;

/// The hash function of every table. Seeded at random where it is made: clients choose much of
/// what is hashed.
pub use foldhash::quality::RandomState as Hasher;
