//! The nodes that read the same log, as one of them sees them, and which of them have executed a
//! command.
//!
//! Each node sends beacons. One whose beacons are missing for as long as its lease is gone. That
//! time is counted in own beacons that came back: a node that is cut off from the log itself takes
//! nobody for gone.
//!
//! A node serves clients once its first beacon is on its way to every other node, so none of them
//! can fail to wait for it. It confirms nothing in the name of the others before it knows all of
//! them: a node that has been there for longer lists them for it ([`Report::Nodes`]). Where there is
//! no such node, each of them has sent a beacon within the time of a lease.

mod wait;

use std::collections::{BTreeMap, VecDeque};

use ht_proto::note::{Beacon, NODES_MAX, Note, Report};

pub use crate::nodes::wait::Progress;
use crate::nodes::wait::Wait;

/// Reports about commands that are kept until the command itself is read.
const EARLY_MAX: usize = 1_024;

/// Commands that are waited for at once; beyond it the oldest is forgotten.
const WAITS_MAX: usize = 512;

/// Nodes that list the others for one that joins: some of them may have just failed.
const LISTING: usize = 3;

/// The nodes.
#[derive(Debug)]
pub struct Nodes {
    /// The own run's name.
    boot: Box<str>,
    /// Own beacons that one of another node may be missing for.
    lease: u32,
    /// Shortest time between two own beacons that count, in milliseconds.
    pace: u64,
    counted_at: Option<u64>,
    /// Own beacons that came back and count.
    counted: u32,
    /// All nodes that were there before this one are known.
    is_complete: bool,
    /// By the names of their runs.
    known: BTreeMap<Box<str>, Known>,
    /// The runs that have ended, the last one last: a beacon that was under way at the end is not
    /// a new node.
    ended: VecDeque<Box<str>>,
    early: VecDeque<(Box<str>, Box<str>, u64)>,
    /// By the position of the command in the own order.
    waits: BTreeMap<u64, Wait>,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its name.
    pub name: Box<str>,
    /// Its state at its last beacon.
    pub beacon: Beacon,
    /// When it was last heard of, in milliseconds.
    pub heard_at: u64,
    /// Own beacons since.
    missed: u32,
}

/// What became of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is new.
    Joined,
    /// It has shut down.
    Left,
    /// Its lease has ended.
    Lost,
}

impl Nodes {
    /// With only the own node. `beacon` and `lease` are times in milliseconds.
    #[must_use]
    pub fn new(name: &str, boot: &str, beacon: u64, lease: u64) -> Self {
        let own = Known {
            name: name.into(),
            beacon: Beacon::default(),
            heard_at: 0,
            missed: 0,
        };
        let beacon = beacon.max(1);
        Self {
            boot: boot.into(),
            lease: u32::try_from(lease.div_ceil(beacon)).unwrap_or(u32::MAX),
            pace: beacon / 2,
            counted_at: None,
            counted: 0,
            is_complete: false,
            known: BTreeMap::from([(boot.into(), own)]),
            ended: VecDeque::new(),
            early: VecDeque::new(),
            waits: BTreeMap::new(),
        }
    }

    /// The nodes that hold a lease, by the names of their runs. The own one is among them.
    pub fn alive(&self) -> impl Iterator<Item = (&str, &Known)> {
        self.known.iter().map(|(boot, known)| (&**boot, known))
    }

    /// How many these are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Never: the own node is always there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// There are no others, and never will be.
    pub fn close(&mut self) {
        self.is_complete = true;
    }

    /// Whether an own beacon has come back.
    #[must_use]
    pub fn has_own(&self) -> bool {
        self.counted > 0
    }

    /// The list of the nodes for one that joins with this note, if this node is to send it.
    #[must_use]
    pub fn list_for(&self, note: &Note) -> Option<Report> {
        let Report::Beacon(Beacon {
            is_joining: true, ..
        }) = note.report
        else {
            return None;
        };
        let others = self.known.keys().filter(|boot| **boot != note.boot);
        let is_listing = others.take(LISTING).any(|boot| *boot == self.boot);
        (self.is_complete && is_listing && note.boot != self.boot).then(|| {
            let all = self.known.iter();
            Report::Nodes(
                all.map(|(boot, known)| (boot.clone(), known.name.clone()))
                    .collect(),
            )
        })
    }

    /// Reads a note. Returns the nodes that are new or gone by it, with their names.
    pub fn heard(&mut self, note: Note, now: u64) -> Vec<(Change, Box<str>)> {
        let Note { node, boot, report } = note;
        match report {
            Report::Beacon(beacon) => {
                let mut changes = self.beacon(&node, &boot, beacon, now);
                if boot == self.boot {
                    changes.extend(self.count(now));
                }
                changes
            }
            Report::Leaving if boot != self.boot => {
                for wait in self.waits.values_mut() {
                    wait.left(&boot);
                }
                let left = self.known.remove(&boot);
                if self.ended.len() >= NODES_MAX {
                    self.ended.pop_front();
                }
                self.ended.push_back(boot);
                left.map(|known| (Change::Left, known.name))
                    .into_iter()
                    .collect()
            }
            Report::Leaving | Report::Gap | Report::Epoch(..) => Vec::new(),
            Report::Executed { key, matched } => {
                self.executed(&node, &boot, key, matched);
                Vec::new()
            }
            Report::Nodes(nodes) => self.listed(nodes, now),
        }
    }

