//! The address of a client, as far as it is known.

use core::net::{IpAddr, SocketAddr};
use std::fmt;

/// The other end of a socket, or of the PROXY protocol's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Peer {
    /// At this address.
    Ip(IpAddr),
    /// A unix socket: a process on this machine.
    Unix,
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        Self::Ip(address.ip().to_canonical())
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix => f.write_str("the unix socket"),
        }
    }
}

/// Where a client connects from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// At this address.
    At(IpAddr),
    /// Behind this proxy, which does not report the client's address.
    Behind(Peer),
}

impl Client {
    /// The address that a client shares its turns with: its own, else the proxy's.
    #[must_use]
    pub fn ip(self) -> Option<IpAddr> {
        match self {
            Self::At(address) | Self::Behind(Peer::Ip(address)) => Some(address),
            Self::Behind(Peer::Unix) => None,
        }
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(address) => address.fmt(f),
            Self::Behind(peer) => write!(f, "unknown client behind {peer}"),
        }
    }
}
