//! Compressed messages: gzip and deflate, inflated up to a limit.
//!
//! Publishers set `content_encoding` arbitrarily (kombu sends `utf-8`, others keep the value of a
//! template), so the bytes decide: JSON begins neither like gzip (RFC 1952) nor like zlib (RFC
//! 1950). The property only serves to recognise bare deflate (RFC 1951) and to name unsupported
//! encodings.

use bytes::Bytes;
use flate2::{Decompress, FlushDecompress, Status};

/// Smallest step by which the output grows, in bytes.
const STEP: usize = 8 << 10;

/// Largest window of the formats, as a power of two.
const WINDOW_BITS: u8 = 15;

/// Longest name of an encoding that is repeated to the operator, in characters.
const NAME_MAX: usize = 40;

/// A message of the broker, as received.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its body.
    pub body: Bytes,
    /// Encoding of the body as stated by its publisher.
    pub content_encoding: Option<Box<str>>,
}

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// RFC 1952.
    Gzip,
    /// RFC 1950.
    Zlib,
    /// RFC 1951, as many programs understand `deflate`.
    Deflate,
}

/// Why a body could not be inflated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InflateError {
    /// Inflated, it exceeds the limit. Nothing beyond the limit was kept.
    #[error("longer than {0} bytes when inflated")]
    TooLong(usize),
    /// The compressed data is damaged or ends early.
    #[error("the compressed data is damaged or incomplete")]
    Damaged,
}

impl Message {
    /// Compression of the body; `None` if it is not compressed.
    #[must_use]
    pub fn coding(&self) -> Option<Coding> {
        match *self.body {
            [0x1f, 0x8b, ..] => Some(Coding::Gzip),
            [first, second, ..] if is_zlib(first, second) => Some(Coding::Zlib),
            [first, ..] if self.says("deflate") && !begins_json(first) => Some(Coding::Deflate),
            _ => None,
        }
    }

    /// For a body that is no JSON: the encoding that its publisher names and that is not
    /// understood.
    #[must_use]
    pub fn unknown_encoding(&self) -> Option<String> {
        let name = self.content_encoding.as_deref()?;
        let known = [
            "", "identity", "utf-8", "utf8", "binary", "gzip", "x-gzip", "deflate",
        ];
        let is_known = known.iter().any(|known| name.eq_ignore_ascii_case(known));
        (!is_known).then(|| name.chars().take(NAME_MAX).collect())
    }

    fn says(&self, encoding: &str) -> bool {
        let name = self.content_encoding.as_deref();
        name.is_some_and(|name| name.trim().eq_ignore_ascii_case(encoding))
    }
}

/// Whether data begins like RFC 1950: method 8, a window of at most 32 KiB, and a check.
fn is_zlib(first: u8, second: u8) -> bool {
    first & 0x0f == 8
        && first >> 4 <= 7
        && (u16::from(first) << 8 | u16::from(second)).is_multiple_of(31)
}

/// Whether a JSON text, perhaps behind a byte order mark, may begin with this byte.
fn begins_json(first: u8) -> bool {
    first == 0xef || first.is_ascii_graphic() || first.is_ascii_whitespace()
}

