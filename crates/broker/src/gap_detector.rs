//! Detects messages missing from a node's queue: the numbers of the messages that the node
//! publishes, and the holes in those that it consumes. A state machine without clock, socket, lock
//! or runtime.

use std::time::Duration;

use uuid::Uuid;

use crate::holes::{Found, Holes};
use crate::missed::{Missed, MissedReason};
use crate::numbers::{Line, Numbers, Sequence, Serial};

/// Numbers the messages that one node publishes, and detects missing numbers in those that it
/// consumes.
#[derive(Debug)]
pub struct GapDetector {
    numbers: Numbers,
    holes: Holes,
}

impl GapDetector {
    /// Nothing is published or consumed yet. `node` identifies this run of the node.
    #[must_use]
    pub fn new(node: Uuid) -> Self {
        Self {
            numbers: Numbers::new(node),
            holes: Holes::default(),
        }
    }

    /// A new queue is bound at the time `now`. Earlier messages prove nothing about it, and are
    /// part of the gap that is reported now.
    pub fn queue_bound(&mut self, now: Duration) {
        let last = self.numbers.last_used();
        self.holes.begin(self.numbers.node(), last, now);
        self.holes.reported(last);
    }

    /// The queue is bound again, and a gap is reported: messages published from now on arrive.
    pub fn reported(&mut self) {
        self.holes.reported(self.numbers.last_used());
    }

    /// A numbered message arrived. Returns the gap if messages before it are missing. `now` is the
    /// time of any monotonic clock.
    pub fn arrived(&mut self, sequence: &Sequence, now: Duration) -> Option<Missed> {
        let own = sequence.node == self.numbers.node();
        let found = self.holes.note(sequence, now);
        if found == Found::Missing {
            let last = self.numbers.last_used();
            self.holes.reported_by(sequence.node, last);
        }
        if own {
            self.numbers.came_back(sequence.serial);
        }
        let (reason, whose) = match found {
            Found::Nothing => return None,
            // Only an unbound queue misses messages of its own node.
            Found::Missing if own => (MissedReason::BindingLost, "of this node's own".to_owned()),
            Found::Missing => (
                MissedReason::Skipped,
                format!("of the node {}", sequence.node),
            ),
            Found::Doubtful => (
                MissedReason::Skipped,
                "that other nodes published shortly before or after the last gap".to_owned(),
            ),
        };
        let cause = format!("messages {whose} are missing in this node's queue");
        Some(Missed { reason, cause })
    }

    /// A new publishing connection.
    pub fn open_line(&mut self) -> Line {
        self.numbers.open_line()
    }

    /// The sequence to state in the next message of a line.
    #[must_use]
    pub fn next(&self, line: &Line) -> Sequence {
        self.numbers.next(line)
    }

    /// The message that states this, the next one of its line, is on its way.
    pub fn used(&mut self, line: &mut Line, sequence: &Sequence) {
        self.numbers.used(line, sequence);
    }

    /// The engine has confirmed a message of this node.
    pub fn confirmed(&mut self, serial: Serial) {
        self.numbers.confirmed(serial);
    }

    /// The last own message that was read back.
    #[must_use]
    pub fn last_back(&self) -> Serial {
        self.numbers.last_back()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::ZERO;

    fn publish(node: &mut GapDetector, line: &mut Line) -> Sequence {
        let sequence = node.next(line);
        node.used(line, &sequence);
        sequence
    }

    fn reason(node: &mut GapDetector, sequence: &Sequence) -> Option<MissedReason> {
        node.arrived(sequence, NOW).map(|missed| missed.reason)
    }

    #[test]
    fn a_hole_is_reported_once_with_its_reason() {
        let [mut own, mut other] = [1, 2].map(|id| GapDetector::new(Uuid::from_u128(id)));
        own.queue_bound(NOW);
        let (mut line, mut theirs) = (own.open_line(), other.open_line());
        for _ in 0..2 {
            let sequence = publish(&mut own, &mut line);
            assert_eq!(reason(&mut own, &sequence), None);
            let sequence = publish(&mut other, &mut theirs);
            assert_eq!(reason(&mut own, &sequence), None);
        }
        assert_eq!(own.last_back().number, 2);
        // One of the other node is lost.
        publish(&mut other, &mut theirs);
        let sequence = publish(&mut other, &mut theirs);
        let found = reason(&mut own, &sequence);
        assert_eq!(found, Some(MissedReason::Skipped));
        // One of each is lost: the own one shows it, and the other's belongs to the same gap.
        publish(&mut own, &mut line);
        publish(&mut other, &mut theirs);
        let sequence = publish(&mut own, &mut line);
        let found = reason(&mut own, &sequence);
        assert_eq!(found, Some(MissedReason::BindingLost));
        let sequence = publish(&mut other, &mut theirs);
        assert_eq!(reason(&mut own, &sequence), None);
    }

    #[test]
    fn a_loss_shortly_after_a_gap_is_reported_within_seconds() {
        let [mut own, mut other] = [1, 2].map(|id| GapDetector::new(Uuid::from_u128(id)));
        own.queue_bound(NOW);
        let (mut line, mut theirs) = (own.open_line(), other.open_line());
        for _ in 0..2 {
            let sequence = publish(&mut other, &mut theirs);
            assert_eq!(reason(&mut own, &sequence), None);
        }
        own.reported();
        let sequence = publish(&mut own, &mut line);
        assert_eq!(reason(&mut own, &sequence), None);
        // Lost behind the gap; the next one cannot show that it was not a part of it.
        publish(&mut other, &mut theirs);
        let sequence = publish(&mut other, &mut theirs);
        assert_eq!(reason(&mut own, &sequence), None);
        let mut heartbeat = |seconds| {
            let sequence = publish(&mut own, &mut line);
            let missed = own.arrived(&sequence, Duration::from_secs(seconds));
            missed.map(|missed| missed.reason)
        };
        assert_eq!(heartbeat(9), None);
        assert_eq!(heartbeat(10), Some(MissedReason::Skipped));
        assert_eq!(heartbeat(30), None, "once");
    }

    #[test]
    fn a_new_queue_has_missed_nothing_of_its_own() {
        let mut node = GapDetector::new(Uuid::from_u128(1));
        let mut line = node.open_line();
        for _ in 0..3 {
            publish(&mut node, &mut line);
        }
        node.queue_bound(NOW);
        let sequence = publish(&mut node, &mut line);
        assert_eq!(reason(&mut node, &sequence), None);
        publish(&mut node, &mut line);
        node.reported();
        let sequence = publish(&mut node, &mut line);
        assert_eq!(reason(&mut node, &sequence), None, "reported already");
    }

    /// Each message takes a connection of its own here.
    #[test]
    fn what_was_confirmed_and_not_read_back_is_missing_over_another_connection() {
        let mut own = GapDetector::new(Uuid::from_u128(1));
        own.queue_bound(NOW);
        let over_another = |own: &mut GapDetector| {
            let mut line = own.open_line();
            publish(own, &mut line)
        };
        let first = over_another(&mut own);
        assert_eq!(reason(&mut own, &first), None);
        // Never confirmed: perhaps it was in no queue.
        over_another(&mut own);
        let sequence = over_another(&mut own);
        assert_eq!(reason(&mut own, &sequence), None);
        let lost = over_another(&mut own);
        own.confirmed(lost.serial);
        let sequence = over_another(&mut own);
        let found = reason(&mut own, &sequence);
        assert_eq!(found, Some(MissedReason::BindingLost));
    }
}
