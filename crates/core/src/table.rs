//! A hash table of numbers that gives back memory and never takes long to grow: a large one is
//! divided into parts, each of which grows and shrinks by itself.

use hashbrown::HashTable;
use hashbrown::hash_table::{AbsentEntry, OccupiedEntry};

/// Entries of a table that is not divided.
const WHOLE: usize = 4_096;

/// Parts of a large table. With ten million entries one has 40,000.
const PARTS: usize = 256;

/// Fewest entries that a part keeps room for: giving back less is not worth the work.
const KEPT: usize = 32;

/// Memory of an entry in a hash table of ids: four bytes and one of control, in a table that is
/// on average two thirds full.
pub(crate) const TABLE_SLOT: usize = 8;

/// Numbers by the hash of what they stand for.
#[derive(Debug)]
pub(crate) struct Table {
    parts: Parts,
    len: usize,
}

#[derive(Debug)]
enum Parts {
    Whole(HashTable<u32>),
    Divided(Box<[HashTable<u32>]>),
}

impl Table {
    pub(crate) const fn new() -> Self {
        Self {
            parts: Parts::Whole(HashTable::new()),
            len: 0,
        }
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many entries there is memory for.
    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        match &self.parts {
            Parts::Whole(table) => table.capacity(),
            Parts::Divided(parts) => parts.iter().map(HashTable::capacity).sum(),
        }
    }

    /// The entry of this hash that `is_it`.
    #[inline]
    pub(crate) fn find(&self, hash: u64, is_it: impl FnMut(&u32) -> bool) -> Option<&u32> {
        self.part(hash).find(hash, is_it)
    }

    /// The entries that may have this hash, and possibly others.
    pub(crate) fn iter_hash(&self, hash: u64) -> impl Iterator<Item = &u32> {
        self.part(hash).iter_hash(hash)
    }

    /// All entries, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &u32> {
        let parts = match &self.parts {
            Parts::Whole(table) => std::slice::from_ref(table),
            Parts::Divided(parts) => parts,
        };
        parts.iter().flatten()
    }

    /// The same, to be changed.
    pub(crate) fn find_mut(
        &mut self,
        hash: u64,
        is_it: impl FnMut(&u32) -> bool,
    ) -> Option<&mut u32> {
        self.part_mut(hash).find_mut(hash, is_it)
    }

    /// Adds an entry, which is not there yet. `hash_of` is the hash of any entry.
    pub(crate) fn insert_unique(&mut self, hash: u64, entry: u32, hash_of: impl Fn(&u32) -> u64) {
        if self.len >= WHOLE
            && let Parts::Whole(table) = &self.parts
        {
            let mut parts: Box<[_]> = (0..PARTS).map(|_| HashTable::new()).collect();
            for &entry in table {
                let hash = hash_of(&entry);
                parts[part_of(hash)].insert_unique(hash, entry, &hash_of);
            }
            self.parts = Parts::Divided(parts);
        }
        self.part_mut(hash).insert_unique(hash, entry, &hash_of);
        self.len += 1;
    }

    /// Removes the entry of this hash that `is_it`, if it is there. `hash_of` is the hash of any
    /// entry that stays.
    pub(crate) fn remove(
        &mut self,
        hash: u64,
        is_it: impl FnMut(&u32) -> bool,
        hash_of: impl Fn(&u32) -> u64,
    ) {
        let part = self.part_mut(hash);
        match part.find_entry(hash, is_it) {
            Ok(entry) => drop(OccupiedEntry::remove(entry)),
            Err(AbsentEntry { .. }) => return,
        }
        if part.capacity() > KEPT && part.len() * 4 < part.capacity() {
            part.shrink_to(part.len() * 2, &hash_of);
        }
        self.len -= 1;
        if self.len < WHOLE / 4
            && let Parts::Divided(parts) = &self.parts
        {
            let mut table = HashTable::with_capacity(self.len * 2);
            for &entry in parts.iter().flatten() {
                table.insert_unique(hash_of(&entry), entry, &hash_of);
            }
            self.parts = Parts::Whole(table);
        }
    }

    #[inline]
    fn part(&self, hash: u64) -> &HashTable<u32> {
        match &self.parts {
            Parts::Whole(table) => table,
            Parts::Divided(parts) => &parts[part_of(hash)],
        }
    }

    fn part_mut(&mut self, hash: u64) -> &mut HashTable<u32> {
        match &mut self.parts {
            Parts::Whole(table) => table,
            Parts::Divided(parts) => &mut parts[part_of(hash)],
        }
    }
}

/// The part for a hash, by bits that a part's table does not look at.
fn part_of(hash: u64) -> usize {
    usize::from(hash.to_le_bytes()[5])
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::hash::BuildHasher;

    use super::*;
    use crate::Hasher;
    use crate::budget::STEP;

    #[test]
    fn it_finds_what_is_there_and_memory_follows_the_size_both_ways() {
        let hasher = Hasher::default();
        let hash_of = |entry: &u32| hasher.hash_one(entry);
        let mut table = Table::new();
        let has =
            |table: &Table, entry: u32| table.find(hash_of(&entry), |&it| it == entry).is_some();
        for entry in 0..100_000 {
            assert!(!has(&table, entry));
            table.insert_unique(hash_of(&entry), entry, hash_of);
            assert!(has(&table, entry));
        }
        assert!((0..100_000).all(|entry| has(&table, entry)));
        assert!(table.capacity() < 300_000);
        let Parts::Divided(parts) = &table.parts else {
            panic!("not divided")
        };
        // No step moves more than this.
        assert!(parts.iter().all(|part| part.len() < 1_000));
        for entry in 0..100_000 {
            table.remove(hash_of(&entry), |&it| it == entry, hash_of);
            table.remove(hash_of(&entry), |&it| it == entry, hash_of);
            assert!(!has(&table, entry));
            let few = entry % 1_000 == 999;
            assert!(!few || (entry + 1..100_000).all(|entry| has(&table, entry)));
        }
        assert!(
            table.is_empty() && table.capacity() <= 2 * KEPT,
            "{}",
            table.capacity()
        );
    }

    #[test]
    fn no_operation_moves_more_entries_than_a_turn_has_time_for() {
        // The most that the default limits let one thread hold are some millions.
        const ENTRIES: u32 = 3_000_000;
        /// Units for an entry that is hashed again and moved: a cache miss or two.
        const MOVE: u64 = 200;
        let hasher = foldhash::fast::FixedState::with_seed(7);
        let moved = Cell::new(0_u64);
        let hash_of = |entry: &u32| {
            moved.set(moved.get() + 1);
            hasher.hash_one(entry)
        };
        let mut table = Table::new();
        let mut most = 0;
        let mut all = 0;
        for entry in 0..ENTRIES {
            table.insert_unique(hasher.hash_one(entry), entry, hash_of);
            let now = moved.take();
            (most, all) = (most.max(now), all + now);
        }
        for entry in 0..ENTRIES {
            table.remove(hasher.hash_one(entry), |&other| other == entry, hash_of);
            let now = moved.take();
            (most, all) = (most.max(now), all + now);
        }
        assert!(most > 1_000, "the table grows: {most}");
        assert!(most * MOVE <= STEP, "{most}");
        // Spread over all operations, an entry is moved a few times at most.
        assert!(all < u64::from(ENTRIES) * 8, "{all}");
    }
}
