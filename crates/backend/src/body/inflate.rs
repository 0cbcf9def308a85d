//! Decoding gzip and deflate with a limit on the output.

use bytes::Bytes;
use flate2::{Decompress, FlushDecompress, Status};

use crate::answer::Failure;

/// Smallest step by which the output grows, in bytes.
const STEP_BYTES: usize = 8 * 1024;

/// Largest window of the two formats, as a power of two.
const WINDOW_BITS: u8 = 15;

/// A content coding that was requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    /// RFC 1952, checksum included.
    Gzip,
    /// RFC 1950; many servers send RFC 1951 under this name, so both are read.
    Deflate,
}

/// Decodes one body. Data after the end of the coded data is ignored.
pub(super) struct Inflater {
    coding: Coding,
    bytes_max: usize,
    /// Created at the first byte, which distinguishes the two kinds of deflate.
    decompress: Option<Decompress>,
    output: Vec<u8>,
    ended: bool,
}

impl Inflater {
    pub(super) fn new(coding: Coding, bytes_max: usize) -> Self {
        Self {
            coding,
            bytes_max,
            decompress: None,
            output: Vec::new(),
            ended: false,
        }
    }

    /// Decodes the next piece.
    pub(super) fn take(&mut self, mut input: &[u8]) -> Result<(), Failure> {
        let Some(&first) = input.first() else {
            return Ok(());
        };
        let coding = self.coding;
        let decompress = self.decompress.get_or_insert_with(|| match coding {
            Coding::Gzip => Decompress::new_gzip(WINDOW_BITS),
            Coding::Deflate => Decompress::new(is_zlib(first)),
        });
        while !self.ended {
            if self.output.len() == self.output.capacity() {
                let room = self.bytes_max.saturating_add(1) - self.output.len();
                self.output
                    .reserve_exact(room.min(self.output.len().max(STEP_BYTES)));
            }
            let before = decompress.total_in();
            let status = decompress
                .decompress_vec(input, &mut self.output, FlushDecompress::None)
                .map_err(|_| Failure::Encoding("the compressed data is damaged".into()))?;
            let taken = usize::try_from(decompress.total_in() - before).unwrap_or(usize::MAX);
            input = input.get(taken..).unwrap_or_default();
            if self.output.len() > self.bytes_max {
                return Err(Failure::TooLarge {
                    bytes_max: self.bytes_max,
                });
            }
            self.ended = status == Status::StreamEnd;
            // Output that did not fit is still waiting inside even when the input is used up.
            if input.is_empty() && self.output.len() < self.output.capacity() {
                break;
            }
        }
        Ok(())
    }

    /// Memory of what is decoded.
    pub(super) fn bytes(&self) -> usize {
        self.output.capacity()
    }

    /// The decoded body, if the coded data was complete.
    pub(super) fn finish(self) -> Result<Bytes, Failure> {
        if self.decompress.is_some() && !self.ended {
            return Err(Failure::Truncated);
        }
        Ok(self.output.into())
    }
}

/// Whether data starts like RFC 1950: method 8 and a window of at most 32 KiB.
fn is_zlib(first: u8) -> bool {
    first & 0x0f == 8 && first >> 4 <= 7
}
