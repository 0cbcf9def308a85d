//! Clients' messages: nothing panics, JSON is recognised exactly as by `serde_json`, and a room is
//! equal to itself in any notation.

#![no_main]

use ht_proto::client::{ClientMessage, MessageLimits};
use ht_proto::code::ErrorCode;
use ht_proto::room::{Room, RoomLimits};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

const LIMITS: MessageLimits = MessageLimits {
    request_id_bytes: 64,
    room: RoomLimits {
        bytes: 4_096,
        depth: 8,
    },
};

fuzz_target!(|text: &str| {
    let message = ClientMessage::parse(text, &LIMITS);
    check_cursors(&message);
    let value = serde_json::from_str::<Value>(text);
    if message == Err(ErrorCode::NonJsonMessage) {
        assert!(value.is_err(), "refused what is JSON");
    }
    let Ok(value) = value else { return };
    assert_ne!(message, Err(ErrorCode::NonJsonMessage));
    if value.is_object()
        && is_plain(&value)
        && let Ok(room) = Room::parse(text, LIMITS.room)
    {
        assert_eq!(
            Room::parse(&value.to_string(), RoomLimits::TRUSTED),
            Ok(room)
        );
    }
});

/// Cursors are read again from what they are written as.
fn check_cursors(message: &Result<ClientMessage, ErrorCode>) {
    let mut cursors = Vec::new();
    match message {
        Ok(ClientMessage::Subscribe { since, .. }) => cursors.push(*since),
        Ok(ClientMessage::Resume {
            cursor,
            subscriptions,
            ..
        }) => {
            cursors.push(cursor.map(Some));
            let each = subscriptions.iter().flatten();
            cursors.extend(each.map(|resumed| resumed.since));
        }
        _ => {}
    }
    for cursor in cursors.into_iter().flatten().flatten() {
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
    }
}

/// Whether the other library preserves every number.
fn is_plain(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.is_u64() || number.is_i64(),
        Value::Array(values) => values.iter().all(is_plain),
        Value::Object(members) => members.values().all(is_plain),
        Value::Null | Value::Bool(_) | Value::String(_) => true,
    }
}
