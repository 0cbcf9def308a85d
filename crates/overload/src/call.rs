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

/// A reading of the clock of the calls: what the answer to a call that is sent then includes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct CallTime {
    /// The position of the last command.
    pub commands: u64,
    /// The number of the last gap, in which commands may have been lost.
    pub gap: u32,
}

impl CallTime {
    /// Whether nothing that `other` includes is missing in this.
    #[must_use]
    pub const fn includes(self, other: Self) -> bool {
        self.commands >= other.commands && self.gap >= other.gap
    }

    /// What includes both.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self {
            commands: self.commands.max(other.commands),
            gap: self.gap.max(other.gap),
        }
    }
}

/// The result of a call.
pub trait Reply: Clone {
    /// A copy for clients that arrive within [`crate::GuardConfig::coalesce`], and its bytes;
    /// `None` if it may not be shared.
    fn kept(&self) -> Option<(Self, usize)>;
}
