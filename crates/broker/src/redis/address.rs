//! The server's url: which parts of it may be shown, and how a connection is made.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use redis::{ConnectionAddr, IntoConnectionInfo as _, RedisConnectionInfo};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::config::RedisConfig;
use crate::redis::cause::Cause;
use crate::tls::{Verify, client_config};

/// Limit on the handshake of TLS.
const HANDSHAKE: Duration = Duration::from_secs(3);

/// The socket of a connection, whatever it is.
pub(super) trait Socket: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Socket for T {}

/// A url, read.
#[derive(Clone)]
pub(super) struct Address {
    pub(super) login: RedisConnectionInfo,
    target: Target,
    tls: Option<Verify>,
    pub(super) endpoint: Endpoint,
}

#[derive(Clone)]
enum Target {
    Tcp(String, u16),
    Unix(PathBuf),
}

/// The parts of a server's url that may be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Host and port, or the path of a unix socket.
    pub host: String,
    /// The number of the database.
    pub database: i64,
    /// The connection is encrypted.
    pub tls: bool,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tls = if self.tls { ", TLS" } else { "" };
        write!(f, "{} (database {}{tls})", self.host, self.database)
    }
}

/// What is wrong with a server's url. The texts never repeat the url: it holds a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// Another scheme, or none.
    #[error("the url must start with redis://, rediss:// (TLS) or unix://")]
    Scheme,
    /// The rest cannot be read.
    #[error(
        "the url cannot be read: it should look like redis://user:password@host:6379/0, with \
         special characters in user and password percent-encoded (@ as %40, / as %2F, # as %23), \
         or unix:///run/redis/redis.sock?db=0"
    )]
    Syntax,
}

/// The parts of this url that may be shown.
///
/// ```
/// let endpoint = ht_broker::redis::describe("rediss://user:secret@cache/2").unwrap();
/// assert_eq!(endpoint.to_string(), "cache:6379 (database 2, TLS)");
/// ```
///
/// # Errors
/// When it is no url of a Redis. The error does not repeat it.
pub fn describe(url: &str) -> Result<Endpoint, UrlError> {
    Ok(parse(url)?.endpoint)
}

/// Reads the url, with what the configuration sets beside it.
pub(super) fn read(config: &RedisConfig) -> Result<Address, UrlError> {
    let mut address = parse(&config.url)?;
    if let Some(user) = &config.username {
        address.login = address.login.set_username(user);
    }
    if let Some(password) = &config.password {
        address.login = address.login.set_password(password);
    }
    if address.tls.is_some() && !config.tls_verify {
        address.tls = Some(Verify::Nobody);
    } else if address.tls.is_some() {
        address.tls = Some(Verify::Full(config.tls_ca_file.clone()));
    }
    Ok(address)
}

fn parse(url: &str) -> Result<Address, UrlError> {
    let url = url.trim();
    let (scheme, rest) = url.split_once("://").ok_or(UrlError::Scheme)?;
    let (plain, tls) = match scheme {
        "redis" | "valkey" => ("redis", false),
        // The library would want TLS of its own.
        "rediss" | "valkeys" => ("redis", true),
        "unix" | "redis+unix" | "valkey+unix" => ("unix", false),
        _ => return Err(UrlError::Scheme),
    };
    if rest.contains('#') {
        return Err(UrlError::Syntax);
    }
    let info = format!("{plain}://{rest}").into_connection_info();
    let info = info.map_err(|_hides_the_url| UrlError::Syntax)?;
    let (target, host) = match info.addr() {
        ConnectionAddr::Tcp(host, port) => {
            let shown = if host.contains(':') {
                format!("[{host}]:{port}")
            } else {
                format!("{host}:{port}")
            };
            (Target::Tcp(host.clone(), *port), shown)
        }
        ConnectionAddr::Unix(path) => (Target::Unix(path.clone()), path.display().to_string()),
        ConnectionAddr::TcpTls { .. } | _ => return Err(UrlError::Syntax),
    };
    let login = info.redis_settings().clone();
    Ok(Address {
        endpoint: Endpoint {
            host,
            database: login.db(),
            tls,
        },
        login: login.set_lib_name("high-templar", env!("CARGO_PKG_VERSION")),
        target,
        tls: tls.then_some(Verify::Full(None)),
    })
}

