//! Places for calls, and the fair queue before them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::answer::Failure;
use crate::guard::fair_queue::{FairQueue, QueueEntry, QueueKey};

/// What an entry of the queue waits for: a permit, or the failure if there is none.
type Waiter = oneshot::Sender<Result<CallPermit, Failure>>;

/// A bounded number of permits, and a bounded fair queue.
#[derive(Debug)]
pub(super) struct CallQueue {
    state: Mutex<QueueState>,
    permits: usize,
    /// Places of one known address, so that calls that hang do not take all of them.
    permits_per_key: usize,
    waiting_max: usize,
}

#[derive(Debug, Default)]
struct QueueState {
    taken: usize,
    /// The same, by known address.
    taken_by: HashMap<QueueKey, usize>,
    /// Nobody waits while a permit is free that is open to them.
    waiting: FairQueue<Waiter>,
}

/// A permit for one call. Dropping it hands it to the next in queue.
#[derive(Debug)]
pub(super) struct CallPermit(Option<(Arc<CallQueue>, QueueKey)>);

impl CallQueue {
    pub(super) fn new(permits: usize, waiting_max: usize) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            permits: permits.max(1),
            permits_per_key: (permits - permits / 4).max(1),
            waiting_max,
        })
    }

    /// Calls that have a permit, and calls that wait for one.
    pub(super) fn counts(&self) -> (usize, usize) {
        let state = self.lock();
        (state.taken, state.waiting.len())
    }

    /// Waits for a permit, at most for `within`.
    ///
    /// # Errors
    /// [`Failure::QueueFull`] at once or when others need the room more, [`Failure::Busy`] later.
    pub(super) async fn permit(
        self: &Arc<Self>,
        key: QueueKey,
        within: Duration,
    ) -> Result<CallPermit, Failure> {
        let (sender, receiver) = oneshot::channel();
        let entry = {
            let mut state = self.lock();
            if state.taken < self.permits && state.is_open_to(key, self.permits_per_key) {
                state.take(key);
                return Ok(CallPermit(Some((Arc::clone(self), key))));
            }
            if state.waiting.len() >= self.waiting_max {
                let Some(last) = state.waiting.make_room(key) else {
                    return Err(self.full());
                };
                // Nobody hears it if the client is just leaving.
                let _ = last.send(Err(self.full()));
            }
            state.waiting.push(key, sender)
        };
        let _leaving = Leaving { queue: self, entry };
        match tokio::time::timeout(within, receiver).await {
            Ok(Ok(permit)) => permit,
            Ok(Err(_)) | Err(_) => Err(Failure::Busy { within }),
        }
    }

    fn full(&self) -> Failure {
        Failure::QueueFull {
            waiting_max: self.waiting_max,
        }
    }

    /// Hands a permit to the next in queue, or keeps it free.
    fn release(self: Arc<Self>, key: QueueKey) {
        let mut guard = self.lock();
        let state = &mut *guard;
        state.give_back(key);
        let QueueState {
            taken_by, waiting, ..
        } = state;
        let most = self.permits_per_key;
        while let Some((key, next)) = waiting.pop(|key| is_open_to(taken_by, key, most)) {
            match next.send(Ok(CallPermit(Some((Arc::clone(&self), key))))) {
                Ok(()) => return state.take(key),
                // Left this moment: the permit is not lost with the message.
                Err(unheard) => unheard.into_iter().for_each(CallPermit::defuse),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl QueueState {
    fn is_open_to(&self, key: QueueKey, most: usize) -> bool {
        is_open_to(&self.taken_by, key, most)
    }

    fn take(&mut self, key: QueueKey) {
        self.taken += 1;
        if key.is_known() {
            *self.taken_by.entry(key).or_default() += 1;
        }
    }

    fn give_back(&mut self, key: QueueKey) {
        self.taken -= 1;
        if let Some(taken) = self.taken_by.get_mut(&key) {
            *taken -= 1;
            if *taken == 0 {
                self.taken_by.remove(&key);
            }
        }
    }
}

/// Whether a key may have another permit. Those whose address is not known are no single client.
fn is_open_to(taken_by: &HashMap<QueueKey, usize>, key: QueueKey, most: usize) -> bool {
    taken_by.get(&key).is_none_or(|&taken| taken < most)
}

impl CallPermit {
    fn defuse(mut self) {
        self.0 = None;
    }
}

impl Drop for CallPermit {
    fn drop(&mut self) {
        if let Some((queue, key)) = self.0.take() {
            queue.release(key);
        }
    }
}

/// Takes a client out of the queue, however its waiting ends.
struct Leaving<'a> {
    queue: &'a CallQueue,
    entry: QueueEntry,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        // What is taken out is dropped after the lock is released.
        let _waiter = self.queue.lock().waiting.remove(self.entry);
    }
}
