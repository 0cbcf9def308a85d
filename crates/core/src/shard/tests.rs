//! The shard as seen by its peers.

// The fuzzer takes the model and its kit alone.
#![cfg_attr(not(test), allow(dead_code, unused_imports, unused_macros))]
// Clippy knows modules of tests by their `cfg(test)`.
#![allow(clippy::unwrap_used)]

mod authentication;
mod closing;
mod commands;
mod compression;
mod cursors;
mod delivery;
mod gap;
mod held;
mod hold;
mod identity;
mod isolation;
mod keepalive;
mod kit;
mod lanes;
mod late;
mod leaving;
mod messages;
pub(crate) mod model;
mod newcomers;
mod outbox;
mod reconfigure;
mod resume;
mod slices;
mod spans;
mod streams;
mod subprotocol;
mod subscriptions;
mod tallies;
mod terms;
mod tickets;
mod tokens;
mod turns;
