//! Which parts of a client's request are forwarded to the API.
//!
//! Only what a rule names is forwarded, and only as a header's value: no client input ever reaches
//! a header's name, a path or a query.

mod cookie;
mod query;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use ht_proto::token::{TOKEN_BYTES_MAX, Token};
use http::header::{COOKIE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::config::{BackendConfig, HeaderRule, HeaderSource};
use crate::credentials::Credentials;

/// Longest forwarded value but a whole `Cookie` header, in bytes, before its format is applied.
pub const HEADER_BYTES_MAX: usize = TOKEN_BYTES_MAX;

/// Longest forwarded `Cookie` header, in bytes. The bound of a request head is usually lower.
pub const COOKIE_BYTES_MAX: usize = 64 * 1024;

/// Default of the longest head that a client's forwarded headers may make, in bytes.
pub const FORWARD_BYTES_MAX: usize = 8 * 1024;

/// Header in which a proxy names the client it forwards for.
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// Headers in which proxies name addresses.
const ADDRESSES: [HeaderName; 3] = [
    X_REAL_IP,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("forwarded"),
];

/// The parameter whose rules a [`Token`] feeds.
const TOKEN_PARAM: &str = "token";

/// The rules that make [`Credentials`] of a client's request.
///
/// ```
/// use ht_backend::ForwardRules;
/// use ht_backend::config::BackendConfig;
/// use http::HeaderMap;
/// use http::HeaderValue;
///
/// let rules = ForwardRules::new(BackendConfig::default_headers());
/// let mut request = HeaderMap::new();
/// request.insert("cookie", HeaderValue::from_static("csrftoken=abc"));
/// request.insert("origin", HeaderValue::from_static("https://app.example"));
///
/// let credentials = rules.apply(&request, Some("token=t%201"))?;
/// let headers = credentials.headers();
/// assert_eq!(headers["cookie"], "csrftoken=abc");
/// assert_eq!(headers["x-csrftoken"], "abc");
/// assert_eq!(headers["authorization"], "Token t 1");
/// assert_eq!(headers.len(), 3);
/// # Ok::<(), ht_backend::ForwardError>(())
/// ```
#[derive(Clone, Debug)]
pub struct ForwardRules {
    rules: Vec<HeaderRule>,
    bytes_max: usize,
}

/// Why a client's request cannot be forwarded: the client's fault, to be answered with 400.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ForwardError {
    /// The value for this header holds CR, LF, NUL or another control character.
    #[error("the value for the header {header} holds a control character")]
    ControlCharacter {
        /// The header's name at the API.
        header: HeaderName,
    },
    /// The value for this header is too long.
    #[error("the value for the header {header} is longer than {bytes_max} bytes")]
    TooLong {
        /// The header's name at the API.
        header: HeaderName,
        /// The bound that it passed.
        bytes_max: usize,
    },
    /// All forwarded headers together are too long: to be answered with 431.
    #[error("the headers to forward are {bytes} bytes long, and {bytes_max} is the most")]
    TooLarge {
        /// Their length as lines of a head.
        bytes: usize,
        /// The bound that it passed.
        bytes_max: usize,
    },
    /// The client brought two tokens that are not the same.
    #[error("there are two tokens, and they differ")]
    TwoTokens,
}

impl ForwardRules {
    /// Applies the rules in their order. Of several for one header the last is used, even if it
    /// finds no value. Rules that could break a request's framing are rejected when
    /// [`crate::HttpBackend`] is set up with them, and have no effect on its calls. All values
    /// together have no limit: see [`Self::of`].
    #[must_use]
    pub fn new(rules: Vec<HeaderRule>) -> Self {
        let mut last: Vec<HeaderRule> = Vec::with_capacity(rules.len());
        for rule in rules {
            match last.iter_mut().find(|known| known.name == rule.name) {
                Some(known) => *known = rule,
                None => last.push(rule),
            }
        }
        Self {
            rules: last,
            bytes_max: usize::MAX,
        }
    }

