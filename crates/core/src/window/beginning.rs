//! Where a window begins.

use ht_proto::cursor::Check;
use ht_proto::entry::Epoch;

/// Where the window of an epoch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beginning {
    /// The epoch: it names the positions in cursors.
    pub epoch: Epoch,
    /// What a position is greater by here than in the log. Positions grow within a process, also
    /// where a later epoch has smaller ones.
    pub base: u64,
    /// The position of the last entry before the window.
    pub start: u64,
    /// Its check; none: it is not known.
    pub check: Option<Check>,
}

impl Beginning {
    /// The beginning of the log: no entry is before it.
    #[must_use]
    pub const fn of(epoch: Epoch) -> Self {
        Self {
            epoch,
            base: 0,
            start: 0,
            check: Some(Check::NONE),
        }
    }

    /// The same at another position of the process.
    #[must_use]
    pub const fn based(self, base: u64) -> Self {
        Self {
            base,
            start: base,
            ..self
        }
    }
}
