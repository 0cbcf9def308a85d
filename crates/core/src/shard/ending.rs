//! How connections end.

use ht_proto::close::Close;
use ht_proto::hook::Hook;

use crate::budget::cost;
use crate::connection::ConnectionId;
use crate::peer::Peer;
use crate::registry::Own;
use crate::session::{Pending, Stage};
use crate::shard::Shard;
use crate::shard::selection::id_of;
use crate::world::{Turn, World};

/// How long a peer has to answer our close frame, in ms.
pub(super) const CLOSING: u64 = 3_000;

/// The same during shutdown, in ms: a round trip over a bad network.
const LEAVING: u64 = 1_000;

/// Subscriptions of a connection that are dropped when it ends, if the budget allows, before others
/// have their turn.
const DROPS: usize = 64;

/// Subscriptions that are dropped of one connection before another one has its turn.
const DROPS_IN_TURN: usize = 128;

/// A connection that ended, or is being closed, and whose subscriptions are queued to be dropped.
#[derive(Debug)]
pub(super) struct Leaving {
    id: ConnectionId,
    pub(super) own: Own,
    /// The close frame, which is sent when the last subscription is dropped: after that no trace of
    /// the connection may be observable.
    close: Vec<u8>,
}

impl<P: Peer> Shard<P> {
    /// Closes up to `count` admitted connections, each after its earlier publications; the
    /// longest-idle clients first, and streams after them. Fewer where the budget is spent, but one at least.
    pub fn close_some(&mut self, count: usize, close: Close, turn: &mut Turn<'_, impl World<P>>) {
        for closed in 0..count {
            if closed > 0 && self.budget.is_spent() {
                return;
            }
            let Some(id) = self.idle.first().or(self.streams.first()) else {
                return;
            };
            self.leave(ConnectionId(id), close, turn);
        }
    }

    /// Closes every connection, for shutdown. From now on connections that accepted all data and do
    /// not answer have a shorter timeout.
    pub fn close_all(&mut self, close: Close, turn: &mut Turn<'_, impl World<P>>) {
        self.closing.set_limit(LEAVING);
        let all: Vec<_> = self.sessions.iter().map(|(key, _)| key).collect();
        for key in all {
            let id = ConnectionId(u32::try_from(key).expect("keys were given as u32"));
            self.leave(id, close, turn);
        }
    }

    /// Closes a connection after its earlier publications, unless it is being closed.
    pub(super) fn leave(
        &mut self,
        id: ConnectionId,
        close: Close,
        turn: &mut Turn<'_, impl World<P>>,
    ) {
        self.leave_with(id, close.code(), &close.reason(), turn);
    }

    /// The same with a close frame of any code and reason.
    pub(super) fn leave_with(
        &mut self,
        id: ConnectionId,
        code: u16,
        reason: &str,
        turn: &mut Turn<'_, impl World<P>>,
    ) {
        let before = self.lanes.enter(self.tenant_of(id));
        self.gather_queued(turn.now);
        self.flush_connection(id, turn);
        self.lanes.enter(before);
        let session = self.sessions.get(id.index());
        if session.is_some_and(|known| !matches!(known.stage, Stage::Closing { .. })) {
            self.close_with(id, code, reason, turn);
        }
    }

    /// Sends a close frame and waits for the peer's.
    pub(super) fn close(
        &mut self,
        id: ConnectionId,
        close: Close,
        turn: &mut Turn<'_, impl World<P>>,
    ) {
        self.close_with(id, close.code(), &close.reason(), turn);
    }

    fn close_with(
        &mut self,
        id: ConnectionId,
        code: u16,
        reason: &str,
        turn: &mut Turn<'_, impl World<P>>,
    ) {
        // The end of a stream is not answered.
        let is_stream = self.is_stream(id);
        if is_stream && self.answer_gathered(id, turn) {
            return;
        }
        self.retire(id, is_stream, turn);
        let frame = self.close_text(id, code, reason);
        self.send_close(id, frame, turn);
        if is_stream {
            self.shut_down_if_done(id);
        }
    }

