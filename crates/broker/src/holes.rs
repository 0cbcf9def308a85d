//! Finds messages that are missing among those that nodes numbered: a state machine without clock,
//! socket, lock or runtime.
//!
//! A publisher's messages arrive in order, so one whose number is not the next one shows that those
//! in between are missing. A number that is not greater than the last one is a repetition or a late
//! message of an older connection: it is delivered all the same and shows nothing. Messages without
//! a number, as every other program publishes them, are never noted here.

use std::collections::HashMap;
use std::time::Duration;

use uuid::Uuid;

use crate::numbers::{Sequence, Serial};

/// Publishers that are remembered; beyond it the one that was silent for longest is forgotten.
const NODES_MAX: usize = 1_024;

/// A publisher that was silent for so long is gone: nodes send a heartbeat every few seconds.
const SILENT_MAX: Duration = Duration::from_secs(600);

/// How long after the first doubt a gap is reported for all of them: nodes send a heartbeat every
/// five seconds, so each of them was active by then.
const DOUBT: Duration = Duration::from_secs(10);

/// What a message shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing is missing.
    Nothing,
    /// Messages before it are missing and belong to no gap that was reported already.
    Missing,
    /// Some time ago messages were missing that were taken for a part of the gap that was reported
    /// before. They may as well have been lost after it, when clients had reconnected already.
    Doubtful,
}

/// The publishers whose messages this queue gets.
#[derive(Debug, Default)]
pub struct Holes {
    /// This node.
    own: Uuid,
    nodes: HashMap<Uuid, Publisher>,
    /// What this node publishes behind this serial shows that the queue is past the gap that was
    /// reported last.
    reported: Option<Serial>,
    /// When something missing was first taken for a part of that gap.
    doubted: Option<Duration>,
}

#[derive(Debug)]
struct Publisher {
    last: Serial,
    active: Duration,
    /// What is missing next belongs to the gap that was reported last.
    known: bool,
}

impl Holes {
    /// A message arrived. Returns what it shows. `now` is the time of any clock that never goes
    /// backwards.
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
            return false;
        }
        let missing = is_missing(publisher.last, sequence);
        publisher.last = sequence.serial;
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

    /// A new queue is bound: what came before says nothing about it. This node, `own`, publishes
    /// behind `last`, so that the first loss shows, whoever else was active by then.
    pub fn begin(&mut self, own: Uuid, last: Serial, now: Duration) {
        self.own = own;
        self.nodes.clear();
        self.reported = None;
        self.doubted = None;
        let publisher = Publisher {
            last,
            active: now,
            known: false,
        };
        self.nodes.insert(own, publisher);
    }

    /// A gap was reported: what other publishers' next messages show to be missing is part of it.
    /// `last` is the last serial that this node used.
    pub fn reported(&mut self, last: Serial) {
        self.reported = Some(last);
        // Whatever was lost before is a part of it.
        self.doubted = None;
        for (node, publisher) in &mut self.nodes {
            if *node == self.own {
                // Exactly up to there it is known; what is missing behind it is a new gap.
                publisher.last = publisher.last.max(last);
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
        let publisher = Publisher {
            last: sequence.serial,
            active: now,
            known: false,
        };
        self.nodes.insert(sequence.node, publisher);
    }
}

/// Whether messages between the last one and this one, which is later, are missing.
fn is_missing(last: Serial, sequence: &Sequence) -> bool {
    if sequence.serial.line == last.line {
        return sequence.serial != last.next();
    }
    match sequence.after {
        // Up to there messages came back to their publisher; later ones were confirmed to nobody.
        Some(after) if sequence.serial.number == 1 => last < after,
        // The first of its line is missing.
        _ => true,
    }
}

#[cfg(test)]
mod tests;
