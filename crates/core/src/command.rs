//! Commands: actions on connections, ordered with the publications.

use std::sync::Arc;

use bytes::Bytes;
use ht_proto::close::Close;

use crate::grant::GrantSet;
use crate::select::Selection;
use crate::who::Who;

/// A command with its position in the order. All shards share it.
#[derive(Debug)]
pub struct Command {
    /// Its position: a later publication never reaches a connection that lost access by this
    /// command.
    pub position: u64,
    /// Which connections are meant.
    pub selection: Selection,
    /// What is done to them.
    pub action: Action,
    /// What it takes in memory, about, in bytes.
    pub bytes: usize,
}

/// What a command does.
#[derive(Debug)]
pub enum Action {
    /// Only counts the connections. It has no position in the order.
    Count,
    /// Replaces what they may subscribe to.
    Permit(Permit),
    /// Drops their subscriptions to rooms that this set permits, which is the set of the rooms that
    /// were named.
    Unsubscribe(GrantSet),
    /// Closes them.
    Disconnect(Ending),
    /// Queries the API again about them.
    Invalidate {
        /// The query for each one is made at a random moment within this span, in milliseconds.
        within: u32,
    },
}

/// What connections may do from now on.
#[derive(Debug)]
pub struct Permit {
    /// The rooms. Equal sets are one.
    pub grants: Arc<GrantSet>,
    /// The labels of their clients, which replace those that they had.
    pub labels: Box<[Arc<str>]>,
    /// The view of their clients.
    pub view: Option<Arc<str>>,
    /// The first message to a client that has just been admitted.
    pub welcome: Bytes,
    /// The message to a client that listens for events, if the grants changed.
    pub event: Bytes,
    /// How long all of it holds, in milliseconds; none: until the connection ends.
    pub expires_in: Option<u64>,
}

/// How a connection is closed: what its close frame says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// The close code.
    pub code: u16,
    /// The reason: a word and perhaps a span.
    pub reason: Arc<str>,
}

impl Permit {
    /// The identity of a client that was permitted this.
    pub(crate) fn who(&self, who: Option<&Who>) -> Option<Who> {
        Who::relabelled(who, &self.labels, self.view.as_ref())
    }
}

impl From<Close> for Ending {
    fn from(close: Close) -> Self {
        Self {
            code: close.code(),
            reason: (*close.reason()).into(),
        }
    }
}

impl Action {
    /// Whether the command can apply to a client that was just admitted. It has no subscriptions.
    pub(crate) fn concerns_newcomers(&self) -> bool {
        match self {
            Self::Permit(_) | Self::Disconnect(_) | Self::Invalidate { .. } => true,
            Self::Count | Self::Unsubscribe(_) => false,
        }
    }
}
