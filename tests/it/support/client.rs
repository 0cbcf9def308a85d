//! A raw websocket client: it sends whatever the test wants, valid or not.

use std::io;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::gateway::Gateway;
use crate::support::http;
use crate::support::stream::{Address, Stream};
use crate::support::{Answer, DEADLINE, Frame, frame};

/// The key of every handshake, and the expected `Sec-WebSocket-Accept` (RFC 6455 §1.3).
pub(crate) const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
pub(crate) const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// The headers of a handshake, as it should be.
pub(crate) const HEADERS: [(&str, &str); 5] = [
    ("Host", "gateway.test"),
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", KEY),
];

/// A websocket upgrade request.
#[derive(Clone, Debug)]
pub(crate) struct Handshake {
    pub(crate) line: String,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    to: Address,
}

impl Handshake {
    /// A handshake as it should be.
    pub(crate) fn new(gateway: &Gateway) -> Self {
        Self::at(gateway.public())
    }

    /// The same, to another listener.
    pub(crate) fn at(to: &Address) -> Self {
        let headers = HEADERS.map(|(name, value)| (name.to_owned(), value.into()));
        Self {
            line: "GET /ws/ HTTP/1.1".into(),
            headers: headers.into(),
            to: to.clone(),
        }
    }

    /// With another path, and a query string if it has one.
    pub(crate) fn path(mut self, path: &str) -> Self {
        self.line = format!("GET {path} HTTP/1.1");
        self
    }

    /// With another first line.
    pub(crate) fn line(mut self, line: &str) -> Self {
        self.line = line.to_owned();
        self
    }

    /// With a further header.
    pub(crate) fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.into(), value.as_ref().into()));
        self
    }

    /// With an offer to compress.
    pub(crate) fn deflate(self) -> Self {
        self.header("Sec-WebSocket-Extensions", "permessage-deflate")
    }

    /// Without a header.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self
    }

    /// The request's bytes.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = format!("{}\r\n", self.line).into_bytes();
        for (name, value) in &self.headers {
            bytes.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
        }
        bytes.extend(b"\r\n");
        bytes
    }

    /// Sends it and does not wait for a response.
    pub(crate) fn send(&self) -> Asked {
        self.try_send().expect("a request sent")
    }

    /// The same, where the connection may be refused.
    pub(crate) fn try_send(&self) -> io::Result<Asked> {
        let mut stream = self.to.connect()?;
        stream.write_all(&self.bytes())?;
        Ok(Asked(stream))
    }

    /// Sends it and reads the answer, which must be no 101.
    #[track_caller]
    pub(crate) fn refused(&self) -> Answer {
        let (answer, _) = self.send().answer();
        assert_ne!(answer.status, 101);
        answer
    }

    /// Sends it and upgrades to a websocket, which may be refused in its first frame.
    #[track_caller]
    pub(crate) fn open(&self) -> Client {
        self.send().open()
    }

    /// Sends it and upgrades to a websocket that is admitted.
    #[track_caller]
    pub(crate) fn connect(&self) -> Client {
        let mut client = self.open();
        let first = client.expect_json();
        assert_eq!(first["is_authorized"], true, "{first}");
        client
    }
}

/// A handshake that waits for its response.
pub(crate) struct Asked(pub(crate) Stream);

impl Asked {
    /// Reads the answer.
    #[track_caller]
    pub(crate) fn answer(self) -> (Answer, Client) {
        self.try_answer().expect("an answer")
    }

    /// Reads the answer, if there is one.
    pub(crate) fn try_answer(mut self) -> io::Result<(Answer, Client)> {
        let (answer, buffer) = http::read_answer(&mut self.0)?;
        let client = Client {
            stream: self.0,
            buffer,
            deflate: answer.header("sec-websocket-extensions").is_some(),
            inflated: 0,
        };
        Ok((answer, client))
    }

    /// Reads the answer, which must be a 101.
    #[track_caller]
    pub(crate) fn open(self) -> Client {
        let (answer, client) = self.answer();
        assert_eq!(answer.status, 101, "{answer:?}");
        assert_eq!(answer.header("sec-websocket-accept"), Some(ACCEPT));
        client
    }

    /// Whether nothing arrives within a moment.
    pub(crate) fn is_silent(&mut self, moment: Duration) -> bool {
        is_silent(&mut self.0, moment)
    }
}

/// An open websocket.
pub(crate) struct Client {
    pub(crate) stream: Stream,
    /// Bytes that were read and not parsed.
    buffer: Vec<u8>,
    /// Whether compression was agreed upon.
    deflate: bool,
    /// Number of compressed messages received.
    pub(crate) inflated: usize,
}

impl Client {
    /// A client that is welcome.
    #[track_caller]
    pub(crate) fn connect(gateway: &Gateway) -> Self {
        Handshake::new(gateway).connect()
    }

