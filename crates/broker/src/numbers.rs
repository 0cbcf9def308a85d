//! Numbers on the messages that a node publishes, so that every consumer detects missing ones: a
//! state machine without clock, socket, lock or runtime.
//!
//! A node numbers the messages that it publishes over one connection (a *line*) from 1. An engine
//! delivers the messages of one connection to one queue in order, so a number that skips others
//! means that messages in between did not reach this queue. The sequence stated in a message, as
//! text:
//!
//! `<node> <line> <number> [<line> <number>]`
//!
//! The first message of a line also carries the last serial of the lines before that reached a queue:
//! it was read back by its own publisher, or the engine confirmed it. Only messages up to there can
//! be missing. If more of them are known to have later, the next message carries that.

use std::fmt;

use uuid::Uuid;

/// Longest text that is read, in bytes: 32 for the node, 4 numbers, blanks.
const TEXT_MAX: usize = 100;

/// Position of a message among those of its node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial {
    /// Counts the node's publishing connections, from 1.
    pub line: u32,
    /// Counts the messages of one connection, from 1.
    pub number: u64,
}

/// The sequence stated in a numbered message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sequence {
    /// One life of one node.
    pub node: Uuid,
    /// Its position among the messages of that node.
    pub serial: Serial,
    /// The last serial of an older line that is known to have reached a queue. On the first message
    /// of a line, and on later ones if it has changed.
    pub after: Option<Serial>,
}

impl Sequence {
    /// Parses the sequence stated in a message; `None` if it is malformed.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > TEXT_MAX {
            return None;
        }
        let mut words = text.split(' ');
        let node = Uuid::try_parse(words.next()?).ok()?;
        let serial = Serial::parse(&mut words)?;
        let mut rest = words.peekable();
        let after = match rest.peek() {
            Some(_) => Some(Serial::parse(&mut rest)?),
            None => None,
        };
        rest.next().is_none().then_some(Self {
            node,
            serial,
            after,
        })
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Serial { line, number } = self.serial;
        write!(f, "{} {line} {number}", self.node.simple())?;
        if let Some(Serial { line, number }) = self.after {
            write!(f, " {line} {number}")?;
        }
        Ok(())
    }
}

impl Serial {
    fn parse<'a>(words: &mut impl Iterator<Item = &'a str>) -> Option<Self> {
        let line = words.next()?.parse().ok()?;
        let number = words.next()?.parse().ok()?;
        Some(Self { line, number })
    }

    /// The serial after this one in its line.
    #[must_use]
    pub const fn next(self) -> Self {
        Self {
            line: self.line,
            number: self.number.saturating_add(1),
        }
    }
}

/// Numbers the messages that one node publishes.
#[derive(Debug)]
pub struct Numbers {
    node: Uuid,
    lines: u32,
    used: Serial,
    back: Serial,
    /// The last serial that the engine has confirmed.
    confirmed: Serial,
    /// The last serial of the lines before the newest that reached a queue.
    older: Serial,
}

/// The numbers of one publishing connection.
#[derive(Debug)]
pub struct Line {
    last: Serial,
    /// The serial of older lines that its messages stated last.
    stated: Serial,
}

impl Numbers {
    /// Nothing is published yet. `node` identifies this run of the node.
    #[must_use]
    pub fn new(node: Uuid) -> Self {
        Self {
            node,
            lines: 0,
            used: Serial::default(),
            back: Serial::default(),
            confirmed: Serial::default(),
            older: Serial::default(),
        }
    }

    /// This life of the node.
    #[must_use]
    pub fn node(&self) -> Uuid {
        self.node
    }

    /// A new publishing connection.
    pub fn open_line(&mut self) -> Line {
        self.lines = self.lines.saturating_add(1);
        self.older = self.older.max(self.back).max(self.confirmed);
        Line {
            last: Serial {
                line: self.lines,
                number: 0,
            },
            stated: Serial::default(),
        }
    }

    /// The sequence to state in the next message of a line.
    #[must_use]
    pub fn next(&self, line: &Line) -> Sequence {
        let serial = line.last.next();
        let is_newest = serial.line == self.lines;
        let states = serial.number == 1 || is_newest && self.older > line.stated;
        Sequence {
            node: self.node,
            serial,
            after: states.then_some(self.older),
        }
    }

    /// The message that states this, the next one of its line, is on its way.
    pub fn used(&mut self, line: &mut Line, sequence: &Sequence) {
        line.last = line.last.next();
        if let Some(after) = sequence.after {
            line.stated = after;
        }
        self.used = line.last;
    }

    /// The last serial that was used: later messages have greater ones.
    #[must_use]
    pub fn last_used(&self) -> Serial {
        self.used
    }

