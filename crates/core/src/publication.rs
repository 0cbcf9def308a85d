//! What the dispatcher made of a trigger.

use ht_proto::room::Room;
use ht_proto::server;

/// A trigger with its place in the order, encoded once for all its receivers.
#[derive(Debug)]
pub struct Publication {
    /// Its place in the node's order: 1 for the first since the node started.
    pub position: u64,
    /// The rooms it is for.
    pub rooms: Vec<Room>,
    /// Its message but for the end, which differs between subscriptions.
    pub head: Box<[u8]>,
}

impl Publication {
    /// Encodes the JSON text `data` for `rooms`.
    #[must_use]
    pub fn new(position: u64, rooms: Vec<Room>, data: &[u8]) -> Self {
        Self {
            position,
            rooms,
            head: server::publish_head(data).into(),
        }
    }
}
