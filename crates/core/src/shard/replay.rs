//! What a session is sent because its client was away, and how far that is.

use std::collections::HashMap;
use std::sync::Arc;

use ht_proto::client::{RequestId, Resumed};
use ht_proto::code::ErrorCode;
use ht_proto::cursor::{Cursor, Part};
use ht_proto::server::NotRecovered;

use crate::Hasher;
use crate::grant::GrantSet;
use crate::publication::Publication;
use crate::registry::{Registry, SubscriptionId};
use crate::window::Unknown;

/// Entries of the window that are examined in one step.
pub(super) const ENTRIES: usize = 4_096;

/// Subscriptions up to which segments of the window that concern none of them are skipped. Testing
/// a segment for many of them is more work than reading it.
pub(super) const WANTED: usize = 256;

/// How far a subscription, or a client, was sent everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Floor {
    /// Everything before this position.
    pub(super) position: u64,
    /// Of the entry at this position the messages up to this part; none: all of them.
    pub(super) part: Option<Part>,
}

impl Floor {
    pub(super) const fn at(position: u64) -> Self {
        Self {
            position,
            part: None,
        }
    }

    /// The position up to which it is everything.
    pub(super) fn upto(self) -> u64 {
        match self.part {
            Some(_) => self.position.saturating_sub(1),
            None => self.position,
        }
    }

    /// Whether a message was not sent; its part is computed only where it matters.
    pub(super) fn is_below(self, position: u64, part: impl FnOnce() -> Part) -> bool {
        match self.part {
            Some(own) if position == self.position => part() > own,
            Some(_) | None => position > self.position,
        }
    }
}

/// What a session is sent first because its client was away.
#[derive(Debug)]
pub(super) struct Replay {
    pub(super) request_id: RequestId,
    /// The bounds of the subscriptions that are recovered.
    pub(super) floors: HashMap<SubscriptionId, Floor, Hasher>,
    /// How far the client was sent everything, apart from those: only later messages carry cursors.
    pub(super) heard: Floor,
    /// The cursor of that.
    pub(super) cursor: Cursor,
    /// Whether the client keeps what it is answered as the cursor of the connection. Not where what
    /// is sent again is of one of several subscriptions.
    pub(super) is_whole: bool,
    /// The client has not been away: it begins now.
    pub(super) is_new: bool,
    /// The session was held here: what is later is not counted.
    pub(super) target: u64,
    /// The session is not live before it was sent everything up to here.
    pub(super) need: u64,
    pub(super) refused: Vec<(Option<RequestId>, ErrorCode)>,
    pub(super) failed: Option<NotRecovered>,
    /// The first pass; none: the request is answered.
    pub(super) counting: Option<Counting>,
}

/// The first pass over the window.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counting {
    pub(super) upto: u64,
    pub(super) messages: usize,
    pub(super) bytes: usize,
}

/// A `resume`, or the begin of a stream, whose subscriptions are not all registered.
#[derive(Debug)]
pub(super) struct Registering {
    pub(super) rest: std::vec::IntoIter<Resumed>,
    /// What those without a cursor of their own are sent first; none: nothing.
    pub(super) cursor: Option<Cursor>,
    /// What it was granted when the request was taken.
    pub(super) grants: Arc<GrantSet>,
}

impl Replay {
    /// Whether the request is not answered yet.
    pub(super) fn is_counting(&self) -> bool {
        self.counting.is_some()
    }

    /// The cursor of the client, which was sent everything up to a position; none where it is that
    /// of the position.
    pub(super) fn cursor(&self, upto: u64) -> Option<Cursor> {
        let is_early = match self.heard.part {
            Some(_) => upto < self.heard.position,
            None => upto <= self.heard.position,
        };
        (is_early || self.is_counting()).then_some(self.cursor)
    }

    /// Keeps those of the hits of a publication that were not sent.
    pub(super) fn retain(
        &self,
        registry: &Registry,
        publication: &Publication,
        hits: &mut Vec<SubscriptionId>,
    ) {
        hits.retain(|&hit| {
            let default = Floor::at(self.target);
            let floor = self.floors.get(&hit).copied().unwrap_or(default);
            floor.is_below(publication.position, || registry.part(hit))
        });
    }

    /// Where the second pass begins.
    pub(super) fn begin(&self) -> u64 {
        let floors = self.floors.values().map(|floor| floor.upto());
        floors.chain([self.target]).min().unwrap_or(self.target)
    }

    pub(super) fn fail(&mut self, reason: NotRecovered) {
        self.failed.get_or_insert(reason);
    }
}

impl From<Unknown> for NotRecovered {
    fn from(unknown: Unknown) -> Self {
        match unknown {
            Unknown::Epoch => Self::Epoch,
            Unknown::Age => Self::Age,
            Unknown::Trimmed => Self::Trimmed,
            Unknown::Ahead => Self::Ahead,
        }
    }
}
