//! What a guard knows of the calls that it schedules.

use std::hash::Hash;

use crate::fair_queue::QueueKey;

/// The key that clients must have in common to share a call.
pub trait Key: Clone + Eq + Hash {
    /// The key of the fair queue: the client's own, never that of another client.
    fn queue_key(&self) -> QueueKey;

    /// Memory that it takes, in bytes.
    fn bytes(&self) -> usize;
}

/// The result of a call.
pub trait Reply: Clone {
    /// A copy for clients that arrive within [`crate::GuardConfig::coalesce`], and its bytes;
    /// `None` if it may not be shared.
    fn kept(&self) -> Option<(Self, usize)>;
}
