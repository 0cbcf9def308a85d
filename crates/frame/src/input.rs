//! Bytes that a decoder reads.

use std::ops::Range;

use crate::mask;

/// Bytes as they came from the socket. Payloads are unmasked in place.
#[derive(Debug)]
pub struct Input<'b> {
    pub(crate) bytes: &'b mut [u8],
    position: usize,
}

impl<'b> Input<'b> {
    /// All of `bytes`, nothing consumed.
    pub fn new(bytes: &'b mut [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    /// Bytes that are not consumed yet.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.position
    }

    /// Consumes all that is left.
    pub fn skip(&mut self) {
        self.position = self.bytes.len();
    }

    pub(crate) fn rest(&self) -> &[u8] {
        &self.bytes[self.position..]
    }

    /// Consumes `len` bytes, which must be there.
    pub(crate) fn take(&mut self, len: usize) -> Range<usize> {
        let start = self.position;
        self.position += len;
        start..self.position
    }

    /// Consumes `len` bytes, which must be there, and unmasks them.
    pub(crate) fn take_unmasked(&mut self, len: usize, key: Option<[u8; 4]>) -> Range<usize> {
        let range = self.take(len);
        if let Some(key) = key {
            mask::apply(&mut self.bytes[range.clone()], key);
        }
        range
    }

    /// The same, but at most what is available.
    pub(crate) fn take_some_unmasked(&mut self, len_max: usize, key: Option<[u8; 4]>) -> &[u8] {
        let range = self.take_unmasked(len_max.min(self.remaining()), key);
        &self.bytes[range]
    }
}
