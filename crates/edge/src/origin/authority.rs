//! A host and its port, as written in `Host`, in `Origin` and in settings.

use std::net::Ipv6Addr;

/// Maximum length of a host name, in bytes (RFC 1035 §2.3.4).
const NAME_BYTES_MAX: usize = 255;

/// A host and its port (RFC 3986 §3.2), without user information.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Authority {
    pub(crate) host: Host,
    pub(crate) port: Option<u16>,
}

/// A host in normalized form: equal ones have equal text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    /// A name or an IPv4 address, in lower case.
    Name(String),
    V6(Ipv6Addr),
}

impl Authority {
    /// Parses `host`, `host:port`, `[address]` or `[address]:port`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (host, rest) = match text.strip_prefix('[') {
            Some(inner) => {
                let (address, rest) = inner.split_once(']')?;
                (Host::V6(address.parse().ok()?), rest)
            }
            None => {
                let end = text.find(':').unwrap_or(text.len());
                let (name, rest) = text.split_at(end);
                let is_known = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
                if !(1..=NAME_BYTES_MAX).contains(&name.len()) || !name.bytes().all(is_known) {
                    return None;
                }
                (Host::Name(name.to_ascii_lowercase()), rest)
            }
        };
        let port = match rest.strip_prefix(':') {
            // RFC 3986 §3.2.3: the port may be empty.
            Some("") => None,
            Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
                Some(port.parse().ok()?)
            }
            Some(_) => return None,
            None if rest.is_empty() => None,
            None => return None,
        };
        Some(Self { host, port })
    }
}
