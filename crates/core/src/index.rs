//! Finding rooms by content: the structure under both delivery and permissions.
//!
//! A room's sorted keys are its *shape*; each tenant has shapes of its own, so that rooms of two
//! tenants never meet. Within a shape a room is known by which positions are
//! `*` (its *mask*) and by its other values. To find every room that meets a given one, the
//! index looks once per mask that exists in the shape, however many rooms there are. Where the
//! given room itself has `*`, posting lists per (shape, position, value) give the candidates.

mod listing;
mod matches;
mod memory;
mod posting;

use std::hash::{BuildHasher, Hash, Hasher};

use hashbrown::HashTable;
use ht_proto::entry::TenantId;
use ht_proto::room::Room;
use slab::Slab;
use smallvec::SmallVec;

pub(crate) use self::memory::room_bytes;
use crate::index::posting::Posting;
use crate::table::Table;
use ht_pages::{Pages, shrink_list};

pub use crate::index::matches::Cursor;

/// The id of a room in a [`RoomIndex`]; reused after the room was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoomId(u32);

impl RoomId {
    /// The id as an index for a table beside the index.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A room's mask among those of its shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaskUse {
    /// The shape, while it has a room.
    pub shape: Option<u32>,
    /// The positions with `*`, as bits.
    pub mask: u64,
    /// How many masks the shape has.
    pub existing: usize,
    /// This mask is one of them.
    pub exists: bool,
}

/// How `*` is understood.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Matching {
    /// `*` meets every value, in both directions.
    #[default]
    Wildcard,
    /// `*` is a value like any other.
    Exact,
}

/// Rooms, found by content.
#[derive(Debug)]
pub struct RoomIndex<S> {
    hasher: S,
    matching: Matching,
    /// Whether posting lists are kept; without them rooms with `*` cannot be matched.
    posts: bool,
    shapes: Slab<Shape>,
    shape_ids: HashTable<u32>,
    rooms: Pages<Stored>,
    room_ids: Table,
    postings: Pages<Posting>,
    posting_ids: Table,
}

/// The rooms of a tenant with the same keys.
#[derive(Debug)]
struct Shape {
    tenant: TenantId,
    keys: Box<[u8]>,
    /// The masks that exist, with how many rooms have each.
    masks: SmallVec<[(u64, u32); 1]>,
    /// Every room of the shape.
    members: Vec<u32>,
}

#[derive(Debug)]
struct Stored {
    room: Room,
    shape: u32,
    mask: u64,
    /// The room's position among its shape's members.
    member: u32,
    /// Per position: the posting list and the room's position in it.
    posted: SmallVec<[(u32, u32); 2]>,
}

impl<S: BuildHasher> RoomIndex<S> {
    /// An empty index. `hasher` should be seeded at random: clients choose what is hashed.
    pub fn new(matching: Matching, hasher: S) -> Self {
        Self {
            hasher,
            matching,
            posts: matching == Matching::Wildcard,
            shapes: Slab::new(),
            shape_ids: HashTable::new(),
            rooms: Pages::new(),
            room_ids: Table::new(),
            postings: Pages::new(),
            posting_ids: Table::new(),
        }
    }

    /// An empty index that is only used for [permission checks](Self::permits): it is smaller.
    pub fn for_permits(hasher: S) -> Self {
        Self {
            posts: false,
            ..Self::new(Matching::Wildcard, hasher)
        }
    }

