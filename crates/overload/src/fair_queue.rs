//! A fair queue, in which client addresses take turns.

#[cfg(test)]
mod tests;

use core::net::{IpAddr, Ipv6Addr};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Bits of an IPv6 address that identify a network; the others are each host's own choice (RFC 4291
/// §2.5.1).
const NETWORK_BITS: u128 = !0 << 64;

/// Key of entries that share their turns: an IPv4 address, the /64 network of an IPv6 address, or
/// all clients whose address is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueKey(Option<IpAddr>);

impl QueueKey {
    /// Whether it is the key of an address.
    #[must_use]
    pub fn is_known(self) -> bool {
        self.0.is_some()
    }
}

impl From<Option<IpAddr>> for QueueKey {
    fn from(address: Option<IpAddr>) -> Self {
        Self(address.map(|address| match address.to_canonical() {
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & NETWORK_BITS).into(),
            address @ IpAddr::V4(_) => address,
        }))
    }
}

/// Position of an entry, to remove it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueEntry {
    key: QueueKey,
    number: u64,
}

/// A queue for each address with entries, and the order of turns. Every step takes time logarithmic
/// in its length.
#[derive(Debug)]
pub struct FairQueue<T> {
    queues: HashMap<QueueKey, OwnQueue<T>>,
    /// Each queue once, the next first.
    turns: BTreeMap<u64, QueueKey>,
    /// Each queue once, the longest last.
    lengths: BTreeSet<(usize, QueueKey)>,
    len: usize,
    /// Numbers the entries and the turns.
    next: u64,
}

#[derive(Debug)]
struct OwnQueue<T> {
    turn: u64,
    /// By number, and so in order of arrival.
    waiting: BTreeMap<u64, T>,
}

impl<T> Default for FairQueue<T> {
    fn default() -> Self {
        Self {
            queues: HashMap::new(),
            turns: BTreeMap::new(),
            lengths: BTreeSet::new(),
            len: 0,
            next: 0,
        }
    }
}

impl<T> FairQueue<T> {
    /// Whether it is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Adds an entry at the end of a queue.
    pub fn push(&mut self, key: QueueKey, item: T) -> QueueEntry {
        let number = self.number();
        let own = self.queues.entry(key).or_insert_with(|| {
            self.turns.insert(number, key);
            OwnQueue {
                turn: number,
                waiting: BTreeMap::new(),
            }
        });
        self.lengths.remove(&(own.waiting.len(), key));
        own.waiting.insert(number, item);
        self.lengths.insert((own.waiting.len(), key));
        self.len += 1;
        QueueEntry { key, number }
    }

    /// Removes the next entry, and returns it with its key: the first of the queue whose turn it is
    /// among those that are eligible. Checks all ineligible queues at most, and one more.
    pub fn pop(&mut self, may: impl Fn(QueueKey) -> bool) -> Option<(QueueKey, T)> {
        let (&turn, &key) = self.turns.iter().find(|&(_, &key)| may(key))?;
        let &number = self.queues.get(&key)?.waiting.keys().next()?;
        let item = self.remove(QueueEntry { key, number })?;
        if let Some(own) = self.queues.get_mut(&key) {
            self.next += 1;
            self.turns.remove(&turn);
            self.turns.insert(self.next, key);
            own.turn = self.next;
        }
        Some((key, item))
    }

    /// Removes an entry, unless it was removed before.
    pub fn remove(&mut self, entry: QueueEntry) -> Option<T> {
        let QueueEntry { key, number } = entry;
        let own = self.queues.get_mut(&key)?;
        let item = own.waiting.remove(&number)?;
        let left = own.waiting.len();
        self.lengths.remove(&(left + 1, key));
        if left == 0 {
            self.turns.remove(&own.turn);
            self.queues.remove(&key);
        } else {
            self.lengths.insert((left, key));
        }
        self.len -= 1;
        Some(item)
    }

    /// Makes room for one more of `key`: removes the last of the longest queue, if that stays at
    /// least as long as this one becomes.
    pub fn make_room(&mut self, key: QueueKey) -> Option<T> {
        let own = self.queues.get(&key).map_or(0, |own| own.waiting.len());
        let &(longest, from) = self.lengths.last()?;
        if longest <= own + 1 {
            return None;
        }
        let &number = self.queues.get(&from)?.waiting.keys().next_back()?;
        self.remove(QueueEntry { key: from, number })
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}
