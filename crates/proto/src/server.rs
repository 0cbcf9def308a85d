//! Messages of the gateway. The spelling, spaces included, is that of the Python original.

mod recovery;
mod resumption;

use std::fmt::Write;

use crate::client::RequestId;
use crate::code::ErrorCode;
use crate::cursor::{Cursor, CursorText, Part};
use crate::labels;
use crate::room::Room;

pub use crate::server::recovery::{NotRecovered, Recovery, Refused, put_recovered, put_refused};
pub use crate::server::resumption::Resumption;

/// The answer to `ping`.
pub const PONG: &str = "pong";

/// The answer to a subscribe or unsubscribe that was done.
pub const SUCCESS: &str = r#"{"code": "success"}"#;

/// The first and only message to a client that the API refused.
pub const NOT_AUTHORIZED: &str = r#"{"is_authorized": false}"#;

/// The first message to an admitted user; `allowed_rooms` is JSON text.
#[must_use]
pub fn authorized(allowed_rooms: &str) -> String {
    format!(r#"{{"is_authorized": true, "allowed_rooms": {allowed_rooms}}}"#)
}

/// Like [`SUCCESS`], to a client that chose our [subprotocol](crate::subprotocol).
#[must_use]
pub fn success(request_id: &RequestId) -> String {
    let request_id = request_id.as_json();
    format!(r#"{{"code": "success", "requestId": {request_id}}}"#)
}

/// The answer to a request that was done, with the moment from which its effect is heard, or with
/// how far the client has been sent everything, if that can be said. `request_id`: the name of the
/// request, if it has one.
#[must_use]
pub fn success_at(request_id: Option<&RequestId>, cursor: Option<Cursor>) -> String {
    let mut text = String::from(r#"{"code": "success""#);
    if let Some(request_id) = request_id {
        let request_id = request_id.as_json();
        write!(text, r#", "requestId": {request_id}"#).expect("writing to a String cannot fail");
    }
    if let Some(cursor) = cursor {
        write!(text, r#", "cursor": "{cursor}""#).expect("writing to a String cannot fail");
    }
    text.push('}');
    text
}

/// The answer to a JSON `ping`, with how far the client has been sent everything.
#[must_use]
pub fn pong(
    request_id: Option<&RequestId>,
    cursor: Option<Cursor>,
    resumption: &Resumption,
) -> Vec<u8> {
    let mut text = success_at(request_id, cursor).into_bytes();
    text.pop();
    resumption.put(&mut text);
    text.push(b'}');
    text
}

/// How long the messages of a client may be that is told nothing else, in bytes.
pub const MESSAGE_BYTES: usize = 64 << 10;

/// The first message to an admitted client that chose our [subprotocol](crate::subprotocol):
/// `message`, which all clients are sent, with what such a client can use. `resumed`: its ticket let
/// it in. `message_bytes`: how long its messages may be, where that is less than [`MESSAGE_BYTES`].
#[must_use]
pub fn with_features(
    message: &[u8],
    cursor: Cursor,
    (resumed, resumption): (bool, &Resumption),
    features: &[Feature],
    message_bytes: Option<usize>,
) -> Vec<u8> {
    let mut text = open_with_cursor(message, cursor);
    if resumed {
        text.extend_from_slice(br#", "resumed": true"#);
    }
    resumption.put(&mut text);
    text.extend_from_slice(br#", "features": ["#);
    for (index, feature) in features.iter().enumerate() {
        let comma = if index == 0 { "" } else { ", " };
        text.extend_from_slice(comma.as_bytes());
        text.extend_from_slice(format!("\"{}\"", feature.as_str()).as_bytes());
    }
    text.push(b']');
    if let Some(bytes) = message_bytes {
        text.extend_from_slice(format!(r#", "message_bytes": {bytes}"#).as_bytes());
    }
    text.push(b'}');
    text
}

/// This message with the cursor of the client that is sent it, and with what lets it in again.
#[must_use]
pub fn with_cursor(message: &[u8], cursor: Cursor, resumption: &Resumption) -> Vec<u8> {
    let mut text = open_with_cursor(message, cursor);
    resumption.put(&mut text);
    text.push(b'}');
    text
}

/// As [`with_cursor`], without the end of the object.
fn open_with_cursor(message: &[u8], cursor: Cursor) -> Vec<u8> {
    let mut text = message.strip_suffix(b"}").unwrap_or(message).to_vec();
    text.extend_from_slice(br#", "cursor": ""#);
    cursor.write(&mut text);
    text.push(b'"');
    text
}

crate::labels! {
    /// What a gateway offers to clients that chose our [subprotocol](crate::subprotocol), beside
    /// what all of them have.
    pub enum Feature {
        /// The member `since` of a subscribe.
        Since = "since",
        /// The message `resume`.
        Resume = "resume",
        /// `ping` as a JSON message, which is answered with a cursor.
        Ping = "ping",
    }
}

/// Appends the reply to a message that was rejected. `connection` is the connection's id;
/// `request_id` the message's, if it has a valid one and the client chose our
/// [subprotocol](crate::subprotocol). A `reason` is sent only together with it.
pub fn put_error(
    out: &mut Vec<u8>,
    code: ErrorCode,
    connection: &impl std::fmt::Display,
    request_id: Option<&RequestId>,
    reason: Option<&str>,
) {
    use std::io::Write;
    let message = code.as_str();
    let written = if let Some(request_id) = request_id {
        let request_id = request_id.as_json();
        let reason = reason.map_or_else(String::new, |reason| {
            format!(r#", "reason": {}"#, serde_json::Value::from(reason))
        });
        write!(
            out,
            r#"{{"requestId": {request_id}, "code": "error", "message": "{message}"{reason}}}"#
        )
    } else if code.names_connection() {
        write!(
            out,
            r#"{{"requestId": "{connection}", "code": "error", "message": "{message}"}}"#
        )
    } else {
        write!(out, r#"{{"code": "error", "message": "{message}"}}"#)
    };
    written.expect("writing to a Vec cannot fail");
}

/// Why a subscription was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// The client's grants no longer permit the room.
    Permissions,
    /// A command requests it.
    Command,
}

impl Lost {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Permissions => "permissions",
            Self::Command => "command",
        }
    }
}

/// The event for a client whose subscription was dropped; `request_id` is JSON text.
#[must_use]
pub fn unsubscribed(request_id: &str, room: &Room, reason: Lost) -> String {
    let (room, reason) = (room.to_json(), reason.as_str());
    format!(
        r#"{{"type": "unsubscribed", "requestId": {request_id}, "room": {room}, "reason": "{reason}"}}"#
    )
}

labels! {
    /// Why publications may not have reached a client that stays connected.
    pub enum GapCause {
        /// They may not have reached the node.
        Broker = "broker",
        /// The node no longer had them when the client could be sent them.
        Window = "window",
        /// They reached the node, which was too far behind to send them.
        Overload = "overload",
    }
}

/// The event for a client that may have missed publications. `cursor`: the moment after that.
#[must_use]
pub fn gap(cursor: &Cursor, cause: GapCause) -> String {
    let cause = cause.as_str();
    format!(r#"{{"type": "gap", "cursor": "{cursor}", "reason": "{cause}"}}"#)
}

/// The event for a client whose grants have changed, to which [`with_cursor`] adds its cursor;
/// `allowed_rooms` is JSON text.
#[must_use]
pub fn permissions(allowed_rooms: &str) -> String {
    format!(r#"{{"type": "permissions", "allowed_rooms": {allowed_rooms}}}"#)
}

/// The event for a client that is to send a new token within so many milliseconds.
#[must_use]
pub fn authenticate(within_ms: u64) -> String {
    format!(r#"{{"type": "authenticate", "within": {within_ms}}}"#)
}

/// The answer to a new token that was accepted: the permissions hold for so many seconds; none:
/// until the connection ends.
#[must_use]
pub fn authenticated(request_id: &RequestId, expires_in: Option<u64>) -> String {
    let Some(seconds) = expires_in else {
        return success(request_id);
    };
    let request_id = request_id.as_json();
    format!(r#"{{"code": "success", "requestId": {request_id}, "expires_in": {seconds}}}"#)
}

/// The part of a publication that is the same for every subscriber; [`publish_tail`] ends it.
#[must_use]
pub fn publish_head(data: &[u8]) -> Vec<u8> {
    [PUBLISH_START, data, PUBLISH_END].concat()
}

/// Length of the [`publish_head`] of `data` bytes, in bytes.
#[must_use]
pub const fn publish_head_len(data: usize) -> usize {
    PUBLISH_START.len() + data + PUBLISH_END.len()
}

const PUBLISH_START: &[u8] = br#"{"type": "publish", "data": "#;
const PUBLISH_END: &[u8] = br#", "requestId": "#;

/// The end of a publish message: what differs between subscriptions.
#[must_use]
pub fn publish_tail(request_id: &str) -> String {
    format!("{request_id}}}")
}

/// Appends the end of a publish message to a client that chose our [subprotocol](crate::subprotocol):
/// with the cursor of a client that was sent it. `part`: others of the same entry follow. `tail` is
/// the [`publish_tail`].
pub fn put_publish_tail(out: &mut Vec<u8>, tail: &[u8], cursor: &CursorText, part: Option<Part>) {
    out.extend_from_slice(request_id_of(tail));
    out.extend_from_slice(br#", "cursor": ""#);
    out.extend_from_slice(cursor.as_bytes());
    if let Some(part) = part {
        out.extend_from_slice(&part.suffix());
    }
    out.extend_from_slice(br#""}"#);
}

/// The part of a [`publish_tail`] that is the `requestId`.
#[must_use]
pub fn request_id_of(tail: &[u8]) -> &[u8] {
    &tail[..tail.len() - 1]
}

/// A node's totals, as clients may request them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Admitted connections that are open now.
    pub open_connections: u64,
    /// Rooms that have a subscriber now.
    pub num_rooms: u64,
    /// When the node started: ISO 8601 without zone, local time, as the original has it.
    pub online_since: String,
    /// Messages from the broker since the start.
    pub rabbitmq_messages_received: u64,
    /// Clients' messages since the start.
    pub ws_messages_received: u64,
    /// Publish frames handed to the system since the start.
    pub ws_messages_send: u64,
    /// Publish frames that could not be delivered.
    pub ws_messages_send_error: u64,
    /// Publish frames queued for their client.
    pub ws_messages_send_queued: u64,
}

impl Status {
    /// The answer to `status`.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut out = String::with_capacity(256);
        write!(
            out,
            concat!(
                r#"{{"open_connections": {}, "num_rooms": {}, "online_since": "{}", "#,
                r#""rabbitmq_messages_received": {}, "ws_messages_received": {}, "#,
                r#""ws_messages_send": {}, "ws_messages_send_error": {}, "#,
                r#""ws_messages_send_queued": {}}}"#
            ),
            self.open_connections,
            self.num_rooms,
            self.online_since,
            self.rabbitmq_messages_received,
            self.ws_messages_received,
            self.ws_messages_send,
            self.ws_messages_send_error,
            self.ws_messages_send_queued,
        )
        .expect("writing to a String cannot fail");
        out
    }
}

#[cfg(test)]
mod tests;
