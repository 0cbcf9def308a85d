//! How many different rooms have a subscriber, over all shards.
//!
//! Touched when a shard's first subscriber enters a room or its last one leaves: never while
//! something is delivered.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

/// Locks are taken per stripe, so that shards seldom meet.
const STRIPES: usize = 64;

/// Counts rooms by their fingerprints.
#[derive(Debug)]
pub(crate) struct Census {
    /// In how many shards each room has a subscriber.
    stripes: Vec<Mutex<HashMap<u64, u32, foldhash::fast::RandomState>>>,
    rooms: AtomicU64,
}

impl Census {
    pub(crate) fn new() -> Self {
        Self {
            stripes: (0..STRIPES).map(|_| Mutex::default()).collect(),
            rooms: AtomicU64::new(0),
        }
    }

    /// How many rooms there are.
    pub(crate) fn rooms(&self) -> u64 {
        self.rooms.load(Ordering::Acquire)
    }

    /// A shard has a room that it did not have.
    pub(crate) fn opened(&self, fingerprint: u64) {
        let mut stripe = self.stripe(fingerprint);
        let shards = stripe.entry(fingerprint).or_insert(0);
        *shards += 1;
        if *shards == 1 {
            self.rooms.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// A shard has a room no more.
    pub(crate) fn closed(&self, fingerprint: u64) {
        let mut stripe = self.stripe(fingerprint);
        let Some(shards) = stripe.get_mut(&fingerprint) else {
            return;
        };
        *shards -= 1;
        if *shards == 0 {
            stripe.remove(&fingerprint);
            self.rooms.fetch_sub(1, Ordering::AcqRel);
        }
    }

    fn stripe(
        &self,
        fingerprint: u64,
    ) -> MutexGuard<'_, HashMap<u64, u32, foldhash::fast::RandomState>> {
        let index = usize::try_from(fingerprint % STRIPES as u64).unwrap_or(0);
        self.stripes[index]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_in_two_shards_is_one_room() {
        let census = Census::new();
        census.opened(7);
        census.opened(7);
        census.opened(7 + STRIPES as u64);
        assert_eq!(census.rooms(), 2);
        census.closed(7);
        assert_eq!(census.rooms(), 2);
        census.closed(7);
        census.closed(7 + STRIPES as u64);
        assert_eq!(census.rooms(), 0);
    }
}
