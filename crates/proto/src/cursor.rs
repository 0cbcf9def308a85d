//! Cursors: the text that records how far a client has read the log.

use std::fmt;
use std::str::FromStr;

use crate::digest::digest;
use crate::entry::{Epoch, Position};
use crate::letters::{bytes, letters};

pub use crate::check::Check;

/// Longest text of a cursor, in bytes.
pub const CURSOR_BYTES_MAX: usize =
    Epoch::LETTERS + 1 + 16 + 1 + Check::LETTERS + 1 + Part::LETTERS;

/// Everything up to an entry of the log, and that entry with it: `k3f9ab-1742-aB3x`.
///
/// Where an entry matches several subscriptions of a connection, its messages are sent in the order
/// of their [`Part`]. All but the last carry a cursor that ends there: `k3f9ab-1742-aB3x.Zk0aAQ`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// The epoch of the log.
    pub epoch: Epoch,
    /// The entry.
    pub position: Position,
    /// Distinguishes the entry from another one that has, after a loss, the same position.
    pub check: Check,
    /// Of this entry, only the messages up to this part; none: all of them.
    pub part: Option<Part>,
}

/// The text of a cursor.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CursorText {
    bytes: [u8; CURSOR_BYTES_MAX],
    len: u8,
}

impl CursorText {
    /// The text.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl fmt::Debug for CursorText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.as_bytes()))
    }
}

impl From<Cursor> for CursorText {
    fn from(cursor: Cursor) -> Self {
        let (mut bytes, mut left) = ([0; CURSOR_BYTES_MAX], CURSOR_BYTES_MAX);
        let mut rest = &mut bytes[..];
        cursor.parts(|part| {
            let (taken, others) = std::mem::take(&mut rest).split_at_mut(part.len());
            taken.copy_from_slice(part);
            rest = others;
            left -= part.len();
        });
        Self {
            bytes,
            len: u8::try_from(CURSOR_BYTES_MAX - left).unwrap_or(0),
        }
    }
}

/// Which of an entry's messages for one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Part(u32);

impl Part {
    /// Letters of its text.
    const LETTERS: usize = 6;

    /// The part of a subscription, by the JSON texts of its `requestId` and of its room.
    #[must_use]
    pub fn of(request_id: &[u8], room: &[u8]) -> Self {
        let both = digest(request_id) ^ digest(room).rotate_left(32);
        Self(u32::try_from(digest(&both.to_be_bytes()) >> 32).unwrap_or(0))
    }

    /// What a cursor that ends with this part has after the cursor of the whole entry.
    #[must_use]
    pub fn suffix(self) -> [u8; 1 + Self::LETTERS] {
        let mut suffix = [b'.'; 1 + Self::LETTERS];
        suffix[1..].copy_from_slice(&letters::<4, { Self::LETTERS }>(self.0.to_be_bytes()));
        suffix
    }

    /// A part from 32 bits.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    fn parse(text: &str) -> Option<Self> {
        Some(Self(u32::from_be_bytes(bytes(text)?)))
    }
}

/// The text is not a cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor: send one back as it came")]
pub struct CursorError;

impl Cursor {
    /// Appends its text.
    pub fn write(&self, out: &mut Vec<u8>) {
        self.parts(|part| out.extend_from_slice(part));
    }

    /// Passes the parts of its text, in their order.
    fn parts(&self, mut put: impl FnMut(&[u8])) {
        put(&self.epoch.letters());
        put(b"-");
        let mut digits = itoa::Buffer::new();
        put(digits.format(self.position.get()).as_bytes());
        put(b"-");
        put(&self.check.letters());
        if let Some(part) = self.part {
            put(&part.suffix());
        }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::with_capacity(CURSOR_BYTES_MAX);
        self.write(&mut text);
        f.write_str(&String::from_utf8_lossy(&text))
    }
}

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        if text.len() > CURSOR_BYTES_MAX {
            return Err(CursorError);
        }
        parse(text).ok_or(CursorError)
    }
}

fn parse(text: &str) -> Option<Cursor> {
    let (epoch, rest) = text.split_once('-')?;
    // The check may contain a hyphen of its own.
    let (position, rest) = rest.split_once('-')?;
    let (check, part) = match rest.split_once('.') {
        Some((check, part)) => (check, Some(Part::parse(part)?)),
        None => (rest, None),
    };
    Some(Cursor {
        epoch: Epoch::parse(epoch)?,
        position: number(position)?,
        check: Check::parse(check)?,
        part,
    })
}

