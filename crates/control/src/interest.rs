//! In which shards each room of each tenant has a subscriber.
//!
//! A shard writes here when a room gets its first subscriber there or loses its last one: never
//! during delivery. The sequencer reads here which shards a publication may concern, so that the
//! others are neither woken nor given work.
//!
//! **A room of a shard receives exactly what is sequenced after some moment while it opens.** The
//! shard first adds the room and then reads the last position; the sequencer first writes the
//! position and then looks the room up. Both take the lock of the room's entry, so one of two cases
//! applies to each publication. Either the lookup came after the addition: then the publication is
//! sent to the shard. Or it came before: then the shard reads this position or a later one, and the
//! room ignores publications up to there, even if they reached the shard because of another room.
//! Only publications later than the position read are delivered. A subscribe is answered after that
//! moment, so a client whose subscribe was acknowledged misses nothing, and none receives an old
//! publication and then lacks the next.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::ops::BitOr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ht_core::Hasher;
use ht_core::index::Matching;
use ht_core::publication::Publication;
use ht_core::window::Key;
use ht_proto::entry::TenantId;
use ht_proto::room::Room;

/// Locks are taken per stripe, so that shards seldom contend.
const STRIPES: usize = 64;

/// The interest index: counts rooms, and knows their shards.
#[derive(Debug)]
pub struct InterestIndex {
    matching: Matching,
    hasher: Hasher,
    every_shard: ShardSet,
    /// Rooms, by their hashes.
    stripes: Vec<Mutex<Stripe>>,
    /// Shapes of rooms that match others by their `*`.
    wild_shapes: Mutex<Presence>,
    /// The last position that was assigned.
    position: AtomicU64,
    /// Everything up to this position is in the inboxes of the shards that it concerns.
    handed: AtomicU64,
}

impl InterestIndex {
    /// An empty index.
    #[must_use]
    pub fn new(shards: usize, matching: Matching) -> Self {
        Self::with_hasher(shards, matching, Hasher::default())
    }

    /// An empty index of rooms with these keys.
    #[must_use]
    pub fn with_hasher(shards: usize, matching: Matching, hasher: Hasher) -> Self {
        let every = (0..shards).map(ShardSet::of);
        Self {
            matching,
            hasher,
            every_shard: every.fold(ShardSet::NONE, ShardSet::bitor),
            stripes: (0..STRIPES).map(|_| Mutex::default()).collect(),
            wild_shapes: Mutex::default(),
            position: AtomicU64::new(0),
            handed: AtomicU64::new(0),
        }
    }

    /// The number of rooms of all tenants.
    pub fn rooms(&self) -> u64 {
        let stripes = self.stripes.iter().map(lock);
        stripes
            .map(|stripe| stripe.counts.values().sum::<u64>())
            .sum()
    }

    /// The number of rooms of the tenant.
    pub fn rooms_of(&self, tenant: TenantId) -> u64 {
        let stripes = self.stripes.iter().map(lock);
        stripes
            .filter_map(|stripe| stripe.counts.get(&tenant).copied())
            .sum()
    }

    /// Adds a room of the tenant to a shard that did not have it. Returns the position after which
    /// it receives.
    pub fn opened(&self, shard: usize, tenant: TenantId, room: &Room) -> u64 {
        let shard = ShardSet::of(shard);
        let key = self.key(tenant, room);
        self.stripe(key.hash).enter(tenant, key.hash, shard);
        if key.is_starred {
            lock(&self.wild_shapes).enter(key.shape, shard);
        }
        self.position.load(Ordering::Acquire)
    }

    /// Removes a room of the tenant from a shard.
    pub fn closed(&self, shard: usize, tenant: TenantId, room: &Room) {
        let shard = ShardSet::of(shard);
        let key = self.key(tenant, room);
        self.stripe(key.hash).leave(tenant, key.hash, shard);
        if key.is_starred {
            lock(&self.wild_shapes).leave(key.shape, shard);
        }
    }

    /// The key of a room of the tenant.
    #[must_use]
    pub fn key(&self, tenant: TenantId, room: &Room) -> Key {
        Key::of(tenant, room, self.matching, &self.hasher)
    }

    /// Records the position of publications. Returns the shards that they may concern: possibly too
    /// many, never too few. Called for one batch after the other, in the order.
    pub fn placed(&self, batch: &[Publication]) -> ShardSet {
        let rooms = batch.iter().flat_map(|publication| {
            let rooms = publication.rooms.iter();
            rooms.map(|room| self.key(publication.tenant, room))
        });
        self.placed_for(batch.last().map(|last| last.position), rooms)
    }

    /// The same for publications for rooms with these keys, the last one at this position.
    pub fn placed_for(&self, last: Option<u64>, rooms: impl Iterator<Item = Key>) -> ShardSet {
        if let Some(last) = last {
            self.position.store(last, Ordering::Release);
        }
        self.hearing_any(rooms)
    }

