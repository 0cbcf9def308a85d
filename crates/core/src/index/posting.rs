//! Posting lists: the rooms of a shape that have a given value at a given position. They find the
//! candidates where a trigger itself has `*`.

use std::hash::{BuildHasher, Hash, Hasher};

use smallvec::SmallVec;

use crate::index::{RoomIndex, slot};

/// The rooms of a shape that have the same value (`*` is one, too) at a position.
#[derive(Debug)]
pub(super) struct Posting {
    pub(super) shape: u32,
    pub(super) position: u32,
    /// The hash of shape, position and value: the table of postings grows without a look at rooms.
    pub(super) hash: u64,
    /// Never empty.
    pub(super) rooms: SmallVec<[u32; 4]>,
}

impl<S: BuildHasher> RoomIndex<S> {
    pub(super) fn find_posting(&self, shape: u32, position: usize, value: &[u8]) -> Option<u32> {
        let hash = hash_value(&self.hasher, shape, position, value);
        let same = |&id: &u32| {
            let posting = &self.postings[id as usize];
            posting.shape == shape
                && posting.position as usize == position
                && self.posted_value(posting) == value
        };
        self.posting_ids.find(hash, same).copied()
    }

    /// The value of a posting list: that of any of its rooms.
    fn posted_value<'a>(&'a self, posting: &Posting) -> &'a [u8] {
        self.rooms[posting.rooms[0] as usize]
            .room
            .value(posting.position as usize)
    }

    /// Adds a stored room to the list of its value; returns the list and the position in it.
    pub(super) fn post(&mut self, id: u32, position: usize) -> (u32, u32) {
        let stored = &self.rooms[id as usize];
        let (shape, value) = (stored.shape, stored.room.value(position));
        if let Some(posting) = self.find_posting(shape, position, value) {
            let rooms = &mut self.postings[posting as usize].rooms;
            rooms.push(id);
            return (posting, slot(rooms.len() - 1));
        }
        let hash = hash_value(&self.hasher, shape, position, value);
        let rooms = SmallVec::from_slice(&[id]);
        let entry = Posting {
            shape,
            position: slot(position),
            hash,
            rooms,
        };
        let posting = slot(self.postings.insert(entry));
        let postings = &self.postings;
        self.posting_ids
            .insert_unique(hash, posting, |&other| postings[other as usize].hash);
        (posting, 0)
    }

    /// Removes a room that is no longer stored from a list.
    pub(super) fn unpost(&mut self, posting: u32, place: u32, position: usize) {
        let Posting { hash, rooms, .. } = &mut self.postings[posting as usize];
        let hash = *hash;
        rooms.swap_remove(place as usize);
        if let Some(&moved) = rooms.get(place as usize) {
            self.rooms[moved as usize].posted[position].1 = place;
        }
        if rooms.is_empty() {
            self.postings.remove(posting as usize);
            let postings = &self.postings;
            self.posting_ids.remove(
                hash,
                |&other| other == posting,
                |&other| postings[other as usize].hash,
            );
        } else if rooms.spilled() && rooms.len() * 4 < rooms.capacity() {
            rooms.shrink_to_fit();
        }
    }
}

fn hash_value(hasher: &impl BuildHasher, shape: u32, position: usize, value: &[u8]) -> u64 {
    let mut state = hasher.build_hasher();
    (shape, position).hash(&mut state);
    state.write(value);
    state.finish()
}
