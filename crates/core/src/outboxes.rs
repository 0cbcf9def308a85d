//! Memory of all outboxes of a process, and its limit.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The memory of all outboxes that share it, in bytes: those of all shards of a process.
///
/// A shard updates it when an outbox allocates or frees memory, never for data that is written
/// straight to the socket.
#[derive(Debug)]
pub struct Outboxes {
    bytes: AtomicUsize,
    limit: AtomicUsize,
}

impl Outboxes {
    /// No outboxes yet. `limit` bounds the bytes of all of them together; zero: no limit.
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        Self {
            bytes: AtomicUsize::new(0),
            limit: AtomicUsize::new(limit),
        }
    }

    /// Bytes held by all outboxes: copied bytes by the memory allocated for them, a publication's
    /// bytes once, however many connections have it queued.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The limit in bytes; zero: none.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// Changes the limit. Shards apply it on their next activity.
    pub fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// Whether the limit is exceeded.
    #[must_use]
    pub fn is_over(&self) -> bool {
        let limit = self.limit();
        limit != 0 && self.bytes() > limit
    }

    pub(crate) fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn subtract(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Default for Outboxes {
    fn default() -> Self {
        Self::new(0)
    }
}
