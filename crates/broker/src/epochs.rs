//! Which epoch a log has, as its readers find out: a state machine without clock, socket, lock or
//! runtime.
//!
//! A log that gives positions carries the name of its epoch in notes: each node's beacon states it,
//! and a node that finds none, or another log than the one that it has read, appends a new one. The
//! greatest name that a node has read is in force from there on. So every node takes a new epoch at
//! the same place, two nodes that make one at once agree, and a beacon that was late changes nothing.

use ht_proto::entry::Epoch;
use ht_proto::note::EpochName;

/// The epoch of a log.
#[derive(Debug, Default)]
pub struct Epochs {
    /// The greatest that was read.
    greatest: Option<EpochName>,
    /// It is the one of this log.
    is_known: bool,
}

/// A name of the epoch that has come into force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begun {
    /// The epoch.
    pub epoch: Epoch,
    /// The log had another one before.
    pub ends_another: bool,
}

impl Epochs {
    /// The log's epoch, if it is known.
    #[must_use]
    pub fn current(&self) -> Option<EpochName> {
        self.greatest.filter(|_| self.is_known)
    }

    /// Whether this name would come into force.
    #[must_use]
    pub fn is_later(&self, name: EpochName) -> bool {
        self.greatest.is_none_or(|greatest| name > greatest)
    }

    /// A note in the log states this epoch. Returns it if it comes into force here.
    pub fn stated(&mut self, name: EpochName) -> Option<Begun> {
        if !self.is_later(name) {
            return None;
        }
        let ends_another = self.is_known;
        self.greatest = Some(name);
        self.is_known = true;
        Some(Begun {
            epoch: name.epoch,
            ends_another,
        })
    }

    /// The log is another one than before, or has lost its end: it needs a later epoch, whoever
    /// makes it.
    pub fn rewound(&mut self) {
        self.is_known = false;
    }

    /// A new epoch, later than any that is known. `now` is in milliseconds since 1970.
    #[must_use]
    pub fn propose(&self, now: u64, random: u32) -> EpochName {
        let later = self.greatest.map_or(0, |name| name.made.saturating_add(1));
        EpochName {
            made: now.max(later),
            epoch: Epoch::from_random(random),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(made: u64, epoch: u32) -> EpochName {
        EpochName {
            made,
            epoch: Epoch::from_random(epoch),
        }
    }

    #[test]
    fn the_first_name_is_that_of_all_that_was_read() {
        let mut epochs = Epochs::default();
        assert_eq!(epochs.current(), None);
        let begun = Begun {
            epoch: Epoch::from_random(3),
            ends_another: false,
        };
        assert_eq!(epochs.stated(name(5, 3)), Some(begun));
        assert_eq!(epochs.stated(name(5, 3)), None, "another beacon");
        assert_eq!(epochs.current(), Some(name(5, 3)));
    }

    #[test]
    fn the_greatest_name_wins_wherever_a_node_begins_to_read() {
        let log = [name(5, 3), name(6, 1), name(5, 3), name(6, 2), name(6, 1)];
        for begin in 0..4 {
            let mut epochs = Epochs::default();
            for stated in &log[begin..] {
                epochs.stated(*stated);
            }
            assert_eq!(epochs.current(), Some(name(6, 2)), "from {begin}");
        }
    }

    #[test]
    fn another_log_needs_a_later_name() {
        let mut epochs = Epochs::default();
        epochs.stated(name(5, 3));
        epochs.rewound();
        assert_eq!(epochs.current(), None);
        assert_eq!(epochs.stated(name(5, 3)), None, "of the former log");
        assert_eq!(epochs.current(), None);
        // Also where the clock went back.
        let proposed = epochs.propose(2, 9);
        assert_eq!(proposed, name(6, 9));
        assert_eq!(epochs.propose(70, 9), name(70, 9));
        let begun = epochs.stated(proposed).unwrap();
        assert!(!begun.ends_another, "the interruption was told before");
        assert_eq!(epochs.current(), Some(proposed));
        assert!(epochs.stated(name(8, 1)).unwrap().ends_another);
    }
}
