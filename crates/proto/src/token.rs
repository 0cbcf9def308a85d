//! A client's token that did not arrive in the query string.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Longest token in bytes.
pub const TOKEN_BYTES_MAX: usize = 32 << 10;

/// A client's token that did not arrive in the query string: text without control characters, of
/// at most [`TOKEN_BYTES_MAX`] bytes, not empty.
///
/// It is a secret, so `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Box<str>);

/// Why a token is malformed: a client error. The text does not repeat the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// Not base64url (RFC 4648 section 5) without padding, or not UTF-8 underneath.
    #[error("the token is not UTF-8 in base64url without padding")]
    Encoding,
    /// It holds CR, LF, NUL or another control character.
    #[error("the token holds a control character")]
    ControlCharacter,
    /// It is too long.
    #[error("the token is longer than {TOKEN_BYTES_MAX} bytes")]
    TooLong,
}

impl Token {
    /// Validates a token. An empty one counts as absent, as an empty parameter does.
    ///
    /// # Errors
    /// When it holds a control character or is too long.
    pub fn new(text: &str) -> Result<Option<Self>, TokenError> {
        if text.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::TooLong);
        }
        if text.bytes().any(|byte| byte.is_ascii_control()) {
            return Err(TokenError::ControlCharacter);
        }
        Ok((!text.is_empty()).then(|| Self(text.into())))
    }

    /// Decodes a token from base64url without padding (RFC 4648 section 5), and checks it.
    ///
    /// # Errors
    /// When it is encoded in another way, and as for [`Self::new`].
    pub fn from_base64url(encoded: &[u8]) -> Result<Option<Self>, TokenError> {
        let text = URL_SAFE_NO_PAD.decode(encoded);
        let text = text.ok().and_then(|bytes| String::from_utf8(bytes).ok());
        Self::new(&text.ok_or(TokenError::Encoding)?)
    }

    /// The token itself.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_tokens_have_distinct_errors() {
        let long = "a".repeat(TOKEN_BYTES_MAX);
        let token = |text: &str| Ok(Some(Token(text.into())));
        for (text, expected) in [
            ("a.b-c_d", token("a.b-c_d")),
            ("caf\u{e9} \u{4e16}", token("caf\u{e9} \u{4e16}")),
            (&long, token(&long)),
            ("", Ok(None)),
            ("a\r\nX-Forged: 1", Err(TokenError::ControlCharacter)),
            ("a\0", Err(TokenError::ControlCharacter)),
            ("a\tb", Err(TokenError::ControlCharacter)),
            ("a\u{7f}", Err(TokenError::ControlCharacter)),
            (&format!("{long}a"), Err(TokenError::TooLong)),
        ] {
            assert_eq!(Token::new(text), expected, "{text:?}");
            let encoded = URL_SAFE_NO_PAD.encode(text);
            assert_eq!(Token::from_base64url(encoded.as_bytes()), expected);
        }
        for encoded in [
            "YQ==",
            "YQ=",
            "Y",
            "YR",
            "a+b/",
            "a.b",
            "YWJj YWJj",
            "_w",
            "7aCA",
        ] {
            let found = Token::from_base64url(encoded.as_bytes());
            assert_eq!(found, Err(TokenError::Encoding), "{encoded}");
        }
    }

    #[test]
    fn it_is_not_shown() {
        let token = Token::new("hunter2").unwrap().unwrap();
        assert_eq!(format!("{token:?}"), "***");
    }
}
