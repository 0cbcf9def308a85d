//! The frame decoder against two others, tungstenite and soketto: a stream that ours accepts is
//! accepted by them with the same messages; if ours rejects it, they have read the same messages up
//! to there.
//!
//! Known differences, all harmless: the two accept lengths in more bytes than needed, which RFC
//! 6455 §5.2 forbids, and do not know close code 1014; soketto leaves UTF-8 to its caller and
//! rejects a message whose first fragment is empty.

#![no_main]

use std::io::{self, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::FutureExt;
use futures_util::io::{AsyncRead, AsyncWrite};
use ht_frame::{DecodeOptions, Decoder, Event, Input, Role, Violation};
use libfuzzer_sys::fuzz_target;
use soketto::Incoming;
use soketto::connection::Error as SokettoError;
use tungstenite::error::{Error as TungsteniteError, ProtocolError};
use tungstenite::protocol::WebSocketConfig;
use tungstenite::{Message, WebSocket};

/// Maximum message, in bytes.
const MESSAGE_BYTES_MAX: usize = 300;

/// The longest header of a frame, in bytes (RFC 6455 §5.2).
const HEADER_BYTES_MAX: usize = 14;

/// Result of decoding a stream.
#[derive(Debug)]
struct Outcome {
    messages: Vec<Vec<u8>>,
    end: End,
}

#[derive(Debug, PartialEq)]
enum End {
    /// The stream is incomplete.
    Open,
    Closed,
    Refused(String),
}

impl Outcome {
    fn is_refusal(&self) -> bool {
        matches!(self.end, End::Refused(_))
    }

    /// soketto regards a message whose first fragment is empty as not begun.
    fn is_confused(&self) -> bool {
        matches!(&self.end, End::Refused(why) if why.starts_with("unexpected opcode"))
    }
}

fuzz_target!(|bytes: &[u8]| {
    let (ours, close) = ours(bytes);
    for (name, theirs) in [
        ("tungstenite", tungstenite_on(bytes)),
        ("soketto", soketto_on(bytes)),
    ] {
        let told = || format!("{name}: {theirs:?}, ours: {ours:?}");
        if ours.is_refusal() {
            let mut pairs = ours.messages.iter().zip(&theirs.messages);
            assert!(pairs.all(|(ours, theirs)| ours == theirs), "{}", told());
            let enough = theirs.messages.len() >= ours.messages.len();
            assert!(enough || theirs.is_refusal(), "{}", told());
        } else if close != Some(1_014) && !theirs.is_confused() {
            assert_eq!(ours.messages, theirs.messages, "{}", told());
            // It can detect a violation in an incomplete frame.
            assert!(
                !theirs.is_refusal() || is_refused_when_filled(bytes),
                "{}",
                told()
            );
        }
    }
});

/// Our own outcome, and the code with which the peer closes.
fn ours(bytes: &[u8]) -> (Outcome, Option<u16>) {
    let options = DecodeOptions {
        role: Role::Server,
        message_bytes_max: MESSAGE_BYTES_MAX,
    };
    let mut bytes = bytes.to_vec();
    let mut input = Input::new(&mut bytes);
    let mut decoder = Decoder::new();
    let mut messages = Vec::new();
    let (end, code) = loop {
        match decoder.decode(&mut input, &options) {
            Ok(Some(Event::Text(text))) => messages.push(text.as_bytes().to_vec()),
            Ok(Some(Event::Binary(payload))) => messages.push(payload.to_vec()),
            Ok(Some(Event::Ping(_) | Event::Pong(_))) => {}
            Ok(Some(Event::Close(close))) => break (End::Closed, close.map(|(code, _)| code.0)),
            Ok(None) => break (End::Open, None),
            Err(violation) => break (End::Refused(Violation::to_string(&violation)), None),
        }
    };
    (Outcome { messages, end }, code)
}

/// Whether our decoder rejects the incomplete last frame once it is complete.
fn is_refused_when_filled(bytes: &[u8]) -> bool {
    let filled = [bytes, &[0; MESSAGE_BYTES_MAX + HEADER_BYTES_MAX]].concat();
    ours(&filled).0.is_refusal()
}

/// A peer that has sent everything and accepts anything.
struct Peer<'b>(&'b [u8]);

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

impl AsyncRead for Peer<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(self.read(buffer))
    }
}

impl AsyncWrite for Peer<'_> {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn tungstenite_on(bytes: &[u8]) -> Outcome {
    let limit = Some(MESSAGE_BYTES_MAX);
    let config = WebSocketConfig::default()
        .max_message_size(limit)
        .max_frame_size(limit);
    let role = tungstenite::protocol::Role::Server;
    let mut socket = WebSocket::from_raw_socket(Peer(bytes), role, Some(config));
    let mut messages = Vec::new();
    let end = loop {
        match socket.read() {
            Ok(Message::Text(text)) => messages.push(text.as_bytes().to_vec()),
            Ok(Message::Binary(payload)) => messages.push(payload.to_vec()),
            Ok(Message::Ping(_) | Message::Pong(_)) => {}
            // Its reply to a close code that it does not allow.
            Ok(Message::Close(Some(close))) if close.reason.as_str() == "Protocol violation" => {
                break End::Refused("close code".into());
            }
            Ok(Message::Close(_)) => break End::Closed,
            Ok(Message::Frame(frame)) => panic!("never read: {frame}"),
            Err(TungsteniteError::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => {
                break End::Open;
            }
            Err(error) => break End::Refused(error.to_string()),
        }
    };
    Outcome { messages, end }
}

fn soketto_on(bytes: &[u8]) -> Outcome {
    let mut builder = soketto::connection::Builder::new(Peer(bytes), soketto::Mode::Server);
    builder.set_max_message_size(MESSAGE_BYTES_MAX);
    builder.set_max_frame_size(MESSAGE_BYTES_MAX);
    let (_sender, mut receiver) = builder.finish();
    let mut messages = Vec::new();
    let end = loop {
        let mut message = Vec::new();
        let received = receiver.receive(&mut message).now_or_never();
        match received.expect("nothing to wait for") {
            Ok(Incoming::Data(_)) => messages.push(message),
            Ok(Incoming::Pong(_)) => {}
            Ok(Incoming::Closed(_)) => break End::Closed,
            Err(SokettoError::Io(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                break End::Open;
            }
            Err(SokettoError::Closed) => break End::Open,
            Err(error) => break End::Refused(error.to_string()),
        }
    };
    Outcome { messages, end }
}
