//! Settings of the listeners. Plain values, already validated.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::address::TrustedProxies;
use crate::origin::Origins;

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// A TCP address; port 0 takes a free one.
    Tcp(SocketAddr),
    /// A unix socket, created with this mode (such as `0o660`). A stale file is replaced.
    Unix {
        /// The path of the socket.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix { path, .. } => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Served paths, trusted proxies and allowed origins of the public listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicConfig {
    /// The path of the websocket; served with and without a trailing slash.
    pub websocket_path: String,
    /// Whether `GET /` is answered with 200, for load balancers.
    pub root_health: bool,
    /// Whether clients may open event streams.
    pub sse: bool,
    /// Whether clients may use long polls.
    pub poll: bool,
    /// Which origins may open a websocket or a stream.
    pub origins: Origins,
    /// Networks of trusted reverse proxies.
    pub trusted_proxies: TrustedProxies,
    /// Whether `X-Forwarded-For` is used if a trusted proxy sends no `X-Real-IP`.
    pub x_forwarded_for: bool,
    /// Whether every connection from a trusted proxy starts with a header of the PROXY protocol.
    pub proxy_protocol: bool,
}

impl Default for PublicConfig {
    fn default() -> Self {
        Self {
            websocket_path: "/ws/".to_owned(),
            root_health: false,
            sse: false,
            poll: false,
            origins: Origins::default(),
            trusted_proxies: TrustedProxies::default(),
            x_forwarded_for: false,
            proxy_protocol: false,
        }
    }
}

/// Limits of connections and handshakes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaLimits {
    /// Open connections of the node. 0: no limit.
    pub connections: usize,
    /// Open connections of one address. 0: no limit.
    pub connections_per_address: usize,
    /// Rate limit: handshakes of one address per second, averaged over ten. 0: no limit.
    pub handshakes_per_second: usize,
    /// Handshakes in progress.
    pub handshakes: usize,
    /// Connections before the upgrade.
    pub unfinished: usize,
}

/// Options of a client's socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpOptions {
    /// `SO_SNDBUF`: bytes that the system keeps of what was sent and not acknowledged, its own
    /// overhead included; Linux doubles the number. Zero: the system's default, which grows with
    /// the throughput of the connection.
    pub send_buffer: usize,
    /// `TCP_USER_TIMEOUT` (RFC 5482): how long sent bytes may stay unacknowledged, or the peer's
    /// window closed, before the system ends the connection. Zero: the system's default, some
    /// fifteen minutes. By default longer than the outbox timeout of a slow consumer: an eviction
    /// is logged with its reason, a connection that ends this way only as lost.
    pub user_timeout: Duration,
}

impl Default for TcpOptions {
    fn default() -> Self {
        Self {
            send_buffer: 0,
            user_timeout: Duration::from_secs(45),
        }
    }
}
