//! Cursors that are ahead of this node: it may have read less of the log than the node that gave
//! them. A request with one waits a moment, held, so that the order of its client's messages stays.

use std::collections::{HashSet, VecDeque};

use ht_proto::cursor::Cursor;

use crate::Hasher;
use crate::budget::cost;
use crate::connection::{ConnectionId, SessionKey};
use crate::peer::Peer;
use crate::shard::Shard;
use crate::shard::hold::Progress;
use crate::window::Unknown;

/// Longest wait, in ms. A connection that has waited so long in vain does not wait again.
const PATIENCE: u64 = 2_000;

/// How often the log is looked at meanwhile, in ms: nothing announces what is for other shards.
const LOOK: u64 = 20;

/// Sessions that wait until this node has read more of the log.
#[derive(Debug, Default)]
pub(super) struct Lag {
    waiting: VecDeque<Waiting>,
    /// When the log is looked at next, in ms.
    due: u64,
    /// Those that have waited in vain.
    hopeless: HashSet<SessionKey, Hasher>,
}

#[derive(Debug)]
struct Waiting {
    key: SessionKey,
    /// The last one of its cursors.
    cursor: Cursor,
    until: u64,
}

impl Lag {
    /// When [`Shard::look_at_log`] is due.
    pub(super) fn deadline(&self) -> Option<u64> {
        (!self.waiting.is_empty()).then_some(self.due)
    }

    /// A session has ended.
    pub(super) fn forget(&mut self, key: SessionKey) {
        if !self.hopeless.is_empty() {
            self.hopeless.remove(&key);
        }
    }
}

impl<P: Peer> Shard<P> {
    /// Whether a request with these cursors is to wait. If so it is kept, and processed again.
    pub(super) fn awaits_log(
        &mut self,
        id: ConnectionId,
        text: &str,
        cursors: impl Iterator<Item = Cursor>,
        now: u64,
    ) -> bool {
        let waits = self.waits_for_log(id, cursors, now);
        if waits {
            self.postpone_first(id, text);
        }
        waits
    }

    /// Whether a session with these cursors is to wait. If so it is held until the log has come as
    /// far, or it has waited long enough.
    pub(super) fn waits_for_log(
        &mut self,
        id: ConnectionId,
        cursors: impl Iterator<Item = Cursor>,
        now: u64,
    ) -> bool {
        let key = self.sessions.key(id.0);
        if !self.settings.recovery.enabled || self.lag.hopeless.contains(&key) {
            return false;
        }
        let view = self.settings.window.view();
        let ahead = cursors.filter(|cursor| view.find(cursor) == Err(Unknown::Ahead));
        let Some(cursor) = ahead.max_by_key(|cursor| cursor.position) else {
            return false;
        };
        self.hold_for_log(id, now);
        let Lag { waiting, due, .. } = &mut self.lag;
        if waiting.is_empty() {
            *due = now + LOOK;
        }
        waiting.push_back(Waiting {
            key,
            cursor,
            until: now + PATIENCE,
        });
        true
    }

    /// Processes the requests whose entries have come, or that have waited long enough.
    pub(super) fn look_at_log(&mut self, now: u64) {
        if self.lag.deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        self.lag.due = now + LOOK;
        let view = self.settings.window.view();
        for waiting in std::mem::take(&mut self.lag.waiting) {
            self.budget.spend(cost::LOOK);
            let is_hopeless = waiting.until <= now;
            let Some(hold) = self.holds.get_mut(waiting.key) else {
                // It has ended.
                continue;
            };
            if !is_hopeless && view.find(&waiting.cursor) == Err(Unknown::Ahead) {
                self.lag.waiting.push_back(waiting);
                continue;
            }
            hold.progress = Progress::CatchesUp;
            if is_hopeless {
                self.lag.hopeless.insert(waiting.key);
            }
            self.list_catching(waiting.key);
        }
    }
}
