//! Reading the `Cookie` header.

use std::borrow::Cow;

use http::HeaderMap;
use http::header::COOKIE;

/// All `Cookie` lines of a request as one value; empty without any.
pub(super) fn whole(headers: &HeaderMap) -> Cow<'_, [u8]> {
    let mut lines = headers
        .get_all(COOKIE)
        .iter()
        .map(http::HeaderValue::as_bytes)
        .filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or_default();
    let Some(second) = lines.next() else {
        return Cow::Borrowed(first);
    };
    let mut joined = first.to_vec();
    for line in std::iter::once(second).chain(lines) {
        joined.extend_from_slice(b"; ");
        joined.extend_from_slice(line);
    }
    Cow::Owned(joined)
}

/// The value of the last cookie of this name, without its quotes, not percent-decoded. Of
/// several with one name, which differ in path or domain (RFC 6265 section 5.4), the last is the
/// one that Django compares with.
pub(super) fn last<'a>(cookies: &'a [u8], name: &str) -> Option<Cow<'a, [u8]>> {
    cookies
        .split(|&byte| byte == b';')
        .filter_map(|pair| {
            let equals = pair.iter().position(|&byte| byte == b'=')?;
            Some((pair[..equals].trim_ascii(), &pair[equals + 1..]))
        })
        .rfind(|(found, _)| *found == name.as_bytes())
        .map(|(_, value)| unquote(value.trim_ascii()))
}

/// Takes the quotes off a quoted value and undoes the escapes within: a backslash before three
/// octal digits stands for that byte (Python APIs write `;` and `,` so), before any other
/// character for that character.
fn unquote(value: &[u8]) -> Cow<'_, [u8]> {
    let Some(inner) = value
        .strip_prefix(b"\"")
        .and_then(|rest| rest.strip_suffix(b"\""))
    else {
        return Cow::Borrowed(value);
    };
    if !inner.contains(&b'\\') {
        return Cow::Borrowed(inner);
    }
    let mut plain = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        plain.push(match (byte, after) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', tail @ ..]) => {
                rest = tail;
                (a - b'0') * 64 + (b - b'0') * 8 + (c - b'0')
            }
            (b'\\', [escaped, tail @ ..]) => {
                rest = tail;
                *escaped
            }
            _ => byte,
        });
    }
    Cow::Owned(plain)
}
