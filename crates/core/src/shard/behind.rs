//! Connections that sent more than fits their slice of a turn: the remainder is kept, and they are
//! continued round robin. Meanwhile nothing more is read from them (back-pressure), so at most the
//! data of one read is kept.

use ht_frame::Input;
use ht_proto::client::RequestId;

use crate::budget::cost;
use crate::connection::{ConnectionId, SessionKey};
use crate::peer::Peer;
use crate::session::Stage;
use crate::shard::Shard;
use crate::shard::replay::Registering;
use crate::world::{Turn, World};

/// Memory charged to a connection while input of it is queued, in bytes: the read size of a shard's
/// thread.
pub(super) const BEHIND_BYTES: usize = 8 << 10;

/// Remaining work of a connection.
#[derive(Debug)]
pub(super) struct Behind {
    key: SessionKey,
    /// The bytes that were read.
    bytes: Vec<u8>,
    /// How many of them were processed.
    done: usize,
    /// Work to do before them.
    paused: Option<Paused>,
}

/// A partially processed message.
#[derive(Debug)]
pub(super) enum Paused {
    /// More subscriptions are to be dropped before an unsubscribe is answered.
    Unsubscribe(RequestId),
    /// More subscriptions of a `resume` are to be registered.
    Resume(Box<Registering>),
}

impl Behind {
    /// Nothing was read, and this is to be done.
    pub(super) fn paused(key: SessionKey, paused: Paused) -> Self {
        Self {
            paused: Some(paused),
            ..Self::new(key, Vec::new())
        }
    }

    /// These bytes were read, and nothing of them was processed.
    pub(super) fn new(key: SessionKey, bytes: Vec<u8>) -> Self {
        Self {
            key,
            bytes,
            done: 0,
            paused: None,
        }
    }
}

impl<P: Peer> Shard<P> {
    /// Takes bytes that a client sent. What exceeds the connection's slice of the turn is kept for
    /// [`Self::resume`].
    pub fn receive(
        &mut self,
        key: SessionKey,
        bytes: &mut [u8],
        turn: &mut Turn<'_, impl World<P>>,
    ) {
        self.budget.spend(cost::RECEIVE + cost::wire(bytes.len()));
        let Some(id) = self.listen(key, turn) else {
            return;
        };
        let session = &self.sessions[id.index()];
        let (behind, stage) = (session.behind, &session.stage);
        if matches!(stage, Stage::Authenticating(_)) && !self.hold_first_frame(key, bytes, turn) {
            return;
        }
        if behind {
            if let Some(behind) = self.behind.iter_mut().find(|behind| behind.key == key) {
                behind.bytes.extend_from_slice(bytes);
            }
            return;
        }
        if self.keep_raw(key, bytes) {
            return self.settle(key, false, turn);
        }
        let mut input = Input::new(bytes);
        let (paused, anew) = self.converse(id, &mut input, None, turn);
        let left = input.remaining();
        let rest = &bytes[bytes.len() - left..];
        let is_done = paused.is_none() && left == 0;
        if !is_done
            && !self.keep_early(key, rest)
            && (paused.is_some() || !self.keep_raw(key, rest))
        {
            self.keep_behind(Behind {
                paused,
                ..Behind::new(key, rest.to_vec())
            });
        }
        self.settle(key, anew, turn);
    }

    /// Whether some connection has input queued for processing.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        !self.behind.is_empty()
    }

    /// Continues with the connection that was queued first. Returns its key once all its input is
    /// processed: more may be read.
    pub fn resume(&mut self, turn: &mut Turn<'_, impl World<P>>) -> Option<SessionKey> {
        let mut behind = self.behind.pop_front()?;
        self.budget.spend(cost::RESUME);
        let key = behind.key;
        let id = self.sessions.find(key)?;
        self.sessions[id.index()].behind = false;
        let Some(id) = self.listen(key, turn) else {
            return Some(key);
        };
        let mut input = Input::new(&mut behind.bytes[behind.done..]);
        let (paused, anew) = self.converse(id, &mut input, behind.paused.take(), turn);
        let left = input.remaining();
        let is_done = paused.is_none() && left == 0 && !self.has_postponed(id);
        let rest = &behind.bytes[behind.bytes.len() - left..];
        if !is_done
            && !self.keep_early(key, rest)
            && (paused.is_some() || !self.keep_raw(key, rest))
        {
            behind.done = behind.bytes.len() - left;
            behind.paused = paused;
            self.keep_behind(behind);
        }
        self.settle(key, anew, turn);
        is_done.then_some(key)
    }

    /// Keeps the remaining work, unless it has become pointless.
    pub(super) fn keep_behind(&mut self, behind: Behind) {
        // It may have ended when its replies were sent.
        if let Some(id) = self.sessions.find(behind.key) {
            self.sessions[id.index()].behind = true;
            self.behind.push_back(behind);
        }
    }

    /// Delivers what was published before, as far as it is matched. Returns the session's slot if
    /// its client's input is still to be processed.
    fn listen(
        &mut self,
        key: SessionKey,
        turn: &mut Turn<'_, impl World<P>>,
    ) -> Option<ConnectionId> {
        let id = self.sessions.find(key)?;
        // Earlier publications are sent before the reply.
        self.lanes.enter(self.tenant_of(id));
        self.gather_queued(turn.now);
        self.flush_connection(id, turn);
        let session = self.sessions.get(id.index())?;
        if matches!(session.stage, Stage::Closing { deaf: true, .. }) {
            return None;
        }
        self.keepalive.heard(id.0, turn.now);
        Some(id)
    }
}
