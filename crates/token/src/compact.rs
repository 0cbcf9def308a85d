//! The compact serialization of a signed token (RFC 7515 section 7.1), read strictly.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::header::Header;
use crate::reason::Reason;
use crate::strict;

/// Longest token, in bytes.
pub const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// A token in its parts; nothing in it is verified.
#[derive(Debug)]
pub(crate) struct Compact<'a> {
    pub(crate) header: Header,
    /// The JSON text of an object without repeated names.
    pub(crate) payload: String,
    /// What is signed.
    pub(crate) signed: &'a [u8],
    pub(crate) signature: Vec<u8>,
}

impl<'a> Compact<'a> {
    pub(crate) fn parse(token: &'a str) -> Result<Self, Reason> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Reason::TooLong);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(Reason::Malformed)?;
        let (header, payload) = signed.split_once('.').ok_or(Reason::Malformed)?;
        Ok(Self {
            header: Header::parse(&object(header)?)?,
            payload: object(payload)?,
            signed: signed.as_bytes(),
            signature: bytes(signature)?,
        })
    }
}

/// base64url without padding (RFC 7515 section 2). A second text for the same bytes is refused: no
/// padding, no blanks, and no bits set behind the last byte.
fn bytes(part: &str) -> Result<Vec<u8>, Reason> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Reason::Malformed)
}

fn object(part: &str) -> Result<String, Reason> {
    let text = String::from_utf8(bytes(part)?).map_err(|_| Reason::Malformed)?;
    if !strict::is_object(&text) {
        return Err(Reason::Malformed);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(text: &str) -> String {
        URL_SAFE_NO_PAD.encode(text)
    }

    #[test]
    fn a_token_has_three_canonical_parts() {
        let header = part(r#"{"alg":"HS256"}"#);
        let payload = part("{}");
        let good = format!("{header}.{payload}.AAAA");
        let compact = Compact::parse(&good).unwrap();
        assert_eq!(compact.payload, "{}");
        assert_eq!(compact.signature, [0, 0, 0]);
        assert_eq!(compact.signed, format!("{header}.{payload}").as_bytes());
        // No signature at all parses, and is never a valid one.
        assert!(Compact::parse(&format!("{header}.{payload}.")).is_ok());
        for bad in [
            String::new(),
            "..".into(),
            header.clone(),
            format!("{header}.{payload}"),
            format!("{header}.{payload}.AAAA.AAAA"),
            // Padding, another alphabet, blanks, bits behind the last byte.
            format!("{header}.{payload}.AA=="),
            format!("{header}.{payload}.AA+/"),
            format!("{header}.{payload}.AAAA "),
            format!(" {header}.{payload}.AAAA"),
            format!("{header}.{payload}.AAAA\n"),
            format!("{header}.{payload}.AB"),
            format!("{header}.{}.AAAA", part("[]")),
            format!("{header}.{}.AAAA", part(r#"{"a":1,"a":2}"#)),
            format!(
                "{}.{payload}.AAAA",
                part(r#"{"alg":"HS256","alg":"HS256"}"#)
            ),
            format!("{header}.{}.AAAA", part("{} {}")),
            format!(
                "{header}.{}.AAAA",
                URL_SAFE_NO_PAD.encode(b"{\"a\": \"\xff\"}")
            ),
        ] {
            assert_eq!(Compact::parse(&bad).err(), Some(Reason::Malformed), "{bad}");
        }
    }

    #[test]
    fn a_long_token_is_not_read() {
        let long = "A".repeat(TOKEN_BYTES_MAX + 1);
        assert_eq!(Compact::parse(&long).err(), Some(Reason::TooLong));
    }
}
