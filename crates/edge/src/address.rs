//! The client's address: what the socket reports, and what trusted proxies report in headers.

#[cfg(test)]
mod tests;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

pub use ht_overload::{Client, Peer};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use ipnet::IpNet;

/// The client's address, as set by a proxy; and as forwarded to the backend.
pub const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// The addresses that a request passed through, the client's first.
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Maximum length of an address: IPv6 in full, with brackets and port.
const TEXT_BYTES_MAX: usize = 64;

/// Networks of trusted reverse proxies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedProxies {
    /// The networks.
    pub networks: Vec<IpNet>,
    /// Whether peers on a unix socket are trusted.
    pub unix: bool,
}

impl Default for TrustedProxies {
    /// Loopback, unix sockets, and the networks that are not routed on the internet: RFC 1918,
    /// RFC 3927, RFC 4193 and RFC 4291 §2.5.6.
    fn default() -> Self {
        let networks = [
            "127.0.0.0/8",
            "10.0.0.0/8",
            "172.16.0.0/12",
            "192.168.0.0/16",
            "169.254.0.0/16",
            "::1/128",
            "fc00::/7",
            "fe80::/10",
        ];
        Self {
            networks: networks
                .map(|text| text.parse().expect("these are networks"))
                .to_vec(),
            unix: true,
        }
    }
}

impl TrustedProxies {
    /// The entries, one by one.
    #[must_use]
    pub fn entries(&self) -> Vec<Trusted> {
        let networks = self
            .networks
            .iter()
            .map(|network| Trusted::Network(*network));
        networks.chain(self.unix.then_some(Trusted::Unix)).collect()
    }

    /// Whether this peer is trusted.
    pub fn trust(&self, peer: Peer) -> bool {
        match peer {
            Peer::Unix => self.unix,
            Peer::Ip(address) => self.networks.iter().any(|net| net.contains(&address)),
        }
    }
}

/// One entry of [`TrustedProxies`]: a network, a single address, or `unix`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trusted {
    /// A network.
    Network(IpNet),
    /// Unix sockets.
    Unix,
}

/// A text that is not a valid [`Trusted`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected an address such as 192.0.2.1, a network such as 192.0.2.0/24 or 2001:db8::/32, or unix"
)]
pub struct TrustedError;

impl FromStr for Trusted {
    type Err = TrustedError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "unix" {
            return Ok(Self::Unix);
        }
        let network = text.parse::<IpNet>().map(|network| network.trunc());
        let single = || text.parse::<IpAddr>().map(IpNet::from);
        let network = network.or_else(|_| single()).map_err(|_| TrustedError)?;
        // IPv4 connections to a dual-stack socket are matched as IPv4.
        match network {
            IpNet::V6(v6) if v6.addr().to_ipv4_mapped().is_some() => Err(TrustedError),
            network @ (IpNet::V4(_) | IpNet::V6(_)) => Ok(Self::Network(network)),
        }
    }
}

impl fmt::Display for Trusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(network) => network.fmt(f),
            Self::Unix => f.write_str("unix"),
        }
    }
}

impl FromIterator<Trusted> for TrustedProxies {
    fn from_iter<I: IntoIterator<Item = Trusted>>(entries: I) -> Self {
        let mut proxies = Self {
            networks: Vec::new(),
            unix: false,
        };
        for entry in entries {
            match entry {
                Trusted::Network(network) => proxies.networks.push(network),
                Trusted::Unix => proxies.unix = true,
            }
        }
        proxies
    }
}

/// The source of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The peer that opened it.
    pub peer: Peer,
    /// Whether a proxy reported it with the PROXY protocol, so that `peer` is no proxy by itself.
    pub told: bool,
}

/// The client's address, and how the headers were judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The client.
    pub client: Client,
    /// Whether the request was received directly from a trusted proxy.
    pub from_proxy: bool,
    /// Headers that only a proxy sends were received from an untrusted peer.
    pub dropped: bool,
    /// A trusted proxy sent an invalid address.
    pub malformed: bool,
}

