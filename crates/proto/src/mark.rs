//! Byte order marks, which PowerShell, .NET and PHP tend to write before a text.

/// The UTF-8 byte order mark.
const UTF8: &[u8] = b"\xef\xbb\xbf";

/// The bytes after a UTF-8 byte order mark, if there is one; none where the mark is that of UTF-16
/// or UTF-32. Neither can begin a JSON text in UTF-8 (RFC 8259 section 8.1 lets a reader ignore the
/// mark).
#[must_use]
pub fn without_mark(bytes: &[u8]) -> Option<&[u8]> {
    match bytes {
        // Little and big endian; UTF-32 begins like one of them or with two zero bytes.
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, 0, 0xfe, 0xff, ..] => None,
        _ => Some(bytes.strip_prefix(UTF8).unwrap_or(bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_mark_is_skipped() {
        for (bytes, found) in [
            (&b"{}"[..], Some(&b"{}"[..])),
            (b"", Some(b"")),
            (b"\xef\xbb", Some(b"\xef\xbb")),
            (b"\xef\xbb\xbf", Some(b"")),
            (b"\xef\xbb\xbf{}", Some(b"{}")),
            (b"\xef\xbb\xbf\xef\xbb\xbf{}", Some(b"\xef\xbb\xbf{}")),
            (b" \xef\xbb\xbf{}", Some(b" \xef\xbb\xbf{}")),
            (b"\xff\xfe{\0}\0", None),
            (b"\xfe\xff\0{\0}", None),
            (b"\xff\xfe\0\0{\0\0\0", None),
            (b"\0\0\xfe\xff\0\0\0{", None),
        ] {
            assert_eq!(without_mark(bytes), found, "{bytes:?}");
        }
    }
}
