//! The protocol of high-templar, of this gateway and of the Python one.

use super::{Identity, Stage};
use crate::workload::Rooms;

/// Returns the next stage and what to send, or `None` if the message is unexpected.
pub(super) fn joining(
    stage: Stage,
    identity: Identity,
    rooms: Rooms,
    received: &[u8],
) -> Option<(Stage, String)> {
    let received: serde_json::Value = serde_json::from_slice(received).ok()?;
    match stage {
        Stage::Greeting if received["is_authorized"] == true => {
            Some((Stage::Subscribing, subscribe(identity, rooms, 0)))
        }
        // There was only one request.
        Stage::Subscribing if received["code"] == "success" => Some((Stage::Joined, String::new())),
        Stage::Connecting
        | Stage::Upgrading
        | Stage::Greeting
        | Stage::Subscribing
        | Stage::Joined => None,
    }
}

/// A request for one of a client's subscriptions.
pub(super) fn subscribe(identity: Identity, rooms: Rooms, subscription: u32) -> String {
    format!(
        r#"{{"type":"subscribe","room":{},"requestId":"{}"}}"#,
        rooms.subscribed(identity.number, subscription),
        identity.id_of(subscription).hyphenated()
    )
}