/// A position as [`Cursor::write`] writes it: digits, without leading zeros.
fn number(digits: &str) -> Option<Position> {
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    if !is_plain || digits.len() > 1 && digits.starts_with('0') {
        return None;
    }
    Position::new(digits.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cursor(epoch: u32, position: u64, check: u32, part: Option<u32>) -> Cursor {
        Cursor {
            epoch: Epoch::from_random(epoch),
            position: Position::new(position).unwrap(),
            check: Check::from_bits(check),
            part: part.map(Part),
        }
    }

    #[test]
    fn a_cursor_is_written_and_read() {
        const LAST: u64 = (1 << 53) - 1;
        for (cursor, text) in [
            (cursor(0, 0, 0, None), "aaaaaa-0-AAAA"),
            (cursor(1, 1742, 0x00ff_ffff, None), "aaaaab-1742-____"),
            (
                cursor(u32::MAX, LAST, 0x00fb_efbf, None),
                "999999-9007199254740991----_",
            ),
            (cursor(0, 10, 1, Some(0)), "aaaaaa-10-AAAB.AAAAAA"),
            (cursor(0, 10, 1, Some(u32::MAX)), "aaaaaa-10-AAAB._____w"),
        ] {
            let written = cursor.to_string();
            assert_eq!(written, text);
            assert_eq!(CursorText::from(cursor).as_bytes(), text.as_bytes());
            assert!(written.len() <= CURSOR_BYTES_MAX);
            assert_eq!(text.parse(), Ok(cursor));
        }
        let longest = cursor(u32::MAX, LAST, 0x00ff_ffff, Some(u32::MAX)).to_string();
        assert_eq!(longest.len(), CURSOR_BYTES_MAX);
    }

    #[test]
    fn invalid_cursors_are_refused() {
        for text in [
            "",
            "-",
            "--",
            "aaaaaa-1742",
            "aaaaaa-1742-",
            "aaaaaa--AAAA",
            "-1742-AAAA",
            "aaaaa-1742-AAAA",
            "aaaaaaa-1742-AAAA",
            "AAAAAA-1742-AAAA",
            "aaaaal-1742-AAAA",
            "aaaaaä-1742-AAAA",
            "aaaaaa-+1-AAAA",
            "aaaaaa--1-AAAA",
            "aaaaaa-01-AAAA",
            "aaaaaa-1_0-AAAA",
            "aaaaaa-0x1-AAAA",
            "aaaaaa-9007199254740992-AAAA",
            "aaaaaa-18446744073709551616-AAAA",
            "aaaaaa-1-AAA",
            "aaaaaa-1-AAAAA",
            "aaaaaa-1-AA=A",
            "aaaaaa-1-AA+A",
            "aaaaaa-1-AAAA.",
            "aaaaaa-1-AAAA.AAAA",
            "aaaaaa-1-AAAA.AAAAAB",
            "aaaaaa-1-AAAA.AAAAAA.AAAAAA",
            "aaaaaa-1-AAAA ",
            " aaaaaa-1-AAAA",
            "*",
            &"a".repeat(10_000),
        ] {
            assert_eq!(text.parse::<Cursor>(), Err(CursorError), "{text}");
        }
    }

    #[test]
    fn check_distinguishes_entries() {
        let text = |number: u32| format!(r#"{{"rooms":[{{"id":{number}}}],"data":null}}"#);
        let first = Check::of(text(0).as_bytes());
        assert_eq!(first, Check::of(text(0).as_bytes()));
        assert!(first.get() < 1 << 24);
        // Sixteen million values: a thousand others rarely meet one of them, and these do not.
        assert!((1..1_000).all(|number| Check::of(text(number).as_bytes()) != first));
        let parts = [
            Part::of(b"1", b"{}"),
            Part::of(b"\"1\"", b"{}"),
            Part::of(b"1", b"{\"a\": 1}"),
            Part::of(b"{}", b"1"),
        ];
        for (index, part) in parts.iter().enumerate() {
            assert!(!parts[..index].contains(part));
        }
        // The same on every node and in every version.
        assert_eq!(parts[0].get(), 2_150_087_473);
    }

    proptest! {
        #[test]
        fn what_is_written_is_what_is_read(
            epoch: u32,
            position in 0..=Position::MAX.get(),
            check in 0..1_u32 << 24,
            part: Option<u32>,
        ) {
            let cursor = cursor(epoch, position, check, part);
            prop_assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }

        #[test]
        fn a_cursor_has_one_text(text in "[a-z2-9]{5,7}-[0-9]{0,17}-[A-Za-z0-9_-]{3,5}(\\.[AQgw_-]{5,7})?") {
            if let Ok(cursor) = text.parse::<Cursor>() {
                prop_assert_eq!(cursor.to_string(), text);
            }
        }

        #[test]
        fn nothing_panics(text in ".{0,40}") {
            let _ = text.parse::<Cursor>();
        }
    }
}