/// Determines the client's address, and removes untrusted values from the request's headers:
/// afterwards `X-Real-IP` is the address found, or is absent.
pub fn find(
    headers: &mut HeaderMap,
    arrival: Arrival,
    trusted: &TrustedProxies,
    x_forwarded_for: bool,
) -> Found {
    let Arrival { peer, told } = arrival;
    if !trusted.trust(peer) {
        let names = [X_REAL_IP, X_FORWARDED_FOR, header::FORWARDED];
        // All of them are removed.
        let dropped = names.map(|name| headers.remove(name).is_some());
        let client = match peer {
            Peer::Ip(address) => Client::At(set_real_ip(headers, address)),
            Peer::Unix => Client::Behind(peer),
        };
        return Found {
            client,
            from_proxy: false,
            dropped: dropped.contains(&true),
            malformed: false,
        };
    }
    let said = real_ip(headers);
    if said.is_err() {
        headers.remove(X_REAL_IP);
    }
    let forwarded = match said {
        Ok(None) | Err(Malformed) if x_forwarded_for => forwarded_for(headers, trusted),
        _ => Ok(None),
    };
    let client = match (said, forwarded, peer) {
        (Ok(Some(said)), _, _) => Client::At(said),
        (_, Ok(Some(address)), _) => Client::At(set_real_ip(headers, address)),
        (_, _, Peer::Ip(address)) if told => Client::At(set_real_ip(headers, address)),
        (_, _, peer) => Client::Behind(peer),
    };
    Found {
        client,
        from_proxy: true,
        dropped: false,
        malformed: said.is_err() || forwarded.is_err(),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Malformed;

/// The address in `X-Real-IP`. If it is more than a plain address, it is normalized in the header,
/// too.
fn real_ip(headers: &mut HeaderMap) -> Result<Option<IpAddr>, Malformed> {
    let mut lines = headers.get_all(X_REAL_IP).iter();
    let Some(line) = lines.next() else {
        return Ok(None);
    };
    // Of two lines one may be the client's own, forwarded beside the proxy's.
    if lines.next().is_some() {
        return Err(Malformed);
    }
    if line.is_empty() {
        return Ok(None);
    }
    let text = line.to_str().map_err(|_| Malformed)?;
    let address = address(text).ok_or(Malformed)?;
    if text.parse::<IpAddr>().is_err() {
        set_real_ip(headers, address);
    }
    Ok(Some(address.to_canonical()))
}

/// The address in `X-Forwarded-For` that the last trusted proxy on the path saw: the rightmost that
/// is not a trusted proxy itself, or the leftmost if all are.
fn forwarded_for(
    headers: &HeaderMap,
    trusted: &TrustedProxies,
) -> Result<Option<IpAddr>, Malformed> {
    let mut leftmost = None;
    for line in headers.get_all(X_FORWARDED_FOR).iter().rev() {
        let text = line.to_str().map_err(|_| Malformed)?;
        for entry in text.rsplit(',').map(str::trim) {
            // Lists may have empty entries (RFC 9110 §5.6.1).
            if entry.is_empty() {
                continue;
            }
            let address = address(entry).ok_or(Malformed)?.to_canonical();
            if !trusted.trust(Peer::Ip(address)) {
                return Ok(Some(address));
            }
            leftmost = Some(address);
        }
    }
    Ok(leftmost)
}

/// Parses an address, also one with a port, as some proxies write it.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    if text.len() > TEXT_BYTES_MAX {
        return None;
    }
    let plain = text.parse::<IpAddr>();
    let with_port = || text.parse::<SocketAddr>().map(|address| address.ip());
    let in_brackets = || {
        let inner = text.strip_prefix('[')?.strip_suffix(']')?;
        inner.parse().map(IpAddr::V6).ok()
    };
    plain.or_else(|_| with_port()).ok().or_else(in_brackets)
}

/// Sets `X-Real-IP` to the address, replacing all values.
fn set_real_ip(headers: &mut HeaderMap, address: IpAddr) -> IpAddr {
    let value = HeaderValue::try_from(address.to_string());
    headers.insert(X_REAL_IP, value.expect("an address is a header's value"));
    address
}
