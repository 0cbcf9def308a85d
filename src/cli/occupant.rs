//! Which program uses an address that the gateway is to listen on: this gateway, another one, or
//! something else.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::unix::net::UnixStream as BlockingUnixStream;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use ht_node::config::{Listen, ServerConfig};
use ht_node::identity;
use http::{Request, header};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::cli::finding::Finding;

/// Time for the answer of whoever listens.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Who answers at `internal.listen`.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Occupant {
    /// A gateway; its version and where it serves browsers.
    Gateway { version: String, listen: String },
    /// Some other HTTP server.
    Other,
    /// Nobody who speaks HTTP, or nobody at all.
    Nobody,
}

/// Whether both listeners can be started; where an address is taken, by whom.
pub(super) async fn listeners(config: &ServerConfig) -> [(&'static str, Finding); 2] {
    let (public, internal) = (&config.listen, &config.internal.listen);
    let taken = [is_taken(public), is_taken(internal)];
    let occupant = if taken.iter().any(|taken| matches!(taken, Ok(true))) {
        occupant(internal).await
    } else {
        Occupant::Nobody
    };
    let [public_taken, internal_taken] = taken;
    [
        (
            "listen",
            finding(public, public_taken, || {
                of_public(public, internal, &occupant)
            }),
        ),
        (
            "internal.listen",
            finding(internal, internal_taken, || {
                of_internal(public, internal, &occupant)
            }),
        ),
    ]
}

fn finding(
    listen: &Listen,
    taken: Result<bool, String>,
    by_whom: impl FnOnce() -> Finding,
) -> Finding {
    match taken {
        Ok(false) => Finding::Works(format!("{listen} is free")),
        Ok(true) => by_whom(),
        Err(problem) => Finding::Fix(problem),
    }
}

/// Whether somebody listens there.
///
/// # Errors
/// Why nobody could.
fn is_taken(listen: &Listen) -> Result<bool, String> {
    let address = match listen {
        Listen::Tcp(address) => address,
        Listen::Unix { path, .. } => return is_socket_taken(path),
    };
    match TcpListener::bind(address) {
        Ok(_) => Ok(false),
        Err(cause) if cause.kind() == ErrorKind::AddrInUse => Ok(true),
        Err(cause) => Err(format!("cannot listen on {address}: {cause}")),
    }
}

fn is_socket_taken(path: &Path) -> Result<bool, String> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    match folder {
        Some(folder) if !folder.is_dir() => Err(format!(
            "there is no folder {} for the socket",
            folder.display()
        )),
        // A socket that a process left behind refuses; it is replaced.
        Some(_) | None => Ok(BlockingUnixStream::connect(path).is_ok()),
    }
}

/// What it means that the public address is taken.
fn of_public(public: &Listen, internal: &Listen, occupant: &Occupant) -> Finding {
    match occupant {
        Occupant::Gateway { version, listen } if is_same(public, listen) => {
            Finding::Works(runs_already(version))
        }
        Occupant::Gateway { version, listen } => Finding::Fix(format!(
            "another program listens on {public}; the high-templar {version} at {internal} serves \
             browsers on {listen}. {}",
            Find(public)
        )),
        Occupant::Other | Occupant::Nobody => Finding::Fix(format!(
            "another program listens on {public}: no high-templar answers at internal.listen \
             ({internal}). {}",
            Find(public)
        )),
    }
}

/// What it means that the internal address is taken.
fn of_internal(public: &Listen, internal: &Listen, occupant: &Occupant) -> Finding {
    match occupant {
        Occupant::Gateway { version, listen } if is_same(public, listen) => {
            Finding::Works(runs_already(version))
        }
        Occupant::Gateway { version, listen } => Finding::Fix(format!(
            "another high-templar ({version}) runs here, which serves browsers on {listen} and not \
             on {public}: give one of the two another internal.listen"
        )),
        Occupant::Other => Finding::Fix(format!(
            "another program listens on {internal}. {}",
            Find(internal)
        )),
        Occupant::Nobody => Finding::Fix(format!(
            "something listens on {internal} and does not answer: another program, a gateway that \
             hangs, or a systemd socket whose service does not start. {}",
            Find(internal)
        )),
    }
}

