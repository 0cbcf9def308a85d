//! The database's url: which parts of it may be shown, and which are passed to the client library.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

use crate::tls::Verify;

/// Limit on connecting to one host, if the url names none (`connect_timeout`).
const CONNECT: Duration = Duration::from_secs(5);

/// A peer that is silent for so long is asked for a sign of life, if the url does not say otherwise.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);

/// Time between two such questions.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);

/// So many without an answer end the connection.
const KEEPALIVE_RETRIES: u32 = 3;

/// Sent data that is not acknowledged for so long ends the connection.
const USER_TIMEOUT: Duration = Duration::from_secs(15);

/// What a name in `pg_stat_activity` is, if the url names none.
const APPLICATION: &str = "high-templar";

/// A url, read.
#[derive(Clone)]
pub(super) struct Address {
    pub(super) config: Config,
    /// As libpq does for the same `sslmode`: `prefer` and `require` encrypt with anybody.
    pub(super) verify: Verify,
    pub(super) endpoint: Endpoint,
}

/// The parts of a database's url that may be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Host and port, or the folder of a unix socket; several are tried in turn.
    pub hosts: String,
    /// The database.
    pub database: String,
    /// The value of `sslmode`.
    pub tls: &'static str,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            hosts,
            database,
            tls,
        } = self;
        write!(f, "{hosts} (database {database}, sslmode {tls})")
    }
}

/// What is wrong with a database's url. The texts never repeat the url: it holds a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// Another scheme, or none.
    #[error("the url must start with postgresql:// or postgres://")]
    Scheme,
    /// No host.
    #[error("the url names no host")]
    Host,
    /// An `sslmode` that is not supported.
    #[error(
        "sslmode must be disable, prefer, require or verify-full; sslrootcert needs verify-full"
    )]
    SslMode,
    /// The rest cannot be read.
    #[error(
        "the url cannot be read: it should look like postgresql://user:password@host:5432/database, \
         with special characters in user, password and database percent-encoded (@ as %40, / as \
         %2F, # as %23)"
    )]
    Syntax,
}

/// The parts of this url that may be shown.
///
/// ```
/// let endpoint = ht_broker::postgres::describe("postgresql://user:secret@db/shop").unwrap();
/// assert_eq!(endpoint.to_string(), "db:5432 (database shop, sslmode prefer)");
/// ```
///
/// # Errors
/// When it is no url of a PostgreSQL. The error does not repeat it.
pub fn describe(url: &str) -> Result<Endpoint, UrlError> {
    Ok(parse(url)?.endpoint)
}

/// Reads the url as libpq does, and adds limits where it names none.
pub(super) fn parse(url: &str) -> Result<Address, UrlError> {
    let url = url.trim();
    let (scheme, _) = url.split_once("://").ok_or(UrlError::Scheme)?;
    if !["postgres", "postgresql"].contains(&scheme) {
        return Err(UrlError::Scheme);
    }
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    let mut rest = Vec::new();
    let (mut mode, mut root) = ("prefer", None);
    for part in query.split('&').filter(|part| !part.is_empty()) {
        match part.split_once('=') {
            Some(("sslmode", value)) => mode = value,
            Some(("sslrootcert", value)) => root = Some(decoded(value)?),
            _ => rest.push(part),
        }
    }
    let (tls, ssl_mode, verify) = match (mode, &root) {
        ("disable", None) => ("disable", SslMode::Disable, Verify::Nobody),
        ("prefer", None) => ("prefer", SslMode::Prefer, Verify::Nobody),
        ("require", None) => ("require", SslMode::Require, Verify::Nobody),
        ("verify-full", _) => {
            let root = root.filter(|root| root.as_path() != Path::new("system"));
            ("verify-full", SslMode::Require, Verify::Full(root))
        }
        _ => return Err(UrlError::SslMode),
    };
    let plain = format!("{base}?{}", rest.join("&"));
    let mut config: Config = plain.parse().map_err(|_hides_the_url| UrlError::Syntax)?;
    if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
        return Err(UrlError::Host);
    }
    config.ssl_mode(ssl_mode);
    with_limits(&mut config, query);
    let endpoint = Endpoint {
        hosts: hosts(&config),
        database: config
            .get_dbname()
            .or(config.get_user())
            .unwrap_or("of the user")
            .to_owned(),
        tls,
    };
    Ok(Address {
        config,
        verify,
        endpoint,
    })
}

fn with_limits(config: &mut Config, query: &str) {
    let names = |key: &str| {
        let mut parts = query.split('&');
        parts.any(|part| part.split('=').next() == Some(key))
    };
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(CONNECT);
    }
    if config.get_tcp_user_timeout().is_none() {
        config.tcp_user_timeout(USER_TIMEOUT);
    }
    if !names("keepalives_idle") {
        config.keepalives_idle(KEEPALIVE_IDLE);
    }
    if config.get_keepalives_interval().is_none() {
        config.keepalives_interval(KEEPALIVE_INTERVAL);
    }
    if config.get_keepalives_retries().is_none() {
        config.keepalives_retries(KEEPALIVE_RETRIES);
    }
    if config.get_application_name().is_none() {
        config.application_name(APPLICATION);
    }
}

