//! The pure heart of the gateway: sessions, the registry and its matching, outbox policy.
//!
//! No I/O, no clock, no threads, no lock: time and randomness are arguments.

pub mod limits;