    /// The rules of a configuration, and its limit on what is forwarded for one client.
    #[must_use]
    pub fn of(config: &BackendConfig) -> Self {
        Self {
            bytes_max: config.forward_bytes_max,
            ..Self::new(config.headers.to_vec())
        }
    }

    /// Collects what is forwarded for a request with these headers and this query string (the part
    /// after the `?`, still percent-encoded). A source without a value, or with an empty one,
    /// produces no header. Several `Cookie` lines are joined; of another header's lines the first
    /// is used.
    ///
    /// The values are copies, so that they do not keep the request's buffer in memory.
    ///
    /// # Errors
    /// When a value holds a control character or is too long, or all of them are together.
    pub fn apply(
        &self,
        headers: &HeaderMap,
        query: Option<&str>,
    ) -> Result<Credentials, ForwardError> {
        let cookies = cookie::whole(headers);
        let mut forwarded = HeaderMap::with_capacity(self.rules.len());
        for rule in &self.rules {
            let found = find(&rule.source, headers, &cookies, query.unwrap_or_default());
            let Some(found) = found.filter(|value| !value.is_empty()) else {
                continue;
            };
            forwarded.insert(rule.name.clone(), finish(rule, &found)?);
        }
        self.check_length(&forwarded)?;
        Ok(forwarded.into())
    }

    /// The headers of one client must not exceed what the API's server accepts: it would close the
    /// connection without a response, or a proxy in front would return an error of its own.
    fn check_length(&self, headers: &HeaderMap) -> Result<(), ForwardError> {
        let line = |(name, value): (&HeaderName, &HeaderValue)| {
            name.as_str().len() + ": ".len() + value.len() + "\r\n".len()
        };
        let bytes = headers.iter().map(line).sum();
        let bytes_max = self.bytes_max;
        if bytes > bytes_max {
            return Err(ForwardError::TooLarge { bytes, bytes_max });
        }
        Ok(())
    }

    /// Adds the headers of a token that was not supplied as the parameter `token`: the same
    /// headers. Without a rule for that parameter it adds none.
    ///
    /// # Errors
    /// When the parameter is present as well with a different token: neither takes precedence. And
    /// when it is too long, alone or with the others.
    pub fn add_token(
        &self,
        credentials: &mut Credentials,
        token: &Token,
    ) -> Result<(), ForwardError> {
        for rule in self.token_rules() {
            let value = finish(rule, token.as_bytes())?;
            match credentials.headers().get(&rule.name) {
                Some(known) if *known != value => return Err(ForwardError::TwoTokens),
                Some(_) => {}
                None => drop(credentials.headers_mut().insert(rule.name.clone(), value)),
            }
        }
        self.check_length(credentials.headers())
    }

    /// Replaces the headers of the token that these credentials have by those of another one.
    ///
    /// # Errors
    /// When it is too long, alone or with the others.
    pub fn replace_token(
        &self,
        credentials: &mut Credentials,
        token: &Token,
    ) -> Result<(), ForwardError> {
        for rule in self.token_rules() {
            credentials.headers_mut().remove(&rule.name);
        }
        self.add_token(credentials, token)
    }

    /// Whether a token is among these credentials.
    #[must_use]
    pub fn have_token(&self, credentials: &Credentials) -> bool {
        let headers = credentials.headers();
        let mut rules = self.token_rules();
        rules.any(|rule| headers.contains_key(&rule.name))
    }

