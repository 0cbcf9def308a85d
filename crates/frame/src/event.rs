//! Events: messages and control frames of a peer.

use crate::close::CloseCode;
use crate::header::Opcode;
use crate::violation::Violation;

/// A message or control frame of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A whole text message.
    Text(&'a str),
    /// A whole binary message.
    Binary(&'a [u8]),
    /// A ping, to be answered by a pong with the same payload (at most 125 bytes).
    Ping(&'a [u8]),
    /// A pong, solicited or not.
    Pong(&'a [u8]),
    /// The peer closes, with code and reason if it gave them. It may send nothing after this:
    /// stop decoding.
    Close(Option<(CloseCode, &'a str)>),
}

/// The event that a whole frame is.
pub(crate) fn event(opcode: Opcode, payload: &[u8]) -> Result<Event<'_>, Violation> {
    match opcode {
        Opcode::Text => simdutf8::basic::from_utf8(payload)
            .map(Event::Text)
            .map_err(|_| Violation::TextNotUtf8),
        Opcode::Binary | Opcode::Continuation => Ok(Event::Binary(payload)),
        Opcode::Ping => Ok(Event::Ping(payload)),
        Opcode::Pong => Ok(Event::Pong(payload)),
        Opcode::Close => parse_close(payload).map(Event::Close),
    }
}

/// Reads the payload of a close frame (RFC 6455 section 5.5.1): nothing, or a code and a reason.
fn parse_close(payload: &[u8]) -> Result<Option<(CloseCode, &str)>, Violation> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return if payload.is_empty() {
            Ok(None)
        } else {
            Err(Violation::ClosePayloadTooShort)
        };
    };
    let code = CloseCode(u16::from_be_bytes(*code));
    if !code.is_allowed_on_wire() {
        return Err(Violation::CloseCodeNotAllowed);
    }
    let reason = str::from_utf8(reason).map_err(|_| Violation::CloseReasonNotUtf8)?;
    Ok(Some((code, reason)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_of_close_frames() {
        type Parsed = Result<Option<(CloseCode, &'static str)>, Violation>;
        let cases: [(&[u8], Parsed); 7] = [
            (b"", Ok(None)),
            (b"\x03", Err(Violation::ClosePayloadTooShort)),
            (b"\x03\xe8", Ok(Some((CloseCode::NORMAL, "")))),
            (b"\x03\xe8bye", Ok(Some((CloseCode::NORMAL, "bye")))),
            (b"\x03\xed", Err(Violation::CloseCodeNotAllowed)),
            (b"\x03\xed\xff", Err(Violation::CloseCodeNotAllowed)),
            (b"\x03\xe8\xff", Err(Violation::CloseReasonNotUtf8)),
        ];
        for (payload, expected) in cases {
            assert_eq!(parse_close(payload), expected, "{payload:?}");
        }
    }
}
