//! Reactions of a stub backend to a request.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::support::log::Watched;

/// One way to treat a request.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// Sends these bytes and waits for the next request.
    Send(Vec<u8>),
    /// Sends these bytes and closes the connection.
    Close(Vec<u8>),
    /// Sends these bytes and then nothing, until the other side disconnects.
    Hang(Vec<u8>),
    /// Waits until the gate is open, then continues with the other reply.
    Behind(Gate, Box<Reply>),
    /// Resets the connection.
    Reset,
}

impl Reply {
    /// A complete response with any status, headers and body.
    pub(crate) fn http(status: &str, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Self {
        let body = body.as_ref();
        let mut head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n", body.len());
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        Self::Send([head.as_bytes(), b"\r\n", body].concat())
    }

    /// A complete response with the content type JSON.
    pub(crate) fn json(status: &str, body: impl AsRef<[u8]>) -> Self {
        Self::http(status, &[("Content-Type", "application/json")], body)
    }

    /// Admits a client to these rooms.
    pub(crate) fn rooms(rooms: &Value) -> Self {
        Self::json("200 OK", json!({ "allowed_rooms": rooms }).to_string())
    }

    /// Refuses a client.
    pub(crate) fn forbidden() -> Self {
        Self::json("403 Forbidden", "{}")
    }

    /// The response to a hook.
    pub(crate) fn ok() -> Self {
        Self::http("200 OK", &[], "")
    }
}

/// A gate that a test opens.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gate(Arc<Watched<bool>>);

impl Gate {
    /// Opens the gate, from now on.
    pub(crate) fn open(&self) {
        self.0.change(|open| *open = true);
    }

    /// Waits for it to open; false on timeout.
    pub(super) fn pass(&self) -> bool {
        self.0.wait(|open| open.then_some(())).is_some()
    }
}
