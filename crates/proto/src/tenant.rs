//! Names of tenants: products with an API of their own that share a gateway.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Longest name of a tenant, in bytes.
pub const TENANT_NAME_BYTES_MAX: usize = 40;

/// The name of a tenant: 1 to [`TENANT_NAME_BYTES_MAX`] characters `a` to `z`, `0` to `9` and `-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantName(Arc<str>);

/// A text is not the name of a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the name of a tenant has 1 to {TENANT_NAME_BYTES_MAX} characters a-z, 0-9 and -")]
pub struct TenantNameError;

impl TenantName {
    /// The name of the only tenant where none is configured.
    pub const MAIN: &'static str = "main";

    /// The tenant of a node without any other.
    #[must_use]
    pub fn main() -> Self {
        Self(Self::MAIN.into())
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is [`Self::MAIN`].
    #[must_use]
    pub fn is_main(&self) -> bool {
        *self.0 == *Self::MAIN
    }

    /// The value of the member `tenant` of a record.
    pub(crate) fn of_json(json: &str) -> Result<Self, TenantNameError> {
        let text = serde_json::from_str::<Box<str>>(json);
        text.map_err(|_| TenantNameError)?.parse()
    }
}

/// The member `tenant` of a record, if it has one. A node without tenants passes over it, whatever it
/// is.
pub type TenantMember = Option<Result<TenantName, TenantNameError>>;

impl FromStr for TenantName {
    type Err = TenantNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_known = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        let fits = (1..=TENANT_NAME_BYTES_MAX).contains(&text.len());
        (fits && text.bytes().all(is_known))
            .then(|| Self(text.into()))
            .ok_or(TenantNameError)
    }
}

impl fmt::Display for TenantName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for TenantName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// A tenant, as a small number that holds within one process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantId(u32);

impl TenantId {
    /// The tenant `main`, of a node without any other.
    pub const MAIN: Self = Self(0);

    /// The tenant with this number.
    #[must_use]
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// A value that belongs to a tenant: those of two tenants are never equal.
///
/// It is the key of every table that has something of several tenants, so that a lookup without a
/// tenant does not compile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scoped<T> {
    /// Whose it is.
    pub tenant: TenantId,
    /// The value.
    pub value: T,
}

impl TenantId {
    /// The value as one of this tenant.
    #[must_use]
    pub const fn scope<T>(self, value: T) -> Scoped<T> {
        Scoped {
            tenant: self,
            value,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_short_and_plain() {
        for text in ["main", "a", "0", "-", "acme-2", &"x".repeat(40)] {
            let name: TenantName = text.parse().unwrap();
            assert_eq!((name.as_str(), name.is_main()), (text, text == "main"));
        }
        let long = "x".repeat(41);
        for text in ["", "A", "a b", "a.b", "a_b", "ä", "a\0", "a\n", &long] {
            assert_eq!(text.parse::<TenantName>(), Err(TenantNameError), "{text:?}");
        }
        assert!(TenantName::main().is_main());
    }

    #[test]
    fn the_member_of_a_record_is_a_text() {
        let escaped = TenantName::of_json(r#""\u0061""#);
        assert_eq!(escaped, "a".parse());
        for json in [
            "null",
            "7",
            "true",
            "{}",
            "[]",
            r#""A""#,
            r#""\ud800""#,
            r#""""#,
        ] {
            assert_eq!(TenantName::of_json(json), Err(TenantNameError), "{json}");
        }
    }

    #[test]
    fn equal_values_of_two_tenants_differ() {
        let [one, other] = [0, 1].map(|number| TenantId::new(number).scope("7"));
        assert_ne!(one, other);
        assert_eq!(one, TenantId::MAIN.scope("7"));
    }
}
