//! Listeners on TCP and unix sockets alike.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_util::either::Either;

use crate::address::Peer;
use crate::config::Listen;

/// The backlog: connections that the system queues until they are accepted.
const BACKLOG: i32 = 4_096;

/// How long to wait after an error that would recur if accepting were retried at once, such as too
/// many open files.
pub const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// A listening socket.
#[derive(Debug)]
pub struct Listener {
    socket: ListeningSocket,
    /// The file, if it is ours; only kept to be removed in the end.
    _file: Option<SocketFile>,
}

#[derive(Debug)]
enum ListeningSocket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A listening socket that was opened before the process started, as systemd does it.
#[derive(Debug)]
pub enum Inherited {
    /// On a TCP port.
    Tcp(std::net::TcpListener),
    /// On a unix socket.
    Unix(std::os::unix::net::UnixListener),
}

/// Sockets that are used in place of the configured addresses.
#[derive(Debug, Default)]
pub struct InheritedSockets {
    /// Replaces `listen`.
    pub public: Option<Inherited>,
    /// Replaces `internal.listen`.
    pub internal: Option<Inherited>,
}

/// An accepted connection: on a TCP port (left), or on a unix socket (right).
pub type Stream = Either<TcpStream, UnixStream>;

/// The descriptor of a connection.
pub fn descriptor(stream: &Stream) -> BorrowedFd<'_> {
    match stream {
        Stream::Left(tcp) => tcp.as_fd(),
        Stream::Right(unix) => unix.as_fd(),
    }
}

/// The file of a unix socket; removed with the listener.
#[derive(Debug)]
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // It may be removed already, and there is no way to report another error.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Listener {
    /// Listens on an address.
    pub fn bind(listen: &Listen) -> io::Result<Self> {
        match listen {
            Listen::Tcp(address) => bind_tcp(*address).map(Self::tcp),
            Listen::Unix { path, mode } => {
                remove_stale(path)?;
                let listener = UnixListener::bind(path)?;
                let file = SocketFile(path.clone());
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(*mode))?;
                Ok(Self {
                    socket: ListeningSocket::Unix(listener),
                    _file: Some(file),
                })
            }
        }
    }

    /// Takes over a socket that another process opened, and leaves its file alone.
    pub fn take(inherited: Inherited) -> io::Result<Self> {
        match inherited {
            Inherited::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                TcpListener::from_std(listener).map(Self::tcp)
            }
            Inherited::Unix(listener) => {
                listener.set_nonblocking(true)?;
                let listener = UnixListener::from_std(listener)?;
                Ok(Self {
                    socket: ListeningSocket::Unix(listener),
                    _file: None,
                })
            }
        }
    }

    /// The actual address.
    pub fn address(&self, asked: &Listen) -> Listen {
        match &self.socket {
            ListeningSocket::Tcp(listener) => listener
                .local_addr()
                .map_or_else(|_| asked.clone(), Listen::Tcp),
            ListeningSocket::Unix(listener) => {
                let address = listener.local_addr().ok();
                match address.as_ref().and_then(|address| address.as_pathname()) {
                    Some(path) => Listen::Unix {
                        path: path.to_owned(),
                        mode: 0,
                    },
                    None => asked.clone(),
                }
            }
        }
    }

    /// The next connection, and the peer that opened it.
    pub async fn accept(&self) -> io::Result<(Stream, Peer)> {
        match &self.socket {
            ListeningSocket::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                // Small messages must not be delayed (Nagle). An error means that the connection is
                // closed already, which its reader will see.
                let _ = stream.set_nodelay(true);
                Ok((Stream::Left(stream), address.into()))
            }
            ListeningSocket::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((Stream::Right(stream), Peer::Unix))
            }
        }
    }

    fn tcp(listener: TcpListener) -> Self {
        Self {
            socket: ListeningSocket::Tcp(listener),
            _file: None,
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.socket {
            ListeningSocket::Tcp(listener) => listener.as_fd(),
            ListeningSocket::Unix(listener) => listener.as_fd(),
        }
    }
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Removes a socket file that an ended process left behind. Any other file is kept and makes the
/// bind fail.
fn remove_stale(path: &Path) -> io::Result<()> {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
    if is_socket && std::os::unix::net::UnixStream::connect(path).is_err() {
        std::fs::remove_file(path)?;
    }
    Ok(())
}
