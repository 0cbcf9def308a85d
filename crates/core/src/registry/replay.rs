//! Matching publications with the subscriptions of one connection, whatever others there are.

use std::hash::BuildHasher;
use std::iter;

use smallvec::SmallVec;

use crate::connection::ConnectionId;
use crate::index::{Cursor, RoomId};
use crate::publication::Publication;
use crate::registry::{NONE, Own, Registry, Subscription, SubscriptionId};
use crate::window::{Key, Wanted};

impl Registry {
    /// The rooms of a connection, for the filter of a window that has the hasher of this registry;
    /// none where they are more than `most`.
    pub(crate) fn wanted(&self, own: &Own, most: usize) -> Option<Wanted> {
        if self.own(own).take(most + 1).count() > most {
            return None;
        }
        let keys = self.own(own).map(|id| {
            let room = self.subscriptions[id as usize].room;
            let (tenant, room) = (self.index.tenant(room), self.index.room(room));
            Key::of(tenant, room, self.index.matching(), &self.hasher)
        });
        Some(keys.collect())
    }

    /// Appends to `hits` the connection's subscriptions that a publication of its tenant matches,
    /// each once, in the order in which [`Self::for_each_receiver`] finds them, unless the
    /// publication has `*`. Returns the number of rooms examined.
    pub(crate) fn hits_of(
        &self,
        connection: ConnectionId,
        own: &Own,
        publication: &Publication,
        hits: &mut Vec<SubscriptionId>,
    ) -> usize {
        let is_later = |room: RoomId| publication.position > self.rooms[room.index()].since;
        self.hits_where(connection, own, publication, is_later, hits)
    }

    /// The same, also of publications that are older than a room.
    pub(crate) fn replayed_hits(
        &self,
        connection: ConnectionId,
        own: &Own,
        publication: &Publication,
        hits: &mut Vec<SubscriptionId>,
    ) -> usize {
        self.hits_where(connection, own, publication, |_| true, hits)
    }

    fn hits_where(
        &self,
        connection: ConnectionId,
        own: &Own,
        publication: &Publication,
        is_meant: impl Fn(RoomId) -> bool,
        hits: &mut Vec<SubscriptionId>,
    ) -> usize {
        let (mut rooms, mut looked): (SmallVec<[RoomId; 4]>, _) = (SmallVec::new(), 0);
        for room in &publication.rooms {
            let of = (publication.tenant, room);
            let mut found = |id| {
                if !rooms.contains(&id) {
                    rooms.push(id);
                }
            };
            if self.index.masks_for(publication.tenant, room).is_none() {
                let found = |id| {
                    found(id);
                    true
                };
                let cursor = &mut Cursor::default();
                looked += self.index.for_each_match(of, cursor, usize::MAX, found);
            } else {
                // The rooms that one with `*` meets may be very many.
                for id in self.own(own) {
                    let id = self.subscriptions[id as usize].room;
                    looked += 1;
                    if self.index.is_met(id, of) {
                        found(id);
                    }
                }
            }
        }
        for room in rooms {
            if is_meant(room) {
                self.push_hits(connection, room, hits);
            }
        }
        looked
    }

    /// Appends the connection's subscriptions to a room, in the order of its list.
    fn push_hits(&self, connection: ConnectionId, room: RoomId, hits: &mut Vec<SubscriptionId>) {
        let hash = self.hasher.hash_one((connection, room));
        let is_it = |&&id: &&u32| {
            let Subscription {
                connection: of,
                room: to,
                ..
            } = &self.subscriptions[id as usize];
            *of == connection && *to == room
        };
        let begin = hits.len();
        let ids = self.pairs.iter_hash(hash).filter(is_it);
        hits.extend(ids.map(|&id| SubscriptionId(id)));
        hits[begin..].sort_unstable_by_key(|id| self.subscriptions[id.0 as usize].place);
    }

    /// The subscriptions of a connection.
    fn own(&self, own: &Own) -> impl Iterator<Item = u32> {
        let some = |id| (id != NONE).then_some(id);
        let next = move |&id: &u32| some(self.subscriptions[id as usize].next);
        iter::successors(some(own.first), next)
    }
}
