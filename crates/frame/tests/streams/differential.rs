//! The same streams through tungstenite: the same messages, or both refuse.
//!
//! Known differences, all harmless, that the comparison allows for:
//! - Lengths in more bytes than needed: the RFC forbids them, tungstenite takes them. This includes
//!   a control frame with an extended length of up to 125.
//! - We refuse as early as the bytes allow (a header, half a text); tungstenite when the frame is
//!   complete. So where only we refused, the unfinished frame is filled up and it must refuse too.
//! - Close code 1014 (bad gateway) is in the IANA registry and allowed here; tungstenite does not
//!   know it.
//! - tungstenite answers a close code that it does not allow with 1002 and tells the application
//!   that this was the peer's code.

use std::io;
use std::io::{Cursor, Read, Write};

use ht_frame::{CloseCode, DecodeOptions, Role, Violation};
use proptest::prelude::*;
use tungstenite::error::ProtocolError;
use tungstenite::protocol::WebSocketConfig;
use tungstenite::{Error, Message, WebSocket};

use crate::{End, Owned, decode, generate};

/// The longest header: what it takes, with a payload, to fill up an unfinished frame.
const HEADER_BYTES_MAX: usize = 14;

/// A peer that sent everything and reads anything.
struct Peer<'b>(Cursor<&'b [u8]>);

impl Read for Peer<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Peer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The result of `bytes` in tungstenite.
fn decode_there(bytes: &[u8], options: &DecodeOptions) -> (Vec<Owned>, End<String>) {
    let role = match options.role {
        Role::Server => tungstenite::protocol::Role::Server,
        Role::Client => tungstenite::protocol::Role::Client,
    };
    let limit = Some(options.message_bytes_max);
    let config = WebSocketConfig::default()
        .max_message_size(limit)
        .max_frame_size(limit)
        .read_buffer_size(4_096);
    let mut socket = WebSocket::from_raw_socket(Peer(Cursor::new(bytes)), role, Some(config));
    let mut events = Vec::new();
    loop {
        match socket.read() {
            Ok(Message::Text(text)) => events.push(Owned::Text(text.as_str().to_owned())),
            Ok(Message::Binary(bytes)) => events.push(Owned::Binary(bytes.to_vec())),
            Ok(Message::Ping(bytes)) => events.push(Owned::Ping(bytes.to_vec())),
            Ok(Message::Pong(bytes)) => events.push(Owned::Pong(bytes.to_vec())),
            Ok(Message::Close(Some(close))) if close.reason.as_str() == "Protocol violation" => {
                return (events, End::Refused("close code".to_owned()));
            }
            Ok(Message::Close(close)) => {
                let close = close.map(|close| {
                    (
                        CloseCode(close.code.into()),
                        close.reason.as_str().to_owned(),
                    )
                });
                events.push(Owned::Close(close));
                return (events, End::Closed);
            }
            Ok(Message::Frame(frame)) => panic!("never read: {frame}"),
            Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => {
                return (events, End::Open);
            }
            Err(error @ (Error::Protocol(_) | Error::Capacity(_) | Error::Utf8(_))) => {
                return (events, End::Refused(error.to_string()));
            }
            Err(error) => panic!("not about the stream: {error}"),
        }
    }
}

fn compare(bytes: &[u8], options: &DecodeOptions) -> Result<(), TestCaseError> {
    let (events, end) = decode(&[bytes], options);
    match end {
        End::Refused(Violation::LengthNotMinimal | Violation::ControlTooLong) => {
            let (there, _) = decode_there(bytes, options);
            prop_assert!(there.starts_with(&events), "{events:?} {there:?}");
        }
        End::Refused(violation) => {
            let mut filled = bytes.to_vec();
            filled.resize(
                bytes.len() + options.message_bytes_max + HEADER_BYTES_MAX,
                0,
            );
            let (there, end) = decode_there(&filled, options);
            prop_assert_eq!(there, events);
            prop_assert!(matches!(end, End::Refused(_)), "{violation}, there {end:?}");
        }
        End::Closed
            if matches!(
                events.last(),
                Some(Owned::Close(Some((CloseCode(1_014), _))))
            ) =>
        {
            let (there, end) = decode_there(bytes, options);
            prop_assert_eq!(&there[..], &events[..events.len() - 1]);
            prop_assert_eq!(end, End::Refused("close code".to_owned()));
        }
        End::Open => prop_assert_eq!(decode_there(bytes, options), (events, End::Open)),
        End::Closed => prop_assert_eq!(decode_there(bytes, options), (events, End::Closed)),
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4 * ProptestConfig::default().cases))]

    #[test]
    fn well_formed(
        (role, bytes) in generate::stream(),
        message_bytes_max in prop_oneof![3 => Just(1 << 18), 1 => 125_usize..200],
    ) {
        compare(&bytes, &DecodeOptions { role, message_bytes_max })?;
    }

    #[test]
    fn mutated(
        (role, bytes) in generate::mutated_stream(),
        message_bytes_max in prop_oneof![1 => Just(1 << 18), 3 => 125_usize..200],
    ) {
        compare(&bytes, &DecodeOptions { role, message_bytes_max })?;
    }
}
