//! Memory use of rooms.

use ht_proto::room::Room;

use crate::account::heap;
#[cfg(test)]
use crate::index::RoomIndex;
use crate::index::Stored;
use crate::index::posting::Posting;
use crate::table::TABLE_SLOT;

/// Memory that a room takes in an index with posting lists, in bytes: its entry, what it owns, its
/// slot in its shape and, for each key, a posting list of its own.
pub(crate) fn room_bytes(room: &Room) -> usize {
    let keys = room.len();
    let spilled = if keys > 3 { heap((keys + 1) * 4) } else { 0 };
    let posted = if keys > 2 { heap(keys * 8) } else { 0 };
    let posting = size_of::<Posting>() + TABLE_SLOT;
    let own = size_of::<Stored>() + TABLE_SLOT + size_of::<u32>();
    own + heap(room.size()) + spilled + posted + keys * posting
}

#[cfg(test)]
impl<S> RoomIndex<S> {
    /// Entries that all tables have memory for, and entries that are there.
    pub(crate) fn slots(&self) -> (usize, usize) {
        let tables = self.rooms.capacity() + self.postings.capacity();
        let ids = self.room_ids.capacity() + self.posting_ids.capacity();
        (tables + ids, self.rooms.len() + self.postings.len())
    }
}
