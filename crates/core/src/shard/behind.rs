//! Connections that sent more than fits their slice of a turn: what is left is kept, and they are
//! continued round robin. Meanwhile nothing more is read from them, so what is kept is at most
//! what one read brought.

use ht_frame::Input;
use ht_proto::client::RequestId;
use uuid::Uuid;

use crate::budget::cost;
use crate::connection::ConnectionId;
use crate::peer::Peer;
use crate::session::Stage;
use crate::shard::Shard;
use crate::world::{Turn, World};

/// What a connection is charged for while bytes of it wait, in bytes: what a shard's thread reads
/// at once.
pub(super) const BEHIND_BYTES: usize = 8 << 10;

/// What is left to do for a connection.
#[derive(Debug)]
pub(super) struct Behind {
    id: ConnectionId,
    /// The connection's own id: the other one is given away again.
    session: Uuid,
    /// The bytes that were read.
    bytes: Vec<u8>,
    /// How many of them were processed.
    done: usize,
    /// What comes before them.
    paused: Option<Paused>,
}

/// A message that is done in part.
#[derive(Debug)]
pub(super) enum Paused {
    /// More subscriptions are to be dropped before an unsubscribe is answered.
    Unsubscribe(RequestId),
}

impl<P: Peer> Shard<P> {
    /// Takes bytes that a client sent. What exceeds the connection's slice of the turn is kept for
    /// [`Self::resume`].
    pub fn receive(
        &mut self,
        id: ConnectionId,
        bytes: &mut [u8],
        turn: &mut Turn<'_, impl World<P>>,
    ) {
        self.budget.spend(cost::RECEIVE + cost::wire(bytes.len()));
        if !self.listen(id, turn) {
            return;
        }
        let session = &self.sessions[id.index()];
        if session.behind {
            let uuid = session.id;
            if let Some(behind) = self.behind.iter_mut().find(|b| b.session == uuid) {
                behind.bytes.extend_from_slice(bytes);
            }
            return;
        }
        let session = session.id;
        let mut input = Input::new(bytes);
        let (paused, anew) = self.converse(id, &mut input, None, turn);
        let left = input.remaining();
        if paused.is_some() || left > 0 {
            self.keep_behind(
                id,
                Behind {
                    id,
                    session,
                    bytes: bytes[bytes.len() - left..].to_vec(),
                    done: 0,
                    paused,
                },
            );
        }
        self.settle(id, anew, turn);
    }

    /// Whether bytes of some connection wait to be processed.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        !self.behind.is_empty()
    }

    /// Continues with the connection that has waited longest. Returns its id once everything that
    /// was read from it is processed: more may be read.
    pub fn resume(&mut self, turn: &mut Turn<'_, impl World<P>>) -> Option<ConnectionId> {
        let mut behind = self.behind.pop_front()?;
        self.budget.spend(cost::RESUME);
        let id = behind.id;
        let session = self.sessions.get_mut(id.index());
        session
            .filter(|session| session.id == behind.session)?
            .behind = false;
        if !self.listen(id, turn) {
            return Some(id);
        }
        let mut input = Input::new(&mut behind.bytes[behind.done..]);
        let (paused, anew) = self.converse(id, &mut input, behind.paused.take(), turn);
        let left = input.remaining();
        let is_done = paused.is_none() && left == 0;
        if !is_done {
            behind.done = behind.bytes.len() - left;
            behind.paused = paused;
            self.keep_behind(id, behind);
        }
        self.settle(id, anew, turn);
        is_done.then_some(id)
    }

    /// Keeps what is left to do, unless it has become pointless.
    fn keep_behind(&mut self, id: ConnectionId, behind: Behind) {
        // It may have ended when its replies were sent.
        if let Some(session) = self.sessions.get_mut(id.index())
            && session.id == behind.session
        {
            session.behind = true;
            self.behind.push_back(behind);
        }
    }

    /// Delivers what was published before, as far as it is matched. Returns whether what the
    /// client sent has a meaning.
    fn listen(&mut self, id: ConnectionId, turn: &mut Turn<'_, impl World<P>>) -> bool {
        // What was published before comes before what is answered now.
        self.gather_queued();
        self.flush_connection(id, turn);
        let Some(session) = self.sessions.get(id.index()) else {
            return false;
        };
        if matches!(session.stage, Stage::Closing { deaf: true, .. }) {
            return false;
        }
        self.keepalive.heard(id.0, turn.now);
        true
    }
}
