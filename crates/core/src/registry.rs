//! Rooms, subscriptions and their owners.

use std::hash::BuildHasher;

use ht_proto::cursor::Part;
use ht_proto::{client::RequestId, entry::TenantId, room::Room, server};
use smallvec::SmallVec;

use crate::Hasher;
use crate::index::{Cursor, Matching, RoomId, RoomIndex};
use crate::table::Table;
use crate::wildcards::Wildcards;
use ht_pages::Pages;

mod groups;
mod memory;
mod names;
mod replay;
mod retain;

pub(crate) use self::memory::{WEIGHT_BYTES, weight};
pub(crate) use self::names::{Names, name_weight};
pub(crate) use self::retain::Verdict;
pub(crate) use crate::connection::ConnectionId;

/// A subscription's slot in its registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SubscriptionId(u32);

/// No subscription.
const NONE: u32 = u32::MAX;

/// The subscriptions of one connection: the head of a list that runs through the registry.
#[derive(Debug)]
pub(crate) struct Own {
    first: u32,
    /// What they weigh, and so how many they are where all are small.
    weight: u32,
}

impl Default for Own {
    fn default() -> Self {
        Self {
            first: NONE,
            weight: 0,
        }
    }
}

impl Own {
    /// How many there are, where one counts once for each KiB begun of what is kept for it: so
    /// a bound of their number is one of their memory.
    pub(crate) fn weight(&self) -> usize {
        self.weight as usize
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first == NONE
    }
}

/// The owner of a subscription.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subscriber {
    pub(crate) connection: ConnectionId,
    pub(crate) tenant: TenantId,
    /// A number that is equal for all connections of one user or address.
    pub(crate) client: u64,
}

/// What a [`Registry::subscribe`] did.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Subscribed {
    /// The same subscription existed already.
    Already,
    /// Another subscription to an open room.
    Joined,
    /// The first subscription to this room.
    Opened(RoomId),
}

/// Which connections are subscribed to which room.
#[derive(Debug)]
pub(crate) struct Registry {
    hasher: Hasher,
    index: RoomIndex<Hasher>,
    /// By [`RoomId`].
    rooms: Pages<Subscribers>,
    subscriptions: Pages<Subscription>,
    /// By connection and room: a connection has a room under few names.
    pairs: Table,
    /// One subscription of each group, by connection and request id.
    groups: Table,
    /// Which connections hold which combinations of `*`.
    wildcards: Wildcards,
    /// Counts publications, so that a room which several of a publication's rooms meet is
    /// delivered once: the current one, and the last.
    pass: u64,
    passes: u64,
    /// The position and the tenant of the publication that is being delivered.
    position: u64,
    tenant: TenantId,
    /// What all subscriptions and rooms take.
    bytes: usize,
}

#[derive(Debug, Default)]
struct Subscribers {
    list: SmallVec<[u32; 4]>,
    /// The last pass that delivered to this room.
    pass: u64,
    /// Only publications after this position are for the room.
    since: u64,
}

#[derive(Debug)]
struct Subscription {
    connection: ConnectionId,
    room: RoomId,
    /// Its position among its room's subscribers.
    place: u32,
    /// The neighbours in the connection's list.
    previous: u32,
    next: u32,
    /// The ring of this connection's subscriptions under the same request id.
    group_previous: u32,
    group_next: u32,
    /// How often it counts.
    weight: u32,
    /// The end of its publish messages, which holds the request id.
    tail: Box<[u8]>,
}

impl Registry {
    pub(crate) fn new(matching: Matching, hasher: Hasher) -> Self {
        Self {
            index: RoomIndex::new(matching, hasher.clone()),
            wildcards: Wildcards::new(hasher.clone()),
            hasher,
            rooms: Pages::new(),
            subscriptions: Pages::new(),
            pairs: Table::new(),
            groups: Table::new(),
            pass: 0,
            passes: 0,
            position: 0,
            tenant: TenantId::MAIN,
            bytes: 0,
        }
    }

    /// How many rooms have a subscriber.
    pub(crate) fn rooms(&self) -> usize {
        self.index.len()
    }

    /// How many subscriptions there are.
    pub(crate) fn subscriptions(&self) -> usize {
        self.subscriptions.len()
    }

