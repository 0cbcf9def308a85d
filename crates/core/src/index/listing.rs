//! Listing the rooms of an index.

use std::hash::BuildHasher;

use ht_proto::entry::TenantId;
use ht_proto::room::Room;

use crate::index::RoomIndex;

impl<S: BuildHasher> RoomIndex<S> {
    /// The rooms.
    pub fn rooms(&self) -> impl Iterator<Item = &Room> {
        self.rooms.iter().map(|(_, stored)| &stored.room)
    }

    /// The rooms, those of the tenant with the same keys as `room` first.
    pub fn nearest_first(&self, tenant: TenantId, room: &Room) -> impl Iterator<Item = &Room> {
        let shape = self.find_shape(tenant, room);
        let members = shape.map_or(&[][..], |shape| &self.shapes[shape as usize].members);
        let same = members.iter().map(|&id| &self.rooms[id as usize].room);
        let others = self
            .rooms
            .iter()
            .filter(move |(_, stored)| Some(stored.shape) != shape)
            .map(|(_, stored)| &stored.room);
        same.chain(others)
    }
}
