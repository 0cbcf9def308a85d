//! The tokio shell around the pure core: shards, sequencer, both HTTP services, hooks, metrics.
//!
//! Handshakes, backend calls, triggers and hooks run on the caller's tokio runtime, the *control
//! side*. Each shard is a thread of its own with a poll of its own. Only [`Gateway::start`]
//! starts either.

pub mod administration;
mod charge;
pub mod config;
pub mod directory;
pub mod identity;
pub mod live;
pub mod metrics;
pub mod offload;
pub mod records;

mod commands;
mod counters;
mod delivery;
mod drain;
mod every_metric;
mod gaps;
mod gateway;
mod heartbeat;
mod held;
mod hooks;
mod in_flight;
mod inbox;
mod internal;
mod interner;
mod lifecycle;
mod listeners;
mod loads;
mod memory;
mod memory_watch;
mod meters;
mod node;
mod peers;
mod permissions;
mod permitted;
mod pipeline;
mod pipelines;
mod public;
mod readiness;
mod recovery;
mod reporter;
mod running;
mod sequencer;
mod services;
mod shard;
mod shards;
mod shares;
mod socket;
mod tenants;
mod tickets;
mod totals;
mod turns;
mod usage;
mod verdict;
mod window;
mod window_file;

pub use ht_edge::listener::{Inherited, InheritedSockets};

pub use crate::gateway::Gateway;
pub use crate::heartbeat::Heartbeat;
pub use crate::listeners::StartError;
pub use crate::memory::allowance as memory_allowance;
