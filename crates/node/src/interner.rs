//! Interns grant sets, client facts and credentials: one copy in memory, however many connections
//! share it.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use ht_backend::{Budget, Credentials, KeptCredentials, Share};
use ht_core::Hasher;
use ht_core::grant::{GrantSet, fingerprint};
use ht_core::who::{Facts, Who};
use ht_proto::entry::TenantId;
use ht_proto::room::Room;

/// Values that connections share.
#[derive(Debug)]
pub(crate) struct Interner {
    hasher: Hasher,
    grants: Mutex<Known<GrantSet>>,
    /// The memory of the grant sets of tenants other than `main`.
    grant_bytes: Arc<Budget>,
    shares: Mutex<HashMap<TenantId, Weak<Share>>>,
    whos: Mutex<Known<Who>>,
    credentials: Mutex<Known<KeptCredentials>>,
}

impl Interner {
    pub(crate) fn new(hasher: Hasher) -> Self {
        Self {
            hasher,
            grants: Mutex::default(),
            grant_bytes: Arc::default(),
            shares: Mutex::default(),
            whos: Mutex::default(),
            credentials: Mutex::default(),
        }
    }

    /// The set of these grants of the tenant, which contain no duplicates.
    pub(crate) fn grants(&self, tenant: TenantId, grants: Vec<Room>) -> Arc<GrantSet> {
        let fingerprint = fingerprint(tenant, &grants, &self.hasher);
        if let Some(known) = find(&self.grants, fingerprint)
            && known.is_of(tenant, &grants)
        {
            return known;
        }
        // Built outside of the lock: large sets take long.
        let bytes = GrantSet::bytes_of(&grants);
        let mut set = GrantSet::new(tenant, grants, self.hasher.clone());
        if tenant != TenantId::MAIN {
            set = set.held(Box::new(self.share(tenant).hold(bytes)));
        }
        let set = Arc::new(set);
        insert(&self.grants, fingerprint, &set);
        set
    }

    /// The memory of the grant sets of tenants other than `main`.
    pub(crate) fn grant_bytes(&self) -> &Arc<Budget> {
        &self.grant_bytes
    }

    /// Whether a set that nobody else has is too much: its tenant has more than its share with it.
    pub(crate) fn refuses(&self, set: &Arc<GrantSet>) -> bool {
        let tenant = set.tenant();
        tenant != TenantId::MAIN && Arc::strong_count(set) == 1 && self.share(tenant).refuses()
    }

    /// What a tenant has of that memory.
    fn share(&self, tenant: TenantId) -> Arc<Share> {
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = shares.get(&tenant).and_then(Weak::upgrade) {
            return share;
        }
        if shares.len() == shares.capacity() {
            shares.retain(|_, share| share.strong_count() > 0);
        }
        let share = Arc::new(Share::of(Arc::clone(&self.grant_bytes)));
        shares.insert(tenant, Arc::downgrade(&share));
        share
    }

    /// The client that the facts describe; `None` if nothing is known.
    pub(crate) fn who(&self, facts: Facts) -> Option<Arc<Who>> {
        Some(self.intern(&self.whos, Who::new(facts)?))
    }

    /// The credentials of a connection: those of one client from one address are one, as long as
    /// any of its connections is open.
    pub(crate) fn credentials(&self, credentials: &Credentials) -> Arc<KeptCredentials> {
        self.intern(&self.credentials, KeptCredentials::new(credentials))
    }

    fn intern<T: Hash + Eq>(&self, all: &Mutex<Known<T>>, value: T) -> Arc<T> {
        let fingerprint = self.hasher.hash_one(&value);
        if let Some(known) = find(all, fingerprint)
            && *known == value
        {
            return known;
        }
        let value = Arc::new(value);
        insert(all, fingerprint, &value);
        value
    }
}

/// Minimum number of entries for a sweep.
const SWEEP: usize = 1_024;

/// Values that are in use, by fingerprint. Of two with the same fingerprint only the last is
/// shared.
#[derive(Debug)]
struct Known<T> {
    by_fingerprint: HashMap<u64, Weak<T>>,
    /// Number of entries at which unused ones are removed next.
    sweep_at: usize,
}

impl<T> Default for Known<T> {
    fn default() -> Self {
        Self {
            by_fingerprint: HashMap::new(),
            sweep_at: SWEEP,
        }
    }
}

fn find<T>(known: &Mutex<Known<T>>, fingerprint: u64) -> Option<Arc<T>> {
    let known = known.lock().unwrap_or_else(PoisonError::into_inner);
    let found = known.by_fingerprint.get(&fingerprint);
    found.and_then(Weak::upgrade)
}

