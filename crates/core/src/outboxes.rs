//! What all outboxes of a process hold, and may hold.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The memory of all outboxes that share it, in bytes: those of all shards of a process.
///
/// A shard touches it when an outbox gets or gives back memory, never for what goes straight to
/// the socket.
#[derive(Debug)]
pub struct Outboxes {
    bytes: AtomicUsize,
    limit: AtomicUsize,
}

impl Outboxes {
    /// No outboxes yet. They may hold `limit` bytes together; zero: as much as they like.
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        Self {
            bytes: AtomicUsize::new(0),
            limit: AtomicUsize::new(limit),
        }
    }

    /// What they hold: copied bytes by the memory that was taken for them, a publication's bytes
    /// once, however many connections wait for them.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// What they may hold; zero: as much as they like.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// Changes what they may hold. Shards notice when they do something next.
    pub fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// Whether they hold more than they may.
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