    /// Records a position that is not of a publication.
    pub fn advance(&self, position: u64) {
        self.position.store(position, Ordering::Release);
    }

    /// Everything up to this position was sent to the shards.
    pub fn sent(&self, position: u64) {
        self.handed.store(position, Ordering::Release);
    }

    /// The last position up to which everything was sent to the shards. A shard whose inbox is empty
    /// after this was read has taken all of it.
    #[must_use]
    pub fn handed(&self) -> u64 {
        self.handed.load(Ordering::Acquire)
    }

    /// The shards with a room that matches a trigger for any of these: as of now, so this is not
    /// valid for publications that have no position yet.
    pub fn hearing_any(&self, rooms: impl Iterator<Item = Key>) -> ShardSet {
        let mut found = ShardSet::NONE;
        for room in rooms {
            found = found | self.hearing(room);
            if found == self.every_shard {
                break;
            }
        }
        found
    }

    /// The shards with a room that matches a trigger for the one with this key.
    fn hearing(&self, room: Key) -> ShardSet {
        if room.is_starred {
            return self.every_shard;
        }
        let equal = self.stripe(room.hash).rooms.shards(room.hash);
        let wild_shapes = lock(&self.wild_shapes);
        if wild_shapes.is_empty() {
            return equal;
        }
        equal | wild_shapes.shards(room.shape)
    }

    fn stripe(&self, hash: u64) -> MutexGuard<'_, Stripe> {
        let index = usize::try_from(hash % STRIPES as u64).unwrap_or(0);
        lock(&self.stripes[index])
    }
}

fn lock<T>(part: &Mutex<T>) -> MutexGuard<'_, T> {
    part.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Shards as bits. Those from the 64th on share the last bit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ShardSet(u64);

impl ShardSet {
    const NONE: Self = Self(0);

    fn of(shard: usize) -> Self {
        Self(1 << shard.min(63))
    }

    /// Whether the shard may be included.
    pub fn contains(self, shard: usize) -> bool {
        self.meets(Self::of(shard))
    }

    fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl BitOr for ShardSet {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// One part of all rooms.
#[derive(Debug, Default)]
struct Stripe {
    rooms: Presence,
    /// The number of them per tenant.
    counts: HashMap<TenantId, u64, foldhash::fast::RandomState>,
}

impl Stripe {
    fn enter(&mut self, tenant: TenantId, hash: u64, shard: ShardSet) {
        if self.rooms.enter(hash, shard) {
            *self.counts.entry(tenant).or_default() += 1;
        }
    }

    fn leave(&mut self, tenant: TenantId, hash: u64, shard: ShardSet) {
        if self.rooms.leave(hash, shard)
            && let Entry::Occupied(mut count) = self.counts.entry(tenant)
        {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
                shrink(&mut self.counts);
            }
        }
    }
}

/// The shards with an entry, by hash.
#[derive(Debug, Default)]
struct Presence {
    shards: HashMap<u64, ShardSet, foldhash::fast::RandomState>,
    /// Counts above one: different rooms may share a hash, rooms a shape, shards a bit.
    more: HashMap<(u64, ShardSet), u32, foldhash::fast::RandomState>,
}

impl Presence {
    fn is_empty(&self) -> bool {
        self.shards.is_empty()
    }

    fn shards(&self, hash: u64) -> ShardSet {
        self.shards.get(&hash).copied().unwrap_or_default()
    }

    /// Whether it is the first of its hash.
    fn enter(&mut self, hash: u64, shard: ShardSet) -> bool {
        let shards = self.shards.entry(hash).or_default();
        let first = *shards == ShardSet::NONE;
        if shards.meets(shard) {
            *self.more.entry((hash, shard)).or_default() += 1;
        }
        *shards = *shards | shard;
        first
    }

    /// Whether it was the last of its hash.
    fn leave(&mut self, hash: u64, shard: ShardSet) -> bool {
        if let Entry::Occupied(mut more) = self.more.entry((hash, shard)) {
            *more.get_mut() -= 1;
            if *more.get() == 0 {
                more.remove();
                shrink(&mut self.more);
            }
            return false;
        }
        let Entry::Occupied(mut shards) = self.shards.entry(hash) else {
            return false;
        };
        shards.get_mut().0 &= !shard.0;
        let last = *shards.get() == ShardSet::NONE;
        if last {
            shards.remove();
            shrink(&mut self.shards);
        }
        last
    }
}

/// Fewest entries that a table keeps room for.
const KEPT: usize = 64;

/// Shrinks a table of which less than a quarter is in use. It holds one of [`STRIPES`] parts of all
/// rooms, so that this is quick.
fn shrink<K: Eq + Hash, V>(table: &mut HashMap<K, V, foldhash::fast::RandomState>) {
    if table.capacity() > KEPT && table.len() * 4 < table.capacity() {
        table.shrink_to(table.len() * 2);
    }
}

#[cfg(test)]
mod tests;
