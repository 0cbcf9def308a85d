//! Sets the options of accepted TCP sockets, so that the system detects dead peers.

use std::io;

use socket2::SockRef;

use crate::config::TcpOptions;
use crate::listener::Stream;

/// Sets the options if the stream is TCP.
pub fn set_options(options: &TcpOptions, stream: &Stream) -> io::Result<()> {
    let Stream::Left(stream) = stream else {
        return Ok(());
    };
    let socket = SockRef::from(stream);
    if options.send_buffer != 0 {
        socket.set_send_buffer_size(options.send_buffer)?;
    }
    if !options.user_timeout.is_zero() {
        socket.set_tcp_user_timeout(Some(options.user_timeout))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use super::*;
    use crate::config::Listen;
    use crate::listener::{Listener, descriptor};

    #[tokio::test]
    async fn an_accepted_socket_has_the_configured_options_or_the_defaults() {
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
            set_options(&options, &stream).unwrap();
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
