//! A command, and how far the nodes are with it.

use std::collections::{BTreeMap, VecDeque};

use ht_proto::note::NODES_MAX;

/// Keys of one command that are kept.
pub(super) const KEYS_MAX: usize = 16;

/// A command, and the nodes that are to execute it.
#[derive(Debug)]
pub(super) struct Wait {
    /// Of its message in the log, and of those that repeated it.
    pub(super) keys: Vec<Box<str>>,
    /// By the name of the run: the name of the node, and how many connections the command matched
    /// once it was executed there.
    nodes: BTreeMap<Box<str>, (Box<str>, Option<u64>)>,
    /// Not all nodes were known: those that turn out to have been there are added.
    pub(super) is_open: bool,
}

impl Wait {
    /// For these nodes, each with the name of its run first.
    pub(super) fn new(nodes: impl Iterator<Item = (Box<str>, Box<str>)>, is_open: bool) -> Self {
        Self {
            keys: Vec::new(),
            nodes: nodes.map(|(boot, name)| (boot, (name, None))).collect(),
            is_open,
        }
    }

    pub(super) fn has_key(&self, key: &str) -> bool {
        self.keys.iter().any(|known| **known == *key)
    }

    /// Another message with the command is in the log.
    pub(super) fn add_key(&mut self, key: Box<str>) {
        if self.keys.len() >= KEYS_MAX {
            self.keys.remove(0);
        }
        self.keys.push(key);
    }

    /// A node has executed it.
    pub(super) fn executed(&mut self, boot: &str, matched: u64) {
        if let Some((_, known)) = self.nodes.get_mut(boot) {
            *known = Some(matched);
        }
    }

    /// A node has shut down.
    pub(super) fn left(&mut self, boot: &str) {
        self.nodes
            .retain(|other, (_, matched)| **other != *boot || matched.is_some());
    }

    /// Another node is to execute it.
    pub(super) fn add(&mut self, boot: &str, name: &str) {
        if self.nodes.len() < NODES_MAX {
            let node = self.nodes.entry(boot.into());
            node.or_insert_with(|| (name.into(), None));
        }
    }

    /// Reports that were read before.
    pub(super) fn take_early(&mut self, early: &VecDeque<(Box<str>, Box<str>, u64)>) {
        for (key, boot, matched) in early {
            if self.has_key(key) {
                self.executed(boot, *matched);
            }
        }
    }

    /// How far it is.
    pub(super) fn progress(&self) -> Progress {
        let mut progress = Progress {
            is_open: self.is_open,
            ..Progress::default()
        };
        for (boot, (name, matched)) in &self.nodes {
            let others = self.nodes.values();
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
        progress
    }
}

/// How far a command is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The nodes that have executed it, and how many connections it matched there.
    pub executed: BTreeMap<String, u64>,
    /// Those that have not reported it.
    pub missing: Vec<String>,
    /// There may be nodes that are not known yet.
    pub is_open: bool,
}

impl Progress {
    /// Whether every node has executed it.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.missing.is_empty() && !self.is_open
    }
}
