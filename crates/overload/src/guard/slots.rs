//! Slots for calls in progress: a bounded number, of which one address never has all.

use std::collections::HashMap;

use crate::fair_queue::QueueKey;

/// The slots, and the keys that hold them.
#[derive(Debug)]
pub(super) struct Slots {
    most: usize,
    /// Slots of one known address, so that calls that hang do not take all of them.
    most_per_key: usize,
    taken: usize,
    /// The same, by known address.
    taken_by: HashMap<QueueKey, usize>,
}

impl Slots {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most: most.max(1),
            most_per_key: (most - most / 4).max(1),
            taken: 0,
            taken_by: HashMap::new(),
        }
    }

    pub(super) fn taken(&self) -> usize {
        self.taken
    }

    /// Whether every slot is taken.
    pub(super) fn is_full(&self) -> bool {
        self.taken >= self.most
    }

    /// Whether a key may have another slot, if one is free. Clients whose address is not known are
    /// no single client.
    pub(super) fn is_open_to(&self, key: QueueKey) -> bool {
        self.taken_by
            .get(&key)
            .is_none_or(|&taken| taken < self.most_per_key)
    }

    pub(super) fn take(&mut self, key: QueueKey) {
        self.taken += 1;
        if key.is_known() {
            *self.taken_by.entry(key).or_default() += 1;
        }
    }

    pub(super) fn give_back(&mut self, key: QueueKey) {
        self.taken -= 1;
        if let Some(taken) = self.taken_by.get_mut(&key) {
            *taken -= 1;
            if *taken == 0 {
                self.taken_by.remove(&key);
            }
        }
    }
}
