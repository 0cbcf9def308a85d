//! How the memory of the process is divided.

use crate::config::ServerLimits;

/// `limits.memory_bytes`, and how it is divided. In bytes; 0 is no bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryBounds {
    /// Of the process.
    pub process: usize,
    /// Of all outboxes.
    pub outboxes: usize,
    /// Of what all clients hold beside outboxes.
    pub clients: usize,
    /// Of publications that wait for shards.
    pub inboxes: usize,
    /// Of these, of the connections of one address.
    pub address: usize,
    /// Of these, of the connections of one user.
    pub user: usize,
}

/// Most memory that outboxes have by default, in bytes.
const OUTBOXES: usize = 256 << 20;

/// Most memory that publications which wait for shards have by default, in bytes.
const INBOXES: usize = 64 << 20;

impl ServerLimits {
    /// The bounds of memory in a process that may have `allowance` bytes, if that is known. By
    /// default an eighth of `memory_bytes` is left for the process itself, connections and
    /// triggers.
    #[must_use]
    pub fn memory_bounds(&self, allowance: Option<usize>) -> MemoryBounds {
        // Four fifths: more would leave too little for the system's own buffers.
        let part = allowance.map_or(0, |bytes| bytes / 5 * 4);
        let process = self.memory_bytes.unwrap_or(part);
        let whole = if process == 0 { part } else { process };
        let (outboxes, inboxes) = if whole == 0 {
            (OUTBOXES, INBOXES)
        } else {
            (OUTBOXES.min(whole / 4), INBOXES.min(whole / 8))
        };
        let clients = self.client_total_bytes.unwrap_or(whole / 2);
        MemoryBounds {
            process,
            outboxes: self.outbox_total_bytes.unwrap_or(outboxes),
            clients,
            inboxes: self.inbox_bytes.unwrap_or(inboxes),
            address: self.client_bytes_per_address.unwrap_or(clients / 8),
            user: self.client_bytes_per_user.unwrap_or(clients / 8),
        }
    }
}
