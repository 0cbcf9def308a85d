//! Which epoch a log has, as its readers find out: a state machine without clock, socket, lock or
//! runtime.
//!
//! A log that gives positions carries the name of its epoch in notes: each node's beacon states it,
//! and a node that finds none, or another log than the one that it has read, appends a new one. The
//! greatest name that a node has read is in force from there on. So every node takes a new epoch at
//! the same place, two nodes that make one at once agree, and a beacon that was late changes nothing.
//!
//! A log that lost its end may have lost records that other nodes had read, and this one had not: only
//! the epoch that another node makes tells it. So the clients are told of every epoch that ends another,
//! but for a second name of what followed one loss: both names follow the same epoch.

use ht_proto::entry::Epoch;
use ht_proto::note::{EpochName, Follows};

/// The epoch of a log.
#[derive(Debug, Default)]
pub struct Epochs {
    /// The greatest that was read.
    greatest: Option<EpochName>,
    /// It is the one of this log.
    is_known: bool,
    /// What it follows.
    follows: Follows,
}

/// A name of the epoch that has come into force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begun {
    /// The epoch.
    pub epoch: Epoch,
    /// The log had another one before.
    pub ends_another: bool,
    /// That followed the same one, so that nothing was lost between the two.
    pub is_second_name: bool,
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

    /// A note in the log states this epoch, which follows that one. Returns it if it comes into force
    /// here.
    pub fn stated(&mut self, name: EpochName, follows: Follows) -> Option<Begun> {
        if !self.is_later(name) {
            return None;
        }
        let ends_another = self.is_known;
        let is_same = follows != Follows::Unknown && follows == self.follows;
        self.follows = match follows {
            Follows::Unknown => self
                .greatest
                .map_or(Follows::Unknown, |name| Follows::Epoch(name.epoch)),
            Follows::Nothing | Follows::Epoch(_) => follows,
        };
        self.greatest = Some(name);
        self.is_known = true;
        Some(Begun {
            epoch: name.epoch,
            ends_another,
            is_second_name: ends_another && is_same,
        })
    }

    /// What an epoch follows that is made now.
    #[must_use]
    pub fn follows(&self) -> Follows {
        self.greatest
            .map_or(Follows::Nothing, |name| Follows::Epoch(name.epoch))
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

    const UNKNOWN: Follows = Follows::Unknown;

    fn after(epoch: u32) -> Follows {
        Follows::Epoch(Epoch::from_random(epoch))
    }

    #[test]
    fn the_first_name_is_that_of_all_that_was_read() {
        let mut epochs = Epochs::default();
        assert_eq!(epochs.current(), None);
        let begun = Begun {
            epoch: Epoch::from_random(3),
            ends_another: false,
            is_second_name: false,
        };
        assert_eq!(epochs.stated(name(5, 3), UNKNOWN), Some(begun));
        assert_eq!(epochs.stated(name(5, 3), UNKNOWN), None, "another beacon");
        assert_eq!(epochs.current(), Some(name(5, 3)));
    }

    #[test]
    fn the_greatest_name_wins_wherever_a_node_begins_to_read() {
        let log = [name(5, 3), name(6, 1), name(5, 3), name(6, 2), name(6, 1)];
        for begin in 0..4 {
            let mut epochs = Epochs::default();
            for stated in &log[begin..] {
                epochs.stated(*stated, UNKNOWN);
            }
            assert_eq!(epochs.current(), Some(name(6, 2)), "from {begin}");
        }
    }

    #[test]
    fn another_log_needs_a_later_name() {
        let mut epochs = Epochs::default();
        assert_eq!(epochs.follows(), Follows::Nothing);
        epochs.stated(name(5, 3), Follows::Nothing);
        epochs.rewound();
        assert_eq!(epochs.current(), None);
        assert_eq!(epochs.follows(), after(3));
        let former = epochs.stated(name(5, 3), Follows::Nothing);
        assert_eq!(former, None, "of the former log");
        assert_eq!(epochs.current(), None);
        // Also where the clock went back.
        let proposed = epochs.propose(2, 9);
        assert_eq!(proposed, name(6, 9));
        assert_eq!(epochs.propose(70, 9), name(70, 9));
        let begun = epochs.stated(proposed, after(3)).unwrap();
        assert!(!begun.ends_another, "the interruption was told before");
        assert_eq!(epochs.current(), Some(proposed));
        let begun = epochs.stated(name(8, 1), after(9)).unwrap();
        assert!(begun.ends_another && !begun.is_second_name);
    }

    #[test]
    fn two_names_of_what_followed_one_loss_are_one_epoch_and_two_losses_are_not() {
        for (first, follows, second, is_second_name) in [
            // Two nodes begin at once.
            (Follows::Nothing, Follows::Nothing, name(9, 2), true),
            // Two nodes find one loss at once.
            (after(7), after(7), name(9, 2), true),
            // This node had read nothing of what the second loss took.
            (after(7), after(1), name(9, 2), false),
            // One of an older version does not say.
            (after(7), UNKNOWN, name(9, 2), false),
            (UNKNOWN, UNKNOWN, name(9, 2), false),
        ] {
            let mut epochs = Epochs::default();
            epochs.stated(name(5, 1), first);
            let begun = epochs.stated(second, follows).unwrap();
            let found = (begun.ends_another, begun.is_second_name);
            assert_eq!(found, (true, is_second_name), "{first:?} {follows:?}");
        }
        // It has found the loss itself, and its own name comes first.
        let mut epochs = Epochs::default();
        epochs.stated(name(5, 1), Follows::Nothing);
        epochs.rewound();
        let own = epochs.propose(8, 2);
        assert!(!epochs.stated(own, epochs.follows()).unwrap().ends_another);
        assert!(epochs.stated(name(9, 3), after(1)).unwrap().is_second_name);
        // The next loss follows the last of these names.
        let begun = epochs.stated(name(10, 4), after(3)).unwrap();
        assert!(begun.ends_another && !begun.is_second_name);
    }
}
