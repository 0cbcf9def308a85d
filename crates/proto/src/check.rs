//! What distinguishes an entry from another one with its position.

use crate::digest::digest;
use crate::letters::{bytes, letters};

/// 24 bits of a hash of an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Check(u32);

impl Check {
    /// For no entry: before the first.
    pub const NONE: Self = Self(0);

    /// For an entry that is not known any more.
    pub const UNKNOWN: Self = Self((1 << 24) - 1);

    /// Letters of its text.
    pub(crate) const LETTERS: usize = 4;

    /// The check of an entry with this text.
    #[must_use]
    pub fn of(text: &[u8]) -> Self {
        // The upper bits: a product mixes them best.
        Self(u32::try_from(digest(text) >> 40).unwrap_or(0))
    }

    /// The check with these 24 bits.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits & 0x00ff_ffff)
    }

    /// Its 24 bits.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    pub(crate) fn letters(self) -> [u8; Self::LETTERS] {
        let [_, bytes @ ..] = self.0.to_be_bytes();
        letters(bytes)
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let [a, b, c] = bytes(text)?;
        Some(Self(u32::from_be_bytes([0, a, b, c])))
    }
}
