//! The servers' url: which parts of it may be shown, and which are passed to the client library.

use std::fmt;

use async_nats::ServerAddr;

/// A url, read.
#[derive(Clone)]
pub(super) struct Address {
    pub(super) servers: Vec<ServerAddr>,
    /// User and password, or a token alone.
    pub(super) login: Option<(String, Option<String>)>,
    pub(super) endpoint: Endpoint,
}

/// The parts of the servers' url that may be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Host and port; several are tried in turn.
    pub hosts: String,
    /// The url demands TLS.
    pub tls: bool,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "tls" } else { "nats" };
        write!(f, "{scheme}://{}", self.hosts)
    }
}

/// What is wrong with the url of a NATS server. The texts never repeat the url: it holds a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// Another scheme, or none.
    #[error("the url must start with nats:// or tls://")]
    Scheme,
    /// Several servers of which some demand TLS.
    #[error("all servers of the url must have the same scheme")]
    Mixed,
    /// The rest cannot be read.
    #[error(
        "the url cannot be read: it should look like nats://user:password@host:4222, several \
         servers separated by commas, with special characters in user and password \
         percent-encoded (@ as %40, / as %2F, # as %23)"
    )]
    Syntax,
}

/// The parts of this url that may be shown.
///
/// ```
/// let endpoint = ht_broker::nats::describe("tls://user:secret@one,tls://two:4333").unwrap();
/// assert_eq!(endpoint.to_string(), "tls://one:4222, two:4333");
/// ```
///
/// # Errors
/// When it is no url of a NATS server. The error does not repeat it.
pub fn describe(url: &str) -> Result<Endpoint, UrlError> {
    Ok(parse(url)?.endpoint)
}

/// Reads the url. Servers after the first may leave out scheme and login.
pub(super) fn parse(url: &str) -> Result<Address, UrlError> {
    let (scheme, _) = url.trim().split_once("://").ok_or(UrlError::Scheme)?;
    if !["nats", "tls"].contains(&scheme) {
        return Err(UrlError::Scheme);
    }
    let mut servers = Vec::new();
    let (mut hosts, mut login) = (Vec::new(), None);
    for part in url.trim().split(',').map(str::trim) {
        let (own, rest) = part.split_once("://").unwrap_or((scheme, part));
        if own != scheme {
            return Err(UrlError::Mixed);
        }
        let (before, host) = rest.rsplit_once('@').unwrap_or(("", rest));
        if !before.is_empty() {
            login = Some(decoded(before)?);
        }
        let host = host.trim_end_matches('/');
        if host.is_empty() || host.contains(['/', '?', '#', '@']) {
            return Err(UrlError::Syntax);
        }
        let server: ServerAddr = format!("{scheme}://{host}")
            .parse()
            .map_err(|_hides_the_url| UrlError::Syntax)?;
        hosts.push(match server.host() {
            "" => return Err(UrlError::Syntax),
            host if host.contains(':') => format!("[{host}]:{}", server.port()),
            host => format!("{host}:{}", server.port()),
        });
        servers.push(server);
    }
    Ok(Address {
        servers,
        login,
        endpoint: Endpoint {
            hosts: hosts.join(", "),
            tls: scheme == "tls",
        },
    })
}

/// User and password with their percent-encoding undone.
fn decoded(login: &str) -> Result<(String, Option<String>), UrlError> {
    let (user, password) = match login.split_once(':') {
        Some((user, password)) => (user, Some(password)),
        None => (login, None),
    };
    let decode = |text: &str| {
        let text = percent_encoding::percent_decode_str(text).decode_utf8();
        text.map(String::from).map_err(|_| UrlError::Syntax)
    };
    Ok((decode(user)?, password.map(decode).transpose()?))
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
            ("nats://u:geheim@mq", "nats://mq:4222"),
            ("nats://geheim@mq:4333/", "nats://mq:4333"),
            (" tls://u:g%2Fheim@10.0.0.1 \n", "tls://10.0.0.1:4222"),
            ("nats://u:geheim@one,two:4333", "nats://one:4222, two:4333"),
            ("nats://one, nats://two", "nats://one:4222, two:4222"),
            ("nats://[::1]:1", "nats://[::1]:1"),
            ("nats://one,tls://two", "Mixed"),
            ("ws://u:geheim@mq", "Scheme"),
            ("mq:4222", "Scheme"),
            ("", "Scheme"),
            ("nats://", "Syntax"),
            ("nats://u:geheim@", "Syntax"),
            ("nats://u:ge/heim@mq", "nats://mq:4222"),
            ("nats://mq:99999", "Syntax"),
            ("nats://mq/geheim", "Syntax"),
            ("nats://mq?geheim", "Syntax"),
            ("nats://one,,two", "Syntax"),
            ("nats://u:%ff@mq", "Syntax"),
        ] {
            assert_eq!(shown(url), expected, "{url:?}");
        }
    }

    #[test]
    fn a_login_is_a_user_with_a_password_or_a_token() {
        let login = |url: &str| parse(url).unwrap().login;
        assert_eq!(login("nats://mq"), None);
        assert_eq!(login("nats://t%40@mq"), Some(("t@".into(), None)));
        let user = Some(("u".into(), Some("p:@/".into())));
        assert_eq!(login("nats://u:p%3A%40%2F@one,two"), user);
    }
}
