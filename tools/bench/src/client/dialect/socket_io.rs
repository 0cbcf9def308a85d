//! Socket.IO 5 over Engine.IO 4. A text frame begins with an Engine.IO type: `0` open, `2` ping,
//! `3` pong, `4` message; a message with a Socket.IO type: `0` connect, `2` event, `3`
//! acknowledgement.

use super::{Identity, Stage};
use crate::workload::Rooms;

/// Returns the next stage and what to send, or `None` if the message is unexpected.
pub(super) fn joining(
    stage: Stage,
    identity: Identity,
    rooms: Rooms,
    received: &[u8],
) -> Option<(Stage, String)> {
    match (stage, received) {
        // The first ping can arrive before the client has joined.
        (Stage::Greeting | Stage::Subscribing, b"2") => Some((stage, "3".to_owned())),
        (Stage::Greeting, [b'0', ..]) => Some((stage, "40".to_owned())),
        (Stage::Greeting, [b'4', b'0', ..]) => {
            // An event with the number 0 for its acknowledgement.
            let room = rooms.name(identity.number);
            Some((Stage::Subscribing, format!(r#"420["subscribe","{room}"]"#)))
        }
        (Stage::Subscribing, [b'4', b'3', b'0', b'[', ..]) => Some((Stage::Joined, String::new())),
        _ => None,
    }
}

/// Engine.IO closes a connection that does not reply to a ping.
pub(super) fn answer(payload: &[u8]) -> Option<&'static str> {
    (payload == b"2").then_some("3")
}
