//! The log: records that every node reads in one order, whatever the transport.
//!
//! An engine implements [`Log`] and is independent of triggers, shards and the sequencer. It
//! transports messages as bytes; [`Broker`](crate::Broker) reads them, has them placed, and
//! reconnects after a loss. An engine proves that it fulfils the contract with the suite in
//! `tests/engines`.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use ht_proto::entry::Position;
use ht_proto::tenant::TenantName;

use crate::encoding::Message;
use crate::missed::{Missed, MissedReason};

/// One ordered log that all nodes read.
pub trait Log: Send + Sync + 'static {
    /// The engine's name in logs, metrics and `/ready`.
    fn name(&self) -> &'static str;

    /// Capabilities of the engine.
    fn caps(&self) -> Caps;

    /// Appends the entries in this order. Ready when the engine confirms that it has all of them.
    /// Returns the position of each, or none if the engine does not report positions: then only the
    /// tail does. If the future is dropped, it is unknown what was appended.
    ///
    /// # Errors
    /// Not later than `within` from now.
    fn append(
        &self,
        batch: Vec<NewEntry>,
        within: Duration,
    ) -> BoxFuture<'_, Result<Vec<Option<Appended>>, AppendError>>;

    /// Begins to read. Records appended after this is ready reach the tail, in order.
    ///
    /// # Errors
    /// When the engine cannot be reached. For [`From::At`] when it does not have that record: an
    /// engine that would start somewhere else, or wait for a record with that number, must find out
    /// itself. [`TailError::NotYet`] as long as the engine is there and its log is not.
    fn tail(self: Arc<Self>, from: From) -> BoxFuture<'static, Result<Box<dyn Tail>, TailError>>;

    /// The records with these positions, in order: as many as fit into `bytes_max`, and at least
    /// one if there is one. Positions in the range that no record has are passed over.
    ///
    /// # Errors
    /// [`TailError::Trimmed`] if the oldest record is after the start of the range.
    /// [`TailError::NotRetained`] of an engine that retains nothing.
    fn read(
        &self,
        _range: RangeInclusive<Position>,
        _bytes_max: usize,
    ) -> BoxFuture<'_, Result<Vec<Record>, TailError>> {
        Box::pin(async { Err(TailError::NotRetained) })
    }

    /// The range that the log retains now. What was appended before the call is in it.
    ///
    /// # Errors
    /// [`TailError::NotRetained`] of an engine that retains nothing.
    fn bounds(&self) -> BoxFuture<'_, Result<Bounds, TailError>> {
        Box::pin(async { Err(TailError::NotRetained) })
    }

    /// What the engine does as long as the node lives, besides what it is asked for: it is polled
    /// beside the reading, and never ends.
    fn work(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::pending())
    }

    /// Something that was appended was not read back in time: the engine makes sure of its
    /// connections. Returns at once.
    fn doubt(&self) {}

    /// Logs a change of the connection, in the engine's words.
    fn log_link(&self, _change: &LinkChange<'_>) {}

    /// Closes its publishing side, within `limit`.
    fn close(&self, _limit: Duration) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

/// A reader of a log, over one connection.
pub trait Tail: Send {
    /// Waits for the next records. Requesting them acknowledges those before: they are placed.
    /// Dropping the future loses none.
    ///
    /// # Errors
    /// When there will be no more; records read before the loss are returned first. The caller
    /// begins a new tail.
    fn next(&mut self) -> BoxFuture<'_, Result<Batch, TailError>>;

    /// Closes the connection, within `limit`.
    fn close(self: Box<Self>, limit: Duration) -> BoxFuture<'static, ()>;
}

/// Result of one read of a tail.
#[derive(Debug, Default)]
pub struct Batch {
    /// Messages that this node may have missed: to be reported before the records are placed.
    /// Messages appended from now on arrive.
    pub missed: Vec<Missed>,
    /// The records, in their order.
    pub records: Vec<Record>,
}

/// Differences between engines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// Records have positions, which are the same for every node, and are retained for a while: a
    /// disconnected reader resumes where it was. Without it, messages appended while a node is not
    /// connected never reach that node.
    ///
    /// Positions begin at 1 or later, grow, and need not grow by one. An engine whose log can be
    /// made anew, or lose its last records, gives positions again: the follower compares the record
    /// that it resumes at with the one that it read.
    pub retains: bool,
}

