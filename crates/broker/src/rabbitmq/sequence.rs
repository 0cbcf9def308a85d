//! Numbers on the messages that a node publishes, so that every consumer notices what is missing.
//!
//! A node numbers what it publishes over one connection (a *line*) from 1. RabbitMQ delivers what
//! one channel published to one queue in order, so a number that is not the next one means that
//! messages in between did not reach this queue. The number travels in a header, which other
//! gateways and publishers pass over:
//!
//! `high-templar-sequence: <node> <line> <number> [<line> <number>]`
//!
//! The first message of a line also carries the last position that came back to its own publisher
//! from the lines before: only up to there messages of an older line were confirmed to anybody, so
//! only they can be missed.

use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use lapin::message::Delivery;
use lapin::types::{AMQPValue, FieldTable};
use tokio::sync::watch;
use uuid::Uuid;

/// The header's name.
const HEADER: &str = "high-templar-sequence";

/// Longest header value that is read, in bytes: 32 for the node, 4 numbers, blanks.
const VALUE_MAX: usize = 100;

/// Where a message stands among those of its node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Position {
    /// Counts the node's publishing connections, from 1.
    pub(super) line: u32,
    /// Counts the messages of one connection, from 1.
    pub(super) number: u64,
}

/// What a numbered message says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sequence {
    /// One life of one node.
    pub(super) node: Uuid,
    pub(super) position: Position,
    /// The last position of an older line that came back to its publisher. On the first message of
    /// a line only.
    pub(super) after: Option<Position>,
}

impl Sequence {
    /// The sequence of a message; none where it carries none or one that makes no sense.
    pub(super) fn of(delivery: &Delivery) -> Option<Self> {
        let headers = delivery.properties.headers().as_ref()?;
        let AMQPValue::LongString(value) = headers.inner().get(HEADER)? else {
            return None;
        };
        std::str::from_utf8(value.as_bytes())
            .ok()
            .and_then(Self::parse)
    }

    fn parse(text: &str) -> Option<Self> {
        if text.len() > VALUE_MAX {
            return None;
        }
        let mut words = text.split(' ');
        let node = Uuid::try_parse(words.next()?).ok()?;
        let position = Position::parse(&mut words)?;
        let mut rest = words.peekable();
        let after = match rest.peek() {
            Some(_) => Some(Position::parse(&mut rest)?),
            None => None,
        };
        rest.next().is_none().then_some(Self {
            node,
            position,
            after,
        })
    }

    /// The headers to publish with.
    pub(super) fn headers(&self) -> FieldTable {
        let mut headers = FieldTable::default();
        let value = AMQPValue::LongString(self.to_string().into());
        headers.insert(HEADER.into(), value);
        headers
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Position { line, number } = self.position;
        write!(f, "{} {line} {number}", self.node.simple())?;
        if let Some(Position { line, number }) = self.after {
            write!(f, " {line} {number}")?;
        }
        Ok(())
    }
}

impl Position {
    fn parse<'a>(words: &mut impl Iterator<Item = &'a str>) -> Option<Self> {
        let line = words.next()?.parse().ok()?;
        let number = words.next()?.parse().ok()?;
        Some(Self { line, number })
    }

    /// The position after this one in its line.
    pub(super) const fn next(self) -> Self {
        Self {
            line: self.line,
            number: self.number.saturating_add(1),
        }
    }
}

/// Numbers what this node publishes.
#[derive(Debug)]
pub(super) struct Numbering {
    pub(super) node: Uuid,
    lines: AtomicU32,
    /// The last position that came back.
    back: watch::Sender<Position>,
}

/// The numbers of one publishing connection. Only whoever holds the connection's turn uses them.
#[derive(Debug)]
pub(super) struct LineNumbers {
    line: u32,
    last: AtomicU64,
}

impl Default for Numbering {
    fn default() -> Self {
        Self {
            node: Uuid::new_v4(),
            lines: AtomicU32::new(0),
            back: watch::Sender::new(Position::default()),
        }
    }
}

impl Numbering {
    /// A new publishing connection.
    pub(super) fn open_line(&self) -> LineNumbers {
        LineNumbers {
            line: self.lines.fetch_add(1, Ordering::Relaxed) + 1,
            last: AtomicU64::new(0),
        }
    }

    /// What the next message of a line says of itself.
    pub(super) fn next(&self, line: &LineNumbers) -> Sequence {
        let position = line.last().next();
        let back = *self.back.borrow();
        Sequence {
            node: self.node,
            position,
            after: (position.number == 1).then_some(back),
        }
    }

    /// A message of this node came back to it.
    pub(super) fn came_back(&self, position: Position) {
        self.back.send_if_modified(|back| {
            let newer = position > *back;
            if newer {
                *back = position;
            }
            newer
        });
    }

    /// Waits until this position or a later one has come back. False: not within `limit`.
    pub(super) async fn is_back(&self, position: Position, limit: Duration) -> bool {
        let mut back = self.back.subscribe();
        let came = back.wait_for(|back| *back >= position);
        matches!(tokio::time::timeout(limit, came).await, Ok(Ok(_)))
    }
}

impl LineNumbers {
    /// The last position that was used.
    fn last(&self) -> Position {
        Position {
            line: self.line,
            number: self.last.load(Ordering::Relaxed),
        }
    }

    /// The next message was put in line.
    pub(super) fn used(&self) {
        self.last.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: u32, number: u64) -> Position {
        Position { line, number }
    }

    #[test]
    fn a_sequence_is_read_as_it_was_written() {
        let node = Uuid::new_v4();
        for after in [None, Some(at(0, 0)), Some(at(u32::MAX, u64::MAX))] {
            for position in [at(1, 1), at(u32::MAX, u64::MAX)] {
                let sequence = Sequence {
                    node,
                    position,
                    after,
                };
                let text = sequence.to_string();
                assert!(text.len() <= VALUE_MAX, "{text}");
                assert_eq!(Sequence::parse(&text), Some(sequence));
            }
        }
    }

    #[test]
    fn headers_of_others_are_passed_over() {
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

    #[tokio::test]
    async fn a_line_begins_with_what_came_back_before() {
        let numbering = Numbering::default();
        let first = numbering.open_line();
        let next = |line| numbering.next(line);
        assert_eq!(next(&first).position, at(1, 1));
        assert_eq!(next(&first).after, Some(at(0, 0)));
        assert_eq!(next(&first).position, at(1, 1), "not used yet");
        for _ in 0..3 {
            first.used();
        }
        assert_eq!(
            (next(&first).position, next(&first).after),
            (at(1, 4), None)
        );
        numbering.came_back(at(1, 2));
        numbering.came_back(at(1, 1));
        let second = numbering.open_line();
        assert_eq!(next(&second).after, Some(at(1, 2)));
        assert!(numbering.is_back(at(1, 2), Duration::ZERO).await);
        assert!(!numbering.is_back(at(1, 3), Duration::ZERO).await);
    }
}
