//! Compressed messages in (RFC 7692 section 7.2.2).

use flate2::{Decompress, FlushDecompress, Status};

use crate::violation::Violation;

/// What the sender of a message removed from its end (section 7.2.1), and a final empty block: only
/// data that ends between two blocks continues with it.
const END: [u8; 9] = [0x00, 0x00, 0xff, 0xff, 0x01, 0x00, 0x00, 0xff, 0xff];

/// Smallest step by which the output grows, in bytes.
const STEP_BYTES: usize = 4 << 10;

/// Capacity that the output keeps from one message to the next, in bytes.
const KEPT_BYTES: usize = 64 << 10;

/// Inflates messages, each for itself: one serves any number of connections that negotiated
/// [`PerMessageDeflate`](crate::PerMessageDeflate). Its state, about 45 KB, is made at the first
/// use and kept.
#[derive(Debug, Default)]
pub struct Inflater {
    decompress: Option<Decompress>,
    out: Vec<u8>,
    inflated: usize,
}

impl Inflater {
    /// An inflater that was not used yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            decompress: None,
            out: Vec::new(),
            inflated: 0,
        }
    }

    /// How many bytes were inflated since the last call, including messages that turned out to be
    /// invalid or too long: the work that was done.
    pub fn take_inflated(&mut self) -> usize {
        std::mem::take(&mut self.inflated)
    }

    /// Releases the memory that one large message took.
    pub fn trim(&mut self) {
        self.out.clear();
        self.out.shrink_to(KEPT_BYTES);
    }

    /// Inflates the payload of one message. No more memory is taken than for `bytes_max` bytes
    /// and one.
    pub(crate) fn inflate(&mut self, payload: &[u8], bytes_max: usize) -> Result<&[u8], Violation> {
        self.trim();
        // Put back only on success: after broken data its state is not reliable.
        let mut decompress = match self.decompress.take() {
            Some(mut decompress) => {
                decompress.reset(false);
                decompress
            }
            None => Decompress::new(false),
        };
        let mut ended = false;
        for mut piece in [payload, &END] {
            loop {
                if ended {
                    if piece.is_empty() {
                        break;
                    }
                    // A final block may end before the message does (section 7.2.3.4).
                    decompress.reset(false);
                }
                if self.out.len() == self.out.capacity() {
                    let room = bytes_max.saturating_add(1) - self.out.len();
                    let step = self.out.len().max(STEP_BYTES);
                    self.out.reserve_exact(room.min(step));
                }
                let before = decompress.total_in();
                let len = self.out.len();
                let status = decompress
                    .decompress_vec(piece, &mut self.out, FlushDecompress::None)
                    .map_err(|_| Violation::DeflateInvalid)?;
                self.inflated += self.out.len() - len;
                if self.out.len() > bytes_max {
                    return Err(Violation::MessageTooBig);
                }
                let taken = usize::try_from(decompress.total_in() - before).unwrap_or(usize::MAX);
                piece = piece.get(taken..).unwrap_or_default();
                ended = status == Status::StreamEnd;
                // If there is room left, no consumed input is pending inside.
                if !ended && self.out.len() < self.out.capacity() {
                    debug_assert!(piece.is_empty());
                    break;
                }
            }
        }
        if ended {
            self.decompress = Some(decompress);
            Ok(&self.out)
        } else {
            Err(Violation::DeflateInvalid)
        }
    }
}

#[cfg(test)]
mod tests;