/// A message to append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEntry {
    /// How it travels.
    pub kind: Kind,
    /// Names it for the node that appends it, which recognises its record by that.
    pub key: Box<str>,
    /// The tenant other than `main` that it is of, for engines that can state it beside the message.
    pub tenant: Option<TenantName>,
    /// Its message.
    pub body: Bytes,
}

/// How entries travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// To every node.
    Trigger,
    /// To every node, about the nodes themselves. Publishers cannot send one.
    Note,
    /// At least to the node that appends it; others pass over it. It proves the way of triggers.
    Probe,
}

/// A message that was read.
#[derive(Clone, Debug)]
pub struct Record {
    /// Its position in the log; `None` if the engine retains nothing.
    pub position: Option<Position>,
    /// How it travelled.
    pub kind: Kind,
    /// The key that it was appended with, if it was.
    pub key: Option<Box<str>>,
    /// Tells it from another record that the log gives its position once it has lost this one, whose
    /// message may be the same: when it was appended, in a unit of the engine; 0 if that says nothing.
    pub stamp: u64,
    /// The message as its publisher sent it.
    pub message: Message,
}

/// An entry that was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Its position.
    pub position: Position,
}

/// Where a tail begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// With the messages appended from now on.
    Head,
    /// With the record at this position, inclusive: it proves that nothing between was dropped, and
    /// that the log is the one that was read before.
    At(Position),
    /// With what a node needs that has read nothing: the records that are not older than `age`, and
    /// those with the last `positions` positions, as far as they are retained. A tail may begin
    /// earlier. Of an empty log it is the same as [`Self::Head`].
    Back {
        /// Age of a record since it was appended.
        age: Duration,
        /// Distance to the last position.
        positions: u64,
    },
}

/// The ends of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The oldest record that is retained.
    pub first: Option<Position>,
    /// The newest one.
    pub last: Option<Position>,
}

/// Why entries could not be appended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// The broker cannot be reached; nothing was published.
    #[error("the broker is not available: {0}")]
    Unavailable(String),
    /// The broker accepts no message that is so long; nothing was published.
    #[error("a message of {bytes} bytes is too long for the broker, which accepts {max}")]
    TooLong {
        /// Length of the message.
        bytes: usize,
        /// Longest one that is accepted.
        max: usize,
    },
    /// The broker accepted the triggers, or may have, but did not deliver them back in time.
    /// Publishing again with the same `id` is safe.
    #[error("the broker did not deliver the trigger back within {seconds} s")]
    Unconfirmed {
        /// How long was waited.
        seconds: u64,
    },
}

/// Why a log cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TailError {
    /// The engine cannot be reached, or was lost.
    #[error("{}", .0.cause)]
    Lost(Trouble),
    /// The engine can be reached, but it is still starting, or its log is not available yet. It is
    /// not an empty log: nothing may be concluded from it, nothing declared, and no epoch begun.
    #[error("{}", .0.cause)]
    NotYet(Trouble),
    /// The record at the requested position was dropped: the oldest one is after it.
    #[error("the log has no record at the position {0} any more")]
    Trimmed(Position),
    /// The log ends before the requested position, or has another record there: its last records
    /// were lost, or it was made anew.
    #[error("the log is not the one that was read: it has no such record at the position {0}")]
    Rewound(Position),
    /// The engine retains nothing that could be read.
    #[error("this engine retains no records")]
    NotRetained,
}

/// What is wrong with an engine. The texts are one line and hold no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// What went wrong.
    pub cause: String,
    /// What the operator can do about it; empty if the cause is explanation enough.
    pub advice: &'static str,
    /// Consequence for messages appended until the next tail, if the engine retains nothing.
    pub reason: MissedReason,
}

/// A change of the connection that is worth a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkChange<'a> {
    /// Connected for the first time.
    Connected,
    /// Connected again, after an outage of this length.
    Reconnected(Duration),
    /// The connection was lost, or could not be made, for a new cause.
    Lost(&'a Trouble),
    /// The outage continues.
    StillLost {
        /// Why the last attempt failed.
        trouble: &'a Trouble,
        /// How long it has lasted.
        lasting: Duration,
        /// Number of connection attempts.
        attempts: u64,
    },
}
