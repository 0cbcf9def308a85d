//! Which pages may open a websocket: protection against cross-site websocket hijacking.
//!
//! A browser sends its cookies along with a websocket that any page opens, without asking first.
//! Pages are distinguished by the header `Origin` (RFC 6454 §7), which no page can change (RFC 6455
//! §10.2).

pub(crate) mod authority;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use http::{HeaderMap, HeaderName, header};

use crate::origin::authority::{Authority, Host};

/// The host that a browser requested from a proxy, if the proxy puts another into `Host`.
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Longest scheme, in bytes: much longer than any in use.
const SCHEME_BYTES_MAX: usize = 64;

/// Maximum length of the text after an app's scheme, in bytes.
const APP_BYTES_MAX: usize = 255;

/// Which pages may open a websocket beside those of the host that serves it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins {
    /// Allowed origins.
    pub allow: Vec<OriginPattern>,
    /// Whether clients without `Origin`, which are not browsers, are rejected.
    pub require: bool,
    /// Where `allow` is set, so that the log can name the setting to change.
    pub written: OriginsWritten,
}

/// Where the list of allowed origins is set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum OriginsWritten {
    /// Nowhere.
    #[default]
    Nowhere,
    /// In a line of a file, such as `high-templar.toml:3`.
    Line(String),
    /// In variables of the environment.
    Variable,
    /// In the settings of a tenant.
    Tenant {
        /// Its name.
        name: String,
        /// The file or registry that has them.
        place: String,
    },
}

/// An origin, or many: `https://app.example`, `*.example.com`, `app.example:8443`, `null`, `*`,
/// `tauri://localhost`, `file://`.
///
/// Omitted parts of a pattern match anything; an omitted port of an origin is the default port of
/// its scheme.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginPattern(Pattern);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Pattern {
    /// `*`: every page, also those without an origin of their own.
    Any,
    /// `null`: pages without an origin of their own, such as files and sandboxed frames.
    Null,
    /// The origin of an app with a scheme of its own and without a host, such as `file://`.
    App(String),
    Pages {
        scheme: Option<String>,
        host: Hosts,
        port: Option<u16>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Hosts {
    Any,
    /// Every name with this suffix; with the dot.
    Below(String),
    One(Host),
}

/// Why a text is not a valid [`OriginPattern`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OriginPatternError {
    /// There is text after the host and the port.
    #[error("an origin ends with its host or port: leave out what begins with / or ?")]
    Path,
    /// The scheme is not a word.
    #[error("the part before :// must be a scheme, such as https")]
    Scheme,
    /// `*` at a position where it has no meaning.
    #[error("* stands for all pages, for a whole host, or for what comes before the first dot")]
    Star,
    /// The host or the port is invalid.
    #[error(
        "this is not a host: expected one such as app.example, *.example.com, 192.0.2.1 or \
         [2001:db8::1], with a port if you like, and other letters than a-z as in xn--bcher-kva"
    )]
    Host,
}

/// Why an origin is rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Foreign {
    /// There is no `Origin`, and there must be one.
    Missing,
    /// The page's origin is not allowed. Only ASCII without blanks.
    Page(String),
    /// There are several, or the value is not an origin.
    Unreadable,
}

impl Origins {
    /// Checks the origin of a request. A forwarded host is only used if the request was received
    /// from a trusted proxy. No page can have its browser send one.
    pub fn check(&self, headers: &HeaderMap, from_proxy: bool) -> Result<(), Foreign> {
        let is_any = |pattern: &OriginPattern| pattern.0 == Pattern::Any;
        let mut lines = headers.get_all(header::ORIGIN).iter();
        let line = match (lines.next(), lines.next()) {
            (None, _) if self.require => return Err(Foreign::Missing),
            (None, _) => return Ok(()),
            _ if self.allow.iter().any(is_any) => return Ok(()),
            (Some(line), None) => line.to_str().map_err(|_| Foreign::Unreadable)?,
            (Some(_), Some(_)) => return Err(Foreign::Unreadable),
        };
        let origin = Origin::parse(line).ok_or(Foreign::Unreadable)?;
        let own_host = one(headers, &header::HOST).and_then(Authority::parse);
        let forwarded = from_proxy
            .then(|| first(headers, &FORWARDED_HOST))
            .flatten();
        let forwarded = forwarded.and_then(Authority::parse);
        let own = [own_host, forwarded].into_iter().flatten();
        if own.map(|own| own.host).any(|own| origin.is_of(&own))
            || self.allow.iter().any(|pattern| pattern.covers(&origin))
        {
            return Ok(());
        }
        Err(Foreign::Page(line.to_owned()))
    }

