//! The one order of a node, and the only way to its shards.

use futures_util::future::BoxFuture;
use ht_proto::cursor::Check;
use ht_proto::entry::{Entry, Epoch, Position, TenantId};
use ht_proto::note::Note;
use ht_proto::record::Record;

use crate::missed::Missed;
use crate::order::Placed;

/// Orders publications: the only entry point to the shards.
pub trait Sequencer: Send + Sync + 'static {
    /// The name of this order. Positions of another one are invalid here.
    fn epoch(&self) -> Epoch;

    /// Whose a record of the log is.
    ///
    /// # Errors
    /// If it may not be placed.
    fn tenant(&self, _record: &Record) -> Result<TenantId, Refusal> {
        Ok(TenantId::MAIN)
    }

    /// Assigns each entry of the batch its position in the order and passes it to the shards that
    /// may have subscribers for it. The entries of a batch are consecutive. Waits once, for a
    /// bounded time, if the inbox of one of those shards is full. Returns the positions in the
    /// order of the entries.
    ///
    /// Dropping the future before it is ready means that none of the entries was placed.
    fn place(&self, batch: Vec<Entry>) -> BoxFuture<'_, Vec<Placed>>;

    /// Orders a probe after every entry that was placed before, and passes it to every shard. It is
    /// not an entry: it gets no position, and is not sent to clients. Waits for no shard; the
    /// returned future is ready when every shard has processed the probe.
    fn probe(&self) -> BoxFuture<'_, Taken>;

    /// An entry of the log has its place, and its sender waits until every node has executed it.
    /// `key` names it on every node; `is_own`: this node sent it. Returns at once.
    fn confirm(&self, _key: &str, _placed: Placed, _is_own: bool) {}

    /// A note of a node was read: this one's own, too. Returns at once.
    fn note(&self, _note: Note) {}

    /// Reports a gap: entries may not have reached this node until now. Returns at once.
    fn missed(&self, missed: Missed);

    /// What is read back of a log begins after this position: of what was before, nothing is known.
    /// With a check it is known that the entry at the position has that, and that it is the last one
    /// before what is read back. Called once, before [`Self::read_back`] has brought any.
    fn begins_after(&self, _before: Position, _check: Option<Check>) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }

    /// Takes entries that a log retained from before this node read it, in their order. They are
    /// remembered as those that were placed, and passed to no shard.
    fn read_back(&self, batch: Vec<Entry>) -> BoxFuture<'_, ()>;

    /// Entries do not follow those before: others between them are missing, which
    /// [`Self::read_back`] or [`Self::place`] cannot bring any more. `anew`: the log is another one,
    /// and its positions are unrelated to those before.
    fn interrupted(&self, anew: bool) -> BoxFuture<'_, ()>;

    /// Everything that the log retained is read back. What was published until now may not have
    /// reached the clients that are there.
    fn caught_up(&self, missed: Missed);

    /// The log has this epoch. `ends_another`: from here on; else all that was read back belongs to
    /// it.
    fn begin_epoch(&self, epoch: Epoch, ends_another: bool) -> BoxFuture<'_, ()>;
}

/// Why a record of the log is not placed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is wrong, as this sentence says.
    Wrong(String),
    /// It is of a tenant, and this node has none.
    OfTenants,
}

/// A probe in the order: the future is ready when every shard has processed it.
pub struct Taken(pub BoxFuture<'static, ()>);
