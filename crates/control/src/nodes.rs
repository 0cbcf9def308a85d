//! The nodes that read the same log, as one of them sees them, and which of them have executed a
//! command.
//!
//! Each node sends beacons. One whose beacons are missing for as long as its lease is gone. That
//! time is counted in own beacons that came back: a node that is cut off from the log itself takes
//! nobody for gone.

use std::collections::{BTreeMap, VecDeque};

use ht_proto::note::{Beacon, Note, Report};

/// Reports about commands that are kept until the command itself is read.
const EARLY_MAX: usize = 1_024;

/// Commands that are waited for at once; beyond it the oldest is forgotten.
const WAITS_MAX: usize = 512;

/// Keys of one command that are kept.
const KEYS_MAX: usize = 16;

/// Nodes that are known at once; further ones are ignored.
const NODES_MAX: usize = 256;

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

/// A command, and the nodes that are to execute it.
#[derive(Debug)]
struct Wait {
    /// Of its message in the log, and of those that repeated it.
    keys: Vec<Box<str>>,
    /// By the name of the run: the name of the node, and how many connections the command matched
    /// once it was executed there.
    nodes: BTreeMap<Box<str>, (Box<str>, Option<u64>)>,
}

/// How far a command is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The nodes that have executed it, and how many connections it matched there.
    pub executed: BTreeMap<String, u64>,
    /// Those that have not reported it.
    pub missing: Vec<String>,
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
                    wait.nodes
                        .retain(|other, (_, matched)| *other != boot || matched.is_some());
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
            Report::Leaving => Vec::new(),
            Report::Executed { key, matched } => {
                self.executed(&boot, key, matched);
                Vec::new()
            }
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
        if self.known.len() >= NODES_MAX || self.ended.iter().any(|ended| **ended == *boot) {
            return Vec::new();
        }
        self.known.insert(boot.into(), known);
        vec![(Change::Joined, node.into())]
    }

    /// An own beacon came back: the others should have sent one meanwhile.
    fn count(&mut self, now: u64) -> Vec<(Change, Box<str>)> {
        let is_early = |at| now.saturating_sub(at) < self.pace;
        if self.counted_at.is_some_and(is_early) {
            return Vec::new();
        }
        self.counted_at = Some(now);
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
        let known = &self.known;
        let wait = self.waits.entry(position).or_insert_with(|| Wait {
            nodes: known
                .iter()
                .map(|(boot, known)| (boot.clone(), (known.name.clone(), None)))
                .collect(),
            keys: Vec::new(),
        });
        for (early, boot, matched) in &self.early {
            if *early == key
                && let Some((_, known)) = wait.nodes.get_mut(boot)
            {
                *known = Some(*matched);
            }
        }
        if wait.keys.len() >= KEYS_MAX {
            wait.keys.remove(0);
        }
        wait.keys.push(key);
    }

    /// A node has executed the command with this key, which matched so many connections there.
    pub fn executed(&mut self, boot: &str, key: Box<str>, matched: u64) {
        let mut is_known = false;
        for wait in self
            .waits
            .values_mut()
            .filter(|wait| wait.keys.contains(&key))
        {
            is_known = true;
            if let Some((_, known)) = wait.nodes.get_mut(boot) {
                *known = Some(matched);
            }
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
        let own = self.waits.get_mut(&position);
        if let Some((_, known)) = own.and_then(|wait| wait.nodes.get_mut(&self.boot)) {
            *known = Some(matched);
        }
    }

    /// How far the command at this position is; none if it is not waited for.
    #[must_use]
    pub fn progress(&self, position: u64) -> Option<Progress> {
        let wait = self.waits.get(&position)?;
        let mut progress = Progress::default();
        for (boot, (name, matched)) in &wait.nodes {
            let others = wait.nodes.values();
            let is_unique = others.filter(|(other, _)| other == name).count() == 1;
            // Two runs of one name: both are there, or the lease of the former lasts.
            let name = if is_unique {
                name.to_string()
            } else {
                format!("{name}/{boot}")
            };
            match matched {
                Some(matched) => {
                    progress.executed.insert(name, *matched);
                }
                None => progress.missing.push(name),
            }
        }
        Some(progress)
    }
}

#[cfg(test)]
mod tests;
