//! Running totals for metrics.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::Counts;

/// Written by the broker, read by anybody at any time.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    received: AtomicU64,
    rejected: AtomicU64,
    of_tenants: AtomicU64,
    failures: AtomicU64,
}

impl Counters {
    pub(crate) fn received(&self) {
        self.received.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn rejected(&self) {
        self.rejected.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn of_tenants(&self) {
        self.of_tenants.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn totals(&self) -> Counts {
        Counts {
            received: self.received.load(Ordering::Relaxed),
            rejected: self.rejected.load(Ordering::Relaxed),
            of_tenants: self.of_tenants.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
        }
    }
}
