//! A websocket of a well-behaved client that may end at any moment.

use std::io;
use std::io::Write;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::Frame;
use crate::support::client::HEADERS;
use crate::support::stream::{Address, Stream};
use crate::support::{frame, http};

/// How long a client waits for a message before it checks its own state.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);

/// An open websocket.
pub(crate) struct Link {
    pub(crate) stream: Stream,
    buffer: Vec<u8>,
}

/// Result of a read.
pub(crate) enum Event {
    Json(Value),
    /// `pong`, or an answer to a control frame.
    Other,
    /// No message for a while.
    Silence,
    /// The gateway sent a close frame with this code.
    Close(u16, String),
}

impl Link {
    /// Connects and is welcomed; any other outcome is an error.
    pub(crate) fn open(to: &Address, cookie: &str, deflate: bool) -> io::Result<Self> {
        let mut stream = to.connect()?;
        stream.write_all(&request(cookie, deflate))?;
        let (answer, buffer) = http::read_answer(&mut stream)?;
        if answer.status != 101 {
            return Err(io::Error::other(format!("status {}", answer.status)));
        }
        let mut link = Self { stream, buffer };
        match link.next()? {
            Event::Json(first) if first["is_authorized"] == true => Ok(link),
            Event::Json(_) | Event::Other | Event::Silence | Event::Close(..) => {
                Err(io::Error::other("not welcome"))
            }
        }
    }

    /// Subscribes and waits for the reply; nothing else may arrive before.
    pub(crate) fn subscribe(&mut self, room: &Value, request_id: &str) -> io::Result<()> {
        let message = json!({"type": "subscribe", "room": room, "requestId": request_id});
        self.send(&message.to_string())?;
        loop {
            match self.next()? {
                Event::Json(answer) if answer["code"] == "success" => return Ok(()),
                Event::Json(answer) if answer["type"] == "publish" => {
                    return Err(io::Error::other("a publication before the answer"));
                }
                Event::Json(answer) => return Err(io::Error::other(answer.to_string())),
                Event::Other | Event::Silence => {}
                Event::Close(code, reason) => {
                    return Err(io::Error::other(format!("closed: {code} {reason}")));
                }
            }
        }
    }

    /// Sends a text message.
    pub(crate) fn send(&mut self, text: &str) -> io::Result<()> {
        self.stream
            .write_all(&Frame::new(frame::TEXT, text).bytes())
    }

    /// Waits for the next message.
    pub(crate) fn next(&mut self) -> io::Result<Event> {
        let mut frame = match Frame::read(&mut self.stream, &mut self.buffer) {
            Err(error) if is_late(&error) => return Ok(Event::Silence),
            frame => frame?,
        };
        if frame.rsv == frame::RSV1 {
            frame = frame.inflate();
        }
        match frame.opcode {
            frame::TEXT if frame.payload == b"pong" => Ok(Event::Other),
            frame::TEXT => {
                let value = serde_json::from_slice(&frame.payload);
                Ok(Event::Json(value.map_err(io::Error::other)?))
            }
            frame::PING => {
                let pong = Frame::new(frame::PONG, frame.payload).bytes();
                self.stream.write_all(&pong)?;
                Ok(Event::Other)
            }
            frame::CLOSE => {
                let (code, reason) = frame.payload.split_first_chunk().unwrap_or((&[0; 2], &[]));
                let reason = String::from_utf8_lossy(reason).into_owned();
                let code = u16::from_be_bytes(*code);
                let _ = self.stream.write_all(&Frame::close(code, "").bytes());
                Ok(Event::Close(code, reason))
            }
            _ => Ok(Event::Other),
        }
    }
}

/// A handshake as it should be.
pub(crate) fn request(cookie: &str, deflate: bool) -> Vec<u8> {
    let mut head = format!("GET /ws/ HTTP/1.1\r\nCookie: session={cookie}\r\n");
    for (name, value) in HEADERS {
        head += &format!("{name}: {value}\r\n");
    }
    if deflate {
        head += "Sec-WebSocket-Extensions: permessage-deflate\r\n";
    }
    (head + "\r\n").into_bytes()
}

/// Whether it timed out.
fn is_late(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}
