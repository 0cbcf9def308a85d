//! Places for calls, and the fair queue before them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::answer::Failure;
use crate::guard::fair_queue::{FairQueue, QueueKey, Ticket};

/// What somebody in the line waits for: a place, or the word that there is none.
type Waiter = oneshot::Sender<Result<Place, Failure>>;

/// A bounded number of places, and a bounded line in which addresses take turns.
#[derive(Debug)]
pub(super) struct Line {
    state: Mutex<State>,
    places: usize,
    /// Places of one known address, so that calls that hang do not take all of them.
    permits_per_key: usize,
    waiting_max: usize,
}

#[derive(Debug, Default)]
struct State {
    taken: usize,
    /// The same, by known address.
    taken_by: HashMap<QueueKey, usize>,
    /// Nobody waits while a place is free that is open to them.
    waiting: FairQueue<Waiter>,
}

/// A place for one call. Dropping it hands it to the next in line.
#[derive(Debug)]
pub(super) struct Place(Option<(Arc<Line>, QueueKey)>);

impl Line {
    pub(super) fn new(places: usize, waiting_max: usize) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            places: places.max(1),
            permits_per_key: (places - places / 4).max(1),
            waiting_max,
        })
    }

    /// Calls that have a place, and calls that wait for one.
    pub(super) fn counts(&self) -> (usize, usize) {
        let state = self.lock();
        (state.taken, state.waiting.len())
    }

    /// Waits for a place, at most for `within`.
    ///
    /// # Errors
    /// [`Failure::LineFull`] at once or when others need the room more, [`Failure::Busy`] later.
    pub(super) async fn place(
        self: &Arc<Self>,
        key: QueueKey,
        within: Duration,
    ) -> Result<Place, Failure> {
        let (sender, receiver) = oneshot::channel();
        let ticket = {
            let mut state = self.lock();
            if state.taken < self.places && state.is_open_to(key, self.permits_per_key) {
                state.take(key);
                return Ok(Place(Some((Arc::clone(self), key))));
            }
            if state.waiting.len() >= self.waiting_max {
                let Some(last) = state.waiting.make_room(key) else {
                    return Err(self.full());
                };
                // Nobody hears it if the visitor is just leaving.
                let _ = last.send(Err(self.full()));
            }
            state.waiting.push(key, sender)
        };
        let _leaving = Leaving { line: self, ticket };
        match tokio::time::timeout(within, receiver).await {
            Ok(Ok(place)) => place,
            Ok(Err(_)) | Err(_) => Err(Failure::Busy { within }),
        }
    }

    fn full(&self) -> Failure {
        Failure::LineFull {
            waiting_max: self.waiting_max,
        }
    }

    /// Hands a place to the next in line, or keeps it free.
    fn release(self: Arc<Self>, key: QueueKey) {
        let mut guard = self.lock();
        let state = &mut *guard;
        state.give_back(key);
        let State {
            taken_by, waiting, ..
        } = state;
        let most = self.permits_per_key;
        while let Some((key, next)) = waiting.pop(|key| is_open_to(taken_by, key, most)) {
            match next.send(Ok(Place(Some((Arc::clone(&self), key))))) {
                Ok(()) => return state.take(key),
                // Left this moment: the place is not lost with the message.
                Err(unheard) => unheard.into_iter().for_each(Place::defuse),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
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

/// Whether a key may have another place. Those whose address is not known are no single client.
fn is_open_to(taken_by: &HashMap<QueueKey, usize>, key: QueueKey, most: usize) -> bool {
    taken_by.get(&key).is_none_or(|&taken| taken < most)
}

impl Place {
    fn defuse(mut self) {
        self.0 = None;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some((line, key)) = self.0.take() {
            line.release(key);
        }
    }
}

/// Takes a visitor out of the line, however its waiting ends.
struct Leaving<'a> {
    line: &'a Line,
    ticket: Ticket,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        // What is taken out is dropped after the lock is released.
        let _waiter = self.line.lock().waiting.remove(self.ticket);
    }
}