    /// The token among these credentials, as the client sent it.
    #[must_use]
    pub fn token<'a>(&self, credentials: &'a Credentials) -> Option<&'a [u8]> {
        let found = self.token_rules().find_map(|rule| {
            let value = credentials.headers().get(&rule.name)?.as_bytes();
            let format = rule
                .format
                .as_deref()
                .and_then(|format| format.split_once("{}"));
            let (before, after) = format.unwrap_or_default();
            value
                .strip_prefix(before.as_bytes())?
                .strip_suffix(after.as_bytes())
        });
        found.filter(|token| !token.is_empty())
    }

    /// The rules that a token feeds.
    fn token_rules(&self) -> impl Iterator<Item = &HeaderRule> {
        let rules = self.rules.iter();
        rules.filter(|rule| match &rule.source {
            HeaderSource::Param(name) => name == TOKEN_PARAM,
            HeaderSource::Header(_) | HeaderSource::Cookie(_) | HeaderSource::Fixed(_) => false,
        })
    }

    /// What among these credentials is the client's own, in a form that compares: all of them but the
    /// addresses that proxies name, which change as it moves.
    #[must_use]
    pub fn identity(&self, credentials: &Credentials) -> Vec<u8> {
        let mut identity = Vec::new();
        for rule in &self.rules {
            let is_address = match &rule.source {
                HeaderSource::Header(name) => ADDRESSES.contains(name),
                HeaderSource::Param(_) | HeaderSource::Cookie(_) | HeaderSource::Fixed(_) => false,
            };
            let value = credentials.headers().get(&rule.name);
            let Some(value) = value.filter(|_| !is_address) else {
                continue;
            };
            for text in [rule.name.as_str().as_bytes(), value.as_bytes()] {
                identity.extend(text.len().to_le_bytes());
                identity.extend(text);
            }
        }
        identity
    }

    /// Whether anything among these credentials may identify the client: a cookie, a parameter or a
    /// header of its own, and not only its address and its user agent.
    #[must_use]
    pub fn identify(&self, credentials: &Credentials) -> bool {
        let mut rules = self.rules.iter().filter(|rule| match &rule.source {
            HeaderSource::Header(name) => *name != USER_AGENT && *name != X_REAL_IP,
            HeaderSource::Param(_) | HeaderSource::Cookie(_) => true,
            HeaderSource::Fixed(_) => false,
        });
        rules.any(|rule| credentials.headers().contains_key(&rule.name))
    }
}

/// The raw value of a source.
fn find<'a>(
    source: &'a HeaderSource,
    headers: &'a HeaderMap,
    cookies: &'a [u8],
    query: &'a str,
) -> Option<Cow<'a, [u8]>> {
    match source {
        HeaderSource::Header(name) if name == COOKIE => Some(Cow::Borrowed(cookies)),
        HeaderSource::Header(name) => headers.get(name).map(|value| value.as_bytes().into()),
        HeaderSource::Param(name) => query::first(query, name),
        HeaderSource::Cookie(name) => cookie::last(cookies, name),
        HeaderSource::Fixed(value) => Some(value.as_bytes().into()),
    }
}

/// Checks a value, applies the rule's format and makes a header value of it.
fn finish(rule: &HeaderRule, value: &[u8]) -> Result<HeaderValue, ForwardError> {
    let bytes_max = match &rule.source {
        HeaderSource::Header(name) if name == COOKIE => COOKIE_BYTES_MAX,
        HeaderSource::Header(_)
        | HeaderSource::Param(_)
        | HeaderSource::Cookie(_)
        | HeaderSource::Fixed(_) => HEADER_BYTES_MAX,
    };
    if value.len() > bytes_max {
        return Err(ForwardError::TooLong {
            header: rule.name.clone(),
            bytes_max,
        });
    }
    let control = || ForwardError::ControlCharacter {
        header: rule.name.clone(),
    };
    // A literal tab is legal within a header's value; a percent-encoded one was injected.
    if matches!(rule.source, HeaderSource::Param(_)) && value.contains(&b'\t') {
        return Err(control());
    }
    let formatted = match rule.format.as_deref().and_then(|f| f.split_once("{}")) {
        Some((before, after)) => [before.as_bytes(), value, after.as_bytes()].concat().into(),
        None => Cow::Borrowed(value),
    };
    let mut value = HeaderValue::from_bytes(&formatted).map_err(|_| control())?;
    value.set_sensitive(true);
    Ok(value)
}
