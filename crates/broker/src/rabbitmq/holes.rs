//! Finds messages that are missing among those that nodes numbered: a state machine without clock
//! or socket.
//!
//! A publisher's messages arrive in order, so one whose number is not the next one shows that those
//! in between are missing. A number that is not greater than the last one is a repetition or a late
//! message of an older connection: it is delivered all the same and says nothing. Messages without
//! a number, as every other program publishes them, are never seen here.

use std::collections::HashMap;
use std::time::Duration;

use uuid::Uuid;

use crate::rabbitmq::sequence::{Position, Sequence};

/// Publishers that are remembered; beyond it the one that was silent for longest is forgotten.
pub(super) const NODES_MAX: usize = 1_024;

/// A publisher that was silent for so long is gone: nodes send a heartbeat every few seconds.
pub(super) const SILENT_MAX: Duration = Duration::from_secs(600);

/// The publishers that this queue hears.
#[derive(Debug, Default)]
pub(super) struct Holes {
    /// This node.
    own: Uuid,
    nodes: HashMap<Uuid, Entry>,
    /// What this node publishes behind this position shows that the queue is past the gap that was
    /// told last.
    told: Option<Position>,
}

#[derive(Debug)]
struct Entry {
    last: Position,
    heard: Duration,
    /// What is missing next belongs to the gap that was told last.
    known: bool,
}

impl Holes {
    /// A message arrived. Returns whether messages before it are
    /// missing and belong to no gap that was told already. `now` is the time of any clock that
    /// never goes backwards.
    pub(super) fn note(&mut self, sequence: &Sequence, now: Duration) -> bool {
        let own = sequence.node == self.own;
        let settled = match self.told {
            Some(told) if own && sequence.position > told => {
                self.told = None;
                true
            }
            told => told.is_none(),
        };
        let Some(entry) = self.nodes.get_mut(&sequence.node) else {
            self.remember(sequence, now);
            return false;
        };
        entry.heard = now;
        if sequence.position <= entry.last {
            return false;
        }
        let missing = is_missing(entry.last, sequence);
        entry.last = sequence.position;
        if missing {
            return !std::mem::replace(&mut entry.known, false);
        }
        if settled {
            entry.known = false;
        }
        false
    }

    /// A new queue is bound: what came before says nothing about it. This node, `own`, publishes
    /// behind `last`, so that the first loss shows, whoever else was heard by then.
    pub(super) fn begin(&mut self, own: Uuid, last: Position, now: Duration) {
        self.own = own;
        self.nodes.clear();
        self.told = None;
        let entry = Entry {
            last,
            heard: now,
            known: false,
        };
        self.nodes.insert(own, entry);
    }

    /// A gap was told: what other publishers' next messages show to be missing is part of it.
    /// `last` is the last position that this node used.
    pub(super) fn told(&mut self, last: Position) {
        self.told = Some(last);
        for (node, entry) in &mut self.nodes {
            if *node == self.own {
                // Exactly up to there it is known; what is missing behind it is a new gap.
                entry.last = entry.last.max(last);
            } else {
                entry.known = true;
            }
        }
    }

    /// The same, found by a message of this publisher, whose further gaps are new ones.
    pub(super) fn told_by(&mut self, node: Uuid, last: Position) {
        self.told(last);
        if let Some(entry) = self.nodes.get_mut(&node) {
            entry.known = false;
        }
    }

    fn remember(&mut self, sequence: &Sequence, now: Duration) {
        if self.nodes.len() >= NODES_MAX {
            self.nodes
                .retain(|_, entry| now.saturating_sub(entry.heard) < SILENT_MAX);
        }
        if self.nodes.len() >= NODES_MAX {
            let oldest = self.nodes.iter().min_by_key(|(_, entry)| entry.heard);
            if let Some(oldest) = oldest.map(|(node, _)| *node) {
                self.nodes.remove(&oldest);
            }
        }
        let entry = Entry {
            last: sequence.position,
            heard: now,
            known: false,
        };
        self.nodes.insert(sequence.node, entry);
    }
}

/// Whether messages between the last one and this one, which is later, are missing.
fn is_missing(last: Position, sequence: &Sequence) -> bool {
    if sequence.position.line == last.line {
        return sequence.position != last.next();
    }
    match sequence.after {
        // Up to there messages came back to their publisher; later ones were confirmed to nobody.
        Some(after) if sequence.position.number == 1 => last < after,
        // The first of its line is missing.
        _ => true,
    }
}

#[cfg(test)]
mod tests;
