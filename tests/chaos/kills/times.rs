//! When what happened: triggers, kills, and what nodes logged of gaps and epochs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::kills::BATCH;
use crate::support::Gateway;

/// What a line of a node's log has that is of interest.
const OF_INTEREST: [&str; 3] = ["gap:", "epoch=", " ERROR "];

/// The times of a run, in milliseconds since its begin.
pub(super) struct Times {
    begun: Instant,
    /// By request: when a publisher took it, and when it was accepted.
    requests: Box<[[AtomicU64; 2]]>,
    notes: Mutex<Vec<String>>,
}

impl Times {
    pub(super) fn new(triggers: u64) -> Self {
        let requests = (0..triggers.div_ceil(BATCH)).map(|_| Default::default());
        Self {
            begun: Instant::now(),
            requests: requests.collect(),
            notes: Mutex::default(),
        }
    }

    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// A publisher has the request that begins with this trigger.
    pub(super) fn taken(&self, first: u64) {
        self.of(first)[0].store(self.now(), Ordering::Relaxed);
    }

    /// It is accepted.
    pub(super) fn accepted(&self, first: u64) {
        self.of(first)[1].store(self.now(), Ordering::Relaxed);
    }

    /// When a trigger was taken and accepted.
    pub(super) fn of_trigger(&self, number: u64) -> [u64; 2] {
        self.of(number)
            .each_ref()
            .map(|at| at.load(Ordering::Relaxed))
    }

    fn of(&self, number: u64) -> &[AtomicU64; 2] {
        &self.requests[usize::try_from(number / BATCH).expect("a size")]
    }

    pub(super) fn note(&self, text: String) {
        let line = format!("{:9.3} {text}", self.now() as f64 / 1e3);
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        notes.push(line);
    }

    /// Notes what is of interest in the log of a node.
    pub(super) fn note_log(&self, node: &Gateway) {
        let log = node.log();
        let lines = log.lines();
        for line in lines.filter(|line| OF_INTEREST.iter().any(|text| line.contains(text))) {
            self.note(format!("  its log: {line}"));
        }
    }

    pub(super) fn notes(&self) -> String {
        let notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        notes.join("\n")
    }
}
