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
}

impl Eviction {
    /// Every reason, for metrics and documents.
    pub const ALL: [Self; 4] = [
        Self::OutboxBytes,
        Self::OutboxAge,
        Self::OutboxTotalBytes,
        Self::MessagesPerSecond,
    ];

    /// The reason as it stands in metrics and logs: the setting whose bound was reached.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OutboxBytes => "outbox_bytes",
            Self::OutboxAge => "outbox_age",
            Self::OutboxTotalBytes => "outbox_total_bytes",
            Self::MessagesPerSecond => "messages_per_second",
        }
    }
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

    /// A connection was evicted.
    fn evicted(&mut self, connection: Uuid, peer: &P, reason: Eviction);
}
