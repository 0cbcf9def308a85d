//! What a tenant claims for itself: no two tenants may have the same.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::tenants::host::HostName;

/// What a tenant is recognised by.
pub trait Claims {
    /// Its name.
    fn name(&self) -> &str;

    /// The hosts whose requests are its own.
    fn hosts(&self) -> &[HostName];

    /// The path whose requests are its own; empty for none.
    fn path(&self) -> &str;

    /// The public key that names it, if it has one.
    fn key(&self) -> Option<&str>;

    /// The digests of the secret keys of its publishers.
    fn publish_keys(&self) -> impl Iterator<Item = KeyHash>;

    /// What its own log is called on its server; empty if it has none.
    fn logs(&self) -> &[Box<str>] {
        &[]
    }

    /// Whether nobody is served in its name for now.
    fn is_suspended(&self) -> bool;
}

impl<C: Claims> Claims for Arc<C> {
    fn name(&self) -> &str {
        C::name(self)
    }

    fn hosts(&self) -> &[HostName] {
        C::hosts(self)
    }

    fn path(&self) -> &str {
        C::path(self)
    }

    fn key(&self) -> Option<&str> {
        C::key(self)
    }

    fn publish_keys(&self) -> impl Iterator<Item = KeyHash> {
        C::publish_keys(self)
    }

    fn logs(&self) -> &[Box<str>] {
        C::logs(self)
    }

    fn is_suspended(&self) -> bool {
        C::is_suspended(self)
    }
}

/// The SHA-256 digest of a secret key, written `sha256:` and 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyHash([u8; 32]);

/// A text that is not a [`KeyHash`]. It does not repeat the text, which may be a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyHashError;

const ALGORITHM: &str = "sha256:";

impl KeyHash {
    /// That with these bytes.
    #[must_use]
    pub const fn new(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// Its bytes.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl FromStr for KeyHash {
    type Err = KeyHashError;

    fn from_str(text: &str) -> Result<Self, KeyHashError> {
        let digits = text.strip_prefix(ALGORITHM).ok_or(KeyHashError)?;
        let digits = digits.as_bytes();
        if digits.len() != 64 {
            return Err(KeyHashError);
        }
        let digit = |at: usize| char::from(digits[at]).to_digit(16).ok_or(KeyHashError);
        let mut bytes = [0; 32];
        for (at, byte) in bytes.iter_mut().enumerate() {
            let value = digit(2 * at)? << 4 | digit(2 * at + 1)?;
            *byte = u8::try_from(value).map_err(|_| KeyHashError)?;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(ALGORITHM)?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for KeyHashError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "expected the SHA-256 digest of the key, as \"sha256:\" and 64 hexadecimal digits \
             (printf %s \"$KEY\" | sha256sum)",
        )
    }
}

impl std::error::Error for KeyHashError {}

/// Something that two tenants claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// What both have.
    pub claim: Claim,
    /// The tenant that was listed first.
    pub first: Box<str>,
    /// The other one.
    pub second: Box<str>,
}

/// What no two tenants may have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The name.
    Name,
    /// A host.
    Host(Box<str>),
    /// The path.
    Path(Box<str>),
    /// The public key.
    Key(Box<str>),
    /// The key of a publisher, of which only the digest is known.
    PublishKey,
    /// The log.
    Log(Box<str>),
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, second) = (&self.first, &self.second);
        match &self.claim {
            Claim::Name => write!(
                f,
                "there are two tenants with the name {first}: rename one of them"
            ),
            Claim::Host(host) => write!(
                f,
                "the tenants {first} and {second} both have the host {host}: remove it from one of \
                 them"
            ),
            Claim::Path(path) => write!(
                f,
                "the tenants {first} and {second} both have the path {path}: change one of them"
            ),
            Claim::Key(key) => write!(
                f,
                "the tenants {first} and {second} both have the key {key}: give one of them another"
            ),
            Claim::Log(log) => write!(
                f,
                "the tenants {first} and {second} both have the log {log}: one reads what the other \
                 publishes. Give one of them another"
            ),
            Claim::PublishKey if first == second => write!(
                f,
                "the tenant {first} has a key twice in publish_keys: join what it may do"
            ),
            Claim::PublishKey => write!(
                f,
                "the tenants {first} and {second} have a key in common in publish_keys: make a new \
                 one for one of them"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_read_as_it_is_written() {
        let text = format!("sha256:{}", "0aF1".repeat(16));
        let hash: KeyHash = text.parse().unwrap();
        assert_eq!(hash.bytes()[..2], [0x0a, 0xf1]);
        assert_eq!(hash.to_string(), text.to_ascii_lowercase());
        assert_eq!(hash.to_string().parse(), Ok(hash));
        for wrong in [
            "",
            "sha256:",
            "geheim",
            &"0a".repeat(32),
            &format!("sha512:{}", "0a".repeat(32)),
            &format!("sha256:{}", "0a".repeat(31)),
            &format!("sha256:{}", "0a".repeat(33)),
            &format!("sha256:{}", "0g".repeat(32)),
            &format!("sha256:{}", "+a".repeat(32)),
            &format!("sha256:{}", "é".repeat(32)),
        ] {
            assert_eq!(wrong.parse::<KeyHash>(), Err(KeyHashError), "{wrong:?}");
        }
    }
}
