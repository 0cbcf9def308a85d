//! How many connections each address has, and its rate of handshakes.
//!
//! An address has an entry while it has a connection, and until its handshakes no longer count
//! against its rate. So there are never many more entries than connections, whatever addresses
//! connect.

#[cfg(test)]
mod tests;

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::collections::VecDeque;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use hashbrown::HashTable;
use ht_pages::Pages;

use crate::client::{Client, Peer};

/// Burst: an address may use at once what it is allowed in this many seconds.
const BURST: Duration = Duration::from_secs(10);

/// Minimum capacity of the table.
const KEPT: usize = 1_024;

/// The limits of one address. 0 is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Connections at once, including pending ones.
    pub open: usize,
    /// Rate limit: handshakes per second, averaged over ten seconds.
    pub per_second: usize,
}

/// Why an address must wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crowded {
    /// It has reached its limit of connections.
    Open,
    /// It has reached its rate limit.
    Rate {
        /// It may retry after this.
        again: Duration,
    },
}

/// The slot of an address's entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Slot(u32);

impl Slot {
    /// No entry.
    pub const NONE: Self = Self(u32::MAX);

    /// The same for all connections of the address.
    pub const fn number(self) -> u32 {
        self.0
    }
}

/// The entries of all addresses.
#[derive(Debug, Default)]
pub struct Addresses {
    entries: Pages<Entry>,
    index: HashTable<u32>,
    hasher: RandomState,
    /// Entries without a connection, until their handshakes no longer count.
    lingering: VecDeque<u32>,
}

/// The subject of an entry. IPv6 addresses count by network: a client has a whole /64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    V4(Ipv4Addr),
    V6([u8; 8]),
    /// All clients behind this proxy.
    BehindV4(Ipv4Addr),
    BehindV6([u8; 8]),
    BehindUnix,
}

#[derive(Debug)]
struct Entry {
    key: Key,
    lingers: bool,
    open: u32,
    /// Bytes that its connections hold.
    held: usize,
    /// When all handshakes would have been made at exactly their rate; in ns. The generic cell rate
    /// algorithm (ITU-T I.371) calls it the theoretical arrival time.
    due: u64,
}

impl Addresses {
    /// Takes a permit for a client from this address at this time; also returns how many
    /// connections the address then has. Limits do not apply to clients of which only the proxy is
    /// known.
    pub fn take(
        &mut self,
        client: Client,
        bounds: Bounds,
        now: Duration,
    ) -> Result<(Slot, u32), Crowded> {
        let now = nanos(now);
        self.sweep(now);
        let key = Key::of(client);
        let found = self.find(key);
        if let Client::At(_) = client {
            let (open, due) = found.map_or((0, 0), |slot| {
                let entry = &self.entries[slot as usize];
                (entry.open, entry.due)
            });
            let due = next_due(due, bounds.per_second, now)?;
            if bounds.open != 0 && open as usize >= bounds.open {
                return Err(Crowded::Open);
            }
            let slot = found.unwrap_or_else(|| self.insert(key));
            self.entries[slot as usize].due = due;
            return Ok(self.enter(slot));
        }
        let slot = found.unwrap_or_else(|| self.insert(key));
        Ok(self.enter(slot))
    }

    /// Releases a permit.
    pub fn give_back(&mut self, slot: Slot, now: Duration) {
        if slot == Slot::NONE {
            return;
        }
        let now = nanos(now);
        let Some(entry) = self.entries.get_mut(slot.0 as usize) else {
            debug_assert!(false, "a permit is released once");
            return;
        };
        entry.open -= 1;
        if entry.open > 0 || entry.lingers {
            return;
        }
        if entry.due <= now {
            self.remove(slot.0);
        } else {
            entry.lingers = true;
            self.lingering.push_back(slot.0);
        }
    }

    /// Adds to the bytes that the connections of an address hold; returns the sum, zero if only the
    /// proxy is known: limits do not apply to those.
    pub fn hold(&mut self, slot: Slot, bytes: usize) -> usize {
        self.change(slot, |held| held + bytes)
    }

    /// Subtracts from them; returns the rest.
    pub fn release(&mut self, slot: Slot, bytes: usize) -> usize {
        self.change(slot, |held| {
            debug_assert!(bytes <= held, "only what was held is released");
            held.saturating_sub(bytes)
        })
    }

