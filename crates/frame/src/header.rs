//! Frame headers (RFC 6455 section 5.2).

use crate::violation::Violation;

/// Longest payload of a control frame, in bytes (section 5.5).
pub const CONTROL_BYTES_MAX: usize = 125;

/// Longest header on the wire: two bytes, eight of length, four of mask.
pub(crate) const HEADER_BYTES_MAX: usize = 14;

pub(crate) const FIN: u8 = 0x80;
pub(crate) const MASKED: u8 = 0x80;
/// In the second byte: two bytes of length follow.
pub(crate) const LENGTH_16: u8 = 126;
/// In the second byte: eight bytes of length follow.
pub(crate) const LENGTH_64: u8 = 127;

/// Of the first frame of a message: it is compressed, where that was negotiated (RFC 7692 section
/// 6).
pub(crate) const RSV1: u8 = 0x40;
/// RSV2 and RSV3, which no supported extension uses.
const RSV2_RSV3: u8 = 0x30;

/// Our side of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The peer is a client: its frames must be masked.
    Server,
    /// The peer is a server: its frames must not be masked.
    Client,
}

/// The type of a frame (section 11.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    /// A further fragment of a message.
    Continuation,
    /// A text message or its first fragment.
    Text,
    /// A binary message or its first fragment.
    Binary,
    /// The end of the connection.
    Close,
    /// Requests a pong.
    Ping,
    /// Answers a ping, or is an unsolicited heartbeat.
    Pong,
}

impl Opcode {
    /// The four bits on the wire.
    pub(crate) const fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0x0,
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xa,
        }
    }

    const fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0x0 => Some(Self::Continuation),
            0x1 => Some(Self::Text),
            0x2 => Some(Self::Binary),
            0x8 => Some(Self::Close),
            0x9 => Some(Self::Ping),
            0xa => Some(Self::Pong),
            _ => None,
        }
    }

    pub(crate) const fn is_control(self) -> bool {
        self.bits() & 0x8 != 0
    }

    const fn begins_message(self) -> bool {
        matches!(self, Self::Text | Self::Binary)
    }
}

/// The header of one frame, checked as far as it can be without its neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) fin: bool,
    /// The message that begins is compressed.
    pub(crate) compressed: bool,
    pub(crate) opcode: Opcode,
    pub(crate) mask: Option<[u8; 4]>,
    pub(crate) payload_len: usize,
}

impl Header {
    /// Parses the header at the start of `bytes` and returns its length. `None`: it is incomplete.
    /// `deflate`: compression was negotiated.
    ///
    /// The checks are made in the order of the bytes, so that cutting a stream elsewhere never
    /// changes which violation is found.
    pub(crate) fn parse(
        bytes: &[u8],
        role: Role,
        deflate: bool,
    ) -> Result<Option<(Self, usize)>, Violation> {
        let Some((&first, rest)) = bytes.split_first() else {
            return Ok(None);
        };
        let compressed = first & RSV1 != 0;
        if first & RSV2_RSV3 != 0 || compressed && !deflate {
            return Err(Violation::ReservedBits);
        }
        let opcode = Opcode::from_bits(first & 0x0f).ok_or(Violation::ReservedOpcode)?;
        if compressed && !opcode.begins_message() {
            return Err(Violation::ReservedBits);
        }
        let fin = first & FIN != 0;
        if opcode.is_control() && !fin {
            return Err(Violation::ControlFragmented);
        }

        let Some((&second, rest)) = rest.split_first() else {
            return Ok(None);
        };
        let masked = second & MASKED != 0;
        match role {
            Role::Server if !masked => return Err(Violation::NotMasked),
            Role::Client if masked => return Err(Violation::Masked),
            Role::Server | Role::Client => {}
        }
        let short = second & !MASKED;
        if opcode.is_control() && usize::from(short) > CONTROL_BYTES_MAX {
            return Err(Violation::ControlTooLong);
        }

        let Some((payload_len, rest)) = parse_length(short, rest)? else {
            return Ok(None);
        };
        let (mask, rest) = if masked {
            let Some((mask, rest)) = rest.split_first_chunk::<4>() else {
                return Ok(None);
            };
            (Some(*mask), rest)
        } else {
            (None, rest)
        };
        Ok(Some((
            Self {
                fin,
                compressed,
                opcode,
                mask,
                payload_len,
            },
            bytes.len() - rest.len(),
        )))
    }
}

/// Reads the length that is announced by `short`, the seven bits of the second byte.
fn parse_length(short: u8, rest: &[u8]) -> Result<Option<(usize, &[u8])>, Violation> {
    match short {
        LENGTH_16 => {
            let Some((length, rest)) = rest.split_first_chunk::<2>() else {
                return Ok(None);
            };
            let length = u16::from_be_bytes(*length);
            if length < u16::from(LENGTH_16) {
                return Err(Violation::LengthNotMinimal);
            }
            Ok(Some((usize::from(length), rest)))
        }
        LENGTH_64 => {
            let Some((length, rest)) = rest.split_first_chunk::<8>() else {
                return Ok(None);
            };
            let length = u64::from_be_bytes(*length);
            if length >> 63 != 0 {
                return Err(Violation::LengthTopBit);
            }
            if length <= u64::from(u16::MAX) {
                return Err(Violation::LengthNotMinimal);
            }
            // Where it does not fit the address space, it is over any limit too.
            let length = usize::try_from(length).map_err(|_| Violation::MessageTooBig)?;
            Ok(Some((length, rest)))
        }
        short => Ok(Some((usize::from(short), rest))),
    }
}
