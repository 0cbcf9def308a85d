//! The sockets that lapin works on: tokio's, plain or with rustls, with a time limit on every
//! step of connecting and with a handle to cut them.
//!
//! lapin drives each connection from a thread of its own, which ends when its socket does. A peer
//! that falls silent before the heartbeats run would keep that thread for ever, so a caller that
//! abandons a connection cuts its socket.

use std::future::Future;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use async_rs::Tokio;
use async_rs::traits::Reactor;
use async_rs::util::RuntimeParts;
use futures_util::{AsyncRead as FuturesRead, AsyncWrite as FuturesWrite, Stream};
use lapin::uri::{AMQPScheme, AMQPUri};
#[cfg(feature = "aws-lc")]
use rustls::crypto::aws_lc_rs as crypto;
#[cfg(all(feature = "ring", not(feature = "aws-lc")))]
use rustls::crypto::ring as crypto;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};
use tokio_util::either::Either;

/// The runtime passed to lapin: tokio, but for the sockets.
pub(super) type Kit = RuntimeParts<Tokio, Sockets>;

/// The runtime to hand to lapin, bound to the current tokio runtime.
pub(super) fn kit() -> async_rs::Runtime<Kit> {
    let tokio = Tokio::current();
    async_rs::Runtime::new(RuntimeParts::new(tokio.clone(), Sockets(tokio)))
}

/// One connection's socket, to be cut from whichever thread.
#[derive(Debug, Default)]
pub(super) struct Lifeline {
    state: Mutex<Line>,
}

#[derive(Debug, Default)]
enum Line {
    #[default]
    Loose,
    Held(socket2::Socket),
    Cut,
}

impl Lifeline {
    /// Ends the connection's traffic in both directions, now or as soon as there is a socket.
    pub(super) fn cut(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Line::Held(socket) = std::mem::replace(&mut *state, Line::Cut) {
            // It fails only where the connection has ended already.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    fn hold(&self, stream: &TcpStream) -> io::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match *state {
            Line::Loose => *state = Line::Held(SockRef::from(stream).try_clone()?),
            Line::Held(_) => {}
            Line::Cut => return Err(io::ErrorKind::ConnectionAborted.into()),
        }
        Ok(())
    }
}

/// Cuts the socket when it is dropped, so that no way out forgets to.
#[derive(Debug, Default)]
pub(super) struct Cutter(pub(super) Arc<Lifeline>);

impl Drop for Cutter {
    fn drop(&mut self) {
        self.0.cut();
    }
}

/// Connects, with TLS where the url wants it, within `limit`.
pub(super) async fn connect(
    uri: &AMQPUri,
    lifeline: &Lifeline,
    limit: Duration,
) -> io::Result<Compat<Socket>> {
    tokio::time::timeout(limit, open(uri, lifeline, limit))
        .await
        .unwrap_or_else(|_elapsed| Err(io::ErrorKind::TimedOut.into()))
}

async fn open(uri: &AMQPUri, lifeline: &Lifeline, limit: Duration) -> io::Result<Compat<Socket>> {
    let host = uri.authority.host.as_str();
    let stream = dial(host, uri.authority.port, limit).await?;
    stream.set_nodelay(true)?;
    lifeline.hold(&stream)?;
    let socket = match uri.scheme {
        AMQPScheme::AMQP => Socket::Left(stream),
        AMQPScheme::AMQPS => {
            let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
            let connector = TlsConnector::from(tls()?);
            Socket::Right(Box::new(connector.connect(name, stream).await?))
        }
    };
    Ok(socket.compat())
}

/// Tries the host's addresses in turn. Each has its share of the time, so that one that swallows
/// packets does not hide the next.
async fn dial(host: &str, port: u16, limit: Duration) -> io::Result<TcpStream> {
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host((host, port)).await?.collect();
    let share = limit / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
    let mut failure = io::Error::other("lookup address information: the host has no address");
    for address in addresses {
        match tokio::time::timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => failure = error,
            Err(_elapsed) => failure = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(failure)
}

/// One for all connections, made with the first.
static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();

/// Trusts the system's roots, or those that `SSL_CERT_FILE` names.
fn tls() -> io::Result<Arc<ClientConfig>> {
    if let Some(config) = CONFIG.get() {
        return Ok(Arc::clone(config));
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(io::Error::other(
            "no root certificates on this system: install ca-certificates or set SSL_CERT_FILE",
        ));
    }
    let config = tls_with(roots)?;
    Ok(Arc::clone(CONFIG.get_or_init(|| config)))
}

fn tls_with(roots: RootCertStore) -> io::Result<Arc<ClientConfig>> {
    let provider = Arc::new(crypto::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// A connection to the broker: `amqp://` (left), or `amqps://` (right).
pub(super) type Socket = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// Tokio's reactor with our own socket type.
#[derive(Clone, Debug)]
pub(super) struct Sockets(Tokio);

impl Reactor for Sockets {
    type TcpStream = Compat<Socket>;
    type Sleep = <Tokio as Reactor>::Sleep;

    fn register<H>(
        &self,
        socket: H,
    ) -> io::Result<impl FuturesRead + FuturesWrite + Send + Unpin + 'static>
    where
        H: io::Read + io::Write + std::os::fd::AsFd + std::os::fd::AsRawFd + Send + 'static,
    {
        self.0.register(socket)
    }

    fn sleep(&self, dur: Duration) -> Self::Sleep {
        self.0.sleep(dur)
    }

    fn interval(&self, dur: Duration) -> impl Stream<Item = Instant> + Send + 'static {
        self.0.interval(dur)
    }

    #[allow(clippy::manual_async_fn, reason = "an async fn would borrow self")]
    fn tcp_connect_addr(
        &self,
        address: SocketAddr,
    ) -> impl Future<Output = io::Result<Self::TcpStream>> + Send + 'static {
        async move { Ok(Socket::Left(TcpStream::connect(address).await?).compat()) }
    }
}

#[cfg(test)]
mod tests;
