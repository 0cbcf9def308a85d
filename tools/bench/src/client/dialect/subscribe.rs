//! What the small programs in `bench/peers/` speak: a room is a name, and messages come as they
//! were published.

use super::{Identity, Stage};
use crate::workload::Rooms;

/// What a client says first.
pub(super) fn subscribe(rooms: Rooms, who: Identity) -> String {
    format!(
        r#"{{"type":"subscribe","room":"{}"}}"#,
        rooms.name(who.number)
    )
}

/// The next stage and what is said, or `None` where `said` does not belong here.
pub(super) fn joining(stage: Stage, said: &[u8]) -> Option<(Stage, String)> {
    let said: serde_json::Value = serde_json::from_slice(said).ok()?;
    (stage == Stage::Subscribing && said["code"] == "success")
        .then(|| (Stage::Joined, String::new()))
}
