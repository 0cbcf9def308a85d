//! Samples the memory of the process, and rejects new clients and triggers while it is short.

use std::sync::Arc;
use std::time::Duration;

use ht_core::account::Accounts;
use tokio_util::sync::CancellationToken;

use crate::inbox;
use crate::live::Live;
use crate::memory::{Memory, allowance, resident_bytes};

/// How often the process is looked at.
const INTERVAL: Duration = Duration::from_millis(250);

/// The allocator adds up its statistics at every how many looks, where nothing depends on them: it
/// takes a millisecond and a half each time.
const ALLOCATED_LOOKS: u32 = 8;

/// Samples the memory of the process.
pub(crate) struct MemoryWatch {
    pub(crate) memory: Arc<Memory>,
    pub(crate) accounts: Arc<Accounts>,
    pub(crate) live: Live,
    pub(crate) shards: Vec<inbox::Sender>,
    /// What is allocated, where the allocator says.
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
            if self.accounts.is_over() {
                // The shard whose clients hold most may be asleep.
                self.shards.iter().for_each(inbox::Sender::wake);
            }
            self.look(look, limit, &mut known);
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(INTERVAL) => {}
            }
        }
    }

    /// `known`: what was allocated when it was last added up.
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
