//! The client protocol of NATS, over WebSocket frames and over TCP: lines, and a payload after each
//! `MSG` line.

use super::{Identity, Stage};
use crate::workload::Rooms;

/// Maximum line, in bytes. The longest one is `INFO`.
const LINE_BYTES_MAX: usize = 16 << 10;
/// Maximum message, in bytes.
const MESSAGE_BYTES_MAX: usize = 128 << 10;

/// A line of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line<'a> {
    /// A publication.
    Message(&'a [u8]),
    /// It expects `PONG`.
    Ping,
    /// The reply to our `PING`: all earlier lines are processed.
    Pong,
    /// Information, or a confirmation.
    Info,
    /// An error.
    Error(&'a [u8]),
}

/// Not the protocol, or too long.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unreadable;

/// The subject of a room.
pub(crate) fn subject(rooms: Rooms, number: u32) -> String {
    format!("bench.{}", rooms.name(number))
}

/// The first line of a client.
pub(crate) const CONNECT: &str = "CONNECT {\"verbose\":false,\"pedantic\":false}\r\n";

/// The first line in `bytes` with its payload, and its length. `None` if it is incomplete.
pub(crate) fn next(bytes: &[u8]) -> Result<Option<(Line<'_>, usize)>, Unreadable> {
    let Some(end) = bytes.windows(2).position(|w| w == b"\r\n") else {
        return match bytes.len() {
            0..LINE_BYTES_MAX => Ok(None),
            _ => Err(Unreadable),
        };
    };
    let text = &bytes[..end];
    let start = end + 2;
    let word = text.split(|&b| b == b' ').next().unwrap_or_default();
    let line = match word {
        b"MSG" => {
            let length = text.rsplit(|&b| b == b' ').next();
            let length: usize = length
                .and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok())
                .ok_or(Unreadable)?;
            if length > MESSAGE_BYTES_MAX {
                return Err(Unreadable);
            }
            // The payload is followed by CRLF.
            let message = bytes.get(start..start + length + 2);
            return Ok(message.map(|m| (Line::Message(&m[..length]), start + length + 2)));
        }
        b"PING" => Line::Ping,
        b"PONG" => Line::Pong,
        b"INFO" | b"+OK" => Line::Info,
        b"-ERR" => Line::Error(text),
        _ => return Err(Unreadable),
    };
    Ok(Some((line, start)))
}

/// Returns the next stage and what to send, or `None` if the message is unexpected.
pub(super) fn joining(
    stage: Stage,
    identity: Identity,
    rooms: Rooms,
    mut received: &[u8],
) -> Option<(Stage, String)> {
    let (mut stage, mut answer) = (stage, String::new());
    while !received.is_empty() {
        let (what, length) = next(received).ok()??;
        received = &received[length..];
        match (stage, what) {
            (Stage::Greeting, Line::Info) => {
                answer.push_str(CONNECT);
                answer.push_str(&format!(
                    "SUB {} 1\r\nPING\r\n",
                    subject(rooms, identity.number)
                ));
                stage = Stage::Subscribing;
            }
            (Stage::Subscribing, Line::Pong) => stage = Stage::Joined,
            (Stage::Subscribing | Stage::Joined, Line::Info) => {}
            (Stage::Subscribing | Stage::Joined, Line::Ping) => answer.push_str("PONG\r\n"),
            _ => return None,
        }
    }
    Some((stage, answer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_read_piece_by_piece() {
        let bytes =
            b"INFO {}\r\nMSG bench.all 1 3\r\na\r\n\r\nPING\r\nPONG\r\n-ERR 'no'\r\n+OK\r\n";
        let expected = [
            Line::Info,
            Line::Message(b"a\r\n"),
            Line::Ping,
            Line::Pong,
            Line::Error(b"-ERR 'no'"),
            Line::Info,
        ];
        let mut rest = &bytes[..];
        for expected in expected {
            let (received, length) = next(rest).unwrap().unwrap();
            assert_eq!(received, expected);
            for cut in 0..length {
                assert_eq!(next(&rest[..cut]), Ok(None), "{cut} of {received:?}");
            }
            rest = &rest[length..];
        }
        assert!(rest.is_empty());
    }

    #[test]
    fn what_is_not_the_protocol_is_refused() {
        let endless = vec![b'x'; LINE_BYTES_MAX];
        for bytes in [
            &b"HELLO\r\n"[..],
            b"MSG bench.all 1 x\r\n",
            b"MSG bench.all 1 99999999\r\n",
            &endless,
        ] {
            assert_eq!(next(bytes), Err(Unreadable));
        }
    }
}
