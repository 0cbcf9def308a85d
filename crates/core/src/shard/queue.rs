//! The queue of publications and commands of a shard.

use std::collections::VecDeque;
use std::sync::Arc;

use ht_proto::server::GapCause;

use crate::command::{Command, Ending};
use crate::connection::SessionKey;
use crate::publication::Publication;
use crate::recheck::{RecheckReason, Rechecked};
use crate::shard::selection::Search;

/// A queued item.
#[derive(Debug)]
pub(super) enum Item {
    /// A batch to be delivered.
    Publications(Arc<[Publication]>),
    /// A command to be executed.
    Command(Arc<Command>),
    /// The API has answered about sessions again.
    Rechecked(Arc<Rechecked>),
    /// The first of the held sessions that have their answer is sent what it missed.
    CatchUp,
    /// The session is held, for the answer to a call that was sent after this position was ordered.
    Hold(SessionKey, u64, RecheckReason),
    /// The session may have missed publications in the gap with this number, up to this position.
    Gap(SessionKey, u32, u64, GapCause),
    /// Commands were lost, the last of them at this position: every connection is closed.
    Lost(u64),
}

impl Item {
    /// Whether it has a position in the order: everything before it precedes it in the queue.
    pub(super) fn has_position(&self) -> bool {
        match self {
            Self::Publications(_) | Self::Command(_) | Self::Lost(_) => true,
            Self::Rechecked(_) | Self::CatchUp | Self::Hold(..) | Self::Gap(..) => false,
        }
    }
}

/// A command or another item of the queue that is being executed.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) task: Task,
    /// Connections that were found and not processed yet.
    pub(super) found: VecDeque<SessionKey>,
    pub(super) matched: usize,
    /// The first of `found` is partially processed.
    pub(super) halfway: bool,
}

#[derive(Debug)]
pub(super) enum Task {
    /// The action, and the search for the connections; none: it is over.
    Command(Arc<Command>, Option<Search>),
    /// All connections are closed that do not know of the command at this position: the next slot.
    CloseAll(u64, Ending, usize),
    /// The API's answer, and how many of its sessions were processed.
    Rechecked(Arc<Rechecked>, usize),
    /// The session catches up.
    CatchUp(SessionKey),
}
