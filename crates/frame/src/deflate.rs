//! Compressed messages out (RFC 7692 section 7.2.1).

use flate2::{Compress, Compression, FlushCompress};

use crate::encode::FrameHeader;
use crate::header::Opcode;

/// Bytes of a stored block before its content: what is in it, and its length twice (RFC 1951
/// section 3.2.4).
const STORED_BYTES: usize = 5;

/// How a compressed message ends: with the first byte of an empty stored block. The other four,
/// `00 00 ff ff`, do not travel.
const END: [u8; 1] = [0];

/// Compresses the heads of messages, each for itself. Its state, about 370 KB, is made at the
/// first use and kept.
#[derive(Debug)]
pub struct Deflater {
    level: u32,
    compress: Option<Compress>,
}

impl Deflater {
    /// A compressor of the given level, from 1 (fast) to 9 (small).
    #[must_use]
    pub const fn new(level: u8) -> Self {
        Self {
            level: level as u32,
            compress: None,
        }
    }

    /// Compresses `head`, up to a byte boundary, so that anything may follow: see
    /// [`DeflatedFrame`]. `None`: the message would not become smaller. No more memory is taken
    /// than `head` has bytes.
    #[must_use]
    pub fn deflate(&mut self, head: &[u8]) -> Option<Box<[u8]>> {
        let len_max = head.len().checked_sub(STORED_BYTES + END.len())?;
        // Put back only when it is done: a reset of zlib-rs 0.6.8 keeps the position of pending
        // output in its buffer, and it panics some uses later.
        let mut compress = match self.compress.take() {
            Some(mut compress) => {
                compress.reset();
                compress
            }
            None => Compress::new(Compression::new(self.level), false),
        };
        let mut out = Vec::with_capacity(len_max);
        compress
            .compress_vec(head, &mut out, FlushCompress::Sync)
            .ok()?;
        // With no space left, output may be missing.
        let is_complete = compress.total_in() == head.len() as u64 && out.len() < len_max;
        is_complete.then(|| {
            self.compress = Some(compress);
            out.into_boxed_slice()
        })
    }
}

/// A compressed message in one frame: a head that was [deflated](Deflater::deflate), perhaps for
/// many receivers, and a tail that is stored as it is.
///
/// Nothing in it refers to another message, so it is valid for every client that negotiated a
/// [`PerMessageDeflate`](crate::PerMessageDeflate), whatever it received before.
#[derive(Clone, Copy, Debug)]
pub struct DeflatedFrame<'a> {
    header: FrameHeader,
    head: &'a [u8],
    /// The start of the stored block that holds the tail.
    stored: [u8; STORED_BYTES],
    tail: &'a [u8],
}

impl<'a> DeflatedFrame<'a> {
    /// Puts the frame together. `None`: the tail does not fit a stored block, which holds 65,535
    /// bytes.
    #[must_use]
    pub fn new(opcode: Opcode, head: &'a [u8], tail: &'a [u8]) -> Option<Self> {
        let [low, high] = u16::try_from(tail.len()).ok()?.to_le_bytes();
        let payload_len = head.len() + STORED_BYTES + tail.len() + END.len();
        Some(Self {
            header: FrameHeader::new(opcode, payload_len).compressed(),
            head,
            stored: [0, low, high, !low, !high],
            tail,
        })
    }

    /// The frame's bytes, in the order in which they are sent; the second part is the head.
    #[must_use]
    pub fn parts(&self) -> [&[u8]; 5] {
        [&self.header, self.head, &self.stored, self.tail, &END]
    }
}

#[cfg(test)]
mod tests;