/// Inflates a body to at most `bytes_max` bytes. Data after the end of the compressed data is
/// ignored.
///
/// # Errors
/// When it is longer, damaged or incomplete.
pub fn inflate(body: &[u8], coding: Coding, bytes_max: usize) -> Result<Bytes, InflateError> {
    let mut decompress = match coding {
        Coding::Gzip => Decompress::new_gzip(WINDOW_BITS),
        Coding::Zlib => Decompress::new(true),
        Coding::Deflate => Decompress::new(false),
    };
    let mut output = Vec::new();
    let mut input = body;
    loop {
        if output.len() == output.capacity() {
            let room = bytes_max.saturating_add(1) - output.len();
            output.reserve_exact(room.min(output.len().max(STEP)));
        }
        let before = (decompress.total_in(), output.len());
        let status = decompress
            .decompress_vec(input, &mut output, FlushDecompress::None)
            .map_err(|_| InflateError::Damaged)?;
        if output.len() > bytes_max {
            return Err(InflateError::TooLong(bytes_max));
        }
        if status == Status::StreamEnd {
            return Ok(output.into());
        }
        let taken = usize::try_from(decompress.total_in() - before.0).unwrap_or(usize::MAX);
        if taken == 0 && output.len() == before.1 {
            return Err(InflateError::Damaged);
        }
        input = input.get(taken..).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

    use super::*;

    fn message(body: &[u8], content_encoding: Option<&str>) -> Message {
        Message {
            body: Bytes::copy_from_slice(body),
            content_encoding: content_encoding.map(Into::into),
        }
    }

    fn compressed(text: &[u8]) -> [(Coding, Vec<u8>); 3] {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        gzip.write_all(text).unwrap();
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
        zlib.write_all(text).unwrap();
        let mut deflate = DeflateEncoder::new(Vec::new(), Compression::best());
        deflate.write_all(text).unwrap();
        [
            (Coding::Gzip, gzip.finish().unwrap()),
            (Coding::Zlib, zlib.finish().unwrap()),
            (Coding::Deflate, deflate.finish().unwrap()),
        ]
    }

    #[test]
    fn the_bytes_decide_and_the_property_helps() {
        for text in [
            &b"{\"rooms\": []}"[..],
            b" [1]",
            b"\xef\xbb\xbf{}",
            b"x",
            b"",
        ] {
            for said in [
                None,
                Some("gzip"),
                Some("deflate"),
                Some("utf-8"),
                Some("br"),
            ] {
                assert_eq!(message(text, said).coding(), None, "{said:?}");
            }
        }
        let text = br#"{"rooms": [{"a": 1}], "data": "something to compress"}"#;
        for (coding, body) in compressed(text) {
            let said = message(&body, Some("Deflate"));
            assert_eq!(said.coding(), Some(coding));
            assert_eq!(inflate(&body, coding, 100).unwrap(), text[..]);
        }
    }

    #[test]
    fn an_unsupported_encoding_is_named() {
        for (said, unknown) in [
            (None, None),
            (Some("utf-8"), None),
            (Some("GZIP"), None),
            (Some("br"), Some("br")),
            (Some("zstd"), Some("zstd")),
        ] {
            let found = message(b"\x28\xb5\x2f\xfd", said).unknown_encoding();
            assert_eq!(found.as_deref(), unknown);
        }
    }

    #[test]
    fn a_bomb_is_inflated_up_to_the_bound_only() {
        let text = vec![b' '; 10 << 20];
        for (coding, body) in compressed(&text) {
            assert!(body.len() < text.len() / 100, "{}", body.len());
            let limit = 1 << 20;
            assert_eq!(
                inflate(&body, coding, limit),
                Err(InflateError::TooLong(limit))
            );
            assert_eq!(
                inflate(&body, coding, text.len()).unwrap().len(),
                text.len()
            );
            assert!(inflate(&body, coding, text.len() - 1).is_err());
        }
    }

    #[test]
    fn damaged_and_incomplete_data_is_refused() {
        let text = br#"{"rooms": [{"a": 1}], "data": "something to compress"}"#;
        for (coding, body) in compressed(text) {
            for len in 0..body.len() {
                let cut = inflate(&body[..len], coding, 1_000);
                assert_eq!(cut, Err(InflateError::Damaged), "{coding:?} {len}");
            }
            let mut behind = body.clone();
            behind.extend(b"more");
            assert_eq!(inflate(&behind, coding, 1_000).unwrap(), text[..]);
        }
        assert!(inflate(b"\x1f\x8bnonsense", Coding::Gzip, 1_000).is_err());
    }
}
