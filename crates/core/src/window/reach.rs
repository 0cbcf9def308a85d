//! How far back a window reaches.

/// The moment since which a window has everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// The moment, in milliseconds.
    pub at: u64,
    /// Entries of before were dropped; otherwise some never arrived.
    pub is_dropped: bool,
}

impl Reach {
    /// The last entry that was dropped was appended at this moment.
    pub(super) const fn dropped(at: u64) -> Self {
        Self {
            at,
            is_dropped: true,
        }
    }

    /// Entries are missing up to this moment.
    pub(super) const fn missed(at: u64) -> Self {
        Self {
            at,
            is_dropped: false,
        }
    }

    /// The same after another entry was dropped, which was appended at this moment.
    pub(super) fn later(reach: Option<Self>, at: u64) -> Option<Self> {
        let dropped = Self::dropped(at);
        Some(reach.filter(|reach| reach.at > at).unwrap_or(dropped))
    }
}
