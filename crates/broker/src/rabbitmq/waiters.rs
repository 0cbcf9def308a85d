//! Who waits for a published trigger to come back.
//!
//! Each message that this node publishes carries a `message_id` of its own. When the node's own
//! consumer receives it and the dispatcher has placed it, the place goes to the publisher.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::Place;

/// Published triggers under way at once; further ones wait.
const WAITERS_MAX: usize = 16_384;

/// Their texts together, in kilobytes; a longer single text takes it all.
const KILOBYTES_MAX: u32 = 64 << 10;

/// The published triggers that have not come back yet.
#[derive(Debug)]
pub(super) struct Waiters {
    /// Unlike that of any other node and any other run.
    prefix: String,
    next: AtomicU64,
    table: Mutex<HashMap<u64, Waiter>>,
    slots: Arc<Semaphore>,
    kilobytes: Arc<Semaphore>,
}

#[derive(Debug)]
struct Waiter {
    answer: oneshot::Sender<Place>,
    _slot: OwnedSemaphorePermit,
    _kilobytes: OwnedSemaphorePermit,
}

/// The publisher's end: one published trigger. Dropping it stops the waiting.
#[derive(Debug)]
pub(super) struct Ticket<'a> {
    waiters: &'a Waiters,
    number: u64,
    place: oneshot::Receiver<Place>,
}

impl Default for Waiters {
    fn default() -> Self {
        Self {
            prefix: format!("{}.", Uuid::new_v4().simple()),
            next: AtomicU64::new(1),
            table: Mutex::default(),
            slots: Arc::new(Semaphore::new(WAITERS_MAX)),
            kilobytes: Arc::new(Semaphore::new(KILOBYTES_MAX as usize)),
        }
    }
}

impl Waiters {
    /// Registers a trigger of this length. Waits, in the order of calls, while too much is under
    /// way.
    pub(super) async fn ticket(&self, bytes: usize) -> Ticket<'_> {
        let kilobytes = u32::try_from(bytes.div_ceil(1024))
            .unwrap_or(KILOBYTES_MAX)
            .clamp(1, KILOBYTES_MAX);
        let open = "these semaphores are never closed";
        let waiter_slot = Arc::clone(&self.slots).acquire_owned().await.expect(open);
        let waiter_kilobytes = Arc::clone(&self.kilobytes)
            .acquire_many_owned(kilobytes)
            .await
            .expect(open);
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (answer, place) = oneshot::channel();
        let waiter = Waiter {
            answer,
            _slot: waiter_slot,
            _kilobytes: waiter_kilobytes,
        };
        self.lock().insert(number, waiter);
        Ticket {
            waiters: self,
            number,
            place,
        }
    }

    /// The number behind a `message_id` of ours; none for a message of somebody else.
    pub(super) fn number(&self, message_id: &str) -> Option<u64> {
        message_id.strip_prefix(&self.prefix)?.parse().ok()
    }

    /// The trigger came back and has its place.
    pub(super) fn placed(&self, number: u64, place: Place) {
        if let Some(waiter) = self.lock().remove(&number) {
            // Nobody listens any more where the publisher gave up just now.
            let _ = waiter.answer.send(place);
        }
    }

    /// It came back but got no place.
    pub(super) fn dropped(&self, number: u64) {
        self.lock().remove(&number);
    }

    /// The queue they would have come through is gone: none will come back.
    pub(super) fn lose_all(&self) {
        let lost = std::mem::take(&mut *self.lock());
        drop(lost);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Waiter>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket<'_> {
    /// The `message_id` to publish with.
    pub(super) fn message_id(&self) -> String {
        format!("{}{}", self.waiters.prefix, self.number)
    }

    /// The trigger's place; none when it is sure that it will not come back.
    pub(super) async fn place(&mut self) -> Option<Place> {
        (&mut self.place).await.ok()
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.waiters.lock().remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const PLACE: Place = Place {
        position: 7,
        duplicate: false,
    };

    #[tokio::test]
    async fn the_place_reaches_its_publisher_only() {
        let waiters = Waiters::default();
        let mut first = waiters.ticket(10).await;
        let mut second = waiters.ticket(10).await;
        let number = waiters.number(&second.message_id()).unwrap();
        waiters.placed(number, PLACE);
        assert_eq!(second.place().await, Some(PLACE));
        assert_eq!(first.place().now_or_never(), None);
    }

    #[tokio::test]
    async fn foreign_message_ids_are_nobodys() {
        let waiters = Waiters::default();
        let ticket = waiters.ticket(1).await;
        let id = ticket.message_id();
        for foreign in [
            "",
            "1",
            "x.1",
            &id[1..],
            &format!("{id}x"),
            &format!("{id} "),
        ] {
            assert_eq!(waiters.number(foreign), None, "{foreign:?}");
        }
        assert_eq!(Waiters::default().number(&id), None, "another node's");
    }

    #[tokio::test]
    async fn nothing_stays_behind() {
        let waiters = Waiters::default();
        let dropped = waiters.ticket(1).await;
        let mut lost = waiters.ticket(1).await;
        let mut bad = waiters.ticket(1).await;
        drop(dropped);
        waiters.dropped(waiters.number(&bad.message_id()).unwrap());
        assert_eq!(bad.place().await, None);
        waiters.lose_all();
        assert_eq!(lost.place().await, None);
        drop((lost, bad));
        assert!(waiters.lock().is_empty());
        assert_eq!(waiters.slots.available_permits(), WAITERS_MAX);
        assert_eq!(
            waiters.kilobytes.available_permits(),
            KILOBYTES_MAX as usize
        );
    }

    #[tokio::test]
    async fn too_much_waits_its_turn() {
        let waiters = Waiters::default();
        let huge = waiters.ticket(usize::MAX).await;
        assert!(waiters.ticket(1).now_or_never().is_none());
        drop(huge);
        assert!(waiters.ticket(1).now_or_never().is_some());
    }
}