fn insert<T>(known: &Mutex<Known<T>>, fingerprint: u64, value: &Arc<T>) {
    let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
    let Known {
        by_fingerprint,
        sweep_at,
    } = &mut *known;
    by_fingerprint.insert(fingerprint, Arc::downgrade(value));
    if by_fingerprint.len() >= *sweep_at {
        by_fingerprint.retain(|_, value| value.strong_count() > 0);
        by_fingerprint.shrink_to(by_fingerprint.len() * 2);
        *sweep_at = SWEEP.max(by_fingerprint.len() * 2);
    }
}

#[cfg(test)]
mod tests {
    use ht_proto::grant::GrantList;
    use http::{HeaderMap, HeaderValue};

    use super::*;

    #[test]
    fn equal_sets_are_shared_and_unused_ones_removed() {
        let interner = Interner::new(Hasher::default());
        let of = |tenant, text: &str| {
            let list = GrantList::parse(text).unwrap();
            interner.grants(tenant, list.rooms)
        };
        let intern = |text: &str| of(TenantId::MAIN, text);
        let first = intern(r#"[{"a":1},{"b":"*"}]"#);
        assert!(Arc::ptr_eq(
            &first,
            &intern(r#"[{"b":"*"},{"a":1},{"a":1}]"#)
        ));
        assert!(!Arc::ptr_eq(&first, &intern(r#"[{"b":1},{"a":1}]"#)));
        let other = of(TenantId::new(1), r#"[{"a":1},{"b":"*"}]"#);
        assert!(!Arc::ptr_eq(&first, &other));
        for n in 0..2 * SWEEP {
            intern(&format!(r#"[{{"n":{n}}}]"#));
        }
        let kept = interner.grants.lock().unwrap().by_fingerprint.len();
        assert!(kept <= SWEEP, "{kept}");
        assert!(Arc::ptr_eq(&first, &intern(r#"[{"a":1},{"b":"*"}]"#)));
    }

    #[test]
    fn the_sets_of_a_tenant_count_once_and_until_nobody_has_them() {
        let interner = Interner::new(Hasher::default());
        let of = |tenant: u32, n: usize| {
            let list = GrantList::parse(&format!(r#"[{{"n":{n}}}]"#)).unwrap();
            interner.grants(TenantId::new(tenant), list.rooms)
        };
        let bytes = || interner.grant_bytes().bytes();
        let _main: Vec<_> = (0..100).map(|n| of(0, n)).collect();
        assert_eq!(bytes(), 0);
        let first = of(1, 1);
        let one = bytes();
        assert!(one > 100);
        let again = of(1, 1);
        assert_eq!(bytes(), one);
        // Twice as much, of which it leaves half.
        interner
            .grant_bytes()
            .set_limit(2 * usize::try_from(one).unwrap());
        assert!(!interner.refuses(&first));
        let second = of(1, 2);
        assert!(interner.refuses(&second));
        assert!(!interner.refuses(&first), "others have it as well");
        drop((second, again));
        assert!(!interner.refuses(&first));
        drop(first);
        assert_eq!(bytes(), 0);
    }

    #[test]
    fn equal_clients_are_shared_and_unknown_ones_are_none() {
        let interner = Interner::new(Hasher::default());
        let of = |user: &str, labels: &[&str]| {
            let facts = Facts {
                user: Some(user.into()),
                labels: labels.iter().map(|&label| label.into()).collect(),
                ..Facts::default()
            };
            interner.who(facts).unwrap()
        };
        let first = of("7", &["a", "b"]);
        assert!(Arc::ptr_eq(&first, &of("7", &["b", "a"])));
        assert!(!Arc::ptr_eq(&first, &of("7", &["a"])));
        assert!(!Arc::ptr_eq(&first, &of("8", &["a", "b"])));
        assert_eq!(interner.who(Facts::default()), None);
        for n in 0..2 * SWEEP {
            of(&n.to_string(), &[]);
        }
        let kept = interner.whos.lock().unwrap().by_fingerprint.len();
        assert!(kept <= SWEEP, "{kept}");
    }

    #[test]
    fn equal_credentials_are_shared_and_freed_with_the_last_connection() {
        let interner = Interner::new(Hasher::default());
        let of = |cookie: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("cookie", HeaderValue::from_static(cookie));
            interner.credentials(&headers.into())
        };
        let first = of("a=1");
        assert!(Arc::ptr_eq(&first, &of("a=1")));
        assert!(!Arc::ptr_eq(&first, &of("a=2")));
        let weak = Arc::downgrade(&first);
        drop(first);
        assert_eq!(weak.strong_count(), 0);
    }
}
