//! The one order of a node, and the only way to its shards.

use futures_util::future::BoxFuture;
use ht_proto::entry::{Entry, Epoch};

use crate::missed::Missed;
use crate::order::Placed;

/// Orders what is published: the only door to the shards.
pub trait Sequencer: Send + Sync + 'static {
    /// The name of this order. Positions of another one mean nothing here.
    fn epoch(&self) -> Epoch;

    /// Gives each entry of the batch its place in the order and hands it to the shards where it may
    /// concern somebody. Nothing comes between the entries of a batch. Waits once, for a bounded
    /// time, where the inbox of one of those shards is full. Returns the places in the order of the
    /// entries.
    ///
    /// Dropping the future before it is ready means that none of the entries was placed.
    fn place(&self, batch: Vec<Entry>) -> BoxFuture<'_, Vec<Placed>>;

    /// Gives a probe its turn behind every entry that was placed before, and hands it to every
    /// shard. It is no entry: it gets no position, and no client sees it. Waits for no shard; what
    /// it returns is ready when every shard has taken the probe.
    fn probe(&self) -> BoxFuture<'_, Taken>;

    /// Reports a gap: entries may not have reached this node until now. Returns at once.
    fn missed(&self, missed: Missed);
}

/// A probe that had its turn: the future is ready when every shard has taken it.
pub struct Taken(pub BoxFuture<'static, ()>);
