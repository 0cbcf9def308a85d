//! Following redirects: the target of each, and whether it is still the backend.
//!
//! The forwarded headers are secrets of the client, so they are never sent to another origin.

#[cfg(test)]
mod tests;

use http::header::LOCATION;
use http::{HeaderMap, StatusCode, Uri};

/// Redirects followed in one call.
pub(crate) const REDIRECTS_MAX: usize = 5;

/// Longest location shown to the operator, in characters.
const SHOWN_CHARS_MAX: usize = 200;

/// What the head of a response says about a redirect.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Redirect {
    /// It is no redirect.
    None,
    /// To another address of the same origin.
    Follow(Uri),
    /// To somewhere that is not followed.
    Foreign(Elsewhere),
}

/// Where a redirect leads that is not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Elsewhere {
    /// To the same host and path over https.
    Secure,
    /// To the same path of another origin.
    SamePath,
    /// To another path of another origin, or to an invalid address.
    Other,
}

/// Target of the redirect in the response to a call of `from`. A redirect without a location is not
/// one: it is judged by its status.
pub(crate) fn redirect(from: &Uri, status: StatusCode, headers: &HeaderMap) -> Redirect {
    if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Redirect::None;
    }
    let Some(location) = headers.get(LOCATION) else {
        return Redirect::None;
    };
    let target = location
        .to_str()
        .ok()
        .and_then(|location| resolve(from, location));
    match target {
        Some(target) if same_origin(from, &target) => Redirect::Follow(target),
        Some(target) => Redirect::Foreign(elsewhere(from, &target)),
        None => Redirect::Foreign(Elsewhere::Other),
    }
}

fn elsewhere(from: &Uri, target: &Uri) -> Elsewhere {
    let scheme = (from.scheme_str(), target.scheme_str());
    if !matches!(target.scheme_str(), Some("http" | "https")) || from.path() != target.path() {
        Elsewhere::Other
    } else if scheme == (Some("http"), Some("https")) && host(from) == host(target) {
        Elsewhere::Secure
    } else {
        Elsewhere::SamePath
    }
}

/// The location of an answer for the operator: without query, fragment and user, which may be
/// secrets, and without control characters.
pub(crate) fn shown(headers: &HeaderMap) -> String {
    let location = headers.get(LOCATION).map_or(String::new(), |v| {
        String::from_utf8_lossy(v.as_bytes()).into_owned()
    });
    let end = location.find(['?', '#']).unwrap_or(location.len());
    let location = &location[..end];
    // Only at the start, or behind a scheme, do two slashes announce an authority.
    let start = location
        .find("//")
        .filter(|&at| at == 0 || location[..at].ends_with(':'));
    let (scheme, rest) = location.split_at(start.map_or(0, |at| at + 2));
    let authority_end = rest.find('/').unwrap_or(rest.len());
    let user_end = start.and(rest[..authority_end].rfind('@'));
    let rest = &rest[user_end.map_or(0, |at| at + 1)..];
    let mut chars = scheme.chars().chain(rest.chars());
    let mut shown: String = chars
        .by_ref()
        .take(SHOWN_CHARS_MAX)
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect();
    if chars.next().is_some() {
        shown.push('…');
    }
    shown
}

/// Resolves a location against the address of the call (RFC 3986, section 5.2).
fn resolve(from: &Uri, location: &str) -> Option<Uri> {
    let location = location.trim();
    let location = location.split('#').next().unwrap_or_default();
    let scheme = from.scheme_str()?;
    let authority = from.authority()?;
    if has_scheme(location) {
        return location.parse().ok();
    }
    if location.starts_with("//") {
        return format!("{scheme}:{location}").parse().ok();
    }
    let (path, query) = match location.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (location, None),
    };
    let (path, query) = match path {
        "" => (from.path().to_owned(), query.or(from.query())),
        absolute if absolute.starts_with('/') => (without_dots(absolute), query),
        relative => {
            let folder = &from.path()[..=from.path().rfind('/')?];
            (without_dots(&format!("{folder}{relative}")), query)
        }
    };
    let query = query.map_or(String::new(), |query| format!("?{query}"));
    format!("{scheme}://{authority}{path}{query}").parse().ok()
}

/// Whether a location starts with a scheme and a colon.
fn has_scheme(location: &str) -> bool {
    let Some((scheme, _)) = location.split_once(':') else {
        return false;
    };
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
}

/// Removes `.` and `..` from an absolute path (RFC 3986, section 5.2.4).
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." => {}
            ".." => {
                kept.pop();
            }
            other => {
                kept.push(other);
                continue;
            }
        }
        if last {
            kept.push("");
        }
    }
    format!("/{}", kept.join("/"))
}

/// Whether two addresses have scheme, host and port in common. A user in the address counts as
/// another origin.
fn same_origin(a: &Uri, b: &Uri) -> bool {
    let user = |uri: &Uri| uri.authority().is_none_or(|a| a.as_str().contains('@'));
    !user(b) && a.scheme() == b.scheme() && host(a) == host(b) && port(a) == port(b)
}

fn host(uri: &Uri) -> Option<String> {
    uri.host().map(str::to_ascii_lowercase)
}

/// The port of an address, or its scheme's.
fn port(uri: &Uri) -> Option<u16> {
    uri.port_u16().or(match uri.scheme_str() {
        Some("http") => Some(80),
        Some("https") => Some(443),
        Some(_) | None => None,
    })
}
