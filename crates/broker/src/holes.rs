//! Detects missing messages among those that nodes numbered: a state machine without clock, socket,
//! lock or runtime.
//!
//! A publisher's messages arrive in order, so a number that skips others shows that those in
//! between are missing. A number that is not greater than the last one is a duplicate or a late
//! message of an older connection: it is delivered all the same and shows nothing. A later message
//! may state that more messages of an older connection were read back by the publisher; those of
//! them that did not arrive here are missing. Messages without a number, as every other program
//! publishes them, are ignored here.

use std::collections::HashMap;
use std::time::Duration;

use uuid::Uuid;

use crate::numbers::{Sequence, Serial};

/// Publishers that are remembered; beyond it the one that was silent for longest is forgotten.
const NODES_MAX: usize = 1_024;

/// A publisher that was silent for so long is removed: nodes send a heartbeat every few seconds.
const SILENT_MAX: Duration = Duration::from_secs(600);

/// How long after the first doubt a gap is reported for all of them: nodes send a heartbeat every
/// five seconds, so each of them was active by then.
const DOUBT: Duration = Duration::from_secs(10);

/// Result of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing is missing.
    Nothing,
    /// Messages before it are missing and belong to no gap that was reported already.
    Missing,
    /// Some time ago messages were missing that were attributed to the gap reported before. They
    /// may as well have been lost after it, when clients had reconnected already.
    Doubtful,
}

/// The publishers whose messages this queue receives.
#[derive(Debug, Default)]
pub struct Holes {
    /// This node.
    own: Uuid,
    nodes: HashMap<Uuid, Publisher>,
    /// A message of this node after this serial shows that the queue is past the gap that was
    /// reported last.
    reported: Option<Serial>,
    /// When a missing message was first attributed to that gap.
    doubted: Option<Duration>,
}

#[derive(Debug)]
struct Publisher {
    last: Serial,
    /// Up to this serial nothing is missing of the connections before the one of `last`, or it is
    /// reported.
    older: Serial,
    active: Duration,
    /// The next missing messages belong to the gap that was reported last.
    known: bool,
}

impl Holes {
    /// A message arrived. Returns its result. `now` is the time of any monotonic clock.
    pub fn note(&mut self, sequence: &Sequence, now: Duration) -> Found {
        if self.is_missing(sequence, now) {
            return Found::Missing;
        }
        let is_due = |since| now.saturating_sub(since) >= DOUBT;
        match self.doubted.take_if(|since| is_due(*since)) {
            Some(_) => Found::Doubtful,
            None => Found::Nothing,
        }
    }

    /// Whether messages before this one are missing and belong to no gap that was reported already.
    fn is_missing(&mut self, sequence: &Sequence, now: Duration) -> bool {
        let own = sequence.node == self.own;
        let settled = match self.reported {
            Some(last) if own && sequence.serial > last => {
                self.reported = None;
                true
            }
            reported => reported.is_none(),
        };
        let Some(publisher) = self.nodes.get_mut(&sequence.node) else {
            self.remember(sequence, now);
            return false;
        };
        publisher.active = now;
        if sequence.serial <= publisher.last {
            publisher.arrived_late(sequence.serial);
            return false;
        }
        let missing = publisher.advance(sequence);
        if missing {
            let known = std::mem::replace(&mut publisher.known, false);
            if known {
                self.doubted.get_or_insert(now);
            }
            return !known;
        }
        if settled {
            publisher.known = false;
        }
        false
    }

    /// A new queue is bound: earlier messages prove nothing about it. This node, `own`, publishes
    /// after `last`, so that the first loss is detected, whichever publishers were active by then.
    pub fn begin(&mut self, own: Uuid, last: Serial, now: Duration) {
        self.own = own;
        self.nodes.clear();
        self.reported = None;
        self.doubted = None;
        let publisher = Publisher {
            last,
            older: before_line(last),
            active: now,
            known: false,
        };
        self.nodes.insert(own, publisher);
    }

    /// A gap was reported: messages that other publishers' next messages show to be missing are
    /// part of it. `last` is the last serial that this node used.
    pub fn reported(&mut self, last: Serial) {
        self.reported = Some(last);
        // Whatever was lost before is a part of it.
        self.doubted = None;
        for (node, publisher) in &mut self.nodes {
            if *node == self.own {
                // Known exactly up to this serial; messages missing after it are a new gap.
                publisher.last = publisher.last.max(last);
                publisher.older = before_line(publisher.last);
            } else {
                publisher.known = true;
            }
        }
    }

    /// The same, found by a message of this publisher, whose further gaps are new ones.
    pub fn reported_by(&mut self, node: Uuid, last: Serial) {
        self.reported(last);
        if let Some(publisher) = self.nodes.get_mut(&node) {
            publisher.known = false;
        }
    }

    fn remember(&mut self, sequence: &Sequence, now: Duration) {
        if self.nodes.len() >= NODES_MAX {
            self.nodes
                .retain(|_, publisher| now.saturating_sub(publisher.active) < SILENT_MAX);
        }
        if self.nodes.len() >= NODES_MAX {
            let oldest = self
                .nodes
                .iter()
                .min_by_key(|(_, publisher)| publisher.active);
            if let Some(oldest) = oldest.map(|(node, _)| *node) {
                self.nodes.remove(&oldest);
            }
        }
        let before = before_line(sequence.serial);
        let publisher = Publisher {
            last: sequence.serial,
            older: sequence.after.unwrap_or(before),
            active: now,
            known: false,
        };
        self.nodes.insert(sequence.node, publisher);
    }
}

impl Publisher {
    /// A message that is later than the last one arrived. Returns whether some before it are missing.
    fn advance(&mut self, sequence: &Sequence) -> bool {
        let Sequence { serial, after, .. } = *sequence;
        let is_same_line = serial.line == self.last.line;
        if !is_same_line {
            self.older = self.last;
        }
        // Messages up to this serial are known to have reached a queue; of later ones nothing is
        // known.
        let is_older_missing = after.is_some_and(|after| self.older < after);
        self.older = self.older.max(after.unwrap_or_default());
        let expected = if is_same_line {
            self.last.number + 1
        } else {
            1
        };
        self.last = serial;
        is_older_missing || serial.number != expected
    }

    /// A message of an older line arrived, or one that was here before.
    fn arrived_late(&mut self, serial: Serial) {
        let is_next =
            serial == self.older.next() || serial.line > self.older.line && serial.number == 1;
        if serial.line < self.last.line && is_next {
            self.older = serial;
        }
    }
}

/// The last serial that there could be before the first one of this line.
fn before_line(serial: Serial) -> Serial {
    Serial {
        line: serial.line.saturating_sub(1),
        number: u64::MAX,
    }
}

#[cfg(test)]
mod tests;
