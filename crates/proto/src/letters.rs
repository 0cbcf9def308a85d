//! Bits in the text of cursors.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Bytes as base64url, in exactly as many letters as needed.
pub(crate) fn letters<const BYTES: usize, const LETTERS: usize>(
    bytes: [u8; BYTES],
) -> [u8; LETTERS] {
    let mut letters = [0; LETTERS];
    let written = URL_SAFE_NO_PAD.encode_slice(bytes, &mut letters);
    debug_assert_eq!(written, Ok(LETTERS));
    letters
}

/// Decodes what [`letters`] made of so many bytes, and nothing else: every value has one text.
pub(crate) fn bytes<const BYTES: usize>(text: &str) -> Option<[u8; BYTES]> {
    let mut bytes = [0; BYTES];
    let written = URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok()?;
    (written == BYTES).then_some(bytes)
}
