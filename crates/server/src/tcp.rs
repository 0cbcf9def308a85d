//! What accepted TCP sockets are told, so that the system finds dead peers.

use std::io;
use std::time::Duration;

use socket2::SockRef;

use crate::listener::Stream;

/// Options of a visitor's socket.
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

impl TcpOptions {
    /// Sets them, where the stream is one of TCP.
    pub(crate) fn apply(&self, stream: &Stream) -> io::Result<()> {
        let Stream::Left(stream) = stream else {
            return Ok(());
        };
        let socket = SockRef::from(stream);
        if self.send_buffer != 0 {
            socket.set_send_buffer_size(self.send_buffer)?;
        }
        if !self.user_timeout.is_zero() {
            socket.set_tcp_user_timeout(Some(self.user_timeout))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::config::Listen;
    use crate::listener::{Listener, descriptor};

    #[tokio::test]
    async fn an_accepted_socket_has_what_is_set_and_else_the_systems_own() {
        let any = Listen::Tcp((Ipv4Addr::LOCALHOST, 0).into());
        let listener = Listener::bind(&any).unwrap();
        let Listen::Tcp(address) = listener.address(&any) else {
            unreachable!("listening on TCP");
        };
        for (send_buffer, seconds) in [(64 << 10, 7), (0, 0)] {
            let _client = std::net::TcpStream::connect(address).unwrap();
            let (stream, _) = listener.accept().await.unwrap();
            let descriptor = descriptor(&stream);
            let socket = SockRef::from(&descriptor);
            let before = socket.send_buffer_size().unwrap();
            let options = TcpOptions {
                send_buffer,
                user_timeout: Duration::from_secs(seconds),
            };
            options.apply(&stream).unwrap();
            let timeout = (seconds != 0).then(|| Duration::from_secs(seconds));
            assert_eq!(socket.tcp_user_timeout().unwrap(), timeout);
            let doubled = if send_buffer == 0 {
                before
            } else {
                2 * send_buffer
            };
            assert_eq!(socket.send_buffer_size().unwrap(), doubled);
        }
    }
}