    /// Returns the change to the configuration that allows this origin, given where the list is
    /// set.
    pub fn change_for(&self, page: &str) -> String {
        match &self.written {
            OriginsWritten::Nowhere => format!(
                "write allow = [\"{page}\"] under [origins] in the configuration file, or set \
                 HT_ORIGINS={page}"
            ),
            OriginsWritten::Line(place) => format!("add \"{page}\" to the list in {place}"),
            OriginsWritten::Tenant { name, place } => {
                format!("add \"{page}\" to `origins` of the tenant {name}, in {place}")
            }
            // HT_ORIGINS takes precedence over other variables, so it must contain the whole list.
            OriginsWritten::Variable => {
                let all = self.allow.iter().map(ToString::to_string);
                let all: Vec<_> = all.chain([page.to_owned()]).collect();
                format!("set HT_ORIGINS={}", all.join(","))
            }
        }
    }
}

impl OriginPattern {
    fn covers(&self, origin: &Origin<'_>) -> bool {
        match (&self.0, origin) {
            (Pattern::Any, _) | (Pattern::Null, Origin::Null) => true,
            (Pattern::App(app), Origin::App(page)) => app.eq_ignore_ascii_case(page),
            (Pattern::Null, Origin::Page { .. } | Origin::App(_))
            | (Pattern::App(_), Origin::Page { .. } | Origin::Null)
            | (Pattern::Pages { .. }, Origin::Null) => false,
            // Every page of a scheme.
            (Pattern::Pages { scheme, host, port }, Origin::App(page)) => {
                let page_scheme = page.split("://").next().unwrap_or_default();
                let fits = |scheme: &String| scheme.eq_ignore_ascii_case(page_scheme);
                *host == Hosts::Any && port.is_none() && scheme.as_ref().is_some_and(fits)
            }
            (
                Pattern::Pages { scheme, host, port },
                Origin::Page {
                    scheme: page_scheme,
                    at,
                },
            ) => {
                let scheme_fits = scheme
                    .as_ref()
                    .is_none_or(|scheme| scheme.eq_ignore_ascii_case(page_scheme));
                let port_fits = port
                    .is_none_or(|port| at.port.or_else(|| usual_port(page_scheme)) == Some(port));
                scheme_fits && port_fits && host.cover(&at.host)
            }
        }
    }
}

impl Hosts {
    fn cover(&self, host: &Host) -> bool {
        match (self, host) {
            (Self::Any, _) => true,
            (Self::One(one), host) => one == host,
            (Self::Below(domain), Host::Name(name)) => {
                name.len() > domain.len() && name.ends_with(domain.as_str())
            }
            (Self::Below(_), Host::V6(_)) => false,
        }
    }
}

