//! Limits of one connection for one room: under how many names, and with which `*`.

use std::hash::BuildHasher;

use ht_proto::client::RequestId;
use ht_proto::entry::TenantId;
use ht_proto::room::Room;

use crate::connection::ConnectionId;
use crate::index::RoomId;
use crate::registry::{Registry, Subscriber, Subscription, SubscriptionId};

/// Bytes of a request id for each of which it counts once against
/// [`crate::limits::Limits::names_per_room`]. A UUID counts once.
const NAME_BYTES: usize = 64;

/// A connection's existing subscriptions to a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    /// The same subscription exists.
    Subscribed(SubscriptionId),
    /// Subscriptions under other names, each counted once for every [`NAME_BYTES`] begun of its
    /// name.
    Weight(usize),
}

/// How often a request id counts, given how many bytes its JSON text has.
pub(crate) fn name_weight(bytes: usize) -> usize {
    bytes.div_ceil(NAME_BYTES).max(1)
}

impl Registry {
    /// The connection's existing subscriptions to the tenant's room.
    pub(crate) fn names(
        &self,
        connection: ConnectionId,
        (tenant, room): (TenantId, &Room),
        name: &RequestId,
    ) -> Names {
        let Some(room) = self.index.find(tenant, room) else {
            return Names::Weight(0);
        };
        let mut weight = 0;
        for (id, other) in self.names_of(connection, room) {
            if other.name() == name.as_json().as_bytes() {
                return Names::Subscribed(id);
            }
            weight += name_weight(other.name().len());
        }
        Names::Weight(weight)
    }

    /// Whether the subscriber may hold the room's combination of `*`; see
    /// [`Wildcards::admits`](crate::wildcards::Wildcards::admits). A room without `*` is always admitted.
    pub(crate) fn admits_wildcards(&self, subscriber: Subscriber, room: &Room) -> bool {
        let Some(masks) = self.index.masks_for(subscriber.tenant, room) else {
            return true;
        };
        // A shape without a room has no holders.
        masks.shape.is_none_or(|shape| {
            self.wildcards.admits(
                subscriber.connection,
                subscriber.client,
                shape,
                masks.mask,
                masks.existing,
                masks.exists,
            )
        })
    }

    /// The connection's subscriptions to a room.
    fn names_of(
        &self,
        connection: ConnectionId,
        room: RoomId,
    ) -> impl Iterator<Item = (SubscriptionId, &Subscription)> {
        let hash = self.hasher.hash_one((connection, room));
        let ids = self.pairs.iter_hash(hash);
        let found = ids.map(|&id| (SubscriptionId(id), &self.subscriptions[id as usize]));
        found.filter(move |(_, other)| other.connection == connection && other.room == room)
    }

    pub(super) fn has(&self, connection: ConnectionId, name: &RequestId, room: RoomId) -> bool {
        self.names_of(connection, room)
            .any(|(_, other)| other.name() == name.as_json().as_bytes())
    }
}
