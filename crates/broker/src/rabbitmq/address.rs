//! The broker's url: which parts of it may be shown, and which are passed to lapin.

use std::fmt;
use std::net::Ipv6Addr;

use lapin::uri::{AMQPScheme, AMQPUri};

/// Seconds between heartbeats if the url names none. A peer that is silent for twice as long is
/// dead.
const HEARTBEAT_SECONDS: u16 = 10;

/// The parts of a broker's url that may be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Host name or address; an IPv6 address without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// The virtual host, decoded; `/` if the url names none.
    pub vhost: String,
    /// Whether the connection is encrypted (`amqps`).
    pub tls: bool,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, .. } = self;
        if host.contains(':') {
            write!(f, "[{host}]:{port}")?;
        } else {
            write!(f, "{host}:{port}")?;
        }
        write!(f, " (virtual host {}", self.vhost)?;
        f.write_str(if self.tls { ", TLS)" } else { ")" })
    }
}

/// What is wrong with a broker's url. The texts never repeat the url: it holds a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// Another scheme, or none.
    #[error("the url must start with amqp:// or amqps://")]
    Scheme,
    /// Nothing between the user and the port.
    #[error("the url names no host")]
    Host,
    /// The rest cannot be read.
    #[error(
        "the url cannot be read: it should look like amqp://user:password@host:5672/vhost, with \
         special characters in user, password and vhost percent-encoded (@ as %40, / as %2F, # as \
         %23)"
    )]
    Syntax,
}

/// The parts of this url that may be shown.
///
/// ```
/// let endpoint = ht_broker::rabbitmq::describe("amqp://user:secret@rabbit/live").unwrap();
/// assert_eq!(endpoint.to_string(), "rabbit:5672 (virtual host live)");
/// ```
///
/// # Errors
/// When it is no AMQP url. The error does not repeat it.
pub fn describe(url: &str) -> Result<Endpoint, UrlError> {
    Ok(endpoint(&parse(url)?))
}

pub(super) fn endpoint(uri: &AMQPUri) -> Endpoint {
    Endpoint {
        host: uri.authority.host.clone(),
        port: uri.authority.port,
        vhost: uri.vhost.clone(),
        tls: uri.scheme == AMQPScheme::AMQPS,
    }
}

/// Reads the url as lapin does, with three repairs: an empty path is the default virtual host
/// as for the Python clients, an IPv6 host is kept, and there is always a heartbeat.
pub(super) fn parse(url: &str) -> Result<AMQPUri, UrlError> {
    let url = url.trim();
    let (scheme, rest) = url.split_once("://").ok_or(UrlError::Scheme)?;
    if !["amqp", "amqps"].contains(&scheme) {
        return Err(UrlError::Scheme);
    }
    let mut uri: AMQPUri = url.parse().map_err(|_hides_the_url| UrlError::Syntax)?;
    match host(rest) {
        "" => return Err(UrlError::Host),
        host => {
            if let Some(address) = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
                let address: Ipv6Addr = address.parse().map_err(|_| UrlError::Syntax)?;
                uri.authority.host = address.to_string();
            }
        }
    }
    if uri.vhost.is_empty() {
        uri.vhost = "/".to_owned();
    }
    uri.query.heartbeat = uri.query.heartbeat.or(Some(HEARTBEAT_SECONDS));
    Ok(uri)
}

/// The host in `user:password@host:port/vhost?query`, with the brackets of an IPv6 address.
fn host(rest: &str) -> &str {
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let address = authority.rsplit('@').next().unwrap_or_default();
    match address.find(']') {
        Some(end) => &address[..=end],
        None => address.split(':').next().unwrap_or_default(),
    }
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
                "amqp://rabbitmq:rabbitmq@host",
                "host:5672 (virtual host /)",
            ),
            ("amqp://host/", "host:5672 (virtual host /)"),
            ("amqp://host/%2f", "host:5672 (virtual host /)"),
            ("amqp://host//live", "host:5672 (virtual host /live)"),
            ("amqp://u:p@host:1234/a%20b", "host:1234 (virtual host a b)"),
            ("amqps://host/v", "host:5671 (virtual host v, TLS)"),
            (
                "amqp://u:p%40w@10.0.0.1:5672/v?heartbeat=3",
                "10.0.0.1:5672 (virtual host v)",
            ),
            ("amqp://u:p@[::1]:5673/v", "[::1]:5673 (virtual host v)"),
            ("amqp://[fe80::1]", "[fe80::1]:5672 (virtual host /)"),
            (" amqp://host\n", "host:5672 (virtual host /)"),
            ("http://host", "Scheme"),
            ("host:5672", "Scheme"),
            ("", "Scheme"),
            ("amqp://", "Host"),
            ("amqp:///v", "Host"),
            ("amqp://u:p@/v", "Syntax"),
            ("amqp://u:p/w@host", "Syntax"),
            ("amqp://host:99999", "Syntax"),
            ("amqp://host?heartbeat=soon", "Syntax"),
            ("amqp://[::g]", "Syntax"),
        ] {
            assert_eq!(shown(url), expected, "{url:?}");
        }
    }

    #[test]
    fn there_is_always_a_heartbeat() {
        assert_eq!(parse("amqp://h").unwrap().query.heartbeat, Some(10));
        assert_eq!(
            parse("amqp://h?heartbeat=2").unwrap().query.heartbeat,
            Some(2)
        );
    }
}
