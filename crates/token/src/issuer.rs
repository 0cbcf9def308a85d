//! Who may sign tokens.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::algorithm::{Algorithm, Family};
use crate::jwk::KeySet;
use crate::key::Key;

/// An issuer of tokens, from the configuration.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// The claim `iss`, compared exactly.
    pub iss: Box<str>,
    /// One of them must be in the claim `aud`; if empty, it is not looked at.
    pub audience: Box<[Box<str>]>,
    /// The only algorithms that its tokens may have.
    pub algorithms: Box<[Algorithm]>,
    /// The header `typ`, compared without case and a prefix `application/`; `None`: not looked at.
    pub kind: Option<Box<str>>,
    /// What it signs HMACs with.
    pub secrets: Box<[Secret]>,
    /// Its public keys; `None` until they were fetched.
    pub keys: Option<Arc<KeySet>>,
    /// Whether it has an address of public keys.
    pub has_key_set: bool,
}

/// A secret of an issuer. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    /// The `kid` of tokens that are signed with it; without one it is tried for all.
    pub id: Option<Box<str>>,
    /// The secret.
    pub key: Key,
    /// Time since 1970 from which it is no longer valid.
    pub until: Option<Duration>,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret")
            .field("id", &self.id)
            .field("until", &self.until)
            .finish_non_exhaustive()
    }
}

impl Issuer {
    /// The keys that may have signed a token with this `alg` and `kid`, at this time since 1970. A
    /// key without an id fits every `kid`, and every key fits a token without one.
    pub(crate) fn candidates<'a>(
        &'a self,
        algorithm: Algorithm,
        id: Option<&'a str>,
        now: Duration,
    ) -> impl Iterator<Item = &'a Key> {
        let fits = move |own: Option<&str>| own.is_none() || id.is_none() || own == id;
        let secrets = self.secrets.iter().filter(move |secret| {
            fits(secret.id.as_deref()) && secret.until.is_none_or(|until| now < until)
        });
        let published = self.keys.iter().flat_map(|set| set.keys());
        let published = published.filter(move |key| {
            fits(key.id.as_deref()) && key.algorithm.is_none_or(|only| only == algorithm)
        });
        let keys = secrets
            .map(|secret| &secret.key)
            .chain(published.map(|published| &published.key));
        keys.filter(move |key| key.family() == algorithm.family())
    }

    /// Whether a key for this algorithm could be in its set of public keys.
    pub(crate) fn publishes(&self, algorithm: Algorithm) -> bool {
        self.has_key_set && algorithm.family() != Family::Secret
    }
}
