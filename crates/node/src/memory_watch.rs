//! Samples the memory of the process, and rejects new clients and triggers while it is short.

use std::sync::Arc;
use std::time::Duration;

use ht_core::account::Accounts;
use tokio_util::sync::CancellationToken;

use crate::inbox;
use crate::live::Live;
use crate::memory::{Memory, allowance, resident_bytes};
use crate::pipelines::Pipelines;

/// Interval between samples.
const INTERVAL: Duration = Duration::from_millis(250);

/// Number of samples per update of the allocator's statistics, while nothing depends on them: an
/// update takes a millisecond and a half.
const ALLOCATED_LOOKS: u32 = 8;

/// Samples the memory of the process.
pub(crate) struct MemoryWatch {
    pub(crate) memory: Arc<Memory>,
    pub(crate) accounts: Arc<Accounts>,
    pub(crate) pipelines: Arc<Pipelines>,
    pub(crate) live: Live,
    /// What is allocated, if the allocator reports it.
    pub(crate) allocated: Option<fn() -> Option<u64>>,
}

impl MemoryWatch {
    /// Samples until `shutdown`.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let allowance = allowance();
        let mut known = None;
        for look in 0_u32.. {
            let limits = &self.live.now().limits;
            let limit = limits.memory_bounds(allowance).process as u64;
            for pipeline in self.pipelines.all() {
                if self.accounts.is_over() {
                    // The shard whose clients hold most may be asleep.
                    pipeline.inboxes.iter().for_each(inbox::Sender::wake);
                }
                // Also while nothing is published.
                pipeline.node.window.expire();
            }
            self.look(look, limit, &mut known);
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(INTERVAL) => {}
            }
        }
    }

    /// `known`: the allocated memory at the last update of the statistics.
    fn look(&self, look: u32, limit: u64, known: &mut Option<u64>) {
        let (memory, resident) = (&self.memory, resident_bytes());
        if look.is_multiple_of(ALLOCATED_LOOKS)
            || resident.is_some_and(|bytes| memory.needs_allocated(bytes, limit))
        {
            *known = self.allocated.and_then(|bytes| bytes());
        }
        let Some(resident) = resident else {
            return;
        };
        if !memory.note(resident, *known, limit) {
            return;
        }
        if memory.is_short() {
            tracing::warn!(
                resident,
                limit,
                "memory is short: rejecting new clients and triggers"
            );
        } else {
            tracing::info!(resident, limit, "memory is no longer short");
        }
    }
}