    fn beacon(
        &mut self,
        node: &str,
        boot: &str,
        beacon: Beacon,
        now: u64,
    ) -> Vec<(Change, Box<str>)> {
        let known = Known {
            name: node.into(),
            beacon,
            heard_at: now,
            missed: 0,
        };
        if let Some(before) = self.known.get_mut(boot) {
            *before = known;
            return Vec::new();
        }
        let is_new = known.beacon.is_joining;
        self.join(boot, known, is_new)
    }

    /// Another node is there. `is_new`: and was not before.
    fn join(&mut self, boot: &str, known: Known, is_new: bool) -> Vec<(Change, Box<str>)> {
        let name = known.name.clone();
        if self.known.len() >= NODES_MAX || self.ended.iter().any(|ended| **ended == *boot) {
            return Vec::new();
        }
        self.known.insert(boot.into(), known);
        for wait in self.waits.values_mut() {
            if wait.is_open && !is_new {
                wait.add(boot, &name);
                wait.take_early(&self.early);
            }
        }
        vec![(Change::Joined, name)]
    }

    /// A node lists those that it knows.
    fn listed(&mut self, nodes: Vec<(Box<str>, Box<str>)>, now: u64) -> Vec<(Change, Box<str>)> {
        // Without this one the list is older than its first beacon, and was meant for another.
        if self.is_complete || !nodes.iter().any(|(boot, _)| *boot == self.boot) {
            return Vec::new();
        }
        let mut changes = Vec::new();
        for (boot, name) in nodes {
            if !self.known.contains_key(&boot) {
                let known = Known {
                    name,
                    beacon: Beacon::default(),
                    heard_at: now,
                    missed: 0,
                };
                changes.extend(self.join(&boot, known, false));
            }
        }
        self.complete();
        changes
    }

    /// All nodes that were there before are known.
    fn complete(&mut self) {
        self.is_complete = true;
        self.waits
            .values_mut()
            .for_each(|wait| wait.is_open = false);
    }

    /// An own beacon came back: the others should have sent one meanwhile.
    fn count(&mut self, now: u64) -> Vec<(Change, Box<str>)> {
        let is_early = |at| now.saturating_sub(at) < self.pace;
        if self.counted_at.is_some_and(is_early) {
            return Vec::new();
        }
        self.counted_at = Some(now);
        self.counted = self.counted.saturating_add(1);
        if self.counted > self.lease && !self.is_complete {
            self.complete();
        }
        let (own, lease) = (&self.boot, self.lease);
        let others = self.known.iter_mut().filter(|(boot, _)| *boot != own);
        others.for_each(|(_, known)| known.missed += 1);
        let lost = self.known.extract_if(.., |_, known| known.missed > lease);
        lost.map(|(_, known)| (Change::Lost, known.name)).collect()
    }

    /// The command with this key has this position in the own order: waits for all nodes that hold
    /// a lease now. A command that is repeated keeps its position, and what is known of it.
    pub fn expect(&mut self, position: u64, key: Box<str>) {
        if !self.waits.contains_key(&position) && self.waits.len() >= WAITS_MAX {
            self.waits.pop_first();
        }
        let (known, is_open) = (&self.known, !self.is_complete);
        let wait = self.waits.entry(position).or_insert_with(|| {
            let nodes = known.iter();
            let nodes = nodes.map(|(boot, known)| (boot.clone(), known.name.clone()));
            Wait::new(nodes, is_open)
        });
        wait.add_key(key);
        wait.take_early(&self.early);
    }

    /// A node has executed the command with this key, which matched so many connections there.
    fn executed(&mut self, name: &str, boot: &str, key: Box<str>, matched: u64) {
        let mut is_known = false;
        for wait in self.waits.values_mut().filter(|wait| wait.has_key(&key)) {
            is_known = true;
            if wait.is_open {
                wait.add(boot, name);
            }
            wait.executed(boot, matched);
        }
        if !is_known {
            if self.early.len() >= EARLY_MAX {
                self.early.pop_front();
            }
            self.early.push_back((key, boot.into(), matched));
        }
    }

    /// The own node has executed the command at this position.
    pub fn executed_here(&mut self, position: u64, matched: u64) {
        if let Some(wait) = self.waits.get_mut(&position) {
            wait.executed(&self.boot, matched);
        }
    }

    /// How far the command at this position is; none if it is not waited for.
    #[must_use]
    pub fn progress(&self, position: u64) -> Option<Progress> {
        self.waits.get(&position).map(Wait::progress)
    }
}

#[cfg(test)]
mod tests;
