//! The client protocol of NATS, as it goes over websocket frames and over TCP: lines, and after a
//! `MSG` line as many bytes as it says.

use super::{Identity, Stage};
use crate::workload::Rooms;

/// Longest line that is read, in bytes. The server's `INFO` is its longest.
const LINE_BYTES_MAX: usize = 16 << 10;
/// Longest message that is read, in bytes.
const MESSAGE_BYTES_MAX: usize = 128 << 10;

/// What a server says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said<'a> {
    /// A message that was published.
    Message(&'a [u8]),
    /// It wants to hear `PONG`.
    Ping,
    /// It answers our `PING`: everything that was said before it is done.
    Pong,
    /// It tells about itself, or that all is well.
    Info,
    /// It complains.
    Error(&'a [u8]),
}

/// Not the protocol, or longer than anything expected.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unreadable;

/// The subject of a room.
pub(crate) fn subject(rooms: Rooms, number: u32) -> String {
    format!("bench.{}", rooms.name(number))
}

/// What is said at first by a client that publishes or subscribes.
pub(crate) const CONNECT: &str = "CONNECT {\"verbose\":false,\"pedantic\":false}\r\n";

/// The first thing in `bytes` and how long it is; `None` when it is not whole yet.
pub(crate) fn next(bytes: &[u8]) -> Result<Option<(Said<'_>, usize)>, Unreadable> {
    let Some(end) = bytes.windows(2).position(|w| w == b"\r\n") else {
        return match bytes.len() {
            0..LINE_BYTES_MAX => Ok(None),
            _ => Err(Unreadable),
        };
    };
    let line = &bytes[..end];
    let start = end + 2;
    let word = line.split(|&b| b == b' ').next().unwrap_or_default();
    let said = match word {
        b"MSG" => {
            let length = line.rsplit(|&b| b == b' ').next();
            let length: usize = length
                .and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok())
                .ok_or(Unreadable)?;
            if length > MESSAGE_BYTES_MAX {
                return Err(Unreadable);
            }
            // Two more for the end of the line behind it.
            let message = bytes.get(start..start + length + 2);
            return Ok(message.map(|m| (Said::Message(&m[..length]), start + length + 2)));
        }
        b"PING" => Said::Ping,
        b"PONG" => Said::Pong,
        b"INFO" | b"+OK" => Said::Info,
        b"-ERR" => Said::Error(line),
        _ => return Err(Unreadable),
    };
    Ok(Some((said, start)))
}

/// The next stage and what is said, or `None` where `said` does not belong here.
pub(super) fn joining(
    stage: Stage,
    who: Identity,
    rooms: Rooms,
    mut said: &[u8],
) -> Option<(Stage, String)> {
    let (mut stage, mut answer) = (stage, String::new());
    while !said.is_empty() {
        let (what, length) = next(said).ok()??;
        said = &said[length..];
        match (stage, what) {
            (Stage::Greeting, Said::Info) => {
                answer.push_str(CONNECT);
                answer.push_str(&format!("SUB {} 1\r\nPING\r\n", subject(rooms, who.number)));
                stage = Stage::Subscribing;
            }
            (Stage::Subscribing, Said::Pong) => stage = Stage::Joined,
            (Stage::Subscribing | Stage::Joined, Said::Info) => {}
            (Stage::Subscribing | Stage::Joined, Said::Ping) => answer.push_str("PONG\r\n"),
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
            Said::Info,
            Said::Message(b"a\r\n"),
            Said::Ping,
            Said::Pong,
            Said::Error(b"-ERR 'no'"),
            Said::Info,
        ];
        let mut rest = &bytes[..];
        for expected in expected {
            let (said, length) = next(rest).unwrap().unwrap();
            assert_eq!(said, expected);
            for cut in 0..length {
                assert_eq!(next(&rest[..cut]), Ok(None), "{cut} of {said:?}");
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
