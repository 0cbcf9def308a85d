//! `text/event-stream` over HTTP, of this gateway and of nchan.

use std::net::SocketAddr;

use super::{Identity, Stage};
use crate::client::frame::{self, Frame, PAYLOAD_BYTES_MAX, Unreadable};
use crate::workload::Rooms;

/// The request of a client of the gateway: its subscription is in the body.
pub(super) fn post(identity: Identity, rooms: Rooms, server: SocketAddr) -> String {
    let body = format!(
        r#"{{"subscriptions":[{{"requestId":"{}","room":{}}}]}}"#,
        identity.id_of(0).hyphenated(),
        rooms.subscribed(identity.number, 0)
    );
    format!(
        "POST /sse/ HTTP/1.1\r\nHost: {server}\r\nAccept: text/event-stream\r\n\
         Origin: http://{server}\r\nUser-Agent: ht-bench\r\n\
         Cookie: sessionid={}; csrftoken=bench\r\nContent-Length: {}\r\n\r\n{body}",
        identity.number,
        body.len()
    )
}

/// The request of a client whose room is in the URL. By HTTP/1.0, so that the response is not in
/// chunks.
pub(super) fn get(identity: Identity, rooms: Rooms, server: SocketAddr) -> String {
    format!(
        "GET /sse/?room={} HTTP/1.0\r\nHost: {server}\r\nAccept: text/event-stream\r\n\
         User-Agent: ht-bench\r\nCookie: sessionid={}\r\n\r\n",
        rooms.name(identity.number),
        identity.number
    )
}

/// Returns the next stage, or `None` if the message is unexpected.
pub(super) fn joining(stage: Stage, received: &[u8]) -> Option<(Stage, String)> {
    let received: serde_json::Value = serde_json::from_slice(received).ok()?;
    let is_open = received["is_authorized"] == true && received["refused"] == serde_json::json!([]);
    (stage == Stage::Greeting && is_open).then(|| (Stage::Joined, String::new()))
}

/// The first event in `bytes`, as a frame whose payload is its data; `None` if it is incomplete.
pub(super) fn first(bytes: &[u8]) -> Result<Option<Frame<'_>>, Unreadable> {
    let Some(end) = bytes.windows(2).position(|two| two == b"\n\n") else {
        if bytes.len() > 2 * PAYLOAD_BYTES_MAX {
            return Err(Unreadable);
        }
        return Ok(None);
    };
    let mut lines = bytes[..end].split(|&byte| byte == b'\n');
    let data = lines.find_map(|line| line.strip_prefix(b"data: "));
    Ok(Some(Frame {
        opcode: if data.is_some() {
            frame::TEXT
        } else {
            frame::NOTHING
        },
        payload: data.unwrap_or_default(),
        compressed: false,
        length: end + 2,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_once_they_are_whole() {
        let text = b"id: 1\nevent: publish\ndata: {\"a\": 1}\n\n:\n\nid: 2";
        let event = first(text).unwrap().unwrap();
        assert_eq!(
            (event.opcode, event.payload),
            (frame::TEXT, &b"{\"a\": 1}"[..])
        );
        let heartbeat = first(&text[event.length..]).unwrap().unwrap();
        assert_eq!((heartbeat.opcode, heartbeat.length), (frame::NOTHING, 3));
        assert_eq!(first(&text[event.length + 3..]), Ok(None));
        assert_eq!(first(&vec![b'x'; 3 * PAYLOAD_BYTES_MAX]), Err(Unreadable));
    }
}
