//! Sets of keys as issuers publish them (JWKS, RFC 7517).

#[cfg(test)]
mod tests;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use crate::algorithm::Algorithm;
use crate::key::{Key, KeyError};

/// Most keys of one set.
pub const KEYS_MAX: usize = 64;

/// The keys of a set that can verify signatures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeySet {
    keys: Box<[Published]>,
}

/// One key of a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Published {
    pub(crate) id: Option<Box<str>>,
    /// The only algorithm that it is for, if it names one.
    pub(crate) algorithm: Option<Algorithm>,
    pub(crate) key: Key,
}

/// Why a text is no set of keys.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeySetError {
    /// Not JSON, or not an object with a list `keys`.
    #[error("it is not a JSON Web Key Set: an object with a list `keys`")]
    NotASet,
    /// More than [`KEYS_MAX`] keys.
    #[error("it has {0} keys, and {KEYS_MAX} is the most")]
    TooMany(usize),
}

/// A key of a set that is not used, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Its `kid`, if it has one.
    pub id: Option<Box<str>>,
    /// A sentence for the operator.
    pub why: String,
}

/// The members of a key that are read (RFC 7517 section 4, RFC 7518 section 6). Private members are
/// not among them.
#[derive(Deserialize)]
struct Jwk {
    kty: Box<str>,
    kid: Option<Box<str>>,
    #[serde(rename = "use")]
    usage: Option<Box<str>>,
    key_ops: Option<Vec<Box<str>>>,
    alg: Option<Box<str>>,
    crv: Option<Box<str>>,
    n: Option<Box<str>>,
    e: Option<Box<str>>,
    x: Option<Box<str>>,
    y: Option<Box<str>>,
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<serde_json::Value>,
}

impl KeySet {
    /// Reads a set. Keys that it cannot use, symmetric ones among them, are skipped (RFC 7517
    /// section 5).
    ///
    /// # Errors
    /// [`KeySetError`], when it is no set or too large.
    pub fn parse(text: &[u8]) -> Result<(Self, Vec<Skipped>), KeySetError> {
        let Set { keys } = serde_json::from_slice(text).map_err(|_| KeySetError::NotASet)?;
        if keys.len() > KEYS_MAX {
            return Err(KeySetError::TooMany(keys.len()));
        }
        let mut found = Vec::with_capacity(keys.len());
        let mut skipped = Vec::new();
        for json in keys {
            let id = json["kid"].as_str().map(Into::into);
            let read =
                Jwk::deserialize(json).map_err(|_| "its members have wrong types".to_owned());
            match read.and_then(|jwk| published(&jwk)) {
                Ok(key) => found.push(key),
                Err(why) => skipped.push(Skipped { id, why }),
            }
        }
        let keys = found.into();
        Ok((Self { keys }, skipped))
    }

    /// The ids of its keys, in its order; those without one are left out.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().filter_map(|key| key.id.as_deref())
    }

    /// Number of its keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether it has no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub(crate) fn keys(&self) -> &[Published] {
        &self.keys
    }
}

fn published(jwk: &Jwk) -> Result<Published, String> {
    if jwk.usage.as_deref().is_some_and(|usage| usage != "sig") {
        return Err("its `use` is not `sig`".into());
    }
    let verifies = |ops: &Vec<Box<str>>| ops.iter().any(|op| &**op == "verify");
    if !jwk.key_ops.as_ref().is_none_or(verifies) {
        return Err("its `key_ops` have no `verify`".into());
    }
    let key = key(jwk)?;
    let algorithm = match jwk.alg.as_deref() {
        None => None,
        Some(name) => Some(
            Algorithm::named(name)
                .filter(|algorithm| algorithm.family() == key.family())
                .ok_or("its `alg` does not fit its type")?,
        ),
    };
    Ok(Published {
        id: jwk.kid.clone(),
        algorithm,
        key,
    })
}

fn key(jwk: &Jwk) -> Result<Key, String> {
    let error = |error: KeyError| error.to_string();
    match (&*jwk.kty, jwk.crv.as_deref()) {
        ("RSA", _) => Key::rsa(&bytes("n", &jwk.n)?, &bytes("e", &jwk.e)?).map_err(error),
        ("EC", Some("P-256")) => {
            Key::p256(&bytes("x", &jwk.x)?, &bytes("y", &jwk.y)?).map_err(error)
        }
        ("EC", Some("P-384")) => {
            Key::p384(&bytes("x", &jwk.x)?, &bytes("y", &jwk.y)?).map_err(error)
        }
        ("OKP", Some("Ed25519")) => Key::ed25519(&bytes("x", &jwk.x)?).map_err(error),
        ("oct", _) => Err("a secret has no business in a public set".into()),
        ("EC" | "OKP", _) => Err("its curve is not supported".into()),
        _ => Err("its type is not supported".into()),
    }
}

fn bytes(name: &str, member: &Option<Box<str>>) -> Result<Vec<u8>, String> {
    let text = member
        .as_deref()
        .ok_or_else(|| format!("it has no `{name}`"))?;
    let bytes = URL_SAFE_NO_PAD.decode(text);
    bytes.map_err(|_| format!("its `{name}` is not base64url without padding"))
}
