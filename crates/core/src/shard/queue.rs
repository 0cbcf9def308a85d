//! What waits for its turn among the publications of a shard.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::command::{Command, Ending};
use crate::connection::SessionKey;
use crate::publication::Publication;
use crate::shard::selection::Search;

/// What waits for its turn.
#[derive(Debug)]
pub(super) enum Item {
    /// A batch to be delivered.
    Publications(Arc<[Publication]>),
    /// A command to be carried out.
    Command(Arc<Command>),
    /// Commands were lost, the last of them at this position: everybody is closed.
    Lost(u64),
}

/// A command that is being carried out.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) task: Task,
    /// Connections that were found and not dealt with yet.
    pub(super) found: VecDeque<SessionKey>,
    pub(super) matched: usize,
    /// The first of `found` is dealt with in part.
    pub(super) halfway: bool,
}

#[derive(Debug)]
pub(super) enum Task {
    /// What is done, and the search for the connections; none: it is over.
    Command(Arc<Command>, Option<Search>),
    /// All connections are closed that do not know of the command at this position: the next slot.
    CloseAll(u64, Ending, usize),
}
