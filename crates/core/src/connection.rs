//! Which session of a shard.

/// A session's slot in its shard; given to another session after it ended, so it is good within a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ConnectionId(pub(crate) u32);

impl ConnectionId {
    /// The slot as an index.
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// A session of a shard, for as long as it takes: its slot is given to another session after it ended,
/// its key is not. What outlives a turn or leaves the shard names sessions by key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionKey {
    pub(crate) slot: u32,
    /// How many sessions had the slot before.
    pub(crate) generation: u32,
}

impl SessionKey {
    /// The key of no session.
    pub const NONE: Self = Self {
        slot: u32::MAX,
        generation: u32::MAX,
    };

    /// The key as one number.
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        (self.generation as u64) << 32 | self.slot as u64
    }

    /// The key with this number.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, reason = "the halves of a number")]
    pub const fn from_bits(bits: u64) -> Self {
        Self {
            slot: bits as u32,
            generation: (bits >> 32) as u32,
        }
    }
}