impl FromStr for OriginPattern {
    type Err = OriginPatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) if is_scheme(scheme) => (Some(scheme), rest),
            Some(_) => return Err(OriginPatternError::Scheme),
            None if text == "*" => return Ok(Self(Pattern::Any)),
            None if text == "null" => return Ok(Self(Pattern::Null)),
            None => (None, text),
        };
        if rest.contains(['/', '?', '#']) {
            return Err(OriginPatternError::Path);
        }
        if scheme.is_some_and(|scheme| is_app(scheme, rest)) {
            return Ok(Self(Pattern::App(text.to_ascii_lowercase())));
        }
        let (text, below) = match rest.strip_prefix("*.") {
            Some(domain) => (domain, true),
            None => (rest, false),
        };
        let (text, any) = match text.strip_prefix('*') {
            // Replaced by a host of any letter, to have the port parsed.
            Some(port) if !below && (port.is_empty() || port.starts_with(':')) => {
                (format!("x{port}"), true)
            }
            _ => (text.to_owned(), false),
        };
        if text.contains('*') {
            return Err(OriginPatternError::Star);
        }
        let Authority { host, port } = Authority::parse(&text).ok_or(OriginPatternError::Host)?;
        let host = match host {
            _ if any => Hosts::Any,
            Host::Name(name) if below => Hosts::Below(format!(".{name}")),
            Host::V6(_) if below => return Err(OriginPatternError::Star),
            host @ (Host::Name(_) | Host::V6(_)) => Hosts::One(host),
        };
        Ok(Self(Pattern::Pages {
            scheme: scheme.map(str::to_ascii_lowercase),
            host,
            port,
        }))
    }
}

impl fmt::Display for OriginPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, host, port) = match &self.0 {
            Pattern::Any => return f.write_str("*"),
            Pattern::Null => return f.write_str("null"),
            Pattern::App(app) => return f.write_str(app),
            Pattern::Pages { scheme, host, port } => (scheme, host, port),
        };
        if let Some(scheme) = scheme {
            write!(f, "{scheme}://")?;
        }
        match host {
            Hosts::Any => f.write_str("*")?,
            Hosts::Below(domain) => write!(f, "*{domain}")?,
            Hosts::One(Host::Name(name)) => f.write_str(name)?,
            Hosts::One(Host::V6(address)) => write!(f, "[{address}]")?,
        }
        port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// The origin that a browser reports for the page that opens a websocket (RFC 6454 §6.2).
#[derive(Clone, Debug, PartialEq, Eq)]
enum Origin<'a> {
    /// The page has no origin of its own.
    Null,
    /// The page belongs to an app; see [`Pattern::App`].
    App(&'a str),
    Page {
        scheme: &'a str,
        at: Authority,
    },
}

impl<'a> Origin<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        if line == "null" {
            return Some(Self::Null);
        }
        let (scheme, rest) = line.split_once("://")?;
        if !is_scheme(scheme) {
            return None;
        }
        if is_app(scheme, rest) {
            return Some(Self::App(line));
        }
        let at = Authority::parse(rest)?;
        Some(Self::Page { scheme, at })
    }

    fn is_of(&self, host: &Host) -> bool {
        match self {
            Self::Null | Self::App(_) => false,
            Self::Page { at, .. } => at.host == *host,
        }
    }
}

/// Whether the text after a scheme is not a host: packaged apps have schemes of their own and
/// nothing, or anything, after them (`file://`, `app://my!app`). Contains no character with a
/// meaning in a list, a pattern or a header.
fn is_app(scheme: &str, rest: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"/?#@*,;\"'\\`<>".contains(&byte);
    usual_port(scheme).is_none()
        && rest.len() <= APP_BYTES_MAX
        && rest.bytes().all(is_plain)
        && Authority::parse(rest).is_none()
}

/// RFC 3986 §3.1.
fn is_scheme(text: &str) -> bool {
    let rest = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    text.len() <= SCHEME_BYTES_MAX
        && text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(rest)
}

fn usual_port(scheme: &str) -> Option<u16> {
    match scheme.to_ascii_lowercase().as_str() {
        "http" | "ws" => Some(80),
        "https" | "wss" => Some(443),
        _ => None,
    }
}

/// The value of a header that occurs once.
fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut lines = headers.get_all(name).iter();
    match (lines.next(), lines.next()) {
        (Some(line), None) => line.to_str().ok(),
        _ => None,
    }
}

/// The first of a header's values, which the proxy next to the client wrote.
fn first<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let line = headers.get(name)?.to_str().ok()?;
    line.split(',').next().map(str::trim)
}
