//! The `Host` of internal requests: protection against DNS rebinding.
//!
//! A page of `evil.example` may have that name resolve to this machine. For the browser its
//! requests are then same-origin: they carry neither `Origin` nor `Sec-Fetch-Site` (over plain
//! HTTP), and the page may read the responses. They are detected by `Host`, which no page can
//! change: it is the page's own name, never an IP address or `localhost`.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};
use std::str::FromStr;

use http::{HeaderMap, HeaderValue, Uri, Version, header};

use crate::origin::authority::{Authority, Host};

/// A name that the internal listener may be addressed by: `gateway`, `*.svc.cluster.local`, or `*`
/// for every name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPattern(Pattern);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Pattern {
    Any,
    /// Every name with this suffix; with the leading dot.
    Below(String),
    One(String),
}

/// Why a text is not a valid [`HostPattern`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HostPatternError {
    /// It is a URL, of which a host is one part.
    #[error("write the name alone, without http:// and without what follows a slash")]
    Address,
    /// Ports are not compared.
    #[error("leave the port out: the name is served on every port")]
    Port,
    /// `*` at a position where it has no meaning.
    #[error("* stands for all names, or at the beginning for subdomains, as in *.example.com")]
    Star,
    /// It is not a valid name.
    #[error("this is not a host name: expected one such as gateway or *.svc.cluster.local")]
    Name,
}

/// Why a request is rejected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// RFC 9112 §3.2: an HTTP/1.1 request has one `Host`.
    #[error("An HTTP/1.1 request needs one Host header; this one has {0}.")]
    Count(usize),
    /// It is not `host` or `host:port`.
    #[error("The Host of this request cannot be read: expected a host, with a port if you like.")]
    Unreadable,
    /// A name that is not served. Nothing but letters, digits, `-`, `.` and `_`.
    #[error(
        "The internal listener is not served as {0:?}, which keeps web pages out. Address it by \
         IP address or as localhost, send the key of internal.api_key, or add \"{0}\" to \
         internal.hosts (HT_INTERNAL__HOSTS)."
    )]
    Foreign(String),
}

/// Checks by which name a request addresses the listener. Ports are ignored: they change on the
/// path, in port forwards and containers.
///
/// # Errors
/// If it is not an IP address, `localhost`, a name below it, or one of `allowed`.
pub fn check(
    version: Version,
    uri: &Uri,
    headers: &HeaderMap,
    allowed: &[HostPattern],
) -> Result<(), HostError> {
    let mut lines = headers.get_all(header::HOST).iter();
    let line = match (lines.next(), lines.next()) {
        (Some(line), None) => Some(line),
        // No browser uses HTTP/1.0, but health checks of load balancers do.
        (None, _) if version <= Version::HTTP_10 => None,
        (None, _) => return Err(HostError::Count(0)),
        (Some(_), Some(_)) => return Err(HostError::Count(2 + lines.count())),
    };
    let line = line.map(HeaderValue::as_bytes);
    // RFC 9112 §3.2.2: if the target is a whole URL its host takes precedence.
    let target = uri
        .authority()
        .map(|authority| authority.as_str().as_bytes());
    let mut named = line.into_iter().chain(target);
    named.try_for_each(|text| is_served(text, allowed))
}

fn is_served(text: &[u8], allowed: &[HostPattern]) -> Result<(), HostError> {
    let text = std::str::from_utf8(text).map_err(|_| HostError::Unreadable)?;
    // The usual `Host` of publishers on the same machine.
    if text.parse::<SocketAddrV4>().is_ok() {
        return Ok(());
    }
    let Authority { host, .. } =
        Authority::parse(&without_zone(text)).ok_or(HostError::Unreadable)?;
    let name = match host {
        Host::V6(_) => return Ok(()),
        Host::Name(name) => name,
    };
    if name.parse::<Ipv4Addr>().is_ok() {
        return Ok(());
    }
    // With a trailing dot it is the same name, written in full.
    let plain = name.strip_suffix('.').unwrap_or(&name);
    // RFC 6761 §6.3: never resolved by a name server.
    let is_local = plain == "localhost" || plain.ends_with(".localhost");
    if is_local || allowed.iter().any(|pattern| pattern.covers(plain)) {
        return Ok(());
    }
    Err(HostError::Foreign(plain.to_owned()))
}

