//! The texts of messages.

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
        success_at(name.as_ref(), Some(cursor)),
        r#"{"code": "success", "requestId": "a", "cursor": "k3f9ab-1742-aB3x"}"#
    );
    assert_eq!(
        success_at(None, Some(cursor)),
        r#"{"code": "success", "cursor": "k3f9ab-1742-aB3x"}"#
    );
    assert_eq!(success_at(None, None), SUCCESS);
    let none = Resumption::default();
    let both = Resumption {
        ticket: Some("v1.a".to_owned()),
        proof: Some("b".to_owned()),
    };
    for (resumption, expected) in [
        (
            &none,
            r#"{"code": "success", "cursor": "k3f9ab-1742-aB3x"}"#,
        ),
        (
            &both,
            r#"{"code": "success", "cursor": "k3f9ab-1742-aB3x", "ticket": "v1.a", "proof": "b"}"#,
        ),
    ] {
        assert_eq!(pong(None, Some(cursor), resumption), expected.as_bytes());
    }
    let authorized = authorized("[]");
    let first = with_features(
        authorized.as_bytes(),
        cursor,
        (true, &both),
        &[Feature::Ping],
        None,
    );
    assert_eq!(
        str::from_utf8(&first).unwrap(),
        concat!(
            r#"{"is_authorized": true, "allowed_rooms": [], "cursor": "k3f9ab-1742-aB3x", "#,
            r#""resumed": true, "ticket": "v1.a", "proof": "b", "features": ["ping"]}"#
        )
    );
    let first = with_features(
        authorized.as_bytes(),
        cursor,
        (false, &none),
        &[Feature::Ping; 2],
        None,
    );
    assert_eq!(
        str::from_utf8(&first).unwrap(),
        concat!(
            r#"{"is_authorized": true, "allowed_rooms": [], "cursor": "k3f9ab-1742-aB3x", "#,
            r#""features": ["ping", "ping"]}"#
        )
    );
    let first = with_features(
        authorized.as_bytes(),
        cursor,
        (false, &none),
        &[],
        Some(2_000),
    );
    assert!(first.ends_with(br#""features": [], "message_bytes": 2000}"#));
    assert_eq!(
        with_cursor(permissions("[]").as_bytes(), cursor, &none),
        br#"{"type": "permissions", "allowed_rooms": [], "cursor": "k3f9ab-1742-aB3x"}"#
    );
    let request_id = &name.clone().unwrap();
    for (replayed, cursor, refused, expected) in [
        (Ok(3), None, &[][..], r#""recovered": true, "replayed": 3}"#),
        (
            Err(NotRecovered::TooMuch),
            Some(cursor),
            &[
                (name.clone(), ErrorCode::RoomNotFound),
                (None, ErrorCode::NoRequestId),
            ],
            concat!(
                r#""recovered": false, "reason": "too-much", "cursor": "k3f9ab-1742-aB3x", "#,
                r#""refused": [{"requestId": "a", "message": "room-not-found"}, "#,
                r#"{"message": "no-request-id"}]}"#
            ),
        ),
    ] {
        let recovery = Recovery {
            request_id,
            replayed,
            cursor,
            refused,
        };
        let expected = format!(r#"{{"code": "success", "requestId": "a", {expected}"#);
        assert_eq!(recovery.to_json(), expected.as_bytes());
    }
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
