//! Tokens that were revoked before they expire.
//!
//! A signed token outlives the end of a connection, so a command that revokes one leaves an entry
//! here until no token that it means can be valid any more.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

/// Most entries, which take about 40 bytes each.
pub const ENTRIES_MAX: usize = 1_000_000;

/// Bytes of the name's digest that are kept.
const NAME_BYTES: usize = 16;

/// What a command revokes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// Every token of this sign-in.
    Session(&'a str),
    /// The tokens of this user that were issued at this time since 1970 or before, and those that
    /// do not say when they were issued.
    User(&'a str, Duration),
}

/// Who comes with a token.
#[derive(Clone, Copy, Debug)]
pub struct Holder<'a> {
    /// Name of the tenant.
    pub tenant: &'a str,
    /// The sign-in of the token.
    pub session: Option<&'a str>,
    /// The user.
    pub user: Option<&'a str>,
    /// When it was issued, since 1970.
    pub issued: Option<Duration>,
}

/// An entry, as nodes tell it each other and as it lies on the disk: it does not contain the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denied {
    /// Digest of tenant and name.
    pub name: [u8; NAME_BYTES],
    /// For a user: tokens issued up to here, in whole seconds since 1970. `None`: a sign-in.
    pub issued_until: Option<u64>,
    /// When it is forgotten, in whole seconds since 1970.
    pub until: u64,
}

/// The list has no room for another entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{ENTRIES_MAX} tokens are revoked, which is the most: wait until some have expired, or lower auth.jwt.max_life"
)]
pub struct Full;

/// What is revoked, until it has expired anyway.
#[derive(Clone, Debug, Default)]
pub struct DenyList {
    entries: HashMap<[u8; NAME_BYTES], Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    issued_until: Option<u64>,
    until: u64,
}

impl Denied {
    /// The entry for a command of this tenant that holds for all tokens that are valid before
    /// `until`, a time since 1970.
    #[must_use]
    pub fn new(tenant: &str, target: Target<'_>, until: Duration) -> Self {
        let (name, issued_until) = match target {
            Target::Session(session) => (digest(tenant, b's', session), None),
            Target::User(user, issued) => (digest(tenant, b'u', user), Some(issued.as_secs())),
        };
        Self {
            name,
            issued_until,
            until: until.as_secs().saturating_add(1),
        }
    }
}

impl DenyList {
    /// Adds an entry, or extends the one of the same name.
    ///
    /// # Errors
    /// [`Full`]: nothing was added.
    pub fn add(&mut self, denied: &Denied) -> Result<(), Full> {
        let new = Entry {
            issued_until: denied.issued_until,
            until: denied.until,
        };
        if let Some(entry) = self.entries.get_mut(&denied.name) {
            entry.issued_until = entry.issued_until.max(new.issued_until);
            entry.until = entry.until.max(new.until);
            return Ok(());
        }
        if self.entries.len() >= ENTRIES_MAX {
            return Err(Full);
        }
        self.entries.insert(denied.name, new);
        Ok(())
    }

    /// Whether a token of this holder is revoked.
    #[must_use]
    pub fn denies(&self, holder: Holder<'_>) -> bool {
        if self.entries.is_empty() {
            return false;
        }
        let find = |kind, name| self.entries.get(&digest(holder.tenant, kind, name));
        let session = holder.session.and_then(|session| find(b's', session));
        let user = holder.user.and_then(|user| find(b'u', user));
        let covers = |entry: &Entry| {
            let issued = holder.issued.map(|issued| issued.as_secs());
            issued.is_none_or(|issued| entry.issued_until.is_some_and(|until| issued <= until))
        };
        session.is_some() || user.is_some_and(covers)
    }

    /// Forgets what has expired at `now`, a time since 1970.
    pub fn expire(&mut self, now: Duration) {
        let now = now.as_secs();
        self.entries.retain(|_, entry| now < entry.until);
        if self.entries.len() < self.entries.capacity() / 4 {
            self.entries.shrink_to_fit();
        }
    }

    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is revoked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Every entry, in no order.
    pub fn iter(&self) -> impl Iterator<Item = Denied> {
        self.entries.iter().map(|(name, entry)| Denied {
            name: *name,
            issued_until: entry.issued_until,
            until: entry.until,
        })
    }
}

fn digest(tenant: &str, kind: u8, name: &str) -> [u8; NAME_BYTES] {
    let mut hash = Sha256::new();
    hash.update(tenant.len().to_be_bytes());
    hash.update(tenant);
    hash.update([kind]);
    hash.update(name);
    let digest = hash.finalize();
    std::array::from_fn(|index| digest[index])
}
