//! A fair queue: a line in which addresses take turns.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashMap;
use std::net::IpAddr;
use std::net::Ipv6Addr;

/// Bits of an IPv6 address that tell one network from another; the others are each host's own
/// choice (RFC 4291 §2.5.1).
const NETWORK_BITS: u128 = !0 << 64;

/// Those who share their turns: an IPv4 address, the /64 network of an IPv6 address, or all whose
/// address is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lane(Option<IpAddr>);

impl Lane {
    /// Whether it stands for an address.
    #[must_use]
    pub fn is_known(self) -> bool {
        self.0.is_some()
    }
}

impl From<Option<IpAddr>> for Lane {
    fn from(address: Option<IpAddr>) -> Self {
        Self(address.map(|address| match address.to_canonical() {
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & NETWORK_BITS).into(),
            address @ IpAddr::V4(_) => address,
        }))
    }
}

/// Where somebody stands, to leave the line again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stand {
    lane: Lane,
    number: u64,
}

/// The line: a lane for each address that has somebody in it, and whose turn it is. Every step
/// takes time that grows with the logarithm of its length.
#[derive(Debug)]
pub struct Lanes<T> {
    lanes: HashMap<Lane, OneLane<T>>,
    /// Each lane once, the next first.
    turns: BTreeMap<u64, Lane>,
    /// Each lane once, the longest last.
    lengths: BTreeSet<(usize, Lane)>,
    len: usize,
    /// Numbers what is put in, and the turns.
    next: u64,
}

#[derive(Debug)]
struct OneLane<T> {
    turn: u64,
    /// By number, and so in the order of coming.
    waiting: BTreeMap<u64, T>,
}

impl<T> Default for Lanes<T> {
    fn default() -> Self {
        Self {
            lanes: HashMap::new(),
            turns: BTreeMap::new(),
            lengths: BTreeSet::new(),
            len: 0,
            next: 0,
        }
    }
}

impl<T> Lanes<T> {
    /// Whether nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Puts somebody at the end of a lane.
    pub fn push(&mut self, lane: Lane, item: T) -> Stand {
        let number = self.number();
        let own = self.lanes.entry(lane).or_insert_with(|| {
            self.turns.insert(number, lane);
            OneLane {
                turn: number,
                waiting: BTreeMap::new(),
            }
        });
        self.lengths.remove(&(own.waiting.len(), lane));
        own.waiting.insert(number, item);
        self.lengths.insert((own.waiting.len(), lane));
        self.len += 1;
        Stand { lane, number }
    }

    /// Takes out who is next, and its lane: the first of the lane whose turn it is among those
    /// that may have one. Looks at no more lanes than may not, and one.
    pub fn pop(&mut self, may: impl Fn(Lane) -> bool) -> Option<(Lane, T)> {
        let (&turn, &lane) = self.turns.iter().find(|&(_, &lane)| may(lane))?;
        let &number = self.lanes.get(&lane)?.waiting.keys().next()?;
        let item = self.remove(Stand { lane, number })?;
        if let Some(own) = self.lanes.get_mut(&lane) {
            self.next += 1;
            self.turns.remove(&turn);
            self.turns.insert(self.next, lane);
            own.turn = self.next;
        }
        Some((lane, item))
    }

    /// Takes out who stands there, unless it left before.
    pub fn remove(&mut self, stand: Stand) -> Option<T> {
        let Stand { lane, number } = stand;
        let own = self.lanes.get_mut(&lane)?;
        let item = own.waiting.remove(&number)?;
        let left = own.waiting.len();
        self.lengths.remove(&(left + 1, lane));
        if left == 0 {
            self.turns.remove(&own.turn);
            self.lanes.remove(&lane);
        } else {
            self.lengths.insert((left, lane));
        }
        self.len -= 1;
        Some(item)
    }

    /// Makes room for one more in `lane`: takes out the last of the longest lane, if that stays
    /// at least as long as this one becomes.
    pub fn make_room(&mut self, lane: Lane) -> Option<T> {
        let own = self.lanes.get(&lane).map_or(0, |own| own.waiting.len());
        let &(longest, from) = self.lengths.last()?;
        if longest <= own + 1 {
            return None;
        }
        let &number = self.lanes.get(&from)?.waiting.keys().next_back()?;
        self.remove(Stand { lane: from, number })
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}
