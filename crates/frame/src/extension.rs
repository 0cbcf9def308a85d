//! Negotiating permessage-deflate (RFC 7692 section 7.1).

use std::num::NonZeroU8;

/// The extension's name on the wire.
const NAME: &str = "permessage-deflate";

/// The largest window of deflate, as a power of two; the default.
const WINDOW_BITS_MAX: u8 = 15;

/// A permessage-deflate that was negotiated with one client; a byte, also as an `Option`.
///
/// Both ends begin every message anew (no context takeover), so that nothing has to be kept
/// between messages and one compressed body is right for every client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PerMessageDeflate {
    /// The window that the client requested of the server, if it did.
    server_window_bits: Option<NonZeroU8>,
}

impl PerMessageDeflate {
    /// Takes the first offer in the `Sec-WebSocket-Extensions` headers of a request that can be
    /// accepted. An offer of another extension, with unknown, repeated or invalid parameters, or
    /// against the grammar (RFC 6455 section 9.1), is passed over.
    ///
    /// ```
    /// use ht_frame::PerMessageDeflate;
    ///
    /// let offers = b"permessage-deflate; client_max_window_bits".as_slice();
    /// let agreed = PerMessageDeflate::negotiate([offers]).expect("an offer to accept");
    /// assert_eq!(
    ///     agreed.response(),
    ///     "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
    /// );
    /// ```
    #[must_use]
    pub fn negotiate<'h>(headers: impl IntoIterator<Item = &'h [u8]>) -> Option<Self> {
        headers
            .into_iter()
            .filter_map(|header| str::from_utf8(header).ok())
            .flat_map(|header| split(header, ','))
            .find_map(accept)
    }

    /// The value of the `Sec-WebSocket-Extensions` header that accepts the offer.
    #[must_use]
    pub fn response(self) -> String {
        let mut response =
            format!("{NAME}; server_no_context_takeover; client_no_context_takeover");
        if let Some(bits) = self.server_window_bits {
            response.push_str(&format!("; server_max_window_bits={bits}"));
        }
        response
    }

    /// Whether a message of `len` bytes may be sent compressed. If the client requested a smaller
    /// window, only those that fit it whole: then no reference reaches back too far, whatever
    /// window they were compressed with. Others are sent uncompressed, which section 6 leaves to
    /// the sender for each message.
    #[must_use]
    pub fn may_compress(self, len: usize) -> bool {
        match self.server_window_bits {
            Some(bits) if bits.get() < WINDOW_BITS_MAX => len <= 1 << bits.get(),
            Some(_) | None => true,
        }
    }
}

/// Parses one offer; none where it cannot be accepted.
fn accept(offer: &str) -> Option<PerMessageDeflate> {
    let mut parts = split(offer, ';');
    if trim(parts.next()?) != NAME {
        return None;
    }
    let mut seen = Vec::new();
    let mut server_window_bits = None;
    for parameter in parts {
        let (name, value) = match parameter.split_once('=') {
            Some((name, value)) => (trim(name), Some(unquote(trim(value))?)),
            None => (trim(parameter), None),
        };
        if seen.contains(&name) {
            return None;
        }
        seen.push(name);
        match (name, value) {
            ("server_no_context_takeover" | "client_no_context_takeover", None) => {}
            ("server_max_window_bits", Some(bits)) => server_window_bits = Some(window(&bits)?),
            // Our inflater supports any window: nothing has to be requested of the client.
            ("client_max_window_bits", None) => {}
            ("client_max_window_bits", Some(bits)) => drop(window(&bits)?),
            _ => return None,
        }
    }
    Some(PerMessageDeflate { server_window_bits })
}

/// A window size: 8 to 15, decimal, without leading zeros (section 7.1.2).
fn window(bits: &str) -> Option<NonZeroU8> {
    let bits = match bits.as_bytes() {
        [digit @ b'8'..=b'9'] => digit - b'0',
        [b'1', digit @ b'0'..=b'5'] => 10 + digit - b'0',
        _ => return None,
    };
    NonZeroU8::new(bits)
}

/// A value: a token as it is, or a token in quotes (RFC 6455 section 9.1).
fn unquote(value: &str) -> Option<String> {
    let Some(quoted) = value.strip_prefix('"') else {
        return (!value.contains('"')).then(|| value.to_owned());
    };
    let mut token = String::new();
    let mut rest = quoted.chars();
    loop {
        match rest.next()? {
            '"' => return rest.as_str().is_empty().then_some(token),
            '\\' => token.push(rest.next()?),
            other => token.push(other),
        }
    }
}

/// Splits at a separator that is not in quotes.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |at: char| {
        let splits = at == separator && !quoted;
        (quoted, escaped) = match at {
            _ if escaped => (quoted, false),
            '\\' => (quoted, quoted),
            '"' => (!quoted, false),
            _ => (quoted, false),
        };
        splits
    })
}

/// Strips the whitespace that HTTP allows around elements.
fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

#[cfg(test)]
mod tests;
