//! Every bound of a session and of a shard.

/// Bounds that a shard keeps. All are inclusive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest message of a client, in bytes. Beyond it the connection is closed with 1009.
    pub message_bytes: usize,
    /// Time from the first byte of a message or frame to its last, in ms, however many fragments
    /// it has. Beyond it the connection is evicted and closed with 4002. 0: no limit.
    pub message_timeout: u64,
    /// Messages and control frames of one client per second; ten times as many are accepted in a
    /// burst. Beyond it the connection is evicted and closed with 4200. 0: no limit. A reconnecting
    /// client subscribes to all its rooms at once: the limit must allow for them.
    pub messages_per_second: usize,
    /// Bytes that the compressed messages of one client inflate to per second; ten times as many
    /// are accepted in a burst. Beyond it the connection is evicted and closed with 4200. 0: no
    /// limit.
    pub inflated_bytes_per_second: usize,
    /// Subscriptions of one connection, each once for every KiB begun of its room and request id
    /// together. Beyond it a subscribe is answered
    /// `too-many-subscriptions`.
    pub subscriptions: usize,
    /// Request ids under which one connection may have the same room, each once for every 64 bytes
    /// begun of its JSON text; the first always fits. Beyond it a subscribe is answered
    /// `too-many-names`: each of them is a copy of every publication for that room.
    pub names_per_room: usize,
    /// Longest `requestId`, in bytes of its JSON text.
    pub request_id_bytes: usize,
    /// Longest room of a client, in bytes of its JSON text.
    pub room_bytes: usize,
    /// How deep the values of a room may nest; 1 is a flat room.
    pub room_depth: usize,
    /// Bytes queued for a slow consumer before it is evicted.
    pub outbox_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes: 64 << 10,
            message_timeout: 30_000,
            messages_per_second: 1_000,
            inflated_bytes_per_second: 1 << 20,
            subscriptions: 4_000,
            names_per_room: 32,
            request_id_bytes: 1 << 10,
            room_bytes: 16 << 10,
            room_depth: 32,
            outbox_bytes: 1 << 20,
        }
    }
}
