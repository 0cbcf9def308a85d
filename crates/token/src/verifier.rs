//! Whether a token is valid.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use crate::algorithm::Algorithm;
use crate::claims::{self, Claims};
use crate::compact::Compact;
use crate::crypto;
use crate::issuer::Issuer;
use crate::jwk::KeySet;
use crate::reason::Reason;
use crate::rules::Rules;

/// Most keys that are tried for one token, which bounds what a token can cost.
const TRIES_MAX: usize = 4;

/// Verifies tokens of the configured issuers.
#[derive(Clone, Debug)]
pub struct Verifier {
    rules: Rules,
    issuers: Box<[Issuer]>,
}

/// A valid token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Number of its issuer, in the order of the configuration.
    pub issuer: usize,
    /// What it says.
    pub claims: Claims,
}

/// Why a token is refused. Never contains the token, or a part of it but the id of its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The reason.
    pub reason: Reason,
    /// Number of the issuer that it names, if that is known.
    pub issuer: Option<usize>,
    /// The `kid` that it names.
    pub key_id: Option<Box<str>>,
    /// Whether a newer set of public keys of that issuer could have the key.
    pub may_be_new: bool,
}

impl Refused {
    /// One of which nothing else is known.
    #[must_use]
    pub const fn of(reason: Reason) -> Self {
        Self {
            reason,
            issuer: None,
            key_id: None,
            may_be_new: false,
        }
    }
}

impl Verifier {
    /// Verifies tokens of these issuers. No two of them have the same `iss`.
    #[must_use]
    pub fn new(rules: Rules, issuers: impl Into<Box<[Issuer]>>) -> Self {
        Self {
            rules,
            issuers: issuers.into(),
        }
    }

    /// The same with other public keys of an issuer.
    #[must_use]
    pub fn with_keys(&self, issuer: usize, keys: Arc<KeySet>) -> Self {
        let mut new = self.clone();
        if let Some(issuer) = new.issuers.get_mut(issuer) {
            issuer.keys = Some(keys);
        }
        new
    }

    /// Its issuers.
    #[must_use]
    pub fn issuers(&self) -> &[Issuer] {
        &self.issuers
    }

    /// Its rules.
    #[must_use]
    pub const fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Verifies a token at `now`, a time since 1970.
    ///
    /// # Errors
    /// [`Refused`], with the first check that fails.
    pub fn verify(&self, token: &str, now: Duration) -> Result<Verified, Refused> {
        let compact = Compact::parse(token).map_err(Refused::of)?;
        // Not verified yet: it only chooses among the configured ones.
        let named = claims::issuer(&compact.payload).map_err(Refused::of)?;
        let number = self.issuers.iter().position(|issuer| issuer.iss == named);
        let number = number.ok_or(Refused::of(Reason::Issuer))?;
        let issuer = &self.issuers[number];
        let refused = |(reason, may_be_new)| Refused {
            reason,
            issuer: Some(number),
            key_id: compact.header.key_id.clone(),
            may_be_new,
        };
        check_signature(&compact, issuer, now).map_err(refused)?;
        let claims = Claims::check(&compact.payload, issuer, &self.rules, now);
        Ok(Verified {
            issuer: number,
            claims: claims.map_err(|reason| refused((reason, false)))?,
        })
    }
}

/// Checks the header and the signature. The flag says whether a newer set of keys may help.
fn check_signature(
    compact: &Compact<'_>,
    issuer: &Issuer,
    now: Duration,
) -> Result<(), (Reason, bool)> {
    let header = &compact.header;
    let algorithm = Algorithm::named(&header.algorithm)
        .filter(|algorithm| issuer.algorithms.contains(algorithm))
        .ok_or((Reason::Algorithm, false))?;
    if header.is_critical {
        return Err((Reason::Critical, false));
    }
    if let Some(kind) = &issuer.kind
        && !header.kind.as_deref().is_some_and(|own| is_kind(own, kind))
    {
        return Err((Reason::Type, false));
    }
    let mut tried = 0;
    for key in issuer.candidates(algorithm, header.key_id.as_deref(), now) {
        tried += 1;
        if tried > TRIES_MAX {
            break;
        }
        if crypto::verify(key, algorithm, compact.signed, &compact.signature) {
            return Ok(());
        }
    }
    let publishes = issuer.publishes(algorithm);
    Err(match tried {
        0 if publishes && issuer.keys.is_none() => (Reason::NoKeys, true),
        0 => (Reason::Key, publishes),
        // Without a `kid`, a new key of the issuer may be the one.
        _ => (Reason::Signature, publishes && header.key_id.is_none()),
    })
}

/// Compares media types: without case, and `application/` may be left out (RFC 7515 section 4.1.9).
fn is_kind(own: &str, expected: &str) -> bool {
    let short = |kind: &str| {
        let kind = kind.to_ascii_lowercase();
        kind.strip_prefix("application/")
            .map_or(kind.clone(), ToOwned::to_owned)
    };
    short(own) == short(expected)
}
