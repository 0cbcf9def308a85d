//! The numbers of tenants within one process.

use std::collections::HashMap;

use ht_proto::entry::TenantId;
use ht_proto::tenant::TenantName;

/// Most names that get a number.
pub const TENANTS_MAX: usize = 1_000_000;

/// Numbers the names of tenants at first sight, also those that only the log has. No number is ever
/// given to another name.
#[derive(Clone, Debug)]
pub struct TenantIds {
    names: Vec<TenantName>,
    ids: HashMap<TenantName, TenantId, foldhash::fast::RandomState>,
    max: usize,
}

impl Default for TenantIds {
    fn default() -> Self {
        Self::with_max(TENANTS_MAX)
    }
}

impl TenantIds {
    /// Gives at most `max` numbers.
    fn with_max(max: usize) -> Self {
        let main = TenantName::main();
        Self {
            names: vec![main.clone()],
            ids: [(main, TenantId::MAIN)].into_iter().collect(),
            max,
        }
    }

    /// The number of a name, a new one if it has none. `None` if all are given.
    pub fn intern(&mut self, name: &TenantName) -> Option<TenantId> {
        if let Some(id) = self.ids.get(name) {
            return Some(*id);
        }
        if self.names.len() >= self.max {
            return None;
        }
        let id = TenantId::new(u32::try_from(self.names.len()).ok()?);
        self.names.push(name.clone());
        self.ids.insert(name.clone(), id);
        Some(id)
    }

    /// The number of a name, if it has one.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<TenantId> {
        self.ids.get(name).copied()
    }

    /// The name that has a number.
    #[must_use]
    pub fn name(&self, id: TenantId) -> Option<&TenantName> {
        self.names.get(usize::try_from(id.get()).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> TenantName {
        text.parse().unwrap()
    }

    #[test]
    fn a_name_keeps_its_number() {
        let mut ids = TenantIds::default();
        assert_eq!(ids.intern(&name("main")), Some(TenantId::MAIN));
        let (acme, other) = (ids.intern(&name("acme")), ids.intern(&name("other")));
        assert_eq!(
            (acme, other),
            (Some(TenantId::new(1)), Some(TenantId::new(2)))
        );
        assert_eq!(ids.intern(&name("acme")), acme);
        assert_eq!((ids.find("acme"), ids.find("nobody")), (acme, None));
        assert_eq!(ids.name(TenantId::new(2)), Some(&name("other")));
        assert_eq!(ids.name(TenantId::MAIN), Some(&TenantName::main()));
        assert_eq!(ids.name(TenantId::new(3)), None);
    }

    #[test]
    fn numbers_are_bounded() {
        let mut ids = TenantIds::with_max(2);
        assert!(ids.intern(&name("acme")).is_some());
        assert_eq!(ids.intern(&name("other")), None);
        assert_eq!(ids.find("other"), None);
        assert!(ids.intern(&name("acme")).is_some(), "a known one");
    }
}
