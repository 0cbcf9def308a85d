//! Which connections hold most memory, and which have an unfinished message.

use std::collections::{BTreeSet, HashMap};

use crate::Hasher;
use crate::connection::ConnectionId;
use crate::timer::{Link, Links, Queue};

/// A connection that holds no more than this is not tracked: most hold less, and all of them
/// together are bounded by `limits.connections`.
const TRACKED: usize = 4 << 10;

/// Connections by what they and their addresses hold. The order is exact up to a factor of two, so
/// that it changes seldom.
#[derive(Debug, Default)]
pub(crate) struct Holders {
    connections: HashMap<ConnectionId, Entry, Hasher>,
    /// By the number of the address.
    addresses: HashMap<u32, Address, Hasher>,
    /// The addresses, by their class.
    order: BTreeSet<(u32, u32)>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    address: u32,
    class: u32,
}

#[derive(Debug, Default)]
struct Address {
    class: u32,
    connections: BTreeSet<(u32, ConnectionId)>,
}

impl Holders {
    /// Notes that a connection from an address holds `bytes`, and all of the address
    /// `address_bytes`.
    pub(crate) fn set(
        &mut self,
        id: ConnectionId,
        bytes: usize,
        address: u32,
        address_bytes: usize,
    ) {
        let class = class_of(bytes);
        let known = self.connections.get(&id).copied();
        if known.is_none_or(|known| known.class != class || known.address != address) {
            self.remove(id);
            if bytes > TRACKED {
                self.connections.insert(id, Entry { address, class });
                let list = self.addresses.entry(address).or_default();
                list.connections.insert((class, id));
            }
        }
        self.set_order(address, class_of(address_bytes));
    }

    /// Forgets a connection.
    pub(crate) fn remove(&mut self, id: ConnectionId) {
        let Some(Entry { address, class }) = self.connections.remove(&id) else {
            return;
        };
        if let Some(list) = self.addresses.get_mut(&address) {
            list.connections.remove(&(class, id));
            let class = list.class;
            self.set_order(address, class);
        }
        shrink(&mut self.connections);
    }

    /// The connection that holds most of the address that holds most.
    pub(crate) fn largest(&self) -> Option<ConnectionId> {
        let &(_, address) = self.order.last()?;
        self.largest_of(address).map(|(id, _)| id)
    }

    /// The connection of an address that holds most, and the least that this is, in bytes.
    pub(crate) fn largest_of(&self, address: u32) -> Option<(ConnectionId, usize)> {
        let list = self.addresses.get(&address)?;
        let &(class, id) = list.connections.last()?;
        Some((id, 1 << class))
    }

    /// Lists an address by what it holds: no less than any of its connections.
    fn set_order(&mut self, address: u32, class: u32) {
        let Some(list) = self.addresses.get_mut(&address) else {
            return;
        };
        let Some(&(largest, _)) = list.connections.last() else {
            self.order.remove(&(list.class, address));
            self.addresses.remove(&address);
            return shrink(&mut self.addresses);
        };
        let before = std::mem::replace(&mut list.class, class.max(largest));
        if before != list.class {
            self.order.remove(&(before, address));
        }
        self.order.insert((list.class, address));
    }
}

fn class_of(bytes: usize) -> u32 {
    bytes.max(1).ilog2()
}

/// Connections with an unfinished message or undecoded input, by when it began.
#[derive(Debug)]
pub(crate) struct Unfinished {
    entries: Entries,
    queue: Queue,
}

#[derive(Debug, Default)]
struct Entries(HashMap<u32, Begun, Hasher>);

#[derive(Debug)]
struct Begun {
    link: Link,
    bytes: usize,
}

impl Links for Entries {
    fn link(&mut self, id: u32) -> &mut Link {
        let entry = self.0.get_mut(&id);
        &mut entry
            .expect("it leaves the queue before its entry goes")
            .link
    }
}

impl Unfinished {
    /// A message may take `timeout` ms from its first byte to its last; zero: for ever.
    pub(crate) fn new(timeout: u64) -> Self {
        Self {
            entries: Entries::default(),
            queue: Queue::new(timeout),
        }
    }

    /// Changes how long a message may take, for those that have begun too.
    pub(crate) const fn set_timeout(&mut self, timeout: u64) {
        self.queue.set_limit(timeout);
    }

    /// Notes that a connection keeps `bytes` of unfinished input; zero: it keeps none. With
    /// `anew` what it keeps is another message than before. Returns what it kept before.
    pub(crate) fn set(&mut self, id: ConnectionId, bytes: usize, anew: bool, now: u64) -> usize {
        let Self { entries, queue } = self;
        let before = entries.0.get(&id.0).map_or(0, |entry| entry.bytes);
        if before > 0 && (bytes == 0 || anew) {
            queue.remove(entries, id.0);
        }
        if bytes == 0 {
            if before > 0 {
                entries.0.remove(&id.0);
                shrink(&mut entries.0);
            }
            return before;
        }
        let link = Link::new();
        entries.0.entry(id.0).or_insert(Begun { link, bytes }).bytes = bytes;
        if before == 0 || anew {
            queue.push(entries, id.0, now);
        }
        before
    }

