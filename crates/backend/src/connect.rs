//! Connections to the backend: TCP, TLS or a unix socket.

mod stream;

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tower_service::Service;

use crate::answer::{Failure, Waiting};
use crate::cause;
use crate::tls::TlsFault;

pub(crate) use crate::connect::stream::{Served, Stream};

/// How often an established connection without traffic is probed.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// Makes connections to the one backend of a configuration.
#[derive(Clone)]
pub(crate) struct Connector {
    route: Route,
    /// The client finishes some connections in the background, so they need a bound of their own.
    timeout: Duration,
}

#[derive(Clone)]
enum Route {
    Tcp(HttpConnector),
    Tls(HttpConnector, TlsConnector, ServerName<'static>),
    Unix(Arc<Path>),
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// The host name has no address.
    #[error("{0}")]
    Name(String),
    /// TCP.
    #[error("{0}")]
    Tcp(String),
    /// The unix socket.
    #[error("{}: {cause}", path.display())]
    Unix { path: PathBuf, cause: io::Error },
    /// The handshake.
    #[error("{0}")]
    Tls(TlsFault),
    /// Too slow.
    #[error("timeout")]
    Timeout(Duration),
}

impl From<&ConnectError> for Failure {
    fn from(error: &ConnectError) -> Self {
        match error {
            ConnectError::Name(text) => Self::Resolve(text.clone()),
            ConnectError::Tcp(_) | ConnectError::Unix { .. } => Self::Connect(error.to_string()),
            ConnectError::Tls(fault) => Self::Tls(fault.clone()),
            ConnectError::Timeout(within) => Self::Timeout {
                within: *within,
                waiting: Waiting::Connection,
            },
        }
    }
}

impl Connector {
    /// Connections over TCP.
    pub(crate) fn tcp(timeout: Duration) -> Self {
        Self {
            route: Route::Tcp(http_connector(timeout)),
            timeout,
        }
    }

    /// Connections over TLS to a server of this name.
    pub(crate) fn tls(timeout: Duration, tls: TlsConnector, name: ServerName<'static>) -> Self {
        Self {
            route: Route::Tls(http_connector(timeout), tls, name),
            timeout,
        }
    }

    /// Connections over a unix socket, whatever the address says.
    pub(crate) fn unix(timeout: Duration, path: &Path) -> Self {
        Self {
            route: Route::Unix(path.into()),
            timeout,
        }
    }
}

/// A TCP connector that leaves the scheme to us. The timeout is shared by a name's addresses, so
/// that a dead first one leaves time for the others.
fn http_connector(timeout: Duration) -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_keepalive(Some(KEEPALIVE));
    connector.set_connect_timeout(Some(timeout));
    connector
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = ConnectError;
    type Future = BoxFuture<'static, Result<Self::Response, ConnectError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let Self { route, timeout } = self.clone();
        Box::pin(async move {
            let stream = tokio::time::timeout(timeout, connect(route, target))
                .await
                .map_err(|_| ConnectError::Timeout(timeout))??;
            Ok(TokioIo::new(stream))
        })
    }
}

async fn connect(route: Route, target: Uri) -> Result<Stream, ConnectError> {
    match route {
        Route::Tcp(connector) => Ok(Stream::plain(tcp(connector, target).await?)),
        Route::Tls(connector, tls, name) => {
            let tcp = tcp(connector, target).await?;
            let tls = tls.connect(name, tcp).await;
            tls.map(Stream::new)
                .map_err(|error| ConnectError::Tls(TlsFault::of_handshake(&error)))
        }
        Route::Unix(path) => match UnixStream::connect(&path).await {
            Ok(stream) => Ok(Stream::new(stream)),
            Err(cause) => Err(ConnectError::Unix {
                path: path.to_path_buf(),
                cause,
            }),
        },
    }
}

async fn tcp(mut connector: HttpConnector, target: Uri) -> Result<TcpStream, ConnectError> {
    match connector.call(target).await {
        Ok(stream) => Ok(stream.into_inner()),
        Err(error) => Err(refused(&error)),
    }
}

/// Distinguishes a name that cannot be resolved from an address that cannot be reached: the
/// connector reports it only in its error text.
fn refused(error: &(dyn Error + 'static)) -> ConnectError {
    let causes = cause::causes(error);
    if error.to_string().starts_with("dns error") {
        ConnectError::Name(causes)
    } else {
        ConnectError::Tcp(causes)
    }
}
