//! Websocket frames, also those that no client may send.

use std::io;
use std::io::{Read, Write};

use flate2::Compression;
use flate2::write::{DeflateDecoder, DeflateEncoder};

use crate::support::http::read_up_to;

pub(crate) const CONTINUATION: u8 = 0;
pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

/// Among the reserved bits: the message that begins is compressed (RFC 7692 §6).
pub(crate) const RSV1: u8 = 4;

/// The mask of all frames that are sent. Any will do but zero, which would hide mistakes.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) fin: bool,
    /// The three reserved bits.
    pub(crate) rsv: u8,
    pub(crate) opcode: u8,
    pub(crate) masked: bool,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// A complete, valid message of a client.
    pub(crate) fn new(opcode: u8, payload: impl Into<Vec<u8>>) -> Self {
        Self {
            fin: true,
            rsv: 0,
            opcode,
            masked: true,
            payload: payload.into(),
        }
    }

    /// A close frame.
    pub(crate) fn close(code: u16, reason: &str) -> Self {
        Self::new(CLOSE, [&code.to_be_bytes()[..], reason.as_bytes()].concat())
    }

    /// The same frame, but more of its message follows.
    pub(crate) fn unfinished(self) -> Self {
        Self { fin: false, ..self }
    }

    /// The same message, compressed (RFC 7692 §7.2.1).
    pub(crate) fn deflate(self) -> Self {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(&self.payload).expect("compressed");
        encoder.flush().expect("compressed");
        let mut payload = encoder.get_ref().clone();
        assert!(payload.ends_with(&[0x00, 0x00, 0xff, 0xff]));
        payload.truncate(payload.len() - 4);
        Self {
            rsv: self.rsv | RSV1,
            payload,
            ..self
        }
    }

    /// The same message as it was before it was compressed.
    pub(crate) fn inflate(self) -> Self {
        let mut decoder = DeflateDecoder::new(Vec::new());
        decoder.write_all(&self.payload).expect("deflate");
        decoder
            .write_all(&[0x00, 0x00, 0xff, 0xff])
            .expect("deflate");
        decoder.flush().expect("deflate");
        Self {
            rsv: self.rsv & !RSV1,
            payload: decoder.get_ref().clone(),
            ..self
        }
    }

    /// The frame's bytes.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let first = u8::from(self.fin) << 7 | self.rsv << 4 | self.opcode;
        let mask = u8::from(self.masked) << 7;
        let len = self.payload.len();
        let mut bytes = vec![first];
        match len {
            0..=125 => bytes.push(mask | len as u8),
            126..=0xffff => {
                bytes.push(mask | 126);
                bytes.extend((len as u16).to_be_bytes());
            }
            _ => {
                bytes.push(mask | 127);
                bytes.extend((len as u64).to_be_bytes());
            }
        }
        if self.masked {
            bytes.extend(MASK);
            let masked = self.payload.iter().zip(MASK.iter().cycle());
            bytes.extend(masked.map(|(byte, mask)| byte ^ mask));
        } else {
            bytes.extend(&self.payload);
        }
        bytes
    }

    /// Reads a frame; bytes read beyond it stay in `buffer`.
    pub(crate) fn read(stream: &mut impl Read, buffer: &mut Vec<u8>) -> io::Result<Self> {
        read_up_to(stream, buffer, 2)?;
        let (first, second) = (buffer[0], buffer[1]);
        let (start, len) = match second & 0x7f {
            126 => {
                read_up_to(stream, buffer, 4)?;
                (4, usize::from(u16::from_be_bytes([buffer[2], buffer[3]])))
            }
            127 => {
                read_up_to(stream, buffer, 10)?;
                let len = buffer[2..10]
                    .iter()
                    .fold(0, |len, &byte| len << 8 | usize::from(byte));
                (10, len)
            }
            len => (2, usize::from(len)),
        };
        read_up_to(stream, buffer, start + len)?;
        let payload = buffer.drain(..start + len).skip(start).collect();
        Ok(Self {
            fin: first & 0x80 != 0,
            rsv: first >> 4 & 7,
            opcode: first & 0xf,
            masked: second & 0x80 != 0,
            payload,
        })
    }
}
