//! What a guard knows of the calls that it holds back.

use std::hash::Hash;

use crate::fair_queue::QueueKey;

/// What clients must have in common to share a call.
pub trait Key: Clone + Eq + Hash {
    /// In whose turn they wait: nobody waits in a stranger's turn.
    fn queue_key(&self) -> QueueKey;

    /// Memory that it takes, in bytes.
    fn bytes(&self) -> usize;
}

/// What a call brings.
pub trait Reply: Clone {
    /// A copy for clients who come within [`crate::GuardConfig::coalesce`], and its bytes; none if it may
    /// serve nobody else.
    fn kept(&self) -> Option<(Self, usize)>;
}