impl Address {
    /// Connects, without a login yet.
    pub(super) async fn connect(&self) -> Result<Box<dyn Socket>, Cause> {
        let (host, port) = match &self.target {
            Target::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(unreachable)?;
                return Ok(Box::new(stream));
            }
            Target::Tcp(host, port) => (host, *port),
        };
        let stream = TcpStream::connect((host.as_str(), port)).await;
        let stream = stream.map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        let Some(verify) = &self.tls else {
            return Ok(Box::new(stream));
        };
        let config =
            client_config(verify, "redis.tls_ca_file").map_err(|error| Cause::tls(&error))?;
        let name = ServerName::try_from(host.clone()).map_err(|error| Cause::tls(&error))?;
        let connecting = TlsConnector::from(Arc::new(config)).connect(name, stream);
        // A port without TLS waits for the end of what it takes for a command.
        let stream = match timeout(HANDSHAKE, connecting).await {
            Ok(stream) => stream.map_err(|error| Cause::tls(&error))?,
            Err(elapsed) => return Err(Cause::tls(&elapsed)),
        };
        Ok(Box::new(stream))
    }

    /// Whether it is encrypted with anybody.
    pub(super) fn trusts_anybody(&self) -> bool {
        self.tls == Some(Verify::Nobody)
    }
}

fn unreachable(error: io::Error) -> Cause {
    Cause::Connect(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(url: &str) -> String {
        match describe(url) {
            Ok(endpoint) => endpoint.to_string(),
            Err(error) => format!("{error:?}"),
        }
    }

    #[test]
    fn shows_the_endpoint_and_no_secret() {
        for (url, expected) in [
            ("redis://u:geheim@cache", "cache:6379 (database 0)"),
            (
                "redis://:p%40w@10.0.0.1:7000/3",
                "10.0.0.1:7000 (database 3)",
            ),
            ("rediss://u:geheim@[::1]:1/", "[::1]:1 (database 0, TLS)"),
            ("valkeys://cache", "cache:6379 (database 0, TLS)"),
            (" redis://cache\n", "cache:6379 (database 0)"),
            (
                "unix:///run/redis.sock?db=2&user=u&pass=geheim",
                "/run/redis.sock (database 2)",
            ),
            ("http://u:geheim@cache", "Scheme"),
            ("cache:6379", "Scheme"),
            ("", "Scheme"),
            ("redis://u:geheim@", "Syntax"),
            ("redis://u:geheim@cache:99999", "Syntax"),
            ("redis://u:geheim@cache/geheim", "Syntax"),
            ("redis://u:gehe#im@cache/0", "Syntax"),
            ("unix://", "Syntax"),
        ] {
            assert_eq!(shown(url), expected, "{url:?}");
        }
    }

    #[test]
    fn settings_take_the_place_of_what_the_url_names() {
        let config = RedisConfig {
            url: "rediss://u:p@cache".into(),
            username: Some("other".into()),
            password: Some("p@/".into()),
            tls_ca_file: Some("/a.pem".into()),
            ..RedisConfig::default()
        };
        let address = read(&config).unwrap();
        assert_eq!(address.login.username(), Some("other"));
        assert_eq!(address.login.password(), Some("p@/"));
        assert_eq!(address.tls, Some(Verify::Full(Some("/a.pem".into()))));
        let config = RedisConfig {
            tls_verify: false,
            ..config
        };
        assert!(read(&config).unwrap().trusts_anybody());
        let config = RedisConfig {
            url: "redis://u:p@cache".into(),
            ..config
        };
        assert_eq!(read(&config).unwrap().tls, None);
    }
}
