//! What keeps the API and the node from overload: state machines without a runtime, socket, clock,
//! lock or thread. Time and randomness are arguments; a time is the time since some moment that
//! stays the same.
//!
//! [`CallGuard`] decides which bootstrap calls are made and who gets their answers. The crates that
//! call the API and accept clients are shells around this one; the simulator runs it in virtual
//! time.

mod call;
mod circuit;
mod config;
mod fair_queue;
mod guard;
mod pace;

pub use crate::call::{Key, Reply};
pub use crate::circuit::{Change, Source};
pub use crate::config::GuardConfig;
pub use crate::fair_queue::{FairQueue, QueueEntry, QueueKey};
pub use crate::guard::{Arrival, CallGuard, CallId, Output, Refusal, Shows, WaiterId};
