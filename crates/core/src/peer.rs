//! What a shard needs of the world around it.

use std::io::IoSlice;

use ht_proto::room::Room;
use ht_proto::server::Status;
use uuid::Uuid;

use crate::stats::Stats;

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
    /// So many were taken. Fewer than offered: [`crate::shard::Shard::writable`] is due when
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

/// A bound of memory is exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Over {
    /// The bound.
    pub reason: Eviction,
    /// What all connections of the address hold, in bytes; zero where that is not known.
    pub address: usize,
}

/// What a shard causes outside of itself. Calls come in the order of the things they tell, and
/// before any byte that is sent because of them.
pub trait Effects<P> {
    /// Something a hook may want to know.
    fn moment(&mut self, moment: Moment, peer: &mut P, now: u64);

    /// Whose connection it is: a number that is equal for all connections of one user, or of one
    /// address where users are not known. Asked when a subscription has `*`, so that no client takes
    /// more than its share.
    fn client(&mut self, peer: &P) -> u64;

    /// A room got its first subscriber in this shard. Answers the last position that was given
    /// before others knew of it: the room hears what comes after that position, and nothing
    /// older that is still on its way.
    fn room_opened(&mut self, room: &Room) -> u64;

    /// A room lost its last subscriber in this shard.
    fn room_closed(&mut self, room: &Room);

    /// The totals of the whole node; `own` are this shard's, newer than any published before.
    fn status(&mut self, own: &Stats) -> Status;

    /// A connection holds `bytes` more of memory. Returns what all of its address hold then, zero
    /// where that is not known.
    ///
    /// # Errors
    /// Where its address or its user exceeds its bound. The bytes are held all the same, until
    /// they are released.
    fn hold(&mut self, _peer: &P, _bytes: usize) -> Result<usize, Over> {
        Ok(0)
    }

    /// A connection holds `bytes` less of memory than [`Self::hold`] noted. Returns what all of
    /// its address hold then, zero where that is not known.
    fn release(&mut self, _peer: &P, _bytes: usize) -> usize {
        0
    }

    /// Whether [`Self::room_refused`] logs anything now. Explanations are not made for nobody.
    fn logs_refused_rooms(&self) -> bool {
        false
    }

    /// A connection asked for a room that none of its grants permits; `reason` says what differs.
    fn room_refused(&mut self, _connection: Uuid, _peer: &P, _reason: &str) {}

    /// A connection was evicted.
    fn evicted(&mut self, connection: Uuid, peer: &P, reason: Eviction);
}