/// The same without the zone of a link-local address (`[fe80::1%eth0]`), which some clients send.
fn without_zone(text: &str) -> String {
    let inner = text.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    match inner.map(|(address, rest)| (address.split_once('%'), rest)) {
        Some((Some((address, _zone)), rest)) => format!("[{address}]{rest}"),
        Some((None, _)) | None => text.to_owned(),
    }
}

impl HostPattern {
    fn covers(&self, name: &str) -> bool {
        match &self.0 {
            Pattern::Any => true,
            Pattern::Below(domain) => name.len() > domain.len() && name.ends_with(&**domain),
            Pattern::One(one) => one == name,
        }
    }
}

impl FromStr for HostPattern {
    type Err = HostPatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "*" {
            return Ok(Self(Pattern::Any));
        }
        if text.contains(['/', '?', '#', '@']) {
            return Err(HostPatternError::Address);
        }
        // These are always served; listing them is not an error.
        let inside = text.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = inside.parse::<Ipv6Addr>() {
            return Ok(Self(Pattern::One(format!("[{address}]"))));
        }
        let (domain, below) = match text.strip_prefix("*.") {
            Some(domain) => (domain, true),
            None => (text, false),
        };
        if domain.contains('*') {
            return Err(HostPatternError::Star);
        }
        match Authority::parse(domain) {
            Some(Authority { port: Some(_), .. }) => Err(HostPatternError::Port),
            Some(Authority {
                host: Host::Name(name),
                port: None,
            }) => {
                let name = name.strip_suffix('.').unwrap_or(&name);
                Ok(Self(if below {
                    Pattern::Below(format!(".{name}"))
                } else {
                    Pattern::One(name.to_owned())
                }))
            }
            Some(Authority {
                host: Host::V6(_), ..
            })
            | None => Err(HostPatternError::Name),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Pattern::Any => f.write_str("*"),
            Pattern::Below(domain) => write!(f, "*{domain}"),
            Pattern::One(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(version: Version, target: &str, hosts: &[&str]) -> Result<(), HostError> {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(
                header::HOST,
                HeaderValue::from_bytes(host.as_bytes()).unwrap(),
            );
        }
        let allowed = ["gateway", "*.svc.cluster.local"].map(|text| text.parse().unwrap());
        check(version, &target.parse().unwrap(), &headers, &allowed)
    }

    #[test]
    fn addresses_local_and_configured_names_are_served_and_no_others() {
        let foreign = |name: &str| Err(HostError::Foreign(name.to_owned()));
        for (host, expected) in [
            ("127.0.0.1", Ok(())),
            ("127.0.0.1:8002", Ok(())),
            ("10.244.1.17:8002", Ok(())),
            ("[::1]:8002", Ok(())),
            ("[2001:db8::1]", Ok(())),
            ("[fe80::1%eth0]:8002", Ok(())),
            ("[fe80::1%25eth0]:8002", Ok(())),
            ("localhost", Ok(())),
            ("LOCALHOST:8002", Ok(())),
            ("localhost.", Ok(())),
            ("localhost:", Ok(())),
            ("ht.localhost:1", Ok(())),
            ("gateway:8002", Ok(())),
            ("Gateway.", Ok(())),
            ("web.svc.cluster.local.:8002", Ok(())),
            ("evil.example", foreign("evil.example")),
            ("Evil.Example.:8002", foreign("evil.example")),
            ("svc.cluster.local", foreign("svc.cluster.local")),
            ("gateway.evil.example", foreign("gateway.evil.example")),
            ("localhost.evil.example", foreign("localhost.evil.example")),
            ("notlocalhost", foreign("notlocalhost")),
            ("127.0.0.1.evil.example", foreign("127.0.0.1.evil.example")),
            ("127.0.0.1.", foreign("127.0.0.1")),
            ("2130706433", foreign("2130706433")),
            ("", Err(HostError::Unreadable)),
            (":8002", Err(HostError::Unreadable)),
            ("localhost:99999", Err(HostError::Unreadable)),
            ("localhost:80:80", Err(HostError::Unreadable)),
            ("localhost, evil.example", Err(HostError::Unreadable)),
            ("localhost@evil.example", Err(HostError::Unreadable)),
            ("[::1]evil.example", Err(HostError::Unreadable)),
            ("[::1", Err(HostError::Unreadable)),
            ("[evil.example]", Err(HostError::Unreadable)),
            ("http://localhost", Err(HostError::Unreadable)),
            ("\u{ff4c}ocalhost", Err(HostError::Unreadable)),
        ] {
            assert_eq!(
                checked(Version::HTTP_11, "/ready", &[host]),
                expected,
                "{host}"
            );
        }
    }

    #[test]
    fn exactly_one_host_is_required_and_the_target_is_checked() {
        let evil = Err(HostError::Foreign("evil.example".to_owned()));
        for (version, target, hosts, expected) in [
            (
                Version::HTTP_11,
                "/ready",
                &[][..],
                Err(HostError::Count(0)),
            ),
            (Version::HTTP_10, "/ready", &[], Ok(())),
            (Version::HTTP_10, "/ready", &["evil.example"], evil.clone()),
            (
                Version::HTTP_11,
                "/ready",
                &["localhost", "localhost"],
                Err(HostError::Count(2)),
            ),
            (
                Version::HTTP_11,
                "/ready",
                &["localhost", "evil.example"],
                Err(HostError::Count(2)),
            ),
            (
                Version::HTTP_11,
                "http://evil.example/ready",
                &["localhost"],
                evil.clone(),
            ),
            (
                Version::HTTP_11,
                "http://localhost:8002/ready",
                &["evil.example"],
                evil.clone(),
            ),
            (Version::HTTP_10, "http://evil.example/ready", &[], evil),
            (
                Version::HTTP_11,
                "http://localhost@evil.example/ready",
                &["localhost"],
                Err(HostError::Unreadable),
            ),
            (
                Version::HTTP_11,
                "http://localhost:8002/ready",
                &["localhost:8002"],
                Ok(()),
            ),
        ] {
            assert_eq!(
                checked(version, target, hosts),
                expected,
                "{target} {hosts:?}"
            );
        }
    }

    #[test]
    fn invalid_patterns_are_rejected_with_a_reason() {
        for (text, expected) in [
            ("Gateway", Ok("gateway")),
            ("gateway.", Ok("gateway")),
            ("*.Example.com", Ok("*.example.com")),
            ("*", Ok("*")),
            ("10.0.0.1", Ok("10.0.0.1")),
            ("[::1]", Ok("[::1]")),
            ("::1", Ok("[::1]")),
            ("http://gateway", Err(HostPatternError::Address)),
            ("gateway/", Err(HostPatternError::Address)),
            ("gateway:8002", Err(HostPatternError::Port)),
            ("a.*.example", Err(HostPatternError::Star)),
            ("*gateway", Err(HostPatternError::Star)),
            ("", Err(HostPatternError::Name)),
            ("two words", Err(HostPatternError::Name)),
        ] {
            let found = text
                .parse::<HostPattern>()
                .map(|pattern| pattern.to_string());
            assert_eq!(found, expected.map(str::to_owned), "{text}");
        }
        let any: HostPattern = "*".parse().unwrap();
        assert!(any.covers("evil.example"));
    }
}
