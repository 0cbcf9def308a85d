//! Reading the query string.

use std::borrow::Cow;

use percent_encoding::percent_decode;

/// The decoded value of the first parameter of this name. A parameter without `=` is empty.
pub(super) fn first<'a>(query: &'a str, name: &str) -> Option<Cow<'a, [u8]>> {
    query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .find(|(found, _)| *decode(found) == *name.as_bytes())
        .map(|(_, value)| decode(value))
}

/// Undoes percent-encoding; `+` is a space. An invalid escape is kept as it is, and invalid UTF-8
/// is replaced, as the Python original did.
fn decode(text: &str) -> Cow<'_, [u8]> {
    let spaced: Cow<'_, str> = if text.contains('+') {
        text.replace('+', " ").into()
    } else {
        text.into()
    };
    let decoded = percent_decode(spaced.as_bytes()).decode_utf8_lossy();
    Cow::Owned(decoded.into_owned().into_bytes())
}