    /// The close frame for this reason.
    pub(super) fn close_message(&self, id: ConnectionId, close: Close) -> Vec<u8> {
        self.close_text(id, close.code(), &close.reason())
    }

    fn close_text(&self, id: ConnectionId, code: u16, reason: &str) -> Vec<u8> {
        let mut message = Vec::new();
        let session = &self.sessions[id.index()];
        let transport = &session.transport;
        transport.put_close(&mut message, code, reason, session.random());
        message
    }

    /// Sends the close frame of a connection that was just retired, or queues it until all of its
    /// subscriptions are dropped.
    pub(super) fn send_close(
        &mut self,
        id: ConnectionId,
        frame: Vec<u8>,
        turn: &mut Turn<'_, impl World<P>>,
    ) {
        let mut scratch = std::mem::take(&mut self.scratch);
        self.close_frame(id, frame, &mut scratch);
        if !scratch.is_empty() {
            self.budget.spend(cost::write(scratch.len()));
            self.send(id, &scratch, turn);
        }
        self.recycle(scratch);
    }

    /// Sends the close frame of a connection that was just retired behind `replies`, or queues it
    /// until all of its subscriptions are dropped.
    pub(super) fn close_frame(&mut self, id: ConnectionId, frame: Vec<u8>, replies: &mut Vec<u8>) {
        if frame.is_empty() {
            return;
        }
        let mut leaving = self.leaving.iter_mut().rev();
        if self.sessions[id.index()].lingers
            && let Some(leaving) = leaving.find(|leaving| leaving.id == id)
        {
            leaving.close = frame;
        } else {
            replies.extend_from_slice(&frame);
        }
    }

    /// Whether ended connections have subscriptions queued to be dropped.
    #[must_use]
    pub fn has_clean_up(&self) -> bool {
        !self.leaving.is_empty()
    }

    /// Drops subscriptions of connections that ended, round robin, until the budget is spent.
    pub fn clean_up(&mut self, turn: &mut Turn<'_, impl World<P>>) {
        while !self.budget.is_spent()
            && let Some(mut leaving) = self.leaving.pop_front()
        {
            self.drop_some(&mut leaving.own, DROPS_IN_TURN, turn);
            if leaving.own.is_empty() {
                self.left(leaving, turn);
            } else {
                self.leaving.push_back(leaving);
            }
        }
    }

    /// Drops up to `count` subscriptions.
    fn drop_some(&mut self, own: &mut Own, count: usize, turn: &mut Turn<'_, impl World<P>>) {
        for _ in 0..count {
            if self.budget.is_spent() {
                break;
            }
            let closed = |tenant, room: &_| turn.world.room_closed(tenant, room);
            if !self.registry.drop_one(own, closed) {
                break;
            }
            self.budget.spend(cost::DROP);
        }
        self.count_registry();
    }

    /// The last subscription of a connection is dropped.
    fn left(&mut self, leaving: Leaving, turn: &mut Turn<'_, impl World<P>>) {
        let id = leaving.id;
        let Some(session) = self.sessions.get_mut(id.index()) else {
            return self.sessions.release(id.index());
        };
        session.lingers = false;
        if !leaving.close.is_empty() {
            self.budget.spend(cost::write(leaving.close.len()));
            self.send(id, &leaving.close, turn);
        }
        self.shut_down_if_done(id);
    }

    /// Shuts down the write side of a connection whose close frames were exchanged, if that is so.
    pub(super) fn shut_down_if_done(&mut self, id: ConnectionId) {
        if let Some(session) = self.sessions.get_mut(id.index())
            && matches!(session.stage, Stage::Closing { deaf: true, .. })
            && session.waiting() == 0
            && !session.lingers
        {
            session.peer.shutdown();
        }
    }

