//! Samples the memory of the process, and rejects new clients and triggers while it is short.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::inbox;
use crate::live::Live;
use crate::memory::{allowance, resident_bytes};
use crate::node::Node;

/// How often the process is looked at.
const INTERVAL: Duration = Duration::from_millis(250);

/// The allocator adds up its statistics at every how many looks, where nothing depends on them: it
/// takes a millisecond and a half each time.
const ALLOCATED_LOOKS: u32 = 8;

/// Samples until `shutdown`.
pub(crate) async fn run(
    node: Arc<Node>,
    live: Live,
    shards: Vec<inbox::Sender>,
    allocated: Option<fn() -> Option<u64>>,
    shutdown: CancellationToken,
) {
    let allowance = allowance();
    let mut known = None;
    for look in 0_u32.. {
        let limit = live.now().limits.memory_bounds(allowance).process as u64;
        if node.accounts.is_over() {
            // The shard whose clients hold most may be asleep.
            for shard in &shards {
                shard.wake();
            }
        }
        let resident = resident_bytes();
        if look.is_multiple_of(ALLOCATED_LOOKS)
            || resident.is_some_and(|bytes| node.memory.needs_allocated(bytes, limit))
        {
            known = allocated.and_then(|bytes| bytes());
        }
        if let Some(resident) = resident
            && node.memory.note(resident, known, limit)
        {
            if node.memory.is_short() {
                tracing::warn!(
                    resident,
                    limit,
                    "memory is short: rejecting new clients and triggers"
                );
            } else {
                tracing::info!(resident, limit, "memory is no longer short");
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
}
