//! Options of accepted TCP sockets.

use std::time::Duration;

/// Options of a client's socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpOptions {
    /// `SO_SNDBUF`: bytes that the system keeps of what was sent and not acknowledged, its own
    /// overhead included; Linux doubles the number. Zero: the system's own, which grows with what
    /// the connection has shown to take.
    pub send_buffer: usize,
    /// `TCP_USER_TIMEOUT` (RFC 5482): how long sent bytes may stay unacknowledged, or the peer have
    /// no room for more, before the system ends the connection. Zero: the system's own, some
    /// fifteen minutes. Longer than an outbox may stand still by default: who is evicted has a
    /// name, who ends this way is only gone.
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