    fn change(&mut self, slot: Slot, held: impl FnOnce(usize) -> usize) -> usize {
        if slot == Slot::NONE {
            return 0;
        }
        let Some(entry) = self.entries.get_mut(slot.0 as usize) else {
            debug_assert!(false, "an entry is there until its last permit is released");
            return 0;
        };
        entry.held = held(entry.held);
        match entry.key {
            Key::V4(_) | Key::V6(_) => entry.held,
            Key::BehindV4(_) | Key::BehindV6(_) | Key::BehindUnix => 0,
        }
    }

    /// The address of an entry, for logs.
    pub fn name(&self, slot: Slot) -> Option<String> {
        let entry = self.entries.get(slot.0 as usize)?;
        Some(entry.key.to_string())
    }
}

impl Addresses {
    fn find(&self, key: Key) -> Option<u32> {
        let is_it = |slot: &u32| self.entries[*slot as usize].key == key;
        self.index.find(self.hasher.hash_one(key), is_it).copied()
    }

    fn insert(&mut self, key: Key) -> u32 {
        let slot = self.entries.insert(Entry {
            key,
            lingers: false,
            open: 0,
            held: 0,
            due: 0,
        });
        let slot = u32::try_from(slot).expect("there are fewer connections than that");
        let Self {
            entries,
            index,
            hasher,
            ..
        } = self;
        index.insert_unique(hasher.hash_one(key), slot, |slot| {
            hasher.hash_one(entries[*slot as usize].key)
        });
        slot
    }

    fn enter(&mut self, slot: u32) -> (Slot, u32) {
        let entry = &mut self.entries[slot as usize];
        entry.open += 1;
        (Slot(slot), entry.open)
    }

    fn remove(&mut self, slot: u32) {
        let key = self.entries.remove(slot as usize).key;
        let found = self
            .index
            .find_entry(self.hasher.hash_one(key), |it| *it == slot);
        if let Ok(found) = found {
            found.remove();
        }
        let Self {
            entries,
            index,
            hasher,
            ..
        } = self;
        if index.capacity() > KEPT && index.len() * 4 < index.capacity() {
            index.shrink_to(index.len() * 2, |slot| {
                hasher.hash_one(entries[*slot as usize].key)
            });
        }
    }

    /// Checks the oldest idle entries, two at a time: more than are added meanwhile.
    fn sweep(&mut self, now: u64) {
        for _ in 0..2 {
            let Some(&slot) = self.lingering.front() else {
                return;
            };
            let entry = &mut self.entries[slot as usize];
            if entry.open == 0 && entry.due > now {
                return;
            }
            self.lingering.pop_front();
            entry.lingers = false;
            if entry.open == 0 {
                self.remove(slot);
            }
        }
    }
}

impl Key {
    fn of(client: Client) -> Self {
        match client {
            Client::At(IpAddr::V4(address)) => Self::V4(address),
            Client::At(IpAddr::V6(address)) => Self::V6(network(address)),
            Client::Behind(Peer::Ip(IpAddr::V4(address))) => Self::BehindV4(address),
            Client::Behind(Peer::Ip(IpAddr::V6(address))) => Self::BehindV6(network(address)),
            Client::Behind(Peer::Unix) => Self::BehindUnix,
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let full = |network: &[u8; 8]| {
            let mut octets = [0; 16];
            octets[..8].copy_from_slice(network);
            Ipv6Addr::from(octets)
        };
        match self {
            Self::V4(address) => address.fmt(f),
            Self::V6(network) => write!(f, "{}/64", full(network)),
            Self::BehindV4(address) => write!(f, "unknown client behind {address}"),
            Self::BehindV6(network) => write!(f, "unknown client behind {}/64", full(network)),
            Self::BehindUnix => f.write_str("unknown client behind the unix socket"),
        }
    }
}

fn network(address: Ipv6Addr) -> [u8; 8] {
    let [a, b, c, d, e, f, g, h, ..] = address.octets();
    [a, b, c, d, e, f, g, h]
}

/// When all handshakes are due, this one included.
pub(crate) fn next_due(due: u64, per_second: usize, now: u64) -> Result<u64, Crowded> {
    let Some(interval) = 1_000_000_000_u64.checked_div(per_second as u64) else {
        return Ok(due);
    };
    let due = due.max(now) + interval;
    let latest = now + nanos(BURST);
    if due > latest {
        let again = Duration::from_nanos(due - latest);
        return Err(Crowded::Rate { again });
    }
    Ok(due)
}

pub(crate) fn nanos(period: Duration) -> u64 {
    u64::try_from(period.as_nanos()).unwrap_or(u64::MAX / 2)
}
