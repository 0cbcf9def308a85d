//! The protocol of the programs in `bench/peers/`: a room is a name, and messages are unchanged.

use super::{Identity, Stage};
use crate::workload::Rooms;

/// The first message of a client.
pub(super) fn subscribe(rooms: Rooms, identity: Identity) -> String {
    format!(
        r#"{{"type":"subscribe","room":"{}"}}"#,
        rooms.name(identity.number)
    )
}

/// Returns the next stage and what to send, or `None` if the message is unexpected.
pub(super) fn joining(stage: Stage, received: &[u8]) -> Option<(Stage, String)> {
    let received: serde_json::Value = serde_json::from_slice(received).ok()?;
    (stage == Stage::Subscribing && received["code"] == "success")
        .then(|| (Stage::Joined, String::new()))
}
