//! Credentials in a compact form, for as long as the connection of their client is open.

use std::fmt;
use std::net::IpAddr;

use ht_proto::entry::TenantId;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::credentials::Credentials;

/// Memory of a shared value beside its own bytes: its two counts, and what allocators round up.
const SHARED_BYTES: usize = 32;

/// [`Credentials`] as one piece of memory. Equal ones have the same headers, byte for byte and in
/// the same order, the same address and the same tenant.
///
/// They are secrets, so `Debug` shows the names only.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct KeptCredentials {
    /// For each header the lengths of its name and of its value, and both of them.
    headers: Box<[u8]>,
    address: Option<IpAddr>,
    tenant: TenantId,
}

impl KeptCredentials {
    /// Compacts credentials.
    #[must_use]
    pub fn new(credentials: &Credentials) -> Self {
        let mut headers = Vec::new();
        for (name, value) in credentials.headers() {
            for text in [name.as_str().as_bytes(), value.as_bytes()] {
                // A header of four gigabytes is longer than any head.
                let len = u32::try_from(text.len()).unwrap_or(u32::MAX);
                headers.extend(len.to_le_bytes());
            }
            headers.extend(name.as_str().as_bytes());
            headers.extend(value.as_bytes());
        }
        Self {
            headers: headers.into(),
            address: credentials.address(),
            tenant: credentials.tenant(),
        }
    }

    /// The credentials, for a call.
    #[must_use]
    pub fn restore(&self) -> Credentials {
        let mut headers = HeaderMap::new();
        for (name, value) in self.iter() {
            if let (Ok(name), Ok(mut value)) =
                (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
            {
                value.set_sensitive(true);
                headers.append(name, value);
            }
        }
        Credentials::from(headers)
            .from_address(self.address)
            .of_tenant(self.tenant)
    }

    /// The client's address.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// The tenant whose API they are for.
    #[must_use]
    pub fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// Memory that they take behind an `Arc`, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.headers.len() + SHARED_BYTES
    }

    /// Names and values.
    fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut left = &*self.headers;
        std::iter::from_fn(move || {
            let (name, value) = (take_len(&mut left)?, take_len(&mut left)?);
            let (name, rest) = left.split_at_checked(name)?;
            let (value, rest) = rest.split_at_checked(value)?;
            left = rest;
            Some((name, value))
        })
    }
}

fn take_len(left: &mut &[u8]) -> Option<usize> {
    let (len, rest) = left.split_first_chunk()?;
    *left = rest;
    usize::try_from(u32::from_le_bytes(*len)).ok()
}

impl fmt::Debug for KeptCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.iter().map(|(name, _)| String::from_utf8_lossy(name));
        f.debug_set().entries(names).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::BackendConfig;
    use crate::forward::ForwardRules;

    /// What a browser of a Django site with a visit counter sends.
    fn credentials() -> Credentials {
        let mut request = HeaderMap::new();
        for (name, value) in [
            (
                "cookie",
                "_ga=GA1.1.1234567890.1700000000; _ga_ABCDEFGHIJ=GS1.1.1700000000.1.1.1700000000.0.0.0; \
                 csrftoken=0123456789abcdefghijABCDEFGHIJKL; sessionid=0123456789abcdefghijklmnopqrstuv",
            ),
            (
                "user-agent",
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) \
                 Chrome/130.0.0.0 Safari/537.36",
            ),
            ("x-real-ip", "203.0.113.195"),
        ] {
            request.insert(name, HeaderValue::from_static(value));
        }
        let rules = ForwardRules::new(BackendConfig::default_headers());
        let credentials = rules.apply(&request, None).unwrap();
        credentials.from_address("203.0.113.195".parse().ok())
    }

    #[test]
    fn credentials_are_restored_as_they_were() {
        let credentials = credentials();
        let kept = KeptCredentials::new(&credentials);
        let restored = kept.restore();
        let of = |credentials: &Credentials| {
            let headers = credentials.headers().iter();
            let headers = headers.map(|(name, value)| (name.clone(), value.clone()));
            (headers.collect::<Vec<_>>(), credentials.address())
        };
        assert_eq!(of(&restored), of(&credentials));
        assert_eq!(restored.headers().len(), 4);
        assert!(restored.headers().values().all(HeaderValue::is_sensitive));
        assert_eq!(kept, KeptCredentials::new(&restored));
        let other = restored.clone().of_tenant(TenantId::new(1));
        let other = KeptCredentials::new(&other);
        assert_ne!(kept, other);
        assert_eq!(
            (kept.tenant(), other.restore().tenant()),
            (TenantId::MAIN, TenantId::new(1))
        );
        let elsewhere = restored.from_address(None);
        assert_ne!(kept, KeptCredentials::new(&elsewhere));
        let none = KeptCredentials::default();
        assert!(none.restore().headers().is_empty());
    }

    #[test]
    fn those_of_an_ordinary_browser_take_little() {
        let kept = KeptCredentials::new(&credentials());
        assert!(kept.bytes() <= 800, "{}", kept.bytes());
    }

    #[test]
    fn no_value_is_shown() {
        let shown = format!("{:?}", KeptCredentials::new(&credentials()));
        let expected = r#"{"cookie", "user-agent", "x-real-ip", "x-csrftoken"}"#;
        assert_eq!(shown, expected);
    }
}
