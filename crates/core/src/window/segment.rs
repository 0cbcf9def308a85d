//! A segment of the window: entries, and a filter for the rooms that they are for.

use std::hash::BuildHasher;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use ht_proto::entry::TenantId;
use ht_proto::room::Room;

use crate::Hasher;
use crate::index::Matching;
use crate::window::{Concerns, Item, Kept};

/// Entries in a segment.
pub(super) const SEGMENT_ENTRIES: usize = 256;

/// A room in the form used by the filter of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// The hash of the room and its tenant.
    pub hash: u64,
    /// The hash of its shape and its tenant.
    pub shape: u64,
    /// Whether it has `*` that matches any value.
    pub is_starred: bool,
}

impl Key {
    /// The key of a tenant's room. All keys of a window have one hasher and one matching.
    #[must_use]
    pub fn of(tenant: TenantId, room: &Room, matching: Matching, hasher: &Hasher) -> Self {
        Self {
            hash: hasher.hash_one((tenant, room)),
            shape: hasher.hash_one((tenant, room.shape())),
            is_starred: matching == Matching::Wildcard && room.wildcards() != 0,
        }
    }
}

/// The rooms with subscribers, to skip entries that concern none of them.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    exact: Vec<Key>,
    starred: Vec<Key>,
}

impl FromIterator<Key> for Wanted {
    fn from_iter<I: IntoIterator<Item = Key>>(keys: I) -> Self {
        let (starred, exact) = keys.into_iter().partition(|key| key.is_starred);
        Self { exact, starred }
    }
}

impl Wanted {
    /// How many rooms a segment is tested for.
    #[must_use]
    pub fn len(&self) -> usize {
        self.exact.len() + self.starred.len()
    }

    /// Whether there is none: every entry is skipped that does not concern all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Up to so many entries. Written by one thread, read by all.
#[derive(Debug)]
pub(super) struct Segment<T> {
    items: Box<[OnceLock<Item<T>>]>,
    /// How many of them are there. What it counts, and the filter for it, was written before.
    len: AtomicUsize,
    /// Hashes of rooms.
    rooms: Bloom,
    /// Shapes of rooms.
    shapes: Shapes,
    /// Shapes of rooms with `*`.
    starred: Shapes,
    /// An entry concerns all subscribers.
    is_for_all: AtomicBool,
}

impl<T> Segment<T> {
    /// Its memory use, without that of its entries' contents.
    pub(super) const BYTES: usize =
        size_of::<Self>() + SEGMENT_ENTRIES * size_of::<OnceLock<Item<T>>>() + Bloom::BYTES;

    /// Its memory use, as [`Self::BYTES`] of one that was [shortened](Self::without).
    pub(super) fn bytes(&self) -> usize {
        let missing = SEGMENT_ENTRIES - self.items.len();
        Self::BYTES - missing * size_of::<OnceLock<Item<T>>>()
    }

    pub(super) fn new() -> Self {
        Self {
            items: (0..SEGMENT_ENTRIES).map(|_| OnceLock::new()).collect(),
            len: AtomicUsize::new(0),
            rooms: Bloom::default(),
            shapes: Shapes::default(),
            starred: Shapes::default(),
            is_for_all: AtomicBool::new(false),
        }
    }

    /// Appends an entry. Only one thread may do so, and only while there is room.
    pub(super) fn append(&self, item: Item<T>, concerns: Concerns<'_>) {
        match concerns {
            Concerns::Rooms(keys) => keys.iter().for_each(|key| self.note(key)),
            Concerns::All => self.is_for_all.store(true, Ordering::Relaxed),
        }
        let len = self.len.load(Ordering::Relaxed);
        let is_written = self
            .items
            .get(len)
            .is_some_and(|slot| slot.set(item).is_ok());
        debug_assert!(is_written, "one thread appends, up to the last slot");
        self.len
            .store(len + usize::from(is_written), Ordering::Release);
    }

    pub(super) fn len(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }

    fn note(&self, key: &Key) {
        self.rooms.insert(key.hash);
        self.shapes.insert(key.shape);
        if key.is_starred {
            self.starred.insert(key.shape);
        }
    }

    pub(super) fn get(&self, index: usize) -> Option<&Item<T>> {
        self.items.get(index)?.get()
    }

    /// The position of its first entry.
    pub(super) fn first(&self) -> Option<u64> {
        self.get(0).map(|item| item.position)
    }

    /// How many of its entries are at or before this position, of the first `len`.
    pub(super) fn up_to(&self, position: u64, len: usize) -> usize {
        self.items[..len].partition_point(|slot| {
            let item = slot.get();
            item.is_some_and(|item| item.position <= position)
        })
    }

