//! What changes a session's permissions: answers of the API, and commands.

use crate::orders::Order;
use crate::rooms::{GRANTS, covers, is_permitted};

/// The API's answer about a client, as its session got it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identified {
    pub(crate) tenant: usize,
    pub(crate) client: usize,
    pub(crate) grants: usize,
    /// The position of the last command of the node when the call was sent.
    pub(crate) asked_at: u64,
    /// When the call was sent.
    pub(crate) asked: u64,
    /// It is no answer, but the ticket of this connection.
    pub(crate) resumed: Option<usize>,
    /// The client accepts events.
    pub(crate) events: bool,
}

/// A command placed on a node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Commanded {
    pub(super) place: usize,
    pub(super) position: u64,
    pub(super) at: u64,
    pub(super) number: usize,
    pub(super) order: Order,
}

/// What the API says of a session when it is asked again.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reply {
    Grants(usize),
    Refused,
    /// There was no usable answer for too long, and the session is closed.
    Unreachable,
    /// There was none, and nothing changes.
    Keep,
}

/// A change of a session's permissions, or of some of its subscriptions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Applied {
    pub(super) place: usize,
    /// The position of the command that it is due to.
    pub(super) position: u64,
    pub(super) at: u64,
    pub(super) change: Change,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Change {
    /// It has these grants.
    Grants(usize),
    /// Its subscriptions to such a room are dropped.
    Drops(usize),
}

impl Applied {
    pub(super) fn drops(&self, room: usize) -> bool {
        match self.change {
            Change::Grants(grants) => !is_permitted(GRANTS[grants], room),
            Change::Drops(from) => covers(from, room),
        }
    }
}

/// A session that is sent nothing until the API has answered about it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) place: usize,
    /// The position of the command at which it began.
    pub(super) position: u64,
    pub(super) at: u64,
    /// The answer to a call before this command does not count.
    pub(super) not_before: u64,
    /// A gap was told, and no command meant it since.
    pub(super) is_gap: bool,
}

/// A session that a command closes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Disconnected {
    pub(super) place: usize,
    /// Why.
    pub(super) cause: Cause,
}

/// Why a session is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// The command with this number.
    Command(usize),
    /// Its permissions: commands were lost, or the API refuses its client.
    Permissions,
    /// The API cannot be reached.
    Backend,
}

/// Commands that a shard was too far behind for.
#[derive(Clone, Copy, Debug)]
pub(super) struct LostCommands {
    pub(super) tenant: usize,
    pub(super) shard: usize,
    /// The place of the first of them.
    pub(super) place: usize,
    /// The position of the last of them.
    pub(super) position: u64,
}

/// Where a subscription was dropped, and when that was placed; none: it was not.
pub(super) type End = Option<(usize, u64)>;
