//! What was in the log before the first record that a node reads back: a state machine without clock,
//! socket or runtime.
//!
//! Of what the log dropped nothing is known, except for what nodes noted in their beacons: the last
//! entry that they had, and up to which position the log has none after it. So a cursor stays good
//! in a log in which nothing was published for longer than it retains its records.

use ht_proto::cursor::{Check, Cursor};
use ht_proto::entry::{Epoch, Position};
use ht_proto::note::{Beacon, LastEntry, Note, Report};

/// What was before.
#[derive(Debug, Default)]
pub(super) struct Before {
    /// The position before the first record.
    upto: Option<Position>,
    /// The last entry up to there.
    last: Option<Cursor>,
    is_told: bool,
}

impl Before {
    /// A record was read: the first one counts.
    pub(super) fn read(&mut self, position: Option<Position>) {
        if let Some(before) = position.and_then(Position::previous) {
            self.upto.get_or_insert(before);
        }
    }

    /// A note was read, in this epoch of the log.
    pub(super) fn noted(&mut self, note: &Note, epoch: Option<Epoch>) {
        let Report::Beacon(Beacon {
            last: Some(LastEntry { cursor, read }),
            ..
        }) = note.report
        else {
            return;
        };
        let reaches = |upto| cursor.position <= upto && upto <= read;
        if Some(cursor.epoch) == epoch && self.upto.is_some_and(reaches) {
            self.last = Some(cursor);
        }
    }

    /// The position after which something is known, and the check of the entry there; once.
    pub(super) fn take(&mut self) -> Option<(Position, Option<Check>)> {
        let upto = self.upto?;
        if std::mem::replace(&mut self.is_told, true) {
            return None;
        }
        Some(match self.last {
            Some(last) => (last.position, Some(last.check)),
            None if upto == Position::START => (upto, Some(Check::NONE)),
            None => (upto, None),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(number: u64) -> Position {
        Position::new(number).unwrap()
    }

    fn cursor(epoch: u32, number: u64) -> Cursor {
        Cursor {
            epoch: Epoch::from_random(epoch),
            position: at(number),
            check: Check::of(&number.to_be_bytes()),
            part: None,
        }
    }

    fn beacon(cursor: Cursor, read: u64) -> Note {
        let last = LastEntry {
            cursor,
            read: at(read),
        };
        Note {
            node: "a".into(),
            boot: "a".into(),
            report: Report::Beacon(Beacon {
                last: Some(last),
                ..Beacon::default()
            }),
        }
    }

    #[test]
    fn beginning_of_a_log_is_known() {
        let mut before = Before::default();
        assert_eq!(before.take(), None, "nothing was read");
        before.read(Some(at(1)));
        before.read(Some(at(2)));
        assert_eq!(before.take(), Some((at(0), Some(Check::NONE))));
        assert_eq!(before.take(), None, "once");
    }

    #[test]
    fn entry_is_known_if_a_beacon_has_none_between_it_and_the_first_record() {
        let last = cursor(7, 40);
        for (noted, read, is_known) in [
            (last, 99, true),
            (last, 120, true),
            (cursor(7, 99), 99, true),
            // Some may have come after that.
            (last, 98, false),
            // It is read back itself.
            (cursor(7, 100), 120, false),
            (cursor(8, 40), 120, false),
        ] {
            let mut before = Before::default();
            before.read(Some(at(100)));
            before.noted(&beacon(noted, read), Some(Epoch::from_random(7)));
            let expected = match is_known {
                true => (noted.position, Some(noted.check)),
                false => (at(99), None),
            };
            assert_eq!(before.take(), Some(expected), "{noted} {read}");
        }
    }
}