    /// Sends bytes as they are.
    #[track_caller]
    pub(crate) fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("bytes sent");
    }

    /// Sends a frame.
    #[track_caller]
    pub(crate) fn send(&mut self, frame: &Frame) {
        self.send_raw(&frame.bytes());
    }

    /// Sends a text message.
    #[track_caller]
    pub(crate) fn send_text(&mut self, text: &str) {
        self.try_send_text(text).expect("bytes sent");
    }

    /// Sends a text message to a gateway that may have ended.
    pub(crate) fn try_send_text(&mut self, text: &str) -> io::Result<()> {
        self.stream
            .write_all(&Frame::new(frame::TEXT, text).bytes())
    }

    /// Sends JSON as a text message.
    #[track_caller]
    pub(crate) fn send_json(&mut self, value: &Value) {
        self.send_text(&value.to_string());
    }

    /// Sends JSON and reads the answer, which must be the next message.
    #[track_caller]
    pub(crate) fn call(&mut self, value: &Value) -> Value {
        self.send_json(value);
        self.expect_json()
    }

    /// Subscribes, which must succeed.
    #[track_caller]
    pub(crate) fn subscribe(&mut self, room: &Value, request_id: impl Into<Value>) {
        let request_id: Value = request_id.into();
        let message = json!({"type": "subscribe", "room": room, "requestId": request_id});
        assert_eq!(self.call(&message), json!({"code": "success"}), "{message}");
    }

    /// The node's totals.
    #[track_caller]
    pub(crate) fn status(&mut self) -> Value {
        self.call(&json!({"type": "status"}))
    }

    /// The next frame, of any kind; inflated if it was compressed.
    #[track_caller]
    pub(crate) fn frame(&mut self) -> Frame {
        match self.try_frame() {
            Ok(frame) => frame,
            Err(cause) => panic!("no frame: {cause}"),
        }
    }

    /// The next frame, if there is one.
    pub(crate) fn try_frame(&mut self) -> io::Result<Frame> {
        let mut frame = Frame::read(&mut self.stream, &mut self.buffer)?;
        assert!(!frame.masked, "a server does not mask: {frame:?}");
        if self.deflate && frame.rsv == frame::RSV1 {
            self.inflated += 1;
            frame = frame.inflate();
        }
        assert_eq!(frame.rsv, 0, "nothing like it was agreed upon: {frame:?}");
        assert!(frame.fin, "the gateway does not split messages: {frame:?}");
        Ok(frame)
    }

    /// The next frame, which must be text.
    #[track_caller]
    pub(crate) fn expect_text(&mut self) -> String {
        let frame = self.frame();
        assert_eq!(frame.opcode, frame::TEXT, "{frame:?}");
        String::from_utf8(frame.payload).expect("UTF-8")
    }

    /// The next frame, which must be JSON in text; without the cursor, the features and the resume
    /// ticket that clients of our subprotocol get.
    #[track_caller]
    pub(crate) fn expect_json(&mut self) -> Value {
        let mut message = self.expect_whole();
        if let Some(members) = message.as_object_mut() {
            for name in ["cursor", "features", "ticket", "proof"] {
                members.remove(name);
            }
        }
        message
    }

    /// The next frame, which must be JSON in text.
    #[track_caller]
    pub(crate) fn expect_whole(&mut self) -> Value {
        let text = self.expect_text();
        serde_json::from_str(&text).unwrap_or_else(|cause| panic!("{cause}: {text}"))
    }

    /// The next frame, which must be a publication; its data and its `requestId`.
    #[track_caller]
    pub(crate) fn expect_publish(&mut self) -> (Value, Value) {
        let mut message = self.expect_json();
        assert_eq!(message["type"], "publish", "{message}");
        assert_eq!(
            message.as_object().map(serde_json::Map::len),
            Some(3),
            "{message}"
        );
        (message["data"].take(), message["requestId"].take())
    }

    /// The next frame, which must be a close frame with this code, and then the end.
    #[track_caller]
    pub(crate) fn expect_close(&mut self, code: u16) -> String {
        let frame = self.frame();
        assert_eq!(frame.opcode, frame::CLOSE, "{frame:?}");
        let (found, reason) = frame.payload.split_first_chunk().expect("a close code");
        let reason = String::from_utf8_lossy(reason).into_owned();
        assert_eq!(u16::from_be_bytes(*found), code, "{reason}");
        // Violators are not read any more, so the reply may not be received.
        let _ = self.stream.write_all(&Frame::close(code, "").bytes());
        self.expect_end();
        reason
    }

    /// Nothing more may arrive but the end of the connection.
    #[track_caller]
    pub(crate) fn expect_end(&mut self) {
        assert!(self.buffer.is_empty(), "{:?}", self.buffer);
        let read = self.stream.read(&mut [0; 1]);
        assert!(
            matches!(&read, Ok(0)) || read.as_ref().is_err_and(is_gone),
            "{read:?}"
        );
    }

    /// A message and its reply prove that everything before was processed, and that nothing else
    /// arrived.
    #[track_caller]
    pub(crate) fn fence(&mut self) {
        self.send_text("ping");
        assert_eq!(self.expect_text(), "pong");
    }

    /// Closes cleanly, and waits for the reply.
    #[track_caller]
    pub(crate) fn leave(mut self) {
        self.send(&Frame::close(1000, ""));
        let frame = self.frame();
        assert_eq!(
            frame,
            Frame {
                masked: false,
                ..Frame::close(1000, "")
            }
        );
    }

    /// Whether nothing arrives within a moment.
    pub(crate) fn is_silent(&mut self, moment: Duration) -> bool {
        self.buffer.is_empty() && is_silent(&mut self.stream, moment)
    }
}

/// Whether the other side closed or reset the connection.
fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
    )
}

fn is_silent(stream: &mut Stream, moment: Duration) -> bool {
    let until = Instant::now() + moment;
    stream.set_timeouts(moment).expect("a timeout");
    let read = stream.read(&mut [0; 1]);
    stream.set_timeouts(DEADLINE).expect("a timeout");
    let waited = read.is_err_and(|error| {
        matches!(
            error.kind(),
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
        )
    });
    waited && Instant::now() >= until
}