    /// The owner of a subscription, and the end of its publish messages.
    pub(crate) fn receiver(&self, id: SubscriptionId) -> (ConnectionId, &[u8]) {
        let subscription = &self.subscriptions[id.0 as usize];
        (subscription.connection, &subscription.tail)
    }

    /// The place of a subscription's message among those of a publication for its connection.
    pub(crate) fn part(&self, id: SubscriptionId) -> Part {
        let subscription = &self.subscriptions[id.0 as usize];
        let room = self.index.room(subscription.room).to_json();
        Part::of(subscription.name(), room.as_bytes())
    }

    /// Adds a subscription to a room of the subscriber's tenant.
    pub(crate) fn subscribe(
        &mut self,
        subscriber: Subscriber,
        own: &mut Own,
        room: Room,
        name: &RequestId,
    ) -> Subscribed {
        let Subscriber {
            connection,
            tenant,
            client,
        } = subscriber;
        let weight = slot(memory::weight(&room, name));
        let (room, opened) = self.index.insert(tenant, room);
        if opened {
            self.rooms.put(room.index(), Subscribers::default());
            self.bytes += memory::room_bytes(self.index.room(room));
        } else if self.has(connection, name, room) {
            return Subscribed::Already;
        }
        if let Some((shape, mask)) = self.index.mask_of(room) {
            self.wildcards.enter(connection, client, shape, mask);
        }
        let list = &mut self.rooms[room.index()].list;
        let id = slot(self.subscriptions.insert(Subscription {
            connection,
            room,
            place: slot(list.len()),
            previous: NONE,
            next: own.first,
            group_previous: NONE,
            group_next: NONE,
            weight,
            tail: server::publish_tail(name.as_json()).into_bytes().into(),
        }));
        self.bytes += self.subscriptions[id as usize].bytes();
        list.push(id);
        if own.first != NONE {
            self.subscriptions[own.first as usize].previous = id;
        }
        own.first = id;
        own.weight += weight;
        self.join_group(id);
        let hash = hash_pair(&self.hasher, &self.subscriptions[id as usize]);
        let (hasher, all) = (&self.hasher, &self.subscriptions);
        self.pairs
            .insert_unique(hash, id, |&id| hash_pair(hasher, &all[id as usize]));
        if opened {
            Subscribed::Opened(room)
        } else {
            Subscribed::Joined
        }
    }

    /// A room that has a subscriber.
    pub(crate) fn room(&self, id: RoomId) -> &Room {
        self.index.room(id)
    }

    /// The subscription that a connection has had for the shortest time. It has one.
    pub(crate) fn newest(&self, own: &Own) -> SubscriptionId {
        SubscriptionId(own.first)
    }

    /// The position after which publications are delivered to the room of a subscription.
    pub(crate) fn heard_since(&self, id: SubscriptionId) -> u64 {
        let room = self.subscriptions[id.0 as usize].room;
        self.rooms[room.index()].since
    }

    /// Whether the connection of a subscription has others.
    pub(crate) fn has_others(&self, id: SubscriptionId) -> bool {
        let Subscription { previous, next, .. } = &self.subscriptions[id.0 as usize];
        *previous != NONE || *next != NONE
    }

    /// Delivers to a room only publications after the position `since`.
    pub(crate) fn hear_since(&mut self, id: RoomId, since: u64) {
        self.rooms[id.index()].since = since;
    }

    /// Drops one of the subscriptions that the connection has under a request id. Returns whether
    /// there was one. Calls `closed` with its tenant and its room if that has no other subscriber.
    pub(crate) fn unsubscribe_one(
        &mut self,
        connection: ConnectionId,
        own: &mut Own,
        name: &RequestId,
        mut closed: impl FnMut(TenantId, &Room),
    ) -> bool {
        let found = self.find_group(connection, name.as_json());
        found.map(|id| self.remove(id, own, &mut closed)).is_some()
    }

    /// Whether the connection has a subscription under a request id.
    pub(crate) fn has_name(&self, connection: ConnectionId, name: &RequestId) -> bool {
        self.find_group(connection, name.as_json()).is_some()
    }