    /// The closing timeout of a connection expired. During shutdown that is short, but one that has
    /// not accepted all its data has the usual time, to the next multiple of the short one.
    pub(super) fn closed(&mut self, id: ConnectionId, turn: &mut Turn<'_, impl World<P>>) {
        let session = &self.sessions[id.index()];
        match session.stage {
            Stage::Closing { until, .. } if session.waiting() > 0 && until > turn.now => {
                self.closing.remove(&mut self.sessions, id.0);
                self.closing.push(&mut self.sessions, id.0, turn.now);
            }
            Stage::Authenticating(_)
            | Stage::Open { .. }
            | Stage::Refused(_)
            | Stage::Closing { .. } => {
                self.remove(id, turn);
            }
        }
    }

    /// Whether the connection is admitted and not being closed.
    pub(super) fn is_open(&self, id: ConnectionId) -> bool {
        matches!(self.sessions[id.index()].stage, Stage::Open { .. })
    }

    /// Whether our close frame was sent.
    pub(super) fn is_closing(&self, id: ConnectionId) -> bool {
        matches!(self.sessions[id.index()].stage, Stage::Closing { .. })
    }

    /// Forgets all that a connection subscribed to; from now on it is only being closed.
    pub(super) fn retire(
        &mut self,
        id: ConnectionId,
        deaf: bool,
        turn: &mut Turn<'_, impl World<P>>,
    ) {
        self.deregister(id, turn);
        let until = turn.now + CLOSING;
        self.sessions[id.index()].stage = Stage::Closing { deaf, until };
        self.closing.push(&mut self.sessions, id.0, turn.now);
    }

    /// Removes a connection from its queue and, if it was admitted, from the registry and the
    /// count.
    pub(super) fn deregister(&mut self, id: ConnectionId, turn: &mut Turn<'_, impl World<P>>) {
        match &self.sessions[id.index()].stage {
            Stage::Authenticating(_) => self.applicant_left(id, turn),
            Stage::Refused(_) => self.refused.remove(&mut self.sessions, id.0),
            Stage::Closing { .. } => self.closing.remove(&mut self.sessions, id.0),
            Stage::Open { grants, group } => {
                let (tenant, group) = (grants.tenant(), *group);
                self.tallies.of(tenant, &self.stats).closed += 1;
                let sessions = &self.sessions;
                self.directory
                    .leave(id.0, group, |slot| id_of(sessions, slot));
                if self.is_stream(id) {
                    self.leave_stream(id);
                } else {
                    self.idle.remove(&mut self.sessions, id.0);
                    self.keepalive.leave(id.0);
                }
                let is_newcomer = self.forget_hold(id);
                self.forget_postponed(id);
                let session = &mut self.sessions[id.index()];
                // Hits refer to subscriptions that are about to be dropped.
                let pending = std::mem::replace(&mut session.pending, Pending::CLOSED);
                self.stats.undelivered += self.lanes.pending(tenant, pending);
                self.lanes.get_mut(tenant).sessions -= 1;
                self.stats.connections -= 1;
                self.budget.spend(cost::CLOSE);
                let mut own = std::mem::take(&mut session.own);
                self.drop_some(&mut own, DROPS, turn);
                self.uncharge_all(id, turn);
                let session = &mut self.sessions[id.index()];
                if !own.is_empty() {
                    session.lingers = true;
                    self.leaving.push_back(Leaving {
                        id,
                        own,
                        close: Vec::new(),
                    });
                }
                if !is_newcomer {
                    turn.world
                        .hook(Hook::Disconnect, &mut session.peer, turn.now);
                }
            }
        }
    }

    pub(super) fn remove(&mut self, id: ConnectionId, turn: &mut Turn<'_, impl World<P>>) {
        self.deregister(id, turn);
        self.unwatch(id);
        self.uncharge_rest(id, turn);
        if self.sessions[id.index()].transport.is_unfinished() {
            self.note_unfinished(id, 0, false, turn.now);
        }
        let session = self.sessions.take(id.index());
        if !session.lingers {
            self.sessions.release(id.index());
        }
        self.stats.queued -= session.queued();
        self.stats.undelivered += session.queued();
    }
}
