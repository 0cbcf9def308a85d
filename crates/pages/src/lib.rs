//! A table of entries by number that gives back memory: a slab in pages.
//!
//! A page is allocated when its first entry is added and freed when its last one is removed, and
//! new entries are put into the lowest page that has room. So memory follows the size both ways,
//! and nothing is ever moved: no insertion and no removal takes longer than a page.

use std::collections::BTreeSet;
use std::ops::{Index, IndexMut};

/// Entries of a page: one per bit of a word.
const PAGE: usize = u64::BITS as usize;

/// Entries by number. A number is reused after its entry was removed.
#[derive(Debug)]
pub struct Pages<T> {
    pages: Vec<Page<T>>,
    /// Pages with both entries and room.
    open: BTreeSet<u32>,
    /// Pages that are not allocated, among those below the last.
    empty: BTreeSet<u32>,
    len: usize,
}

#[derive(Debug)]
struct Page<T> {
    /// Bits of the entries that are taken.
    taken: u64,
    /// High-water mark of the taken entries, at most [`PAGE`]: a small table takes little memory.
    entries: Vec<Option<T>>,
}

impl<T> Default for Pages<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Pages<T> {
    /// An empty table, which takes no memory.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            pages: Vec::new(),
            open: BTreeSet::new(),
            empty: BTreeSet::new(),
            len: 0,
        }
    }

    /// How many entries there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no entry.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The capacity in entries.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.pages.iter().map(|page| page.entries.capacity()).sum()
    }

    /// The number that the next [inserted](Self::insert) entry gets.
    #[must_use]
    pub fn vacant_key(&self) -> usize {
        let page = self.vacant_page();
        let taken = self.pages.get(page).map_or(0, |page| page.taken);
        page * PAGE + (!taken).trailing_zeros() as usize
    }

    /// Adds an entry; returns its number.
    pub fn insert(&mut self, entry: T) -> usize {
        let key = self.vacant_key();
        self.put(key, entry);
        key
    }

    /// Puts an entry at a free number. Numbers should be dense.
    ///
    /// # Panics
    /// If there is an entry with this number.
    pub fn put(&mut self, key: usize, entry: T) {
        let (at, bit) = (key / PAGE, key % PAGE);
        while self.pages.len() <= at {
            self.empty.insert(number(self.pages.len()));
            self.pages.push(Page::new());
        }
        let page = &mut self.pages[at];
        assert!(page.taken & (1 << bit) == 0, "the entry is taken");
        if page.taken == 0 {
            self.empty.remove(&number(at));
            self.open.insert(number(at));
        }
        while page.entries.len() <= bit {
            page.entries.push(None);
        }
        page.entries[bit] = Some(entry);
        page.taken |= 1 << bit;
        if page.taken == u64::MAX {
            self.open.remove(&number(at));
        }
        self.len += 1;
    }

    /// Removes an entry.
    ///
    /// # Panics
    /// If there is no entry with this number.
    pub fn remove(&mut self, key: usize) -> T {
        let (at, bit) = (key / PAGE, key % PAGE);
        let page = &mut self.pages[at];
        let entry = page.entries[bit].take().expect("an entry to remove");
        if page.taken == u64::MAX {
            self.open.insert(number(at));
        }
        page.taken &= !(1 << bit);
        self.len -= 1;
        if page.taken == 0 {
            page.entries = Vec::new();
            self.open.remove(&number(at));
            self.empty.insert(number(at));
            self.truncate();
        }
        entry
    }

    /// The entry of this number, if there is one.
    #[must_use]
    #[inline]
    pub fn get(&self, key: usize) -> Option<&T> {
        self.pages
            .get(key / PAGE)?
            .entries
            .get(key % PAGE)?
            .as_ref()
    }

    /// The same, mutable.
    #[must_use]
    #[inline]
    pub fn get_mut(&mut self, key: usize) -> Option<&mut T> {
        let page = self.pages.get_mut(key / PAGE)?;
        page.entries.get_mut(key % PAGE)?.as_mut()
    }

    /// Whether there is an entry of this number.
    #[must_use]
    pub fn contains(&self, key: usize) -> bool {
        self.get(key).is_some()
    }

    /// All entries by their numbers, in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &T)> {
        let pages = self.pages.iter().enumerate();
        pages.flat_map(|(at, page)| {
            let entries = page.entries.iter().enumerate();
            entries.filter_map(move |(bit, entry)| Some((at * PAGE + bit, entry.as_ref()?)))
        })
    }

    /// The lowest page with room; a new one if all are full.
    fn vacant_page(&self) -> usize {
        let page = self.open.first().or(self.empty.first());
        page.map_or(self.pages.len(), |&page| page as usize)
    }

    /// Removes the empty pages at the end.
    fn truncate(&mut self) {
        while self.pages.last().is_some_and(|page| page.taken == 0) {
            self.pages.pop();
            self.empty.remove(&number(self.pages.len()));
        }
        shrink_list(&mut self.pages);
    }
}

