//! high-templar's own language, of this gateway and of the Python one.

use super::{Identity, Stage};
use crate::workload::Rooms;

/// The next stage and what is said, or `None` where `said` does not belong here.
pub(super) fn joining(
    stage: Stage,
    who: Identity,
    rooms: Rooms,
    said: &[u8],
) -> Option<(Stage, String)> {
    let said: serde_json::Value = serde_json::from_slice(said).ok()?;
    match stage {
        Stage::Greeting if said["is_authorized"] == true => {
            Some((Stage::Subscribing, subscribe(who, rooms, 0)))
        }
        // It does not say which request it answers: there was only one.
        Stage::Subscribing if said["code"] == "success" => Some((Stage::Joined, String::new())),
        Stage::Connecting
        | Stage::Upgrading
        | Stage::Greeting
        | Stage::Subscribing
        | Stage::Joined => None,
    }
}

/// A request for one of a client's subscriptions.
pub(super) fn subscribe(who: Identity, rooms: Rooms, subscription: u32) -> String {
    format!(
        r#"{{"type":"subscribe","room":{},"requestId":"{}"}}"#,
        rooms.subscribed(who.number, subscription),
        who.id_of(subscription).hyphenated()
    )
}
