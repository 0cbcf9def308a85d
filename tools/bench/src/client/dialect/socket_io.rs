//! Socket.IO 5 over Engine.IO 4. A text frame begins with an Engine.IO type: `0` open, `2` ping,
//! `3` pong, `4` message; a message with a Socket.IO type: `0` connect, `2` event, `3`
//! acknowledgement.

use super::{Identity, Stage};
use crate::workload::Rooms;

/// The next stage and what is said, or `None` where `said` does not belong here.
pub(super) fn joining(
    stage: Stage,
    who: Identity,
    rooms: Rooms,
    said: &[u8],
) -> Option<(Stage, String)> {
    match (stage, said) {
        // The first ping may come before the client is in.
        (Stage::Greeting | Stage::Subscribing, b"2") => Some((stage, "3".to_owned())),
        (Stage::Greeting, [b'0', ..]) => Some((stage, "40".to_owned())),
        (Stage::Greeting, [b'4', b'0', ..]) => {
            // An event with the number 0 for its acknowledgement.
            let room = rooms.name(who.number);
            Some((Stage::Subscribing, format!(r#"420["subscribe","{room}"]"#)))
        }
        (Stage::Subscribing, [b'4', b'3', b'0', b'[', ..]) => Some((Stage::Joined, String::new())),
        _ => None,
    }
}

/// A ping of Engine.IO wants a pong, or the server ends the connection.
pub(super) fn answer(payload: &[u8]) -> Option<&'static str> {
    (payload == b"2").then_some("3")
}
