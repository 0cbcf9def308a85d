//! A set of small numbers that takes four bytes for each, and no more than itself for one.

use crate::table::Table;
use ht_pages::shrink_list;

/// A set with more numbers than this is a hash table: below, they are compared one by one.
const LISTED: usize = 32;

/// Numbers, none twice.
#[derive(Debug)]
pub(super) enum Ids {
    One(u32),
    /// None, or several.
    Several(Box<Several>),
}

#[derive(Debug)]
pub(super) enum Several {
    List(Vec<u32>),
    Table(Table, usize),
}

impl Ids {
    /// Adds a number, which is not there yet.
    pub(super) fn insert(&mut self, id: u32) {
        match self {
            &mut Self::One(first) => {
                *self = Self::Several(Box::new(Several::List(vec![first, id])));
            }
            Self::Several(several) => several.insert(id),
        }
    }

    /// Removes a number, which is there and not the only one.
    pub(super) fn remove(&mut self, id: u32) {
        let Self::Several(several) = self else {
            debug_assert!(false, "the last number goes with its set");
            return;
        };
        if let Some(last) = several.remove(id) {
            *self = Self::One(last);
        }
    }

    /// Whether `id` is the only number.
    pub(super) fn is_only(&self, id: u32) -> bool {
        matches!(self, &Self::One(one) if one == id)
    }

    /// Calls `found` for each number.
    pub(super) fn for_each(&self, mut found: impl FnMut(u32)) {
        match self {
            &Self::One(id) => found(id),
            Self::Several(several) => match &**several {
                Several::List(list) => list.iter().for_each(|&id| found(id)),
                Several::Table(table, _) => table.iter().for_each(|&id| found(id)),
            },
        }
    }

    /// Entries that there is memory for.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Several(several) => match &**several {
                Several::List(list) => list.capacity(),
                Several::Table(table, _) => table.capacity(),
            },
        }
    }
}

impl Several {
    fn insert(&mut self, id: u32) {
        match self {
            Self::List(list) if list.len() < LISTED => list.push(id),
            Self::List(list) => {
                let mut table = Table::new();
                for &id in list.iter().chain([&id]) {
                    table.insert_unique(hash(id), id, |&id| hash(id));
                }
                *self = Self::Table(table, LISTED + 1);
            }
            Self::Table(table, len) => {
                table.insert_unique(hash(id), id, |&id| hash(id));
                *len += 1;
            }
        }
    }

    /// Removes a number. Returns the only one that is left, if it is.
    fn remove(&mut self, id: u32) -> Option<u32> {
        match self {
            Self::List(list) => {
                list.retain(|&other| other != id);
                shrink_list(list);
                match list[..] {
                    [last] => Some(last),
                    _ => None,
                }
            }
            Self::Table(table, len) => {
                table.remove(hash(id), |&other| other == id, |&id| hash(id));
                *len -= 1;
                if *len <= LISTED / 2 {
                    *self = Self::List(table.iter().copied().collect());
                }
                None
            }
        }
    }
}

/// A hasher for numbers that clients cannot choose.
fn hash(id: u32) -> u64 {
    (u64::from(id) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn sorted(ids: &Ids) -> Vec<u32> {
        let mut all = Vec::new();
        ids.for_each(|id| all.push(id));
        all.sort_unstable();
        all
    }

    #[test]
    fn memory_follows_the_size_both_ways() {
        let mut ids = Ids::One(0);
        (1..20_000).for_each(|id| ids.insert(id));
        assert_eq!(sorted(&ids).len(), 20_000);
        (1..20_000).for_each(|id| ids.remove(id));
        assert!(ids.is_only(0) && ids.capacity() == 1);
        assert!(size_of::<Ids>() <= 16);
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_set(operations in prop::collection::vec((any::<bool>(), 0..60u32), 0..300)) {
            let mut ids = Ids::One(0);
            let mut model = BTreeSet::from([0]);
            for (adds, id) in operations {
                if adds && model.insert(id) {
                    ids.insert(id);
                } else if !adds && model.len() > 1 && model.remove(&id) {
                    ids.remove(id);
                }
                prop_assert_eq!(sorted(&ids), model.iter().copied().collect::<Vec<_>>());
                prop_assert_eq!(ids.is_only(id), model.len() == 1 && model.contains(&id));
            }
        }
    }
}
