//! The other end of a connection, and how a connection ends.

use std::io::IoSlice;

use ht_proto::labels;

/// The other end of a connection: a socket, or a sink in tests and benchmarks.
pub trait Peer {
    /// Writes as many bytes as are accepted now; never blocks.
    fn send(&mut self, bytes: &[u8]) -> Sent;

    /// The same for bytes in several buffers.
    fn send_vectored(&mut self, parts: &[IoSlice<'_>]) -> Sent;

    /// Closes the write side.
    fn shutdown(&mut self);

    /// A number for its client's address, the same for all connections from there.
    fn address(&self) -> u32 {
        u32::MAX
    }

    /// Bytes that it keeps of what its client sent, such as credentials. Never changes.
    fn kept_bytes(&self) -> usize {
        0
    }
}

/// Result of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// Number of bytes that were accepted. If it is less than offered, `Shard::writable` is due when the
    /// socket accepts more.
    Bytes(usize),
    /// The connection is broken.
    Gone,
}

labels! {
    /// Why a connection was ended to protect the others (eviction). Its word is the setting whose limit
    /// was reached.
    pub enum Eviction {
        /// More than `limits.outbox_bytes` is queued for it.
        OutboxBytes = "outbox_bytes",
        /// It accepted no queued data for `limits.outbox_age`.
        OutboxAge = "outbox_age",
        /// All outboxes hold more than `limits.outbox_total_bytes`, and it has stalled for longest.
        OutboxTotalBytes = "outbox_total_bytes",
        /// It sends more messages than `limits.messages_per_second`.
        MessagesPerSecond = "messages_per_second",
        /// It did not complete a message within `limits.message_timeout`.
        MessageTimeout = "message_timeout",
        /// All clients hold more than `limits.client_total_bytes`, and its address holds most.
        ClientTotalBytes = "client_total_bytes",
        /// Its address holds more than `limits.client_bytes_per_address`.
        ClientBytesPerAddress = "client_bytes_per_address",
        /// Its user holds more than `limits.client_bytes_per_user`.
        ClientBytesPerUser = "client_bytes_per_user",
        /// Its compressed messages inflate to more than `limits.inflated_bytes_per_second`.
        InflatedBytesPerSecond = "inflated_bytes_per_second",
        /// What its tenant is sent waited for longer than five seconds, because of the tenant's limits.
        TenantBusy = "tenant_busy",
    }
}
