//! Overload protection of the API and the node (circuit breaker, fair queue, rate limits): state
//! machines without a runtime, socket, clock, lock or thread. Time and randomness are arguments; a
//! time is the duration since a fixed moment.
//!
//! [`CallGuard`] decides which bootstrap calls are made and which clients get their responses;
//! [`Rechecks`] which calls are made again for sessions that are open; [`Addresses`] and [`Users`]
//! which clients may have another connection. The crates that call the API and accept clients are
//! shells around this one; the simulator runs it in virtual time.

mod addresses;
mod bucket;
mod call;
mod circuit;
mod client;
mod config;
mod fair_queue;
mod guard;
mod pace;
mod recheck;
mod share;
mod users;

pub use crate::addresses::{Addresses, Bounds, Crowded, Slot};
pub use crate::bucket::Bucket;
pub use crate::call::{CallTime, Key, Reply};
pub use crate::circuit::{Change, Source};
pub use crate::client::{Client, Peer};
pub use crate::config::GuardConfig;
pub use crate::fair_queue::{FairQueue, QueueEntry, QueueKey};
pub use crate::guard::{Arrival, CallGuard, CallId, Output, Refusal, Shows, WaiterId};
pub use crate::recheck::{Due, Patience, RecheckId, RecheckOutput, Rechecks};
pub use crate::share::Share;
pub use crate::users::Users;
