//! Running totals for metrics.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use crate::Counts;

/// Written by the adapter, read by anybody at any time.
#[derive(Debug, Default)]
pub(super) struct Counters {
    received: AtomicU64,
    rejected: AtomicU64,
    failures: AtomicU64,
}

impl Counters {
    pub(super) fn received(&self) {
        self.received.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn rejected(&self) {
        self.rejected.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn totals(&self) -> Counts {
        Counts {
            received: self.received.load(Ordering::Relaxed),
            rejected: self.rejected.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
        }
    }
}
