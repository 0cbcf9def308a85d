//! Grant sets in memory once, however many connections share them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use ht_core::Hasher;
use ht_core::grant::{GrantSet, fingerprint};
use ht_proto::room::Room;

/// The grant sets that are in use.
#[derive(Debug)]
pub(crate) struct GrantSets {
    hasher: Hasher,
    sets: Mutex<Sets>,
}

#[derive(Debug)]
struct Sets {
    by_fingerprint: HashMap<u64, Weak<GrantSet>>,
    /// At how many entries those that are out of use are thrown away next.
    sweep_at: usize,
}

/// Fewest entries that are worth a sweep.
const SWEEP: usize = 1_024;

impl GrantSets {
    pub(crate) fn new(hasher: Hasher) -> Self {
        let sets = Sets {
            by_fingerprint: HashMap::new(),
            sweep_at: SWEEP,
        };
        Self {
            hasher,
            sets: Mutex::new(sets),
        }
    }

    /// The set of these grants, which are free of repetitions.
    pub(crate) fn intern(&self, grants: Vec<Room>) -> Arc<GrantSet> {
        let fingerprint = fingerprint(&grants, &self.hasher);
        if let Some(known) = self.find(fingerprint)
            && known.is_of(&grants)
        {
            return known;
        }
        // Built outside of the lock: large sets take their time.
        let set = Arc::new(GrantSet::new(grants, self.hasher.clone()));
        let mut sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
        sets.by_fingerprint
            .insert(fingerprint, Arc::downgrade(&set));
        if sets.by_fingerprint.len() >= sets.sweep_at {
            sets.by_fingerprint.retain(|_, set| set.strong_count() > 0);
            let len = sets.by_fingerprint.len();
            sets.by_fingerprint.shrink_to(len * 2);
            sets.sweep_at = SWEEP.max(sets.by_fingerprint.len() * 2);
        }
        set
    }

    fn find(&self, fingerprint: u64) -> Option<Arc<GrantSet>> {
        let sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
        sets.by_fingerprint
            .get(&fingerprint)
            .and_then(Weak::upgrade)
    }
}

#[cfg(test)]
mod tests {
    use ht_proto::grant::GrantList;

    use super::*;

    #[test]
    fn equal_sets_are_one_and_unused_ones_go() {
        let sets = GrantSets::new(Hasher::default());
        let intern = |text: &str| sets.intern(GrantList::parse(text).unwrap().rooms);
        let first = intern(r#"[{"a":1},{"b":"*"}]"#);
        assert!(Arc::ptr_eq(
            &first,
            &intern(r#"[{"b":"*"},{"a":1},{"a":1}]"#)
        ));
        assert!(!Arc::ptr_eq(&first, &intern(r#"[{"b":1},{"a":1}]"#)));
        for n in 0..2 * SWEEP {
            intern(&format!(r#"[{{"n":{n}}}]"#));
        }
        let kept = sets.sets.lock().unwrap().by_fingerprint.len();
        assert!(kept <= SWEEP, "{kept}");
        assert!(Arc::ptr_eq(&first, &intern(r#"[{"a":1},{"b":"*"}]"#)));
    }
}