impl<T> Page<T> {
    fn new() -> Self {
        Self {
            taken: 0,
            entries: Vec::new(),
        }
    }
}

impl<T> Index<usize> for Pages<T> {
    type Output = T;

    #[inline]
    fn index(&self, key: usize) -> &T {
        self.get(key).expect("an entry of this number")
    }
}

impl<T> IndexMut<usize> for Pages<T> {
    #[inline]
    fn index_mut(&mut self, key: usize) -> &mut T {
        self.get_mut(key).expect("an entry of this number")
    }
}

/// Minimum capacity that a list keeps: freeing less is not worth the work.
const KEPT: usize = 64;

/// Shrinks a list that uses less than a quarter of its capacity to twice what it uses.
pub fn shrink_list<T>(list: &mut Vec<T>) {
    if list.capacity() > KEPT && list.len() * 4 < list.capacity() {
        list.shrink_to(list.len() * 2);
    }
}

#[inline]
fn number(page: usize) -> u32 {
    u32::try_from(page).expect("fewer than 2^32 pages")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn memory_follows_the_size_both_ways() {
        let mut pages = Pages::new();
        let keys: Vec<_> = (0..10_000).map(|n| pages.insert(n)).collect();
        assert_eq!(keys, (0..10_000).collect::<Vec<_>>());
        assert!(pages.capacity() <= 10_000_usize.next_multiple_of(PAGE));
        // One entry holds its page and no other, wherever it is.
        for key in (0..10_000).filter(|&key| key != 9_000) {
            assert_eq!(pages.remove(key), key);
        }
        assert_eq!((pages.len(), pages.capacity()), (1, PAGE));
        assert_eq!(pages.insert(7), 9_000 / PAGE * PAGE);
        pages.remove(9_000 / PAGE * PAGE);
        pages.remove(9_000);
        assert_eq!((pages.capacity(), pages.pages.len()), (0, 0));
        assert!(pages.pages.capacity() <= KEPT);
        assert_eq!(pages.insert(1), 0);
    }

    proptest! {
        #[test]
        fn it_matches_a_map(
            operations in prop::collection::vec((0..3u8, 0..300usize), 0..200),
        ) {
            let (mut pages, mut map) = (Pages::new(), BTreeMap::new());
            for (operation, key) in operations {
                match operation {
                    0 => {
                        let expected = pages.vacant_key();
                        prop_assert!(!map.contains_key(&expected));
                        prop_assert_eq!(pages.insert(key), expected);
                        map.insert(expected, key);
                    }
                    1 if !map.contains_key(&key) => {
                        pages.put(key, key);
                        map.insert(key, key);
                    }
                    _ => {
                        let known = map.remove(&key);
                        prop_assert_eq!(pages.get(key).copied(), known);
                        if known.is_some() {
                            pages.remove(key);
                        }
                    }
                }
                prop_assert_eq!(pages.len(), map.len());
                let all: Vec<_> = pages.iter().map(|(key, entry)| (key, *entry)).collect();
                prop_assert_eq!(all, map.clone().into_iter().collect::<Vec<_>>());
                let last = map.last_key_value().map_or(0, |(key, _)| key / PAGE + 1);
                prop_assert_eq!(pages.pages.len(), last);
                prop_assert!(pages.capacity() <= map.len() * PAGE);
            }
        }
    }
}
