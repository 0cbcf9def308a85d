//! Fair shares of the combinations of `*` in one shape.
//!
//! Each combination of positions with `*` that exists in a shape (a *mask*) costs every publication
//! of that shape one lookup, so a shard keeps few of them. They are shared by all clients, and a
//! client with a grant of seven `*` could request 128: without shares it would exhaust the common
//! limit. So a connection may hold few masks of a shape, a client (all connections of one user or
//! address) may add only part of the shared ones, and two reserves are kept for those that hold
//! next to nothing: the first for connections, so that indistinguishable clients share fairly too;
//! the second for clients, so that many connections of one client cannot exhaust it.

use std::collections::HashMap;
use std::hash::Hash;

use smallvec::SmallVec;

use crate::Hasher;
use crate::connection::ConnectionId;

/// Most masks of one shape that a connection may hold, but for those that its API granted as they
/// are. With [`crate::limits::Limits::names_per_room`] it bounds how many messages a publication for
/// one room becomes for one connection.
pub(crate) const PER_CONNECTION: usize = 8;

/// Masks of a shape from which on no client may add one freely. Each costs every publication of
/// that shape a lookup of about 60 ns.
pub(crate) const SHARED: usize = 64;

/// Masks of a shape that one client may hold and still add to the shared ones.
pub(crate) const PER_CLIENT: usize = SHARED / 2;

/// Masks of a shape up to which a connection with fewer than [`FEW`] may add one.
const FOR_CONNECTIONS: usize = 2 * SHARED;

/// Masks of a shape up to which a client with fewer than [`FEW`] may add one. No more are ever
/// added, but for those that the API granted as they are.
pub(crate) const MOST: usize = 4 * SHARED;

/// Masks of a shape that are available to every client.
const FEW: usize = 2;

/// The masks that connections and clients hold, by shape. Subscriptions without `*` have no entry.
#[derive(Debug)]
pub(crate) struct Wildcards {
    connections: HashMap<(ConnectionId, u32), OfConnection, Hasher>,
    clients: HashMap<(u64, u32), Masks, Hasher>,
}

#[derive(Debug)]
struct OfConnection {
    client: u64,
    /// The number of subscriptions with each mask.
    masks: Masks,
}

/// Masks with how often each is held.
#[derive(Debug, Default)]
struct Masks(SmallVec<[(u64, u32); 1]>);

impl Masks {
    fn has(&self, mask: u64) -> bool {
        self.0.iter().any(|&(known, _)| known == mask)
    }

    /// Whether it is the first of its kind.
    fn add(&mut self, mask: u64) -> bool {
        match self.0.iter_mut().find(|(known, _)| *known == mask) {
            Some((_, count)) => {
                *count += 1;
                false
            }
            None => {
                self.0.push((mask, 1));
                true
            }
        }
    }

    /// Whether it was the last of its kind.
    fn remove(&mut self, mask: u64) -> bool {
        let Some(at) = self.0.iter().position(|&(known, _)| known == mask) else {
            return false;
        };
        self.0[at].1 -= 1;
        let last = self.0[at].1 == 0;
        if last {
            self.0.swap_remove(at);
        }
        last
    }
}

impl Wildcards {
    pub(crate) fn new(hasher: Hasher) -> Self {
        Self {
            connections: HashMap::with_hasher(hasher.clone()),
            clients: HashMap::with_hasher(hasher),
        }
    }

    /// Whether the connection of `client` may hold the mask in the shape, where `existing` masks
    /// are in use; `exists`: this one is among them.
    pub(crate) fn admits(
        &self,
        connection: ConnectionId,
        client: u64,
        shape: u32,
        mask: u64,
        existing: usize,
        exists: bool,
    ) -> bool {
        let own = self.connections.get(&(connection, shape));
        if own.is_some_and(|own| own.masks.has(mask)) {
            return true;
        }
        let own = own.map_or(0, |own| own.masks.0.len());
        if own >= PER_CONNECTION {
            return false;
        }
        if exists {
            return true;
        }
        let of_client = self.clients.get(&(client, shape));
        let of_client = of_client.map_or(0, |masks| masks.0.len());
        (existing < SHARED && of_client < PER_CLIENT)
            || (existing < FOR_CONNECTIONS && own < FEW)
            || (existing < MOST && of_client < FEW)
    }

    /// Notes a subscription with `*`.
    pub(crate) fn enter(&mut self, connection: ConnectionId, client: u64, shape: u32, mask: u64) {
        let own = self.connections.entry((connection, shape));
        let own = own.or_insert_with(|| OfConnection {
            client,
            masks: Masks::default(),
        });
        if own.masks.add(mask) {
            let client = (own.client, shape);
            self.clients.entry(client).or_default().add(mask);
        }
    }

    /// Notes that a subscription with `*` was dropped.
    pub(crate) fn leave(&mut self, connection: ConnectionId, shape: u32, mask: u64) {
        let Some(own) = self.connections.get_mut(&(connection, shape)) else {
            return;
        };
        if !own.masks.remove(mask) {
            return;
        }
        let client = (own.client, shape);
        if own.masks.0.is_empty() {
            remove(&mut self.connections, &(connection, shape));
        }
        if let Some(masks) = self.clients.get_mut(&client) {
            masks.remove(mask);
            if masks.0.is_empty() {
                remove(&mut self.clients, &client);
            }
        }
    }

    /// Whether there are no holders.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.connections.is_empty() && self.clients.is_empty()
    }
}

/// Capacity that is never released.
const KEPT: usize = 64;

/// Removes an entry; a table that has become nearly empty gives its memory back.
fn remove<K: Eq + Hash, V>(table: &mut HashMap<K, V, Hasher>, key: &K) {
    table.remove(key);
    if table.len() * 8 < table.capacity() && table.capacity() > KEPT {
        table.shrink_to(table.len() * 2);
    }
}

#[cfg(test)]
mod tests;
