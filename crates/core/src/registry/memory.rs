//! Memory use of subscriptions and rooms.

#[cfg(any(test, fuzzing))]
use std::collections::BTreeSet;

use ht_proto::client::RequestId;
use ht_proto::room::Room;

use crate::account::heap;
use crate::index;
use crate::registry::{Registry, Subscribers, Subscription};
use crate::table::TABLE_SLOT;

/// Bytes of a room and its request id for each of which a subscription counts once.
pub(crate) const WEIGHT_BYTES: usize = 1 << 10;

/// Memory of a room's entry in the node's interest index.
const INTEREST_BYTES: usize = 40;

impl Registry {
    /// Memory that all subscriptions and their rooms take, in bytes: their share of every table,
    /// the interest index included, and what they own.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Entries that all tables have memory for, and entries that are there.
    #[cfg(test)]
    pub(super) fn slots(&self) -> (usize, usize) {
        let (tables, entries) = self.index.slots();
        let own = self.rooms.capacity() + self.subscriptions.capacity();
        let own = own + self.pairs.capacity() + self.groups.capacity();
        (
            tables + own,
            entries + self.rooms.len() + self.subscriptions.len(),
        )
    }

    /// The same, counted one by one.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn recount(&self) -> usize {
        let subscriptions = self.subscriptions.iter();
        let subscriptions: usize = subscriptions.map(|(_, it)| it.bytes()).sum();
        let rooms: BTreeSet<_> = self.subscriptions.iter().map(|(_, it)| it.room).collect();
        let rooms = rooms.into_iter().map(|id| room_bytes(self.index.room(id)));
        subscriptions + rooms.sum::<usize>()
    }
}

impl Subscription {
    /// Memory that it takes: its entry, its share of two tables and of its room's list, its tail.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + 2 * TABLE_SLOT + 2 * size_of::<u32>() + heap(self.tail.len())
    }
}

/// How often a subscription counts: once for each KiB begun of its room and request id.
pub(crate) fn weight(room: &Room, name: &RequestId) -> usize {
    let bytes = room.size() + name.as_json().len();
    bytes.div_ceil(WEIGHT_BYTES).max(1)
}

/// Memory that an open room takes in the registry, its index and the node's interest index.
pub(super) fn room_bytes(room: &Room) -> usize {
    size_of::<Subscribers>() + index::room_bytes(room) + INTEREST_BYTES
}
