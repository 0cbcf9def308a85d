//! What interrupts a shard's poll.

use std::sync::atomic::{AtomicBool, Ordering, fence};

#[derive(Debug)]
pub(super) struct Bell {
    pub(super) waker: mio::Waker,
    pub(super) asleep: AtomicBool,
}

impl Bell {
    /// Wakes the shard if it sleeps.
    pub(super) fn ring(&self) {
        // Pairs with the fence in `Receiver::may_sleep`: either the shard sees what was placed, or
        // this thread sees that it sleeps.
        fence(Ordering::SeqCst);
        if self.asleep.swap(false, Ordering::Relaxed)
            && let Err(error) = self.waker.wake()
        {
            tracing::error!(%error, "a shard could not be woken");
        }
    }
}
