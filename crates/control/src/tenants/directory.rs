//! Whose a request is: by its host, its path or its key.

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use foldhash::fast::RandomState;

use ht_proto::tenant::TenantName;

use crate::tenants::claims::{Claim, Claims, Conflict, KeyHash};
use crate::tenants::host::HostName;

/// The tenants by what they are recognised by. `T` stands for one of them.
#[derive(Clone, Debug)]
pub struct Directory<T> {
    hosts: HashMap<HostName, T, RandomState>,
    /// Without the trailing slash.
    paths: HashMap<Box<str>, T, RandomState>,
    keys: HashMap<Box<str>, T, RandomState>,
    /// And which one of the tenant's list it is.
    publish_keys: HashMap<KeyHash, (T, usize), RandomState>,
}

/// Whose a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found<T> {
    /// This tenant's.
    One(T),
    /// No tenant's.
    Nobody,
    /// Its host, its path and its key do not belong to the same tenant.
    Disagree,
}

/// Something that only one tenant may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Only<'a> {
    Name(&'a str),
    Host(&'a HostName),
    Path(&'a str),
    Key(&'a str),
    PublishKey(KeyHash),
    Log(&'a str),
}

impl<T> Default for Directory<T> {
    fn default() -> Self {
        Self {
            hosts: HashMap::default(),
            paths: HashMap::default(),
            keys: HashMap::default(),
            publish_keys: HashMap::default(),
        }
    }
}

impl<T: Copy + Eq> Directory<T> {
    /// That of these tenants.
    ///
    /// # Errors
    /// With everything that two of them claim, in the order of the list.
    pub fn new<'a, C: Claims + 'a>(
        tenants: impl IntoIterator<Item = (&'a C, T)>,
    ) -> Result<Self, Vec<Conflict>> {
        Self::beside_main(None, tenants)
    }

    /// The same beside a `main` that has these hosts for itself and nothing else.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn beside_main<'a, C: Claims + 'a>(
        main: Option<(&'a [HostName], T)>,
        tenants: impl IntoIterator<Item = (&'a C, T)>,
    ) -> Result<Self, Vec<Conflict>> {
        let mut directory = Self::default();
        let mut owners: HashMap<Only<'a>, &'a str, RandomState> = HashMap::default();
        let mut conflicts = Vec::new();
        if let Some((hosts, value)) = main {
            owners.extend(hosts.iter().map(|it| (Only::Host(it), TenantName::MAIN)));
            directory
                .hosts
                .extend(hosts.iter().map(|it| (it.clone(), value)));
        }
        for (tenant, value) in tenants {
            let name = tenant.name();
            for only in claimed(tenant) {
                match owners.get(&only) {
                    // A host that is listed twice is one host.
                    Some(owner) if *owner == name && matches!(only, Only::Host(_)) => {}
                    Some(owner) => conflicts.push(conflict(only, owner, name)),
                    None => {
                        owners.insert(only, name);
                    }
                }
            }
            directory.add(tenant, value);
        }
        if conflicts.is_empty() {
            Ok(directory)
        } else {
            Err(conflicts)
        }
    }

    fn add<C: Claims>(&mut self, tenant: &C, value: T) {
        let hosts = tenant.hosts().iter().cloned();
        self.hosts.extend(hosts.map(|host| (host, value)));
        let path = without_slash(tenant.path());
        if !path.is_empty() {
            self.paths.insert(path.into(), value);
        }
        if let Some(key) = tenant.key() {
            self.keys.insert(key.into(), value);
        }
        let keys = tenant.publish_keys().enumerate();
        let keys = keys.map(|(at, hash)| (hash, (value, at)));
        self.publish_keys.extend(keys);
    }

    /// Whose a request is: of its `Host`, its path and the public key that it names, all that belong
    /// to a tenant must belong to the same one.
    #[must_use]
    pub fn find(&self, host: Option<&str>, path: &str, key: Option<&str>) -> Found<T> {
        let by_host = host.and_then(HostName::of_header);
        let by_host = by_host.and_then(|host| self.hosts.get(&host));
        let by_path = self.paths.get(without_slash(path));
        let by_key = key.and_then(|key| self.keys.get(key));
        let mut named = [by_host, by_path, by_key].into_iter().flatten().copied();
        let Some(first) = named.next() else {
            return Found::Nobody;
        };
        if named.all(|other| other == first) {
            Found::One(first)
        } else {
            Found::Disagree
        }
    }

    /// Whose a publisher's key with this digest is, and its place in the tenant's list.
    #[must_use]
    pub fn by_publish_key(&self, digest: [u8; 32]) -> Option<(T, usize)> {
        self.publish_keys.get(&KeyHash::new(digest)).copied()
    }
}

/// Everything that no other tenant may have.
fn claimed<C: Claims>(tenant: &C) -> impl Iterator<Item = Only<'_>> {
    let path = without_slash(tenant.path());
    let path = (!path.is_empty()).then_some(Only::Path(path));
    let hosts = tenant.hosts().iter().map(Only::Host);
    let keys = tenant.publish_keys().map(Only::PublishKey);
    std::iter::once(Only::Name(tenant.name()))
        .chain(hosts)
        .chain(path)
        .chain(tenant.key().map(Only::Key))
        .chain(keys)
        .chain(tenant.logs().iter().map(|log| Only::Log(log)))
}

fn conflict(only: Only<'_>, first: &str, second: &str) -> Conflict {
    Conflict {
        claim: match only {
            Only::Name(_) => Claim::Name,
            Only::Host(host) => Claim::Host(host.as_str().into()),
            Only::Path(path) => Claim::Path(format!("{path}/").into()),
            Only::Key(key) => Claim::Key(key.into()),
            Only::PublishKey(_) => Claim::PublishKey,
            Only::Log(log) => Claim::Log(log.into()),
        },
        first: first.into(),
        second: second.into(),
    }
}

/// A path is served with and without the trailing slash.
fn without_slash(path: &str) -> &str {
    path.strip_suffix('/').unwrap_or(path)
}
