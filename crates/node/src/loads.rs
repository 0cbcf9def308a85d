//! How many connections each shard has, so that a new one is assigned to the least loaded.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Connections by shard, including those that are being handed to it.
#[derive(Debug)]
pub(crate) struct Loads(Vec<AtomicU64>);

impl Loads {
    /// For this number of shards.
    pub(crate) fn new(shards: usize) -> Self {
        Self((0..shards).map(|_| AtomicU64::new(0)).collect())
    }

    /// All shards, the one with the fewest connections first; of equal ones the next after
    /// `first`, so that they take turns.
    pub(crate) fn shards_by_load(&self, first: usize) -> Vec<usize> {
        let shards = self.0.len();
        let mut order: Vec<_> = (0..shards)
            .map(|next| (first % shards + next) % shards)
            .collect();
        // Counts that change meanwhile may affect the order slightly, never the sorting.
        order.sort_by_cached_key(|&shard| self.0[shard].load(Ordering::Acquire));
        order
    }

    /// Counts a connection that is assigned to this shard.
    pub(crate) fn assign(self: &Arc<Self>, shard: usize) -> Load {
        self.0[shard].fetch_add(1, Ordering::AcqRel);
        Load {
            loads: Arc::clone(self),
            shard,
            kept: false,
        }
    }

    /// Releases what a connection of this shard [kept](Load::keep).
    pub(crate) fn release(&self, shard: usize) {
        self.0[shard].fetch_sub(1, Ordering::AcqRel);
    }
}

/// One connection of a shard. Released on drop, unless the shard keeps it.
#[derive(Debug)]
pub(crate) struct Load {
    loads: Arc<Loads>,
    shard: usize,
    kept: bool,
}

impl Load {
    /// The shard.
    pub(crate) fn shard(&self) -> usize {
        self.shard
    }

    /// Leaves releasing it to [`Loads::release`].
    pub(crate) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        if !self.kept {
            self.loads.release(self.shard);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shard_with_the_fewest_connections_is_next_and_equal_ones_take_turns() {
        let loads = Arc::new(Loads::new(3));
        assert_eq!(loads.shards_by_load(4), [1, 2, 0]);
        let (first, second) = (loads.assign(1), loads.assign(1));
        let third = loads.assign(2);
        assert_eq!(loads.shards_by_load(1), [0, 2, 1]);
        first.keep();
        drop((second, third));
        // A kept connection counts until it is released.
        assert_eq!(loads.shards_by_load(1), [2, 0, 1]);
        loads.release(1);
        assert_eq!(loads.shards_by_load(1), [1, 2, 0]);
    }
}
