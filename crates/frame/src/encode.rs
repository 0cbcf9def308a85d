//! From messages to bytes.

use std::ops::Deref;

use crate::close::CloseCode;
use crate::header::{CONTROL_BYTES_MAX, FIN, LENGTH_16, LENGTH_64, MASKED, Opcode, RSV1};
use crate::mask;

/// Longest reason in a close frame, in bytes of UTF-8: a control frame less the code.
pub const CLOSE_REASON_BYTES_MAX: usize = CONTROL_BYTES_MAX - 2;

/// The header of one frame with FIN and without mask, as bytes: 2, 4 or 10 of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    bytes: [u8; 10],
    len: u8,
}

impl FrameHeader {
    /// The header for a payload of `payload_len` bytes. For control frames that is at most
    /// [`CONTROL_BYTES_MAX`].
    #[must_use]
    pub fn new(opcode: Opcode, payload_len: usize) -> Self {
        debug_assert!(!opcode.is_control() || payload_len <= CONTROL_BYTES_MAX);
        let mut bytes = [0; 10];
        bytes[0] = FIN | opcode.bits();
        let len = match (u8::try_from(payload_len), u16::try_from(payload_len)) {
            (Ok(short), _) if short < LENGTH_16 => {
                bytes[1] = short;
                2
            }
            (_, Ok(medium)) => {
                bytes[1] = LENGTH_16;
                bytes[2..4].copy_from_slice(&medium.to_be_bytes());
                4
            }
            _ => {
                bytes[1] = LENGTH_64;
                bytes[2..10].copy_from_slice(&(payload_len as u64).to_be_bytes());
                10
            }
        };
        Self { bytes, len }
    }

    /// The same for a message that is compressed, as a client that agreed to it expects.
    pub(crate) fn compressed(mut self) -> Self {
        self.bytes[0] |= RSV1;
        self
    }
}

impl Deref for FrameHeader {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl AsRef<[u8]> for FrameHeader {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

/// Appends a whole frame as a server sends it: FIN, no mask.
pub fn put_frame(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    let header = FrameHeader::new(opcode, payload.len());
    out.reserve(header.len() + payload.len());
    out.extend_from_slice(&header);
    out.extend_from_slice(payload);
}

/// Appends a whole frame as a client sends it: FIN, masked with `mask`, which is to be
/// unpredictable for the application that gave the payload (RFC 6455 section 10.3).
pub fn put_masked_frame(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8], mask: [u8; 4]) {
    let mut header = FrameHeader::new(opcode, payload.len());
    header.bytes[1] |= MASKED;
    out.reserve(header.len() + mask.len() + payload.len());
    out.extend_from_slice(&header);
    out.extend_from_slice(&mask);
    let start = out.len();
    out.extend_from_slice(payload);
    mask::apply(&mut out[start..], mask);
}

/// Appends a close frame as a server sends it. A `reason` of more than [`CLOSE_REASON_BYTES_MAX`]
/// bytes is cut between two characters. `code` must be one [allowed on the
/// wire](CloseCode::is_allowed_on_wire).
pub fn put_close(out: &mut Vec<u8>, code: CloseCode, reason: &str) {
    debug_assert!(code.is_allowed_on_wire());
    let reason = &reason[..reason.floor_char_boundary(CLOSE_REASON_BYTES_MAX)];
    let header = FrameHeader::new(Opcode::Close, 2 + reason.len());
    out.reserve(header.len() + 2 + reason.len());
    out.extend_from_slice(&header);
    out.extend_from_slice(&code.0.to_be_bytes());
    out.extend_from_slice(reason.as_bytes());
}

#[cfg(test)]
mod tests;
