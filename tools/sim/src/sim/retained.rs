//! A log that retains its records: a node goes on where it was, or reads back what is left. The log
//! may lose its end, and gets a new epoch.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::rc::Rc;

use ht_broker::log::{From, TailError};
use ht_broker::progress::Break;
use ht_control::input::Batch;
use ht_core::window::Beginning;
use ht_proto::entry::Position;

use crate::mutant::Mutant;
use crate::node::Message;
use crate::oracle::epoch;
use crate::sim::Sim;
use crate::sim::place::keys;

/// Messages that a log that retains some keeps.
const RETAINED: usize = 30;

/// Tells a record from another one at its position.
pub(super) fn digest(message: &Message) -> u64 {
    let mut hasher = DefaultHasher::new();
    (message.life, message.line, message.trigger).hash(&mut hasher);
    hasher.finish()
}

impl Sim {
    /// A node that has connected goes on where it was, if the log still has that.
    pub(super) fn reads_on(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        let life = node.life;
        let From::At(last) = node.progress.from() else {
            return self.read_back(index, None);
        };
        let at = usize::try_from(last.get()).unwrap_or(usize::MAX);
        let first = self.history.len().saturating_sub(RETAINED) + 1;
        if self.plan.mutant == Some(Mutant::LostPlace) {
            for number in at..self.history.len() {
                let message = Rc::clone(&self.history[number]);
                self.lose(life, &message);
            }
            return self.oracle.shows(life, None, self.events.now);
        }
        // A tail begins with the last record that was read.
        node.progress.begun();
        let error = match self.history.get(at - 1) {
            _ if at < first => Some(TailError::Trimmed(last)),
            None => Some(TailError::Rewound(last)),
            Some(message) => {
                let resumed = node.progress.resume(Some(last), digest(message));
                resumed.err()
            }
        };
        let Some(error) = error else {
            for number in at..=self.history.len() {
                self.deliver(index, number);
            }
            return self.take_epoch(index);
        };
        node.progress.lost(&error);
        for number in at.min(self.history.len())..self.history.len() {
            let message = Rc::clone(&self.history[number]);
            self.lose(life, &message);
        }
        self.oracle.shows(life, None, self.events.now);
        let broken = self.nodes[index].progress.take_break();
        self.read_back(index, broken);
    }

    /// The log has another epoch than this node has read: others noticed what it lost.
    fn take_epoch(&mut self, index: usize) {
        let now = self.log_epoch();
        let node = &mut self.nodes[index];
        if node.epoch == now || self.plan.mutant == Some(Mutant::KeptEpoch) {
            return;
        }
        node.epoch = now;
        node.order.rename(epoch(now));
        let start = node.order.last().get();
        node.window.begin_epoch(Beginning {
            epoch: epoch(now),
            base: node.order.base().get(),
            start,
            check: None,
        });
        let begins = node.order.number(node.order.last()).get();
        self.oracle.reads(node.life, now, begins, true);
        self.oracle
            .shows(self.nodes[index].life, None, self.events.now);
        self.missed(index, ht_broker::MissedReason::Rewound);
    }

    /// Puts what the log has left into the window, and no shard gets it.
    fn read_back(&mut self, index: usize, broken: Option<Break>) {
        let (now, mutant) = (self.events.now, self.plan.mutant);
        let number = |at: usize| Position::new(at as u64 + 1).unwrap_or(Position::MAX);
        let log = self.log_epoch();
        let begins = self.history.len().saturating_sub(RETAINED);
        let node = &mut self.nodes[index];
        let is_anew = broken == Some(Break::Rewound) && mutant != Some(Mutant::KeptEpoch);
        if is_anew {
            let base = node.order.restart(epoch(log)).get();
            node.window
                .begin_epoch(Beginning::of(epoch(log)).based(base));
        } else if broken.is_some() {
            node.window.missed();
        } else {
            node.order.rename(epoch(log));
            node.window.rename(epoch(log));
        }
        if is_anew || broken.is_none() {
            node.epoch = log;
        }
        let is_first = node.order.last() == node.order.base();
        let base = node.order.base().get();
        if is_first && begins > 0 && mutant != Some(Mutant::LateStart) {
            node.order.begin_after(number(begins - 1));
            node.window.begin_epoch(Beginning {
                epoch: epoch(log),
                base,
                start: base + begins as u64,
                check: None,
            });
        }
        if node.window.is_missing()
            && let Some(position) = node.order.hole(Some(number(begins)))
        {
            self.append_hole(index, position.get());
        }
        let node = &mut self.nodes[index];
        self.oracle
            .reads(node.life, log, begins as u64, broken.is_some());
        for at in begins..self.history.len() {
            let message = Rc::clone(&self.history[at]);
            let node = &mut self.nodes[index];
            node.progress.is_new(Some(number(at)));
            node.progress.remember(Some(number(at)), digest(&message));
            let Some((trigger, _)) = message.trigger else {
                continue;
            };
            let id = self.id_of(trigger);
            let node = &mut self.nodes[index];
            let placed = node.order.place(Some(number(at)), Some(id));
            if placed.duplicate {
                continue;
            }
            let (position, check) = (placed.position.get(), Self::check_of(trigger));
            self.oracle.has(node.life, number(at).get(), trigger, false);
            if let Some(order) = self.triggers[trigger].order {
                let command = order.command(trigger, position, &self.identities);
                node.window.append_command(&command, check, now);
            } else {
                let cursor = node.order.cursor(placed.position, check);
                let publication =
                    self.triggers[trigger].publication(trigger, position, cursor, mutant);
                let batch = Batch::new(vec![publication]);
                let keys = keys(&node.interest, &batch);
                node.window.append(&batch, &keys, now);
            }
        }
        let node = &mut self.nodes[index];
        node.gaps.note(|_| true);
        let last = node.order.last().get();
        node.interest.advance(last);
        node.interest.sent(last);
        // Others named another epoch, in what was read back.
        self.take_epoch(index);
    }

    fn log_epoch(&self) -> u32 {
        self.rewinds
    }

    /// The log loses its last records, and every node its connection.
    pub(super) fn rewind(&mut self, count: usize, away: u64) {
        let left = self.history.len().saturating_sub(count);
        if !self.plan.shape.retains || left == self.history.len() {
            return;
        }
        for index in 0..self.nodes.len() {
            self.cut_consumer(index, away);
            let node = &self.nodes[index];
            let last = match node.progress.from() {
                From::At(last) => usize::try_from(last.get()).unwrap_or(usize::MAX),
                // All of it was lost for this node already.
                From::Head | From::Back { .. } => usize::MAX,
            };
            let life = node.life;
            for number in left.max(last)..self.history.len() {
                let message = Rc::clone(&self.history[number]);
                self.lose(life, &message);
            }
        }
        self.history.truncate(left);
        self.oracle.rewound(left);
        self.rewinds += 1;
        self.note(|| format!("the log has {left} records left"));
    }
}