fn hosts(config: &Config) -> String {
    let port = |at: usize| {
        let ports = config.get_ports();
        ports.get(at).or(ports.first()).copied().unwrap_or(5432)
    };
    let named = config.get_hosts().iter().enumerate();
    let named = named.map(|(at, host)| match host {
        Host::Tcp(host) if host.contains(':') => format!("[{host}]:{}", port(at)),
        Host::Tcp(host) => format!("{host}:{}", port(at)),
        Host::Unix(folder) => folder.display().to_string(),
    });
    let all: Vec<_> = named.collect();
    if all.is_empty() {
        let addresses = config.get_hostaddrs().iter().enumerate();
        let all: Vec<_> = addresses
            .map(|(at, address)| format!("{address}:{}", port(at)))
            .collect();
        return all.join(", ");
    }
    all.join(", ")
}

/// A path with its percent-encoding undone.
fn decoded(text: &str) -> Result<PathBuf, UrlError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let hex = rest.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        let byte = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        bytes.push(byte.ok_or(UrlError::Syntax)?);
        rest = &rest[2..];
    }
    let path = String::from_utf8(bytes).map_err(|_| UrlError::Syntax)?;
    Ok(path.into())
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
            (
                "postgresql://u:geheim@db/shop",
                "db:5432 (database shop, sslmode prefer)",
            ),
            (
                "postgres://u:p%40w@10.0.0.1:5433/shop?sslmode=disable",
                "10.0.0.1:5433 (database shop, sslmode disable)",
            ),
            (
                "postgresql://u@[::1]:1/v?sslmode=require",
                "[::1]:1 (database v, sslmode require)",
            ),
            (
                "postgresql://u:p@one:1,two:2/v?target_session_attrs=read-write",
                "one:1, two:2 (database v, sslmode prefer)",
            ),
            (
                "postgresql://u@%2Frun%2Fpostgresql/v",
                "/run/postgresql (database v, sslmode prefer)",
            ),
            (
                "postgresql:///v?host=/run/postgresql&user=u&password=geheim",
                "/run/postgresql (database v, sslmode prefer)",
            ),
            (
                " postgresql://u@db/v?sslmode=verify-full&sslrootcert=%2Fa%20b.pem\n",
                "db:5432 (database v, sslmode verify-full)",
            ),
            ("postgresql://u@db", "db:5432 (database u, sslmode prefer)"),
            ("postgresql:///v", "Host"),
            ("mysql://u:geheim@db", "Scheme"),
            ("db:5432", "Scheme"),
            ("host=db password=geheim", "Scheme"),
            ("", "Scheme"),
            ("postgresql://u@db/v?sslmode=verify-ca", "SslMode"),
            ("postgresql://u@db/v?sslmode=geheim", "SslMode"),
            ("postgresql://u@db/v?sslrootcert=a", "SslMode"),
            ("postgresql://u@db:99999/v", "Syntax"),
            ("postgresql://u@db/v?geheim=1", "Syntax"),
            (
                "postgresql://u@db/v?sslmode=verify-full&sslrootcert=%2",
                "Syntax",
            ),
        ] {
            assert_eq!(shown(url), expected, "{url:?}");
        }
    }

    #[test]
    fn whom_to_trust_is_as_in_libpq() {
        let verify = |query: &str| {
            parse(&format!("postgresql://u@db/v?{query}"))
                .unwrap()
                .verify
        };
        assert_eq!(verify("sslmode=require"), Verify::Nobody);
        assert_eq!(verify("sslmode=verify-full"), Verify::Full(None));
        assert_eq!(
            verify("sslmode=verify-full&sslrootcert=system"),
            Verify::Full(None)
        );
        assert_eq!(
            verify("sslrootcert=%2Fa%20b.pem&sslmode=verify-full"),
            Verify::Full(Some("/a b.pem".into()))
        );
    }

    #[test]
    fn limits_of_the_url_win() {
        let config = parse("postgresql://u@db/v").unwrap().config;
        assert_eq!(config.get_connect_timeout(), Some(&CONNECT));
        assert_eq!(config.get_keepalives_idle(), KEEPALIVE_IDLE);
        assert_eq!(config.get_application_name(), Some(APPLICATION));
        let url = "postgresql://u@db/v?connect_timeout=1&keepalives_idle=7200&application_name=x";
        let config = parse(url).unwrap().config;
        assert_eq!(config.get_connect_timeout(), Some(&Duration::from_secs(1)));
        assert_eq!(config.get_keepalives_idle(), Duration::from_secs(7_200));
        assert_eq!(config.get_application_name(), Some("x"));
    }
}
