//! The backend and its moods.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use serde_json::json;

use crate::support::{Reply, Seen, StubBackend};

/// How the backend treats everybody.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mood {
    /// Responds correctly.
    Well,
    /// Never responds.
    Hanging,
    /// Resets the connection.
    Resetting,
    /// Responds with 500.
    Failing,
    /// Sends invalid responses, each time another one.
    Lying,
}

impl Mood {
    /// All moods but the good one.
    pub(crate) const BAD: [Self; 4] = [Self::Hanging, Self::Resetting, Self::Failing, Self::Lying];
}

/// A backend whose mood can be changed.
pub(crate) struct MoodyBackend {
    pub(crate) stub: StubBackend,
    mood: Arc<AtomicU8>,
}

impl MoodyBackend {
    pub(crate) fn start() -> Self {
        let mood = Arc::new(AtomicU8::new(Mood::Well as u8));
        let shared = Arc::clone(&mood);
        let stub = StubBackend::new(move |seen| reply(seen, shared.load(Ordering::Relaxed)));
        Self { stub, mood }
    }

    pub(crate) fn set(&self, mood: Mood) {
        self.mood.store(mood as u8, Ordering::Relaxed);
    }
}

fn reply(seen: &Seen, mood: u8) -> Reply {
    match mood {
        _ if mood == Mood::Hanging as u8 => Reply::Hang(Vec::new()),
        _ if mood == Mood::Resetting as u8 => Reply::Reset,
        _ if mood == Mood::Failing as u8 => Reply::http("500 Internal Server Error", &[], "oops"),
        _ if !seen.is_bootstrap() => Reply::ok(),
        _ if mood == Mood::Lying as u8 => lie(),
        // A stranger is refused, sometimes.
        _ if seen.header_bytes("cookie") == Some(b"session=stranger") => Reply::forbidden(),
        _ => Reply::rooms(&json!([{"room": "*"}])),
    }
}

fn lie() -> Reply {
    let rooms = |rooms| Reply::json("200 OK", json!({ "allowed_rooms": rooms }).to_string());
    match fastrand::usize(..11) {
        0 => Reply::http(
            "200 OK",
            &[("Content-Type", "text/html")],
            "<p>Please sign in",
        ),
        1 => Reply::json("200 OK", "{\"allowed_rooms\": ["),
        2 => Reply::json("200 OK", b"\xff\xfe".as_slice()),
        3 => rooms(json!(null)),
        4 => rooms(json!(["order", {"room": "*"}])),
        5 => Reply::Close(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n{\"allowed".to_vec()),
        6 => Reply::http("302 Found", &[("Location", "http://127.0.0.2:1/")], ""),
        7 => Reply::Send(b"HTTP/9 ??\r\n\r\n".to_vec()),
        8 => Reply::Close(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".to_vec()),
        9 => Reply::http(
            "200 OK",
            &[
                ("Content-Type", "application/json"),
                ("Content-Encoding", "gzip"),
            ],
            "{}",
        ),
        _ => rooms(json!(
            (0..3_000).map(|n| json!({ "room": n })).collect::<Vec<_>>()
        )),
    }
}
