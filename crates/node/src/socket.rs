//! A client's socket as its shard sees it.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::io::{IoSlice, Read as _, Write as _};
use std::net::Shutdown;
use std::num::NonZeroU64;
use std::sync::Arc;

use ht_backend::KeptCredentials;
use ht_control::turn::{Read, Readable, Readiness};
use ht_core::peer::{Peer, Sent};
use ht_edge::listener;
use ht_edge::permits::Slot;
use ht_proto::entry::TenantId;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use uuid::Uuid;

use crate::tickets::Holder;

/// A socket, and what is remembered of its client for hooks and logs.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: Stream,
    readiness: Readiness,
    /// Its client's address.
    pub(crate) address: Slot,
    /// Only kept where a hook, a log or a resume ticket needs it.
    pub(crate) about: Option<Box<About>>,
}

/// The client at the other end.
#[derive(Debug)]
pub(crate) struct About {
    pub(crate) id: Uuid,
    pub(crate) tenant: TenantId,
    pub(crate) user: Option<Arc<str>>,
    /// For the hooks, and to query the API again; `None` if no hook is configured and permissions
    /// are never checked again.
    pub(crate) credentials: Option<Arc<KeptCredentials>>,
    /// For its resume tickets, if it gets any.
    pub(crate) holder: Option<Box<Holder>>,
    /// The hooks report it.
    pub(crate) is_reported: bool,
    /// When a ping hook was last called, in the shard's milliseconds, counted from one.
    pub(crate) pinged: Option<NonZeroU64>,
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    /// A connection that the runtime accepted.
    ///
    /// # Errors
    /// If it cannot be taken from the runtime.
    pub(crate) fn new(stream: listener::Stream, about: Option<Box<About>>) -> io::Result<Self> {
        Ok(match stream {
            listener::Stream::Left(stream) => Self::tcp(stream.into_std()?, about),
            listener::Stream::Right(stream) => Self::unix(stream.into_std()?, about),
        })
    }

    pub(crate) fn tcp(stream: std::net::TcpStream, about: Option<Box<About>>) -> Self {
        Self {
            stream: Stream::Tcp(TcpStream::from_std(stream)),
            readiness: Readiness::default(),
            address: Slot::NONE,
            about,
        }
    }

    pub(crate) fn unix(stream: std::os::unix::net::UnixStream, about: Option<Box<About>>) -> Self {
        Self {
            stream: Stream::Unix(UnixStream::from_std(stream)),
            readiness: Readiness::default(),
            address: Slot::NONE,
            about,
        }
    }

    /// The user of the connection, if known.
    pub(crate) fn user(&self) -> Option<&str> {
        self.about.as_ref().and_then(|about| about.user.as_deref())
    }

    /// The tenant of the connection. Of every connection of another one than `main` it is known.
    pub(crate) fn tenant(&self) -> TenantId {
        let about = self.about.as_ref();
        about.map_or(TenantId::MAIN, |about| about.tenant)
    }

    /// A number that is equal for all connections of one user, and if the user is not known for all
    /// of one address.
    pub(crate) fn client(&self) -> u64 {
        let user = self.about.as_ref().and_then(|about| about.user.as_ref());
        let mut hasher = DefaultHasher::new();
        match user {
            Some(user) => self.tenant().scope(user).hash(&mut hasher),
            None => self.address.hash(&mut hasher),
        }
        hasher.finish()
    }

    /// Registers for events, edge-triggered, for as long as the socket lives.
    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let interests = Interest::READABLE | Interest::WRITABLE;
        match &mut self.stream {
            Stream::Tcp(stream) => registry.register(stream, token, interests),
            Stream::Unix(stream) => registry.register(stream, token, interests),
        }
    }

    /// The address at the other end of the socket itself, which may be a proxy's.
    pub(crate) fn peer_address(&self) -> String {
        match &self.stream {
            Stream::Tcp(stream) => stream
                .peer_addr()
                .map_or_else(|_| "unknown".into(), |address| address.to_string()),
            Stream::Unix(_) => "unix socket".into(),
        }
    }
}

impl Peer for Socket {
    fn send(&mut self, bytes: &[u8]) -> Sent {
        loop {
            let written = match &mut self.stream {
                Stream::Tcp(stream) => stream.write(bytes),
                Stream::Unix(stream) => stream.write(bytes),
            };
            if let Some(sent) = sent(written) {
                return sent;
            }
        }
    }

    fn send_vectored(&mut self, parts: &[IoSlice<'_>]) -> Sent {
        loop {
            let written = match &mut self.stream {
                Stream::Tcp(stream) => stream.write_vectored(parts),
                Stream::Unix(stream) => stream.write_vectored(parts),
            };
            if let Some(sent) = sent(written) {
                return sent;
            }
        }
    }

    fn address(&self) -> u32 {
        self.address.number()
    }

    fn kept_bytes(&self) -> usize {
        let about = self.about.as_ref();
        let credentials = about.and_then(|about| about.credentials.as_ref());
        credentials.map_or(0, |credentials| credentials.bytes())
    }

    fn shutdown(&mut self) {
        // An error means that the connection is closed already, which its next event reports.
        let _ = match &self.stream {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Write),
        };
    }
}

impl Readable for Socket {
    fn readiness(&mut self) -> &mut Readiness {
        &mut self.readiness
    }

    fn read(&mut self, buffer: &mut [u8]) -> Read {
        loop {
            let read = match &mut self.stream {
                Stream::Tcp(stream) => stream.read(buffer),
                Stream::Unix(stream) => stream.read(buffer),
            };
            match read {
                Ok(0) => return Read::End,
                Ok(len) => return Read::Bytes(len),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Read::Nothing,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Read::End,
            }
        }
    }
}

/// Result of a write; `None` if it must be retried.
fn sent(written: io::Result<usize>) -> Option<Sent> {
    match written {
        Ok(bytes) => Some(Sent::Bytes(bytes)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Some(Sent::Bytes(0)),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => None,
        Err(_) => Some(Sent::Gone),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_stays_small() {
        // Every idle connection has one. Fields that mio adds to a stream in debug builds are not
        // counted.
        assert!(size_of::<Socket>() <= size_of::<Stream>() + 16);
        assert!(size_of::<About>() <= 64);
    }
}
