//! The numbers of gaps: which connections may have missed publications.
//!
//! Gaps are numbered from 1. A connection stores the last one before it opened, so that a gap
//! concerns exactly those that were open when it was detected.

use std::sync::atomic::{AtomicU32, Ordering};

/// The gaps of a node.
#[derive(Debug)]
pub struct Gaps {
    /// The number of the last gap; 0 before the first.
    last: AtomicU32,
    /// The same, of each shard.
    shards: Vec<AtomicU32>,
}

impl Gaps {
    /// No gap yet.
    #[must_use]
    pub fn new(shards: usize) -> Self {
        Self {
            last: AtomicU32::new(0),
            shards: (0..shards).map(|_| AtomicU32::new(0)).collect(),
        }
    }

    /// The number of the last gap: a connection that opens now is after it.
    #[must_use]
    pub fn last(&self) -> u32 {
        self.last.load(Ordering::SeqCst)
    }

    /// The number of the last gap that concerns this shard; 0 before the first.
    #[must_use]
    pub fn of_shard(&self, shard: usize) -> u32 {
        self.shards[shard].load(Ordering::SeqCst)
    }

    /// The number of a gap that concerns one tenant: no shard's last one is it.
    pub fn next(&self) -> u32 {
        self.last.fetch_add(1, Ordering::SeqCst).saturating_add(1)
    }

    /// The connections of these shards that are open now may have missed publications.
    pub fn note(&self, concerned: impl Fn(usize) -> bool) {
        let number = self.next();
        for (index, shard) in self.shards.iter().enumerate() {
            if concerned(index) {
                shard.fetch_max(number, Ordering::SeqCst);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_concerns_all_shards_or_one() {
        let gaps = Gaps::new(3);
        let shards = || [0, 1, 2].map(|shard| gaps.of_shard(shard));
        assert_eq!((gaps.last(), shards()), (0, [0, 0, 0]));
        gaps.note(|_| true);
        assert_eq!((gaps.last(), shards()), (1, [1, 1, 1]));
        gaps.note(|shard| shard == 1);
        assert_eq!((gaps.last(), shards()), (2, [1, 2, 1]));
    }
}