    /// Drops one of a connection's subscriptions, as [`Self::unsubscribe_one`] does.
    pub(crate) fn drop_one(
        &mut self,
        own: &mut Own,
        mut closed: impl FnMut(TenantId, &Room),
    ) -> bool {
        let first = own.first;
        if first != NONE {
            self.remove(first, own, &mut closed);
        }
        first != NONE
    }

    /// Makes [`Self::for_each_receiver`] match the rooms of another publication, of this tenant.
    /// Returns its number, to continue with it later.
    pub(crate) fn next_publication(&mut self, position: u64, tenant: TenantId) -> u64 {
        self.passes += 1;
        self.resume_publication(self.passes, position, tenant);
        self.passes
    }

    /// Continues with a publication that is matched in part.
    pub(crate) fn resume_publication(&mut self, pass: u64, position: u64, tenant: TenantId) {
        self.pass = pass;
        self.position = position;
        self.tenant = tenant;
    }

    /// Calls `found` for each subscription that matches `room`, unless another room of the same
    /// publication matched it before. Returns the number of rooms examined.
    ///
    /// After `looks_max` rooms, or `found_max` subscriptions, `cursor` is not idle, and the same
    /// call continues; see [`RoomIndex::for_each_match`]. A room found by several slices is
    /// delivered once, and one that was opened meanwhile receives later publications only.
    pub(crate) fn for_each_receiver(
        &mut self,
        room: &Room,
        cursor: &mut Cursor,
        (looks_max, found_max): (usize, usize),
        mut found: impl FnMut(SubscriptionId, ConnectionId),
    ) -> usize {
        let (all, subscriptions) = (&mut self.rooms, &self.subscriptions);
        let mut count = 0;
        let room = (self.tenant, room);
        self.index.for_each_match(room, cursor, looks_max, |id| {
            let room = &mut all[id.index()];
            if room.pass == self.pass || self.position <= room.since {
                return true;
            }
            room.pass = self.pass;
            for &id in &room.list {
                found(SubscriptionId(id), subscriptions[id as usize].connection);
            }
            count += room.list.len();
            count < found_max
        })
    }

    fn remove(&mut self, id: u32, own: &mut Own, closed: &mut impl FnMut(TenantId, &Room)) {
        self.leave_group(id);
        let hash = hash_pair(&self.hasher, &self.subscriptions[id as usize]);
        let (hasher, all) = (&self.hasher, &self.subscriptions);
        self.pairs.remove(
            hash,
            |&other| other == id,
            |&id| hash_pair(hasher, &all[id as usize]),
        );
        let gone = self.subscriptions.remove(id as usize);
        if let Some((shape, mask)) = self.index.mask_of(gone.room) {
            self.wildcards.leave(gone.connection, shape, mask);
        }
        match gone.previous {
            NONE => own.first = gone.next,
            previous => self.subscriptions[previous as usize].next = gone.next,
        }
        if gone.next != NONE {
            self.subscriptions[gone.next as usize].previous = gone.previous;
        }
        own.weight -= gone.weight;
        self.bytes -= gone.bytes();
        let list = &mut self.rooms[gone.room.index()].list;
        list.swap_remove(gone.place as usize);
        if let Some(&moved) = list.get(gone.place as usize) {
            self.subscriptions[moved as usize].place = gone.place;
        }
        if list.is_empty() {
            let room = self.index.room(gone.room);
            self.bytes -= memory::room_bytes(room);
            closed(self.index.tenant(gone.room), room);
            self.index.remove(gone.room);
            self.rooms.remove(gone.room.index());
        } else if list.spilled() && list.len() * 4 < list.capacity() {
            list.shrink_to_fit();
        }
    }
}

impl Subscription {
    /// The JSON text of its request id.
    fn name(&self) -> &[u8] {
        server::request_id_of(&self.tail)
    }
}

fn hash_pair(hasher: &Hasher, subscription: &Subscription) -> u64 {
    hasher.hash_one((subscription.connection, subscription.room))
}

/// A table's index as it is kept: the limits on connections and subscriptions keep it far below.
fn slot(index: usize) -> u32 {
    u32::try_from(index).expect("fewer than 2^32 subscriptions")
}

#[cfg(test)]
mod tests;
