//! Publications that a shard took from its inbox and did not match yet.

use std::collections::VecDeque;

/// Size of the batches that were taken and are not matched yet.
#[derive(Debug, Default)]
pub(super) struct Undelivered {
    /// Bytes of each, oldest first.
    batches: VecDeque<usize>,
    pub(super) bytes: usize,
}

impl Undelivered {
    /// All but the last `backlog` batches were matched.
    pub(super) fn settle(&mut self, backlog: usize) {
        while self.batches.len() > backlog
            && let Some(bytes) = self.batches.pop_front()
        {
            self.bytes -= bytes;
        }
    }

    pub(super) fn add(&mut self, bytes: usize) {
        self.batches.push_back(bytes);
        self.bytes += bytes;
    }
}
