//! What the dispatcher made of a trigger.

use std::sync::OnceLock;

use ht_frame::Deflater;
use ht_proto::room::Room;
use ht_proto::server;

use crate::body::Body;
use crate::stats::Stats;

/// A trigger with its place in the order, encoded once for all its receivers.
#[derive(Debug)]
pub struct Publication {
    /// Its place in the node's order: 1 for the first since the node started.
    pub position: u64,
    /// The rooms it is for.
    pub rooms: Vec<Room>,
    /// Its message but for the end, which differs between subscriptions.
    pub head: Body,
    /// The head, compressed; none where that is no gain. Made by the first shard that needs it:
    /// the publication is the one thing that all shards share, so one run of deflate serves every
    /// client of the process. A shard that comes meanwhile waits, which is shorter than doing the
    /// same.
    deflated: OnceLock<Option<Body>>,
}

impl Publication {
    /// Encodes the JSON text `data` for `rooms`.
    #[must_use]
    pub fn new(position: u64, rooms: Vec<Room>, data: &[u8]) -> Self {
        Self {
            position,
            rooms,
            head: server::publish_head(data).into_boxed_slice().into(),
            deflated: OnceLock::new(),
        }
    }

    /// The same publication at this position of the order.
    #[must_use]
    pub fn at(self, position: u64) -> Self {
        Self { position, ..self }
    }

    /// The head compressed, if that makes it smaller. Counts the one run of `deflater`.
    pub(crate) fn deflated(&self, deflater: &mut Deflater, stats: &mut Stats) -> Option<&Body> {
        let deflated = self.deflated.get_or_init(|| {
            let deflated = deflater.deflate(&self.head);
            let len = deflated.as_ref().map_or(self.head.len(), |head| head.len());
            stats.deflated += 1;
            stats.deflate_bytes_in += self.head.len() as u64;
            stats.deflate_bytes_out += len as u64;
            deflated.map(Body::from)
        });
        deflated.as_ref()
    }
}
