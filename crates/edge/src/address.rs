//! Where a client comes from: what the socket says, and what the proxies in between say of it.

#[cfg(test)]
mod tests;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

pub use ht_overload::{Client, Peer};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use ipnet::IpNet;

/// The client's address, as a proxy says it; and as the backend is told it.
pub const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// The addresses that a request came along, the client's first.
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Longest text that is read as an address: IPv6 in full, with brackets and port.
const TEXT_BYTES_MAX: usize = 64;

/// Where proxies are whose word counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedProxies {
    /// Networks that they are in.
    pub networks: Vec<IpNet>,
    /// Whether who comes over a unix socket is one.
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
    /// What they are made of, one by one.
    #[must_use]
    pub fn entries(&self) -> Vec<Trusted> {
        let networks = self
            .networks
            .iter()
            .map(|network| Trusted::Network(*network));
        networks.chain(self.unix.then_some(Trusted::Unix)).collect()
    }

    /// Whether the word of this peer counts.
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

/// A text that is no [`Trusted`].
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
        // Connections to a dual-stack socket are looked at as what they are.
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

/// How a connection came here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Who opened it.
    pub peer: Peer,
    /// Whether a proxy said so with the PROXY protocol, so that `peer` is no proxy by itself.
    pub told: bool,
}

/// What was found, and what the headers were worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Where the client is.
    pub client: Client,
    /// Whether the request came straight from a proxy that is trusted.
    pub from_proxy: bool,
    /// Headers that only a proxy sends came from somebody who is not trusted.
    pub dropped: bool,
    /// What a trusted proxy sent is no address.
    pub malformed: bool,
}

/// Finds out where a client is, and leaves in the request's headers only what may be believed:
/// `X-Real-IP` then is the address found, or is not there.
pub fn find(
    headers: &mut HeaderMap,
    arrival: Arrival,
    trusted: &TrustedProxies,
    x_forwarded_for: bool,
) -> Found {
    let Arrival { peer, told } = arrival;
    if !trusted.trust(peer) {
        let names = [X_REAL_IP, X_FORWARDED_FOR, header::FORWARDED];
        // Every one of them goes.
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

/// The address in `X-Real-IP`. What is more than a plain address is made one in the header, too.
fn real_ip(headers: &mut HeaderMap) -> Result<Option<IpAddr>, Malformed> {
    let mut lines = headers.get_all(X_REAL_IP).iter();
    let Some(line) = lines.next() else {
        return Ok(None);
    };
    // Of two lines one may be the client's own, passed on beside the proxy's.
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

/// The address in `X-Forwarded-For` that the last trusted proxy on the way saw: the rightmost
/// that is no trusted proxy itself, or the leftmost of all where all are.
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

/// Reads an address, also one with a port, as some proxies write it.
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