fn runs_already(version: &str) -> String {
    format!("high-templar {version} (this configuration) already runs here: not an error")
}

/// Whether a running gateway serves browsers where the configuration says. A service manager may
/// have opened its socket on another interface, so that the port alone counts.
fn is_same(configured: &Listen, running: &str) -> bool {
    match (configured, running.parse::<SocketAddr>()) {
        (Listen::Tcp(configured), Ok(running)) => configured.port() == running.port(),
        (Listen::Unix { .. }, Err(_)) => configured.to_string() == running,
        (Listen::Tcp(_), Err(_)) | (Listen::Unix { .. }, Ok(_)) => false,
    }
}

/// How to find the program that listens.
struct Find<'a>(&'a Listen);

impl fmt::Display for Find<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Listen::Tcp(address) => {
                let port = address.port();
                write!(
                    f,
                    "Find it with `ss -ltnp 'sport = :{port}'`, stop it, or take another port"
                )
            }
            Listen::Unix { path, .. } => {
                write!(f, "Find it with `ss -lxp src {}`", path.display())
            }
        }
    }
}

async fn occupant(internal: &Listen) -> Occupant {
    match tokio::time::timeout(TIMEOUT, ask(internal)).await {
        Ok(Ok(occupant)) => occupant,
        Ok(Err(_)) | Err(_) => Occupant::Nobody,
    }
}

async fn ask(internal: &Listen) -> io::Result<Occupant> {
    match internal {
        Listen::Tcp(address) => ask_over(TcpStream::connect(here(*address)).await?).await,
        Listen::Unix { path, .. } => ask_over(UnixStream::connect(path).await?).await,
    }
}

/// Where to reach, from this machine, what listens on an address.
fn here(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, address.port())
}

async fn ask_over(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> io::Result<Occupant> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    // Its error is that of the request.
    tokio::spawn(connection);
    let request = Request::get("/live")
        .header(header::HOST, "localhost")
        .body(Empty::<Bytes>::new())
        .map_err(io::Error::other)?;
    let response = sender
        .send_request(request)
        .await
        .map_err(io::Error::other)?;
    Ok(match identity::read(response.headers()) {
        Some((version, listen)) => Occupant::Gateway { version, listen },
        None => Occupant::Other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listen(text: &str) -> Listen {
        match text.strip_prefix("unix:") {
            Some(path) => Listen::Unix {
                path: path.into(),
                mode: 0o660,
            },
            None => Listen::Tcp(text.parse().unwrap()),
        }
    }

    #[test]
    fn a_running_gateway_is_known_by_where_it_serves_browsers() {
        for (configured, running, expected) in [
            ("127.0.0.1:5000", "127.0.0.1:5000", true),
            ("0.0.0.0:5000", "[::]:5000", true),
            ("127.0.0.1:5000", "127.0.0.1:5001", false),
            ("unix:/run/ht.sock", "unix:/run/ht.sock", true),
            ("unix:/run/ht.sock", "unix:/run/other.sock", false),
            ("unix:/run/ht.sock", "127.0.0.1:5000", false),
            ("127.0.0.1:5000", "unix:/run/ht.sock", false),
        ] {
            assert_eq!(
                is_same(&listen(configured), running),
                expected,
                "{configured} {running}"
            );
        }
    }

    #[test]
    fn what_listens_everywhere_is_asked_on_this_machine() {
        for (address, expected) in [
            ("0.0.0.0:80", "127.0.0.1:80"),
            ("[::]:80", "[::1]:80"),
            ("10.0.0.1:80", "10.0.0.1:80"),
        ] {
            assert_eq!(here(address.parse().unwrap()).to_string(), expected);
        }
    }
}