    /// A connection whose message takes too long.
    pub(crate) fn expired(&mut self, now: u64) -> Option<ConnectionId> {
        let id = self.queue.expired(&mut self.entries, now);
        id.map(ConnectionId)
    }

    /// When the first message will have taken too long.
    pub(crate) fn deadline(&mut self) -> Option<u64> {
        self.queue.deadline(&mut self.entries)
    }

    /// Bytes of all unfinished messages, counted one by one.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn recount(&self) -> usize {
        self.entries.0.values().map(|entry| entry.bytes).sum()
    }
}

/// Fewest entries that a table keeps room for: giving back less is not worth the work.
const KEPT: usize = 64;

/// Shrinks a table of which less than a quarter is in use.
fn shrink<K: Eq + std::hash::Hash, V>(table: &mut HashMap<K, V, Hasher>) {
    if table.capacity() > KEPT && table.len() * 4 < table.capacity() {
        table.shrink_to(table.len() * 2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u32) -> ConnectionId {
        ConnectionId(number)
    }

    #[test]
    fn the_largest_connection_of_the_largest_address_is_found() {
        let mut holders = Holders::default();
        assert_eq!(holders.largest(), None);
        for (connection, bytes, address, address_bytes) in [
            (1, 5 << 10, 7, 5 << 10),
            (2, 70 << 10, 7, 75 << 10),
            (3, 6 << 10, 8, 1 << 20),
            (4, TRACKED, 9, usize::MAX),
            (5, 9 << 10, 8, 1 << 20),
        ] {
            holders.set(id(connection), bytes, address, address_bytes);
        }
        assert_eq!(holders.largest_of(7), Some((id(2), 64 << 10)));
        assert_eq!(holders.largest_of(9), None);
        for expected in [5, 3, 2, 1] {
            assert_eq!(holders.largest(), Some(id(expected)));
            holders.remove(id(expected));
        }
        assert_eq!(holders.largest(), None);
        assert!(holders.addresses.is_empty() && holders.order.is_empty());
    }

    #[test]
    fn an_address_is_as_large_as_its_largest_connection_and_moves_with_it() {
        let mut holders = Holders::default();
        // Nothing is known of the address of the first.
        holders.set(id(1), 1 << 20, u32::MAX, 0);
        holders.set(id(2), 64 << 10, 5, 64 << 10);
        assert_eq!(holders.largest(), Some(id(1)));
        holders.set(id(2), 64 << 10, 5, 8 << 20);
        assert_eq!(holders.largest(), Some(id(2)));
        holders.set(id(2), 64 << 10, 5, 64 << 10);
        assert_eq!(holders.largest(), Some(id(1)));
        holders.set(id(1), 10, u32::MAX, 0);
        assert_eq!(holders.largest(), Some(id(2)));
    }

    #[test]
    fn tables_release_unused_memory() {
        let mut holders = Holders::default();
        let mut unfinished = Unfinished::new(10);
        for n in 0..10_000 {
            holders.set(id(n), 1 << 20, n, 0);
            unfinished.set(id(n), 100, false, 0);
        }
        assert_eq!(unfinished.recount(), 1_000_000);
        for n in 0..10_000 {
            holders.remove(id(n));
            unfinished.set(id(n), 0, false, 1);
        }
        assert!(holders.connections.capacity() <= 2 * KEPT);
        assert!(holders.addresses.capacity() <= 2 * KEPT);
        assert!(unfinished.entries.0.capacity() <= 2 * KEPT);
        assert_eq!(unfinished.deadline(), None);
    }

    #[test]
    fn message_timeout_starts_at_the_first_byte() {
        let mut unfinished = Unfinished::new(10);
        let [one, two] = [ConnectionId(1), ConnectionId(2)];
        assert_eq!(unfinished.set(one, 5, false, 0), 0);
        assert_eq!(unfinished.set(two, 5, true, 3), 0);
        assert_eq!(unfinished.set(one, 9, false, 8), 5);
        assert_eq!(unfinished.deadline(), Some(10));
        assert_eq!(unfinished.expired(9), None);
        assert_eq!(unfinished.expired(10), Some(one));
        // Another message of the same client has its own time.
        assert_eq!(unfinished.set(one, 9, true, 10), 9);
        assert_eq!(unfinished.expired(13), Some(two));
        assert_eq!(unfinished.set(two, 0, false, 13), 5);
        assert_eq!(unfinished.deadline(), Some(20));
        unfinished.set_timeout(0);
        assert_eq!(unfinished.deadline(), None);
    }
}