    /// Whether one of the entries present at the time of the call may concern a subscriber of one
    /// of `wanted`. Never false where one does.
    pub(super) fn may_concern(&self, wanted: &Wanted) -> bool {
        self.is_for_all.load(Ordering::Relaxed)
            || wanted
                .exact
                .iter()
                .any(|key| self.rooms.may_have(key.hash) || self.starred.may_have(key.shape))
            || wanted
                .starred
                .iter()
                .any(|key| self.shapes.may_have(key.shape))
    }
}

impl<T: Clone> Segment<T> {
    /// The same without the entries of a tenant, of which those before `from` were dropped already, and
    /// with room for others only if it is open. The filter is as it was: it may find more than there
    /// is.
    pub(super) fn without(
        &self,
        tenant: TenantId,
        from: usize,
        is_open: bool,
    ) -> (Self, TrimmedEntries) {
        let mut trimmed = TrimmedEntries::default();
        let len = self.len();
        let keep = |(index, slot): (usize, &OnceLock<Item<T>>)| {
            let Some(item) = slot.get().filter(|_| index < len) else {
                return OnceLock::new();
            };
            let is_own = item.tenant == tenant && !matches!(item.body, Kept::Hole);
            let is_live = is_own && !matches!(item.body, Kept::Trimmed);
            if is_live && index >= from {
                trimmed.entries += 1;
                trimmed.last = item.position;
            }
            let body = match is_own {
                true => Kept::Trimmed,
                false => item.body.clone(),
            };
            OnceLock::from(Item { body, ..*item })
        };
        let room = if is_open { self.items.len() } else { len };
        let items = self.items.iter().take(room);
        let segment = Self {
            items: items.enumerate().map(keep).collect(),
            len: AtomicUsize::new(len),
            rooms: self.rooms.clone(),
            shapes: self.shapes.clone(),
            starred: self.starred.clone(),
            is_for_all: AtomicBool::new(self.is_for_all.load(Ordering::Relaxed)),
        };
        (segment, trimmed)
    }
}

/// Entries that were dropped because their tenant has too many bytes.
#[derive(Debug, Default)]
pub(super) struct TrimmedEntries {
    pub(super) entries: usize,
    /// The position of the last one.
    pub(super) last: u64,
}

fn copied(bits: &AtomicU64) -> AtomicU64 {
    AtomicU64::new(bits.load(Ordering::Relaxed))
}

/// A Bloom filter of 2 KiB. With 256 hashes its false positive rate is one in a hundred thousand.
#[derive(Debug)]
struct Bloom(Box<[AtomicU64; Self::WORDS]>);

impl Bloom {
    const WORDS: usize = 256;

    const BYTES: usize = Self::WORDS * 8;

    /// Bits that choose one of its bits.
    const INDEX_BITS: u32 = (Self::WORDS * 64).ilog2();

    /// The bits that a hash sets, as word and mask: four, from different parts of the hash.
    fn bits(hash: u64) -> [(usize, u64); 4] {
        [0, 1, 2, 3].map(|part| {
            let index = hash >> (part * Self::INDEX_BITS) & (Self::WORDS as u64 * 64 - 1);
            ((index / 64) as usize, 1 << (index % 64))
        })
    }

    /// Only one thread may do so.
    fn insert(&self, hash: u64) {
        for (word, mask) in Self::bits(hash) {
            let bits = self.0[word].load(Ordering::Relaxed);
            self.0[word].store(bits | mask, Ordering::Relaxed);
        }
    }

    fn may_have(&self, hash: u64) -> bool {
        let mut bits = Self::bits(hash).into_iter();
        bits.all(|(word, mask)| self.0[word].load(Ordering::Relaxed) & mask != 0)
    }
}

impl Clone for Bloom {
    /// Only the thread that inserts may do so.
    fn clone(&self) -> Self {
        Self(Box::new(std::array::from_fn(|word| copied(&self.0[word]))))
    }
}

impl Default for Bloom {
    fn default() -> Self {
        Self(Box::new([const { AtomicU64::new(0) }; Self::WORDS]))
    }
}

/// A few hashes of shapes. Most logs have no more; beyond that everything may be in it.
#[derive(Debug, Default)]
struct Shapes {
    hashes: [AtomicU64; Self::MOST],
    /// How many there are, or more than fit.
    len: AtomicUsize,
}

impl Clone for Shapes {
    /// Only the thread that inserts may do so.
    fn clone(&self) -> Self {
        Self {
            hashes: std::array::from_fn(|at| copied(&self.hashes[at])),
            len: AtomicUsize::new(self.len.load(Ordering::Relaxed)),
        }
    }
}

impl Shapes {
    const MOST: usize = 16;

    /// Only one thread may do so.
    fn insert(&self, hash: u64) {
        if self.may_have(hash) {
            return;
        }
        let len = self.len.load(Ordering::Relaxed);
        if let Some(slot) = self.hashes.get(len) {
            slot.store(hash, Ordering::Relaxed);
        }
        self.len.store(len + 1, Ordering::Release);
    }

    fn may_have(&self, hash: u64) -> bool {
        let len = self.len.load(Ordering::Acquire);
        self.hashes.get(..len).is_none_or(|hashes| {
            hashes
                .iter()
                .any(|other| other.load(Ordering::Relaxed) == hash)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(number: u64) -> u64 {
        Hasher::fixed().hash_one(number)
    }

    #[test]
    fn bloom_filter_has_its_entries_and_few_false_positives() {
        let bloom = Bloom::default();
        (0..256).for_each(|number| bloom.insert(hash(number)));
        assert!((0..256).all(|number| bloom.may_have(hash(number))));
        let others = (1_000..101_000).filter(|number| bloom.may_have(hash(*number)));
        assert!(others.count() <= 20);
        assert_eq!(Bloom::BYTES, 2_048);
    }

    #[test]
    fn more_shapes_than_fit_are_all_shapes() {
        let shapes = Shapes::default();
        for number in 0..16 {
            assert!(!shapes.may_have(hash(number)));
            shapes.insert(hash(number));
            shapes.insert(hash(number));
        }
        assert!((0..16).all(|number| shapes.may_have(hash(number))));
        assert!(!shapes.may_have(hash(16)));
        shapes.insert(hash(16));
        assert!(shapes.may_have(hash(16)) && shapes.may_have(hash(17)));
    }
}
