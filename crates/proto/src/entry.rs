//! The ordered log's entries, and how their order is named.

use std::fmt;

use crate::check::Check;
use crate::command::Command;
use crate::record::Record;
pub use crate::tenant::TenantId;
use crate::trigger::Trigger;

/// One item of the ordered log that every node reads.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its position in the log; none where the log has no numbers and the node counts.
    pub position: Option<Position>,
    /// The tenant that owns it. Entries of one tenant never reach another one's connections.
    pub tenant: TenantId,
    /// The check of its text: the same on every node that reads the log.
    pub check: Check,
    /// The action.
    pub body: Body,
}

/// The action of an entry. Matched without a wildcard everywhere, so that the compiler reports each
/// position that a new kind concerns.
#[derive(Clone, Debug)]
pub enum Body {
    /// Deliver data to the subscribers of rooms.
    Publication(Trigger),
    /// Execute a command on connections.
    Command(Command),
}

impl From<Record> for Body {
    fn from(record: Record) -> Self {
        match record {
            Record::Trigger(trigger) => Self::Publication(trigger),
            Record::Command(command) => Self::Command(command),
        }
    }
}

impl Entry {
    /// A publication of the tenant [`TenantId::MAIN`] that has no position yet.
    #[must_use]
    pub fn publication(trigger: Trigger) -> Self {
        Self::of(Record::Trigger(trigger))
    }

    /// The action of a record of the tenant [`TenantId::MAIN`], without a position yet.
    #[must_use]
    pub fn of(record: Record) -> Self {
        Self {
            position: None,
            tenant: TenantId::MAIN,
            check: Check::of(record.text()),
            body: record.into(),
        }
    }
}

/// The position of an entry in the order. Positions grow within one epoch, and need not grow by
/// one: they are compared, never used as counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(u64);

impl Position {
    /// Before the first entry.
    pub const START: Self = Self(0);

    /// The greatest one: every client can hold it as a number.
    pub const MAX: Self = Self((1 << 53) - 1);

    /// The position with this number; none beyond [`Position::MAX`].
    #[must_use]
    pub const fn new(number: u64) -> Option<Self> {
        if number <= Self::MAX.0 {
            Some(Self(number))
        } else {
            None
        }
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The next position where positions are counted by one. At a million entries a second the last
    /// one is reached after 285 years; then it does not grow.
    #[must_use]
    pub const fn next(self) -> Self {
        if self.0 < Self::MAX.0 {
            Self(self.0 + 1)
        } else {
            self
        }
    }

    /// The number before; none before [`Position::START`].
    #[must_use]
    pub const fn previous(self) -> Option<Self> {
        match self.0.checked_sub(1) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The name of one epoch of an order. Positions of different epochs are unrelated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(u32);

impl Epoch {
    /// Letters of a name.
    pub(crate) const LETTERS: usize = 6;

    /// Bits of a letter.
    const BITS: u32 = 5;

    /// The alphabet: without letters that are easily confused.
    const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

    /// The epoch with a name of six letters, made of the lower 30 bits.
    #[must_use]
    pub const fn from_random(bits: u32) -> Self {
        Self(bits & ((1 << (Self::LETTERS as u32 * Self::BITS)) - 1))
    }

    /// The letters of its name.
    pub(crate) fn letters(self) -> [u8; Self::LETTERS] {
        let mut rest = self.0;
        let mut letters = [0; Self::LETTERS];
        for letter in letters.iter_mut().rev() {
            *letter = Self::ALPHABET[(rest & 31) as usize];
            rest >>= Self::BITS;
        }
        letters
    }

    /// The epoch with this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        if name.len() != Self::LETTERS {
            return None;
        }
        let bits = name.bytes().try_fold(0, |bits, letter| {
            let index = Self::ALPHABET.iter().position(|other| *other == letter)?;
            Some(bits << Self::BITS | u32::try_from(index).ok()?)
        });
        bits.map(Self)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.letters()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn positions_stay_exact_as_a_double() {
        assert_eq!(Position::new(0), Some(Position::START));
        assert_eq!(Position::new(1 << 53), None);
        assert_eq!(Position::MAX.get() as f64 as u64, Position::MAX.get());
        assert_eq!(Position::START.next().get(), 1);
        assert_eq!(Position::MAX.next(), Position::MAX);
        assert_eq!(Position::MAX.to_string(), "9007199254740991");
    }

    #[test]
    fn every_bit_of_an_epoch_shows_in_its_name() {
        let bits = (0..30).map(|bit| 1 << bit).chain([0, u32::MAX]);
        let names: HashSet<_> = bits
            .map(|bits| Epoch::from_random(bits).to_string())
            .collect();
        assert_eq!(names.len(), 32);
        assert!(names.iter().all(|name| name.len() == 6));
        assert_eq!(Epoch::from_random(0).to_string(), "aaaaaa");
        assert_eq!(Epoch::from_random(u32::MAX).to_string(), "999999");
    }

    #[test]
    fn an_epoch_is_found_by_its_name() {
        for bits in (0..30).map(|bit| 1 << bit).chain([0, u32::MAX]) {
            let epoch = Epoch::from_random(bits);
            assert_eq!(Epoch::parse(&epoch.to_string()), Some(epoch));
        }
        for name in [
            "", "aaaaa", "aaaaaaa", "aaaaal", "aaaaa0", "AAAAAA", "aaaaä",
        ] {
            assert_eq!(Epoch::parse(name), None, "{name}");
        }
    }
}
