//! The other end of a connection, and how a connection ends.

use std::io::IoSlice;

/// The other end of a connection: a socket, or a sink in tests and benchmarks.
pub trait Peer {
    /// Hands over as many bytes as can be taken now; never blocks.
    fn send(&mut self, bytes: &[u8]) -> Sent;

    /// The same for bytes in several places.
    fn send_vectored(&mut self, parts: &[IoSlice<'_>]) -> Sent;

    /// Says that nothing more will be sent.
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

/// What became of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// So many were taken. Fewer than offered: `Shard::writable` is due when
    /// there is room again.
    Bytes(usize),
    /// The connection is broken.
    Gone,
}

/// A moment of an admitted connection's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Moment {
    /// It was opened.
    Connect,
    /// Its client sent `ping`.
    Ping,
    /// It is not counted any more.
    Disconnect,
}

/// Why a connection was ended to protect the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Eviction {
    /// More waits for it than `limits.outbox_bytes`.
    OutboxBytes,
    /// It takes nothing of what waits for it, for longer than `limits.outbox_age`.
    OutboxAge,
    /// All outboxes hold more than `limits.outbox_total_bytes`, and it has stood still for longest.
    OutboxTotalBytes,
    /// It sends more messages than `limits.messages_per_second`.
    MessagesPerSecond,
    /// It did not finish a message within `limits.message_timeout`.
    MessageTimeout,
    /// All clients hold more than `limits.client_total_bytes`, and its address holds most.
    ClientTotalBytes,
    /// Its address holds more than `limits.client_bytes_per_address`.
    ClientBytesPerAddress,
    /// Its user holds more than `limits.client_bytes_per_user`.
    ClientBytesPerUser,
    /// Its compressed messages inflate to more than `limits.inflated_bytes_per_second`.
    InflatedBytesPerSecond,
}

impl Eviction {
    /// Every reason, for metrics and documents.
    pub const ALL: [Self; 9] = [
        Self::OutboxBytes,
        Self::OutboxAge,
        Self::OutboxTotalBytes,
        Self::MessagesPerSecond,
        Self::MessageTimeout,
        Self::ClientTotalBytes,
        Self::ClientBytesPerAddress,
        Self::ClientBytesPerUser,
        Self::InflatedBytesPerSecond,
    ];

    /// The reason as it stands in metrics and logs: the setting whose bound was reached.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OutboxBytes => "outbox_bytes",
            Self::OutboxAge => "outbox_age",
            Self::OutboxTotalBytes => "outbox_total_bytes",
            Self::MessagesPerSecond => "messages_per_second",
            Self::MessageTimeout => "message_timeout",
            Self::ClientTotalBytes => "client_total_bytes",
            Self::ClientBytesPerAddress => "client_bytes_per_address",
            Self::ClientBytesPerUser => "client_bytes_per_user",
            Self::InflatedBytesPerSecond => "inflated_bytes_per_second",
        }
    }
}
