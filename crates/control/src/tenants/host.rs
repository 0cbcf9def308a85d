//! Host names in one form, so that one name is one tenant's however a client writes it.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Maximum length of a host name, in bytes (RFC 1035 §2.3.4).
const NAME_BYTES_MAX: usize = 253;

/// Maximum length of one part of it, in bytes.
const LABEL_BYTES_MAX: usize = 63;

/// A host name or IP address in normal form: lower case, without a port and without a trailing dot;
/// other letters than ASCII as `xn--`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostName(Box<str>);

/// Why a text is not a [`HostName`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostNameError {
    /// It is a URL, of which a host is one part.
    Address,
    /// It has a port.
    Port,
    /// It has a `*`.
    Star,
    /// It is not a host.
    Name,
}

impl fmt::Display for HostNameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Address => {
                "write the host alone, without https:// and without what follows a slash"
            }
            Self::Port => "leave the port out: the host is served on every port",
            Self::Star => "a tenant's hosts are listed one by one, without *",
            Self::Name => "this is not a host name: expected one such as live.acme.example",
        })
    }
}

impl std::error::Error for HostNameError {}

impl HostName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// That of a header `Host`, whose port and trailing dot are not part of it. None if it is not
    /// `host` or `host:port`.
    #[must_use]
    pub fn of_header(text: &str) -> Option<Self> {
        let (host, port) = match text.strip_prefix('[') {
            Some(_) => text.split_at(text.find(']')? + 1),
            None => text.split_at(text.find(':').unwrap_or(text.len())),
        };
        let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
        if !port.is_empty() && !port.strip_prefix(':').is_some_and(is_port) {
            return None;
        }
        normal(host).map(Self)
    }
}

impl FromStr for HostName {
    type Err = HostNameError;

    fn from_str(text: &str) -> Result<Self, HostNameError> {
        if text.contains(['/', '?', '#', '@']) {
            return Err(HostNameError::Address);
        }
        if text.contains('*') {
            return Err(HostNameError::Star);
        }
        match normal(text) {
            Some(name) => Ok(Self(name)),
            None if Self::of_header(text).is_some() => Err(HostNameError::Port),
            None => Err(HostNameError::Name),
        }
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The normal form of a host without a port.
fn normal(host: &str) -> Option<Box<str>> {
    if let Some(inside) = host.strip_prefix('[') {
        let address: Ipv6Addr = inside.strip_suffix(']')?.parse().ok()?;
        return Some(format!("[{address}]").into());
    }
    // With a trailing dot it is the same name, written in full.
    let name = host.strip_suffix('.').unwrap_or(host);
    let is_label = |label: &str| {
        let is_known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        (1..=LABEL_BYTES_MAX).contains(&label.len()) && label.bytes().all(is_known)
    };
    let is_number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    if name.len() > NAME_BYTES_MAX || !name.split('.').all(is_label) {
        return None;
    }
    // What ends in a number is an address (WHATWG URL §3.5), and has one spelling.
    let ends_in_number = name.rsplit('.').next().is_some_and(is_number);
    if ends_in_number && name.parse::<Ipv4Addr>().is_err() {
        return None;
    }
    Some(name.to_ascii_lowercase().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_form_however_it_is_written() {
        for (text, expected) in [
            ("live.acme.example", Some("live.acme.example")),
            ("Live.ACME.example", Some("live.acme.example")),
            ("live.acme.example.", Some("live.acme.example")),
            ("LIVE.acme.example.:443", Some("live.acme.example")),
            ("live.acme.example:443", Some("live.acme.example")),
            ("live.acme.example:", Some("live.acme.example")),
            ("XN--BCHER-KVA.example:80", Some("xn--bcher-kva.example")),
            ("a_b", Some("a_b")),
            ("192.0.2.1:80", Some("192.0.2.1")),
            ("[2001:DB8::0:1]:80", Some("[2001:db8::1]")),
            ("[::1]", Some("[::1]")),
            ("", None),
            (".", None),
            ("..", None),
            (":80", None),
            ("a..b", None),
            (".a", None),
            ("a:b", None),
            ("a:80:80", None),
            ("a b", None),
            ("a,b", None),
            ("a@b", None),
            ("a/b", None),
            ("[::1", None),
            ("[::1]x", None),
            ("[a]", None),
            ("192.0.2", None),
            ("192.0.2.1.5", None),
            ("bücher.example", None),
        ] {
            let found = HostName::of_header(text);
            assert_eq!(found.as_ref().map(HostName::as_str), expected, "{text:?}");
        }
        let long = format!("{}.example", "a".repeat(64));
        assert_eq!(HostName::of_header(&long), None);
        let long = ["a"; 130].join(".");
        assert_eq!(HostName::of_header(&long), None);
    }

    #[test]
    fn a_setting_names_a_host_and_nothing_else() {
        for (text, expected) in [
            ("Live.Acme.example.", Ok("live.acme.example")),
            ("https://live.acme.example", Err(HostNameError::Address)),
            ("live.acme.example/ws/", Err(HostNameError::Address)),
            ("a@b", Err(HostNameError::Address)),
            ("*.acme.example", Err(HostNameError::Star)),
            ("live.acme.example:443", Err(HostNameError::Port)),
            ("[::1]:443", Err(HostNameError::Port)),
            ("", Err(HostNameError::Name)),
            ("a b", Err(HostNameError::Name)),
        ] {
            let found = text.parse::<HostName>();
            let found = found.as_ref().map(HostName::as_str).map_err(|error| *error);
            assert_eq!(found, expected, "{text:?}");
        }
    }
}
