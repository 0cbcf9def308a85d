//! A data message that did not arrive in one piece.

use crate::header::Opcode;
use crate::violation::Violation;

/// The unmasked bytes of a message that arrived so far.
#[derive(Debug)]
pub(crate) enum Message {
    Text(Text),
    Binary(Vec<u8>),
    /// A compressed message: it can only be validated when it is complete.
    Compressed(Vec<u8>, Opcode),
    /// A skipped message: only its length is kept.
    Skipped(usize),
}

/// Text, checked as it arrives: the whole characters, and apart from them the start of one that
/// was cut. So each byte is validated once, however the message was cut.
#[derive(Debug, Default)]
pub(crate) struct Text {
    whole: String,
    cut: [u8; 3],
    cut_len: u8,
}

impl Message {
    pub(crate) fn new(opcode: Opcode, compressed: bool) -> Self {
        if compressed {
            Self::Compressed(Vec::new(), opcode)
        } else if opcode == Opcode::Text {
            Self::Text(Text::default())
        } else {
            Self::Binary(Vec::new())
        }
    }

    /// Bytes that arrived so far.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.whole.len() + usize::from(text.cut_len),
            Self::Binary(bytes) | Self::Compressed(bytes, _) => bytes.len(),
            Self::Skipped(len) => *len,
        }
    }

    /// Memory that the message takes beside this value, in bytes.
    pub(crate) fn kept_bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.whole.capacity(),
            Self::Binary(bytes) | Self::Compressed(bytes, _) => bytes.capacity(),
            Self::Skipped(_) => 0,
        }
    }

    /// Adds arrived bytes. `to_come` is the remaining length of the message, if its last frame
    /// announced it: the buffer doubles as it fills, but not beyond that.
    pub(crate) fn push(&mut self, bytes: &[u8], to_come: Option<usize>) -> Result<(), Violation> {
        match self {
            Self::Text(text) => text.push(bytes, to_come),
            Self::Binary(kept) | Self::Compressed(kept, _) => {
                let extra = growth(kept.len(), kept.capacity(), bytes.len(), to_come);
                kept.reserve_exact(extra);
                kept.extend_from_slice(bytes);
                Ok(())
            }
            Self::Skipped(len) => {
                *len += bytes.len();
                Ok(())
            }
        }
    }

    /// Checks that the message may end here: text may not end within a character.
    pub(crate) fn check_end(&self) -> Result<(), Violation> {
        match self {
            Self::Text(text) if text.cut_len > 0 => Err(Violation::TextNotUtf8),
            Self::Text(_) | Self::Binary(_) | Self::Compressed(..) | Self::Skipped(_) => Ok(()),
        }
    }
}

impl Text {
    /// The characters that are complete.
    pub(crate) fn as_str(&self) -> &str {
        &self.whole
    }

    fn push(&mut self, bytes: &[u8], to_come: Option<usize>) -> Result<(), Violation> {
        let bytes = self.finish_cut(bytes)?;
        let (whole, cut) = split_at_cut(bytes)?;
        let extra = growth(
            self.whole.len(),
            self.whole.capacity(),
            bytes.len(),
            to_come,
        );
        self.whole.reserve_exact(extra);
        self.whole.push_str(whole);
        // Either the cut character was completed above, or all of `bytes` belong to it.
        for &byte in cut {
            self.keep_cut(byte);
        }
        Ok(())
    }

    /// Completes the character that was cut with as many of `bytes` as it takes; returns the rest.
    fn finish_cut<'b>(&mut self, mut bytes: &'b [u8]) -> Result<&'b [u8], Violation> {
        while self.cut_len > 0 {
            let Some((&byte, rest)) = bytes.split_first() else {
                break;
            };
            bytes = rest;
            let kept = usize::from(self.cut_len);
            let mut character = [0; 4];
            character[..kept].copy_from_slice(&self.cut[..kept]);
            character[kept] = byte;
            let (whole, cut) = split_at_cut(&character[..=kept])?;
            if cut.is_empty() {
                self.whole.push_str(whole);
                self.cut_len = 0;
            } else {
                self.keep_cut(byte);
            }
        }
        Ok(bytes)
    }

    fn keep_cut(&mut self, byte: u8) {
        self.cut[usize::from(self.cut_len)] = byte;
        self.cut_len += 1;
    }
}

/// Splits `bytes` into whole characters and the valid start, of at most three bytes, of one more.
fn split_at_cut(bytes: &[u8]) -> Result<(&str, &[u8]), Violation> {
    match simdutf8::compat::from_utf8(bytes) {
        Ok(whole) => Ok((whole, &[])),
        Err(error) if error.error_len().is_some() => Err(Violation::TextNotUtf8),
        Err(error) => {
            let (whole, cut) = bytes.split_at(error.valid_up_to());
            let whole = simdutf8::basic::from_utf8(whole).map_err(|_| Violation::TextNotUtf8)?;
            Ok((whole, cut))
        }
    }
}

/// How much to reserve so that `arrived` bytes fit. Doubling keeps the copies linear, whatever the
/// size of the pieces; once the end is known, nothing beyond it is reserved.
fn growth(len: usize, capacity: usize, arrived: usize, to_come: Option<usize>) -> usize {
    if capacity - len >= arrived {
        return 0;
    }
    let doubled = len.max(arrived);
    to_come.map_or(doubled, |to_come| {
        doubled.min(arrived.saturating_add(to_come))
    })
}

#[cfg(test)]
mod tests;