    /// A message of this node was read back. Returns whether it is later than all before it.
    pub fn came_back(&mut self, serial: Serial) -> bool {
        self.reached(serial);
        let newer = serial > self.back;
        if newer {
            self.back = serial;
        }
        newer
    }

    /// The engine has confirmed a message of this node: it is in every queue that was bound then,
    /// whether or not this node's own was.
    pub fn confirmed(&mut self, serial: Serial) {
        self.reached(serial);
        self.confirmed = self.confirmed.max(serial);
    }

    fn reached(&mut self, serial: Serial) {
        if serial.line < self.lines {
            self.older = self.older.max(serial);
        }
    }

    /// The last serial that was read back.
    #[must_use]
    pub fn last_back(&self) -> Serial {
        self.back
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: u32, number: u64) -> Serial {
        Serial { line, number }
    }

    #[test]
    fn a_sequence_is_read_as_it_was_written() {
        let node = Uuid::new_v4();
        for after in [None, Some(at(0, 0)), Some(at(u32::MAX, u64::MAX))] {
            for serial in [at(1, 1), at(u32::MAX, u64::MAX)] {
                let sequence = Sequence {
                    node,
                    serial,
                    after,
                };
                let text = sequence.to_string();
                assert!(text.len() <= TEXT_MAX, "{text}");
                assert_eq!(Sequence::parse(&text), Some(sequence));
            }
        }
    }

    #[test]
    fn headers_of_others_are_ignored() {
        let node = Uuid::new_v4().simple();
        for text in [
            String::new(),
            "1".into(),
            node.to_string(),
            format!("{node} 1"),
            format!("{node} 1 x"),
            format!("{node} -1 1"),
            format!("{node} 1 1 1"),
            format!("{node} 1 1 1 1 1"),
            format!("{node}  1 1"),
            format!("{node} 1 99999999999999999999"),
            "x".repeat(10_000),
        ] {
            assert_eq!(Sequence::parse(&text), None, "{text}");
        }
    }

    #[test]
    fn a_line_begins_with_the_last_serial_read_back() {
        let mut numbers = Numbers::new(Uuid::new_v4());
        let mut first = numbers.open_line();
        assert_eq!(numbers.next(&first).serial, at(1, 1));
        assert_eq!(numbers.next(&first).after, Some(at(0, 0)));
        assert_eq!(numbers.next(&first).serial, at(1, 1), "not used yet");
        for _ in 0..3 {
            let sequence = numbers.next(&first);
            numbers.used(&mut first, &sequence);
        }
        assert_eq!(numbers.last_used(), at(1, 3));
        let next = numbers.next(&first);
        assert_eq!((next.serial, next.after), (at(1, 4), None));
        assert!(numbers.came_back(at(1, 2)));
        assert!(!numbers.came_back(at(1, 1)), "late");
        let second = numbers.open_line();
        assert_eq!(numbers.next(&second).after, Some(at(1, 2)));
        assert_eq!(numbers.last_back(), at(1, 2));
    }

    #[test]
    fn a_line_begins_with_the_last_serial_confirmed() {
        let mut numbers = Numbers::new(Uuid::new_v4());
        let mut first = numbers.open_line();
        for _ in 0..3 {
            let sequence = numbers.next(&first);
            numbers.used(&mut first, &sequence);
        }
        numbers.came_back(at(1, 1));
        numbers.confirmed(at(1, 2));
        assert_eq!(numbers.last_back(), at(1, 1), "nothing more was read back");
        let mut second = numbers.open_line();
        let sequence = numbers.next(&second);
        assert_eq!(sequence.after, Some(at(1, 2)));
        numbers.used(&mut second, &sequence);
        numbers.confirmed(at(1, 3));
        assert_eq!(numbers.next(&second).after, Some(at(1, 3)), "late");
    }

    #[test]
    fn a_late_serial_of_an_older_line_is_stated_once() {
        let mut numbers = Numbers::new(Uuid::new_v4());
        let mut first = numbers.open_line();
        for _ in 0..3 {
            let sequence = numbers.next(&first);
            numbers.used(&mut first, &sequence);
        }
        let mut second = numbers.open_line();
        let mut publish = |numbers: &mut Numbers| {
            let sequence = numbers.next(&second);
            numbers.used(&mut second, &sequence);
            sequence.after
        };
        assert_eq!(publish(&mut numbers), Some(at(0, 0)));
        numbers.came_back(at(1, 1));
        numbers.came_back(at(1, 3));
        assert_eq!(publish(&mut numbers), Some(at(1, 3)));
        assert_eq!(publish(&mut numbers), None);
        numbers.came_back(at(2, 1));
        assert_eq!(publish(&mut numbers), None, "not of an older line");
        // Messages that are still published over the first one state nothing of it.
        assert_eq!(numbers.next(&first).after, None);
    }
}
