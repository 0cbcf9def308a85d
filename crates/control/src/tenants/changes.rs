//! What a new list of tenants changes.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::tenants::claims::Claims;

/// The difference between two lists of tenants. Each list is in the order of the tenants that it is
/// of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes<C> {
    /// Those that were not there.
    pub added: Vec<Arc<C>>,
    /// Those that are different now, as they are now.
    pub changed: Vec<Arc<C>>,
    /// Those that are there no more, as they were.
    pub removed: Vec<Arc<C>>,
    /// Those of `changed` that are suspended now and were not.
    pub suspended: Vec<Arc<C>>,
    /// Those of `changed` that were suspended and are not any more.
    pub resumed: Vec<Arc<C>>,
}

impl<C: Claims + PartialEq> Changes<C> {
    /// The difference of two lists, in each of which a name occurs once.
    #[must_use]
    pub fn between(old: &[Arc<C>], new: &[Arc<C>]) -> Self {
        let mut changes = Self::default();
        let mut left: HashMap<&str, &Arc<C>, RandomState> =
            old.iter().map(|tenant| (tenant.name(), tenant)).collect();
        for now in new {
            let Some(before) = left.remove(now.name()) else {
                changes.added.push(Arc::clone(now));
                continue;
            };
            if Arc::ptr_eq(before, now) || **before == **now {
                continue;
            }
            changes.changed.push(Arc::clone(now));
            match (before.is_suspended(), now.is_suspended()) {
                (false, true) => changes.suspended.push(Arc::clone(now)),
                (true, false) => changes.resumed.push(Arc::clone(now)),
                (true, true) | (false, false) => {}
            }
        }
        let is_left = |tenant: &&Arc<C>| left.contains_key(tenant.name());
        changes.removed = old.iter().filter(is_left).cloned().collect();
        changes
    }
}

impl<C> Changes<C> {
    /// Whether nothing is different.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.removed.is_empty()
    }
}

impl<C> Default for Changes<C> {
    fn default() -> Self {
        Self {
            added: Vec::new(),
            changed: Vec::new(),
            removed: Vec::new(),
            suspended: Vec::new(),
            resumed: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::tenants::claims::KeyHash;
    use crate::tenants::host::HostName;

    /// A tenant whose settings are one number.
    #[derive(Clone, Debug, PartialEq, Eq)]
    struct Plain(String, u8, bool);

    impl Claims for Plain {
        fn name(&self) -> &str {
            &self.0
        }

        fn hosts(&self) -> &[HostName] {
            &[]
        }

        fn path(&self) -> &str {
            ""
        }

        fn key(&self) -> Option<&str> {
            None
        }

        fn publish_keys(&self) -> impl Iterator<Item = KeyHash> {
            std::iter::empty()
        }

        fn is_suspended(&self) -> bool {
            self.2
        }
    }

    type Tenants = BTreeMap<String, (u8, bool)>;

    fn list(tenants: &Tenants) -> Vec<Arc<Plain>> {
        let tenants = tenants.iter();
        tenants
            .map(|(name, (number, suspended))| Arc::new(Plain(name.clone(), *number, *suspended)))
            .collect()
    }

    fn some_tenants() -> impl Strategy<Value = Tenants> {
        proptest::collection::btree_map("[a-e]", (0..3_u8, any::<bool>()), 0..5)
    }

    proptest! {
        #[test]
        fn changes_lead_from_the_old_list_to_the_new(old in some_tenants(), new in some_tenants()) {
            let changes = Changes::between(&list(&old), &list(&new));
            prop_assert_eq!(changes.is_empty(), old == new);
            let mut applied = old.clone();
            for gone in &changes.removed {
                prop_assert_eq!(applied.remove(&gone.0), old.get(&gone.0).copied());
            }
            for now in &changes.changed {
                prop_assert!(applied.insert(now.0.clone(), (now.1, now.2)).is_some());
            }
            for now in &changes.added {
                prop_assert!(applied.insert(now.0.clone(), (now.1, now.2)).is_none());
            }
            prop_assert_eq!(&applied, &new);
            for (name, (_, is_suspended)) in &new {
                let was = old.get(name).is_some_and(|(_, suspended)| *suspended);
                let named = |list: &[Arc<Plain>]| list.iter().any(|tenant| tenant.0 == *name);
                let is_old = old.contains_key(name);
                prop_assert_eq!(named(&changes.suspended), is_old && !was && *is_suspended);
                prop_assert_eq!(named(&changes.resumed), was && !*is_suspended);
            }
        }
    }
}
