//! Messages of the gateway. The spelling, spaces included, is that of the Python original.

use std::fmt::Write;

use crate::client::RequestId;
use crate::code::ErrorCode;
use crate::cursor::{Cursor, CursorText, Part};
use crate::labels;
use crate::room::Room;

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
/// how far the client has been sent everything. `request_id`: the name of the request, if it has
/// one.
#[must_use]
pub fn success_at(request_id: Option<&RequestId>, cursor: Cursor) -> String {
    let mut text = String::from(r#"{"code": "success""#);
    if let Some(request_id) = request_id {
        let request_id = request_id.as_json();
        write!(text, r#", "requestId": {request_id}"#).expect("writing to a String cannot fail");
    }
    write!(text, r#", "cursor": "{cursor}"}}"#).expect("writing to a String cannot fail");
    text
}

/// The first message to an admitted client that chose our [subprotocol](crate::subprotocol):
/// `message`, which all clients are sent, with what such a client can use.
#[must_use]
pub fn with_features(message: &[u8], cursor: Cursor, features: &[Feature]) -> Vec<u8> {
    let mut text = message.strip_suffix(b"}").unwrap_or(message).to_vec();
    text.extend_from_slice(br#", "cursor": ""#);
    cursor.write(&mut text);
    text.extend_from_slice(br#"", "features": ["#);
    for (index, feature) in features.iter().enumerate() {
        let comma = if index == 0 { "" } else { ", " };
        text.extend_from_slice(comma.as_bytes());
        text.extend_from_slice(format!("\"{}\"", feature.as_str()).as_bytes());
    }
    text.extend_from_slice(b"]}");
    text
}

crate::labels! {
    /// What a gateway offers to clients that chose our [subprotocol](crate::subprotocol), beside
    /// what all of them have.
    pub enum Feature {
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

/// The event for a client whose grants have changed; `allowed_rooms` is JSON text.
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
mod tests {
    use super::*;
    use crate::client::{Envelope, MessageLimits};
    use crate::room::RoomLimits;

    #[test]
    fn replies_keep_their_spelling() {
        let mut out = Vec::new();
        put_error(
            &mut out,
            ErrorCode::RoomNotFound,
            &"id",
            None,
            Some("not sent"),
        );
        assert_eq!(out, br#"{"code": "error", "message": "room-not-found"}"#);
        out.clear();
        put_error(&mut out, ErrorCode::NonJsonMessage, &"id", None, None);
        assert_eq!(
            out,
            br#"{"requestId": "id", "code": "error", "message": "non-json-message"}"#
        );
        let unsubscribe = r#"{"type": "unsubscribe", "requestId": "a"}"#;
        let limits = MessageLimits {
            request_id_bytes: 10,
            room: RoomLimits::TRUSTED,
        };
        let name = Envelope::read(unsubscribe).request_id(&limits).unwrap();
        out.clear();
        put_error(&mut out, ErrorCode::NotSubscribed, &"id", Some(&name), None);
        assert_eq!(
            out,
            br#"{"requestId": "a", "code": "error", "message": "not-subscribed"}"#
        );
        out.clear();
        let reason = Some("\"1\" is\n text");
        put_error(
            &mut out,
            ErrorCode::RoomNotFound,
            &"id",
            Some(&name),
            reason,
        );
        assert_eq!(
            out,
            br#"{"requestId": "a", "code": "error", "message": "room-not-found", "reason": "\"1\" is\n text"}"#
        );
        assert_eq!(success(&name), r#"{"code": "success", "requestId": "a"}"#);
        assert_eq!(
            authorized("[]"),
            r#"{"is_authorized": true, "allowed_rooms": []}"#
        );
        assert!(serde_json::from_str::<serde_json::Value>(&Status::default().to_json()).is_ok());
    }

    #[test]
    fn unsolicited_messages_have_a_type() {
        let room = Room::parse(r#"{"b": "*", "a": 1}"#, RoomLimits::TRUSTED).unwrap();
        assert_eq!(
            unsubscribed("4", &room, Lost::Permissions),
            r#"{"type": "unsubscribed", "requestId": 4, "room": {"a": 1, "b": "*"}, "reason": "permissions"}"#
        );
        assert!(unsubscribed("4", &room, Lost::Command).ends_with(r#""reason": "command"}"#));
        assert_eq!(
            permissions("[]"),
            r#"{"type": "permissions", "allowed_rooms": []}"#
        );
    }

    #[test]
    fn cursors_are_members_at_the_end() {
        let limits = MessageLimits {
            request_id_bytes: 10,
            room: RoomLimits::TRUSTED,
        };
        let name = Envelope::read(r#"{"requestId": "a"}"#).request_id(&limits);
        let cursor: Cursor = "k3f9ab-1742-aB3x".parse().unwrap();
        assert_eq!(
            success_at(name.as_ref(), cursor),
            r#"{"code": "success", "requestId": "a", "cursor": "k3f9ab-1742-aB3x"}"#
        );
        assert_eq!(
            success_at(None, cursor),
            r#"{"code": "success", "cursor": "k3f9ab-1742-aB3x"}"#
        );
        let first = with_features(authorized("[]").as_bytes(), cursor, &[Feature::Ping; 2]);
        assert_eq!(
            str::from_utf8(&first).unwrap(),
            concat!(
                r#"{"is_authorized": true, "allowed_rooms": [], "cursor": "k3f9ab-1742-aB3x", "#,
                r#""features": ["ping", "ping"]}"#
            )
        );
        let part: Cursor = "k3f9ab-1742-aB3x.AAAAAQ".parse().unwrap();
        let (text, tail) = (CursorText::from(cursor), publish_tail("7"));
        for (part, expected) in [
            (None, r#"7, "cursor": "k3f9ab-1742-aB3x"}"#),
            (part.part, r#"7, "cursor": "k3f9ab-1742-aB3x.AAAAAQ"}"#),
        ] {
            let mut out = Vec::new();
            put_publish_tail(&mut out, tail.as_bytes(), &text, part);
            assert_eq!(str::from_utf8(&out).unwrap(), expected);
        }
    }

    #[test]
    fn a_publication_is_head_and_tail() {
        let tail = publish_tail("\"a\"");
        let head = publish_head(b"{\"z\": 1.0}");
        assert_eq!(head.len(), publish_head_len(b"{\"z\": 1.0}".len()));
        let frame = [head, tail.clone().into()].concat();
        assert_eq!(
            frame,
            br#"{"type": "publish", "data": {"z": 1.0}, "requestId": "a"}"#
        );
        assert_eq!(request_id_of(tail.as_bytes()), b"\"a\"");
    }
}
