//! The publishers that wait for their triggers to be read back.
//!
//! Each entry that this node appends has a key of its own. When the node's own tail reads it and
//! the sequencer has placed it, the position is returned to the publisher.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use uuid::Uuid;

use crate::order::Placed;

/// Limit on published triggers in flight; further ones wait, and a call with more waits for all
/// others.
const WAITERS_MAX: u32 = 16_384;

/// Their texts together, in kilobytes; a call with more waits for all others.
const KILOBYTES_MAX: u32 = 64 << 10;

/// The published triggers that have not been read back yet.
#[derive(Debug)]
pub(crate) struct Waiters {
    /// Unlike that of any other node and any other run.
    prefix: String,
    next: AtomicU64,
    table: Mutex<HashMap<u64, oneshot::Sender<Placed>>>,
    slots: Arc<Semaphore>,
    kilobytes: Arc<Semaphore>,
}

/// The publisher's end: the triggers of one call. Dropping it ends the waiting.
#[derive(Debug)]
pub(crate) struct Tickets<'a> {
    waiters: &'a Waiters,
    waiting: Vec<(u64, oneshot::Receiver<Placed>)>,
    _permits: [OwnedSemaphorePermit; 2],
}

impl Default for Waiters {
    fn default() -> Self {
        Self {
            prefix: format!("{}.", Uuid::new_v4().simple()),
            next: AtomicU64::new(1),
            table: Mutex::default(),
            slots: Arc::new(Semaphore::new(WAITERS_MAX as usize)),
            kilobytes: Arc::new(Semaphore::new(KILOBYTES_MAX as usize)),
        }
    }
}

impl Waiters {
    /// Registers so many triggers, with so many bytes together. Waits, in the order of calls, while
    /// too many are in flight.
    pub(crate) async fn tickets(&self, count: usize, bytes: usize) -> Tickets<'_> {
        let permits = [
            permits(&self.slots, count, WAITERS_MAX).await,
            permits(&self.kilobytes, bytes.div_ceil(1024), KILOBYTES_MAX).await,
        ];
        let mut table = self.lock();
        let waiting = (0..count)
            .map(|_| {
                let number = self.next.fetch_add(1, Ordering::Relaxed);
                let (answer, placed) = oneshot::channel();
                table.insert(number, answer);
                (number, placed)
            })
            .collect();
        drop(table);
        Tickets {
            waiters: self,
            waiting,
            _permits: permits,
        }
    }

    /// The number behind a key of ours; `None` for an entry of another node.
    pub(crate) fn number(&self, key: &str) -> Option<u64> {
        key.strip_prefix(&self.prefix)?.parse().ok()
    }

    /// The trigger was read back and has its position.
    pub(crate) fn placed(&self, number: u64, placed: Placed) {
        if let Some(answer) = self.lock().remove(&number) {
            // The receiver is dropped if the publisher gave up just now.
            let _ = answer.send(placed);
        }
    }

    /// It was read back but got no position.
    pub(crate) fn dropped(&self, number: u64) {
        self.lock().remove(&number);
    }

    /// The connection that would have read them back is lost: none will be read.
    pub(crate) fn lose_all(&self) {
        let lost = std::mem::take(&mut *self.lock());
        drop(lost);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<Placed>>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for so many permits; if there are never as many, for all.
async fn permits(semaphore: &Arc<Semaphore>, count: usize, max: u32) -> OwnedSemaphorePermit {
    let count = u32::try_from(count).unwrap_or(max).clamp(1, max);
    let permits = Arc::clone(semaphore).acquire_many_owned(count).await;
    permits.expect("these semaphores are never closed")
}

impl Tickets<'_> {
    /// The keys to append with.
    pub(crate) fn keys(&self) -> impl Iterator<Item = Box<str>> + '_ {
        let prefix = &self.waiters.prefix;
        let numbers = self.waiting.iter().map(|(number, _)| number);
        numbers.map(move |number| format!("{prefix}{number}").into())
    }

    /// The triggers' positions; `None` as soon as it is certain that one will not be read back.
    pub(crate) async fn placed(&mut self) -> Option<Vec<Placed>> {
        let mut all = Vec::with_capacity(self.waiting.len());
        for (_, placed) in &mut self.waiting {
            all.push(placed.await.ok()?);
        }
        Some(all)
    }
}

impl Drop for Tickets<'_> {
    fn drop(&mut self) {
        let mut table = self.waiters.lock();
        for (number, _) in &self.waiting {
            table.remove(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use ht_proto::entry::Position;

    use super::*;

    const PLACED: Placed = Placed {
        position: Position::MAX,
        duplicate: false,
    };

    fn number(tickets: &Tickets<'_>, index: usize) -> u64 {
        let key = tickets.keys().nth(index).unwrap();
        tickets.waiters.number(&key).unwrap()
    }

    #[tokio::test]
    async fn the_position_reaches_its_publisher_only() {
        let waiters = Waiters::default();
        let mut first = waiters.tickets(1, 10).await;
        let mut second = waiters.tickets(2, 10).await;
        waiters.placed(number(&second, 1), PLACED);
        assert_eq!(second.placed().now_or_never(), None, "one of two");
        let mut third = waiters.tickets(1, 10).await;
        waiters.placed(number(&third, 0), PLACED);
        assert_eq!(third.placed().await, Some(vec![PLACED]));
        assert_eq!(first.placed().now_or_never(), None);
    }

    #[tokio::test]
    async fn foreign_keys_are_ignored() {
        let waiters = Waiters::default();
        let tickets = waiters.tickets(1, 1).await;
        let key = tickets.keys().next().unwrap();
        for foreign in [
            "",
            "1",
            "x.1",
            &key[1..],
            &format!("{key}x"),
            &format!("{key} "),
        ] {
            assert_eq!(waiters.number(foreign), None, "{foreign:?}");
        }
        assert_eq!(Waiters::default().number(&key), None, "another node's");
    }

    #[tokio::test]
    async fn nothing_stays_behind() {
        let waiters = Waiters::default();
        let dropped = waiters.tickets(3, 1).await;
        let mut lost = waiters.tickets(2, 1).await;
        let mut bad = waiters.tickets(2, 1).await;
        drop(dropped);
        waiters.dropped(number(&bad, 0));
        assert_eq!(bad.placed().await, None);
        waiters.lose_all();
        assert_eq!(lost.placed().await, None);
        drop((lost, bad));
        assert!(waiters.lock().is_empty());
        assert_eq!(waiters.slots.available_permits(), WAITERS_MAX as usize);
        assert_eq!(
            waiters.kilobytes.available_permits(),
            KILOBYTES_MAX as usize
        );
    }

    #[tokio::test]
    async fn calls_beyond_the_limit_wait_in_order() {
        let waiters = Waiters::default();
        for (count, bytes) in [(1, usize::MAX), (usize::MAX >> 48, 1)] {
            let huge = waiters.tickets(count, bytes).await;
            assert!(waiters.tickets(1, 1).now_or_never().is_none());
            drop(huge);
            assert!(waiters.tickets(1, 1).now_or_never().is_some());
        }
    }
}
