//! Matching: the rooms of an index that meet a given one, in slices where they may be many.

use std::hash::BuildHasher;

use ht_proto::entry::TenantId;
use ht_proto::room::Room;

use crate::index::{RoomId, RoomIndex, Stored};

/// Bytes of a room that take about as long to hash as a look takes.
const LOOK_BYTES: usize = 256;

/// How far the matching of one room got: [`RoomIndex::for_each_match`] takes it up again, also
/// after rooms were added and removed.
#[derive(Debug, Default)]
pub struct Cursor(Option<Left>);

/// What is left of the lists of candidates.
#[derive(Debug)]
struct Left {
    /// The position whose posting lists hold the candidates; none where all rooms of the shape
    /// are.
    position: Option<usize>,
    /// How many rooms at the start of each list were not looked at yet.
    lists: [usize; 2],
}

impl Cursor {
    /// Whether nothing was looked at, or everything.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.0.is_none()
    }
}

impl<S: BuildHasher> RoomIndex<S> {
    /// Calls `found` for each room of the tenant that meets `room`: the same keys, and at each of
    /// them an equal value or `*` on either side (with
    /// [`Matching::Exact`](crate::index::Matching::Exact): an equal value). Returns the number of
    /// candidates examined.
    ///
    /// Where `room` has `*`, at most `looks_max` candidates are examined, and none after `found`
    /// returned false; `cursor`, which is idle at first, is then not idle, and the same call
    /// continues. Rooms may be added and removed in between: each room that was present throughout
    /// is found, perhaps more than once; others may or may not be found.
    pub fn for_each_match(
        &self,
        (tenant, room): (TenantId, &Room),
        cursor: &mut Cursor,
        looks_max: usize,
        mut found: impl FnMut(RoomId) -> bool,
    ) -> usize {
        let Some(shape) = self.find_shape(tenant, room) else {
            cursor.0 = None;
            return 1;
        };
        if self.mask(room) != 0 {
            return self.continue_match(shape, room, cursor, looks_max, found);
        }
        let masks = &self.shapes[shape as usize].masks;
        for &(mask, _) in masks {
            if let Some(id) = self.find_in(shape, mask, room) {
                found(id);
            }
        }
        // A long room takes longer to hash.
        1 + masks.len() * (1 + room.size() / LOOK_BYTES)
    }

    /// Examines candidates from the ends of their lists to the starts. A list changes in two ways:
    /// a room is added at its end, and the last room takes the position of a removed one. So a room
    /// that was not examined always stays in the part that is still to be examined.
    fn continue_match(
        &self,
        shape: u32,
        room: &Room,
        cursor: &mut Cursor,
        looks_max: usize,
        mut found: impl FnMut(RoomId) -> bool,
    ) -> usize {
        let mut left = cursor.0.take().unwrap_or_else(|| {
            let position = self.candidates_at(shape, room);
            let lists = self.candidates(shape, room, position).map(<[u32]>::len);
            Left { position, lists }
        });
        let candidates = self.candidates(shape, room, left.position);
        let (mut looked, mut more) = (0, true);
        for (list, left) in candidates.into_iter().zip(&mut left.lists) {
            *left = list.len().min(*left);
            while *left > 0 && looked < looks_max && more {
                *left -= 1;
                looked += 1;
                let id = list[*left];
                if self.meets(&self.rooms[id as usize], room) {
                    more = found(RoomId(id));
                }
            }
        }
        if left.lists != [0, 0] {
            cursor.0 = Some(left);
        }
        1 + looked
    }

    /// The position where `room` has a value and whose posting lists are the shortest; none where
    /// it has no value.
    fn candidates_at(&self, shape: u32, room: &Room) -> Option<usize> {
        let literals = (0..room.len()).filter(|p| room.wildcards() & (1 << p) == 0);
        literals.min_by_key(|&position| {
            let [equal, star] = self.candidates(shape, room, Some(position));
            equal.len() + star.len()
        })
    }

    /// Every room of the shape that might meet `room`: those that have its value or `*` at a
    /// position, or the whole shape.
    fn candidates(&self, shape: u32, room: &Room, position: Option<usize>) -> [&[u32]; 2] {
        let Some(position) = position else {
            return [&self.shapes[shape as usize].members, &[]];
        };
        let list = |value: &[u8]| {
            self.find_posting(shape, position, value)
                .map_or(&[][..], |id| &self.postings[id as usize].rooms)
        };
        [list(room.value(position)), list(Room::STAR)]
    }

    pub(super) fn meets(&self, stored: &Stored, room: &Room) -> bool {
        let free = stored.mask | room.wildcards();
        (0..room.len()).all(|p| free & (1 << p) != 0 || stored.room.value(p) == room.value(p))
    }
}
