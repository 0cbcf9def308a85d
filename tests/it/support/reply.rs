//! What a stub backend does with a request.

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
    /// Sends these bytes and then nothing, until the other side goes away.
    Hang(Vec<u8>),
    /// Waits until the gate is open, then goes on with the other reply.
    Behind(Gate, Box<Reply>),
    /// Resets the connection.
    Reset,
}

impl Reply {
    /// A whole answer with any status, headers and body.
    pub(crate) fn http(status: &str, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Self {
        let body = body.as_ref();
        let mut head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n", body.len());
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        Self::Send([head.as_bytes(), b"\r\n", body].concat())
    }

    /// A whole answer that says it is JSON.
    pub(crate) fn json(status: &str, body: impl AsRef<[u8]>) -> Self {
        Self::http(status, &[("Content-Type", "application/json")], body)
    }

    /// Admits a visitor to these rooms.
    pub(crate) fn rooms(rooms: &Value) -> Self {
        Self::json("200 OK", json!({ "allowed_rooms": rooms }).to_string())
    }

    /// Refuses a visitor.
    pub(crate) fn forbidden() -> Self {
        Self::json("403 Forbidden", "{}")
    }

    /// What a hook is answered.
    pub(crate) fn ok() -> Self {
        Self::http("200 OK", &[], "")
    }
}

/// A gate that a test opens.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gate(Arc<Watched<bool>>);

impl Gate {
    /// Lets everyone through, from now on.
    pub(crate) fn open(&self) {
        self.0.change(|open| *open = true);
    }

    /// Waits for it to open; false when it did not in time.
    pub(super) fn pass(&self) -> bool {
        self.0.wait(|open| open.then_some(())).is_some()
    }
}
