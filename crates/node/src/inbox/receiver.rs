//! The end of an inbox that its shard has.

use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use ht_control::backlog::Backlog;
use ht_proto::entry::TenantId;
use tokio::sync::mpsc;

use super::{Arrival, Input, Queue};

/// The receiver, held by the shard.
pub(crate) struct Receiver {
    pub(super) queue: Arc<Queue>,
    pub(super) connections: mpsc::Receiver<Arrival>,
    /// How many inputs had been placed when all that were left were passed over.
    pub(super) passed_over: Option<u64>,
}

impl Receiver {
    /// The next input, if there is one, passing over those of tenants of which the shard has enough.
    pub(crate) fn next(
        &mut self,
        is_full: impl Fn(TenantId) -> bool,
        has_others: bool,
    ) -> Option<Input> {
        let queue = &*self.queue;
        if queue.len.load(Ordering::Acquire) == 0 {
            return None;
        }
        let mut inputs = queue.lock();
        let was_full = queue.is_full();
        let Some(input) = inputs.backlog.pop_unless(is_full, has_others) else {
            self.passed_over = Some(queue.placed.load(Ordering::Acquire));
            return None;
        };
        queue.count(&inputs.backlog);
        drop(inputs);
        queue.taken.fetch_add(1, Ordering::AcqRel);
        queue.recover();
        if was_full {
            queue.room.notify_waiters();
        }
        Some(input)
    }

    /// The tenants whose inputs were passed over, if there is nothing else and nothing was placed
    /// since.
    pub(crate) fn passed_over(&self) -> Option<Vec<TenantId>> {
        let is_all = self.has_passed_over_all();
        is_all.then(|| self.queue.lock().backlog.tenants().collect())
    }

    fn has_passed_over_all(&self) -> bool {
        self.has_input() && self.passed_over == Some(self.queue.placed.load(Ordering::Acquire))
    }

    /// Whether there is an input.
    pub(crate) fn has_input(&self) -> bool {
        self.queue.len.load(Ordering::Acquire) != 0
    }

    /// The next connection, if there is one.
    pub(crate) fn next_connection(&mut self) -> Option<Arrival> {
        self.connections.try_recv().ok()
    }

    /// Announces that the shard is about to sleep. False: it must not, there is something to take.
    pub(crate) fn may_sleep(&mut self) -> bool {
        let asleep = &self.queue.bell.asleep;
        asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let has_input = self.has_input() && !self.has_passed_over_all();
        if !has_input && self.connections.is_empty() {
            return true;
        }
        asleep.store(false, Ordering::Relaxed);
        false
    }

    /// The shard is awake: it need not be woken.
    pub(crate) fn awake(&self) {
        self.queue.bell.asleep.store(false, Ordering::Relaxed);
    }
}

impl Drop for Receiver {
    /// Nothing is placed any more, and publishers no longer wait.
    fn drop(&mut self) {
        let mut inputs = self.queue.lock();
        inputs.ended = true;
        let empty = Backlog::new(self.queue.bounds.bytes);
        let left = std::mem::replace(&mut inputs.backlog, empty);
        self.queue.count(&inputs.backlog);
        drop(inputs);
        drop(left);
        self.queue.room.notify_waiters();
    }
}
