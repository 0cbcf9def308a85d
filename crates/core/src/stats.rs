//! What a shard counts.

use ht_proto::code::ErrorCode;

use crate::peer::Eviction;

/// A shard's totals. Gauges say what is now, the others what was since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Gauge: admitted connections.
    pub connections: u64,
    /// Gauge: rooms with a subscriber.
    pub rooms: u64,
    /// Gauge: subscriptions.
    pub subscriptions: u64,
    /// Gauge: publish frames that wait for a slow client.
    pub queued: u64,
    /// Connections that were admitted.
    pub admitted: u64,
    /// Visitors that were refused or failed.
    pub refused: u64,
    /// Clients' messages, valid or not.
    pub messages: u64,
    /// Publish frames handed to the system.
    pub deliveries: u64,
    /// Publish frames that were lost with their connection.
    pub undelivered: u64,
    /// Publications that were matched.
    pub publications: u64,
    /// Connections that broke the protocol.
    pub violations: u64,
    /// Connections that were idle for too long.
    pub idle_timeouts: u64,
    /// Error replies, by [`ErrorCode`].
    pub errors: [u64; ErrorCode::ALL.len()],
    /// Evicted connections, by [`Eviction`].
    pub evictions: [u64; Eviction::ALL.len()],
}
