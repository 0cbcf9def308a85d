//! Tokens that were verified not long ago: tabs of one browser and reconnects bring the same.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ht_token::Verified;
use sha2::{Digest as _, Sha256};

/// Most tokens in it.
const TOKENS_MAX: usize = 10_000;

/// Digest of a token.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Name([u8; 32]);

impl Name {
    pub(super) fn of(token: &[u8]) -> Self {
        Self(Sha256::digest(token).into())
    }
}

/// Verified tokens, by their digests.
#[derive(Default)]
pub(super) struct Cache(HashMap<Name, Arc<Verified>>);

impl Cache {
    /// The token, if it has not expired.
    pub(super) fn get(&self, name: Name, now: Duration) -> Option<Arc<Verified>> {
        let verified = self.0.get(&name)?;
        (now < verified.claims.expires).then(|| Arc::clone(verified))
    }

    pub(super) fn insert(&mut self, name: Name, verified: Arc<Verified>, now: Duration) {
        if self.0.len() >= TOKENS_MAX {
            self.0.retain(|_, verified| now < verified.claims.expires);
        }
        if self.0.len() >= TOKENS_MAX
            && let Some(any) = self.0.keys().next().copied()
        {
            self.0.remove(&any);
        }
        self.0.insert(name, verified);
    }

    /// Forgets all, because keys have changed.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}