    /// How many rooms there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rooms.len()
    }

    /// Whether there are no rooms.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rooms.is_empty()
    }

    /// The room behind an id.
    ///
    /// # Panics
    /// When the id's room was removed.
    #[must_use]
    pub fn room(&self, id: RoomId) -> &Room {
        &self.rooms[id.index()].room
    }

    /// The tenant that owns the room.
    ///
    /// # Panics
    /// When the id's room was removed.
    #[must_use]
    pub fn tenant(&self, id: RoomId) -> TenantId {
        self.shapes[self.rooms[id.index()].shape as usize].tenant
    }

    /// The id of this very room of the tenant: `*` finds only `*`.
    #[must_use]
    pub fn find(&self, tenant: TenantId, room: &Room) -> Option<RoomId> {
        let shape = self.find_shape(tenant, room)?;
        self.find_in(shape, self.mask(room), room)
    }

    /// How the masks of the room's shape are used; none where the room has no `*`.
    #[must_use]
    pub fn masks_for(&self, tenant: TenantId, room: &Room) -> Option<MaskUse> {
        let mask = self.mask(room);
        if mask == 0 {
            return None;
        }
        let shape = self.find_shape(tenant, room);
        let masks = shape.map_or(&[][..], |shape| &self.shapes[shape as usize].masks);
        Some(MaskUse {
            shape,
            mask,
            existing: masks.len(),
            exists: masks.iter().any(|&(known, _)| known == mask),
        })
    }

    /// How `*` is understood.
    pub(crate) fn matching(&self) -> Matching {
        self.matching
    }

    /// Whether a stored room is the tenant's and meets `room`.
    pub(crate) fn is_met(&self, id: RoomId, (tenant, room): (TenantId, &Room)) -> bool {
        let stored = &self.rooms[id.index()];
        let shape = &self.shapes[stored.shape as usize];
        shape.tenant == tenant && *shape.keys == *room.shape() && self.meets(stored, room)
    }

    /// The shape and the mask of a stored room; none where it has no `*`.
    ///
    /// # Panics
    /// When the id's room was removed.
    #[must_use]
    pub fn mask_of(&self, id: RoomId) -> Option<(u32, u64)> {
        let stored = &self.rooms[id.index()];
        (stored.mask != 0).then_some((stored.shape, stored.mask))
    }

    /// Adds a room of the tenant, or finds it. The flag says that it is new.
    pub fn insert(&mut self, tenant: TenantId, room: Room) -> (RoomId, bool) {
        let shape = self
            .find_shape(tenant, &room)
            .unwrap_or_else(|| self.add_shape(tenant, &room));
        let mask = self.mask(&room);
        if let Some(id) = self.find_in(shape, mask, &room) {
            return (id, false);
        }
        let owner = &mut self.shapes[shape as usize];
        let member = slot(owner.members.len());
        match owner.masks.iter_mut().find(|(known, _)| *known == mask) {
            Some((_, count)) => *count += 1,
            None => owner.masks.push((mask, 1)),
        }
        let keys = room.len();
        let hash = self.hash_room(shape, mask, &room);
        let stored = Stored {
            room,
            shape,
            mask,
            member,
            posted: SmallVec::new(),
        };
        let id = slot(self.rooms.insert(stored));
        self.shapes[shape as usize].members.push(id);
        let (hasher, rooms) = (&self.hasher, &self.rooms);
        self.room_ids.insert_unique(hash, id, |&id| {
            let stored = &rooms[id as usize];
            hash_literals(hasher, stored.shape, stored.mask, &stored.room)
        });
        if self.posts {
            let posted = (0..keys).map(|position| self.post(id, position)).collect();
            self.rooms[id as usize].posted = posted;
        }
        (RoomId(id), true)
    }

    /// Removes a room.
    ///
    /// # Panics
    /// When the id's room was removed before.
    pub fn remove(&mut self, id: RoomId) {
        let stored = self.rooms.remove(id.index());
        let hash = self.hash_room(stored.shape, stored.mask, &stored.room);
        let (hasher, rooms) = (&self.hasher, &self.rooms);
        self.room_ids.remove(
            hash,
            |&other| other == id.0,
            |&id| {
                let stored = &rooms[id as usize];
                hash_literals(hasher, stored.shape, stored.mask, &stored.room)
            },
        );
        for (position, &(posting, place)) in stored.posted.iter().enumerate() {
            self.unpost(posting, place, position);
        }
        let shape = &mut self.shapes[stored.shape as usize];
        shape.members.swap_remove(stored.member as usize);
        shrink_list(&mut shape.members);
        if let Some(&moved) = shape.members.get(stored.member as usize) {
            self.rooms[moved as usize].member = stored.member;
        }
        if let Some(at) = shape
            .masks
            .iter()
            .position(|(mask, _)| *mask == stored.mask)
        {
            shape.masks[at].1 -= 1;
            if shape.masks[at].1 == 0 {
                shape.masks.swap_remove(at);
            }
        }
        if shape.members.is_empty() {
            let hash = hash_shape(&self.hasher, shape.tenant, &shape.keys);
            if let Ok(entry) = self
                .shape_ids
                .find_entry(hash, |&other| other == stored.shape)
            {
                entry.remove();
            }
            self.shapes.remove(stored.shape as usize);
        }
    }

    /// Whether a room of the tenant permits `room`: the same keys, and at each of them an equal
    /// value or `*` in the index. `*` in `room` needs `*` in the index.
    #[must_use]
    pub fn permits(&self, tenant: TenantId, room: &Room) -> bool {
        let Some(shape) = self.find_shape(tenant, room) else {
            return false;
        };
        let masks = &self.shapes[shape as usize].masks;
        masks
            .iter()
            .any(|&(mask, _)| self.find_in(shape, mask, room).is_some())
    }

    /// Whether the tenant has a room that meets `room`: the same keys, and at each of them an equal
    /// value or `*` on either side.
    #[must_use]
    pub fn meets_any(&self, tenant: TenantId, room: &Room) -> bool {
        if self.mask(room) == 0 {
            return self.permits(tenant, room);
        }
        let shape = self.find_shape(tenant, room);
        let members = shape.map_or(&[][..], |shape| &self.shapes[shape as usize].members);
        let mut members = members.iter();
        members.any(|&id| self.meets(&self.rooms[id as usize], room))
    }

    /// The positions of `room` that match every value.
    fn mask(&self, room: &Room) -> u64 {
        match self.matching {
            Matching::Wildcard => room.wildcards(),
            Matching::Exact => 0,
        }
    }

    fn find_shape(&self, tenant: TenantId, room: &Room) -> Option<u32> {
        let hash = hash_shape(&self.hasher, tenant, room.shape());
        let same = |&id: &u32| {
            let shape = &self.shapes[id as usize];
            shape.tenant == tenant && *shape.keys == *room.shape()
        };
        self.shape_ids.find(hash, same).copied()
    }

    fn add_shape(&mut self, tenant: TenantId, room: &Room) -> u32 {
        let keys: Box<[u8]> = room.shape().into();
        let hash = hash_shape(&self.hasher, tenant, &keys);
        let id = slot(self.shapes.insert(Shape {
            tenant,
            keys,
            masks: SmallVec::new(),
            members: Vec::new(),
        }));
        let (hasher, shapes) = (&self.hasher, &self.shapes);
        self.shape_ids.insert_unique(hash, id, |&id| {
            let shape = &shapes[id as usize];
            hash_shape(hasher, shape.tenant, &shape.keys)
        });
        id
    }

    /// The room of this shape and mask whose values outside the mask are those of `room`.
    fn find_in(&self, shape: u32, mask: u64, room: &Room) -> Option<RoomId> {
        let hash = self.hash_room(shape, mask, room);
        let same = |&id: &u32| {
            let stored = &self.rooms[id as usize];
            stored.shape == shape
                && stored.mask == mask
                && (0..room.len())
                    .all(|p| mask & (1 << p) != 0 || stored.room.value(p) == room.value(p))
        };
        self.room_ids.find(hash, same).map(|&id| RoomId(id))
    }

    fn hash_room(&self, shape: u32, mask: u64, room: &Room) -> u64 {
        hash_literals(&self.hasher, shape, mask, room)
    }
}

/// A table's index as it is kept: tables are bounded far below `u32::MAX` entries by the limits
/// on connections and subscriptions.
fn slot(index: usize) -> u32 {
    u32::try_from(index).expect("fewer than 2^32 rooms")
}

fn hash_shape(hasher: &impl BuildHasher, tenant: TenantId, keys: &[u8]) -> u64 {
    let mut state = hasher.build_hasher();
    tenant.hash(&mut state);
    state.write(keys);
    state.finish()
}

fn hash_literals(hasher: &impl BuildHasher, shape: u32, mask: u64, room: &Room) -> u64 {
    let mut state = hasher.build_hasher();
    (shape, mask).hash(&mut state);
    for position in (0..room.len()).filter(|p| mask & (1 << p) == 0) {
        state.write(room.value(position));
    }
    state.finish()
}

#[cfg(test)]
mod tests;
