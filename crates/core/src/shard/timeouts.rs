//! What is due at a time: deadlines of connections, and when the next one is.

use ht_proto::close::Close;

use crate::connection::ConnectionId;
use crate::peer::{Eviction, Peer};
use crate::session::Stage;
use crate::sessions::Waiting;
use crate::shard::Shard;
use crate::world::{Turn, World};

/// Connections that are ended in one [`Shard::tick`].
const TICK: usize = 256;

impl<P: Peer> Shard<P> {
    /// Does what is due by now, or as much of it as the budget allows: then it is due again.
    pub fn tick(&mut self, turn: &mut Turn<'_, impl World<P>>) {
        self.relieve(turn);
        self.relieve_accounts(turn);
        self.look_at_log(turn.now);
        self.lanes.sweep(turn.now);
        for _ in 0..TICK {
            if self.budget.is_spent() {
                return;
            }
            if let Some(id) = self.idle.expired(&mut self.sessions, turn.now) {
                self.stats.idle_timeouts += 1;
                self.leave(ConnectionId(id), Close::IDLE, turn);
            } else if let Some(id) = self.awaiting.expired(&mut self.sessions, turn.now) {
                self.token_is_late(ConnectionId(id), turn);
            } else if let Some(id) = self.refused.expired(&mut self.sessions, turn.now)
                && let Stage::Refused(close) = self.sessions[id as usize].stage
            {
                self.close(ConnectionId(id), close, turn);
            } else if let Some(key) = self.terms.expired(turn.now) {
                self.term_is_due(key, turn);
            } else if let Some(id) = self.closing.expired(&mut self.sessions, turn.now) {
                self.closed(ConnectionId(id), turn);
            } else if let Some(id) = self.late(turn.now) {
                self.evict(ConnectionId(id), Eviction::OutboxAge, turn);
            } else if let Some(id) = self.unfinished.expired(turn.now) {
                self.evict_holder(id, Eviction::MessageTimeout, turn);
            } else if let Some(id) = self.keepalive.unanswered(turn.now) {
                self.give_up(ConnectionId(id), turn);
            } else if let Some(id) = self.keepalive.silent(turn.now) {
                self.ask(ConnectionId(id), turn);
            } else if !self.tick_streams(turn) {
                return;
            }
        }
    }

    /// When [`Self::tick`] is due next.
    pub fn deadline(&mut self) -> Option<u64> {
        let Self {
            awaiting,
            idle,
            refused,
            closing,
            waiting,
            keepalive,
            unfinished,
            sessions,
            streams,
            terms,
            lag,
            lanes,
            ..
        } = self;
        let late = waiting.deadline(&mut Waiting(sessions));
        let over_http = streams.deadline(sessions);
        [&*awaiting, idle, refused, closing]
            .iter()
            .filter_map(|queue| queue.deadline(sessions))
            .chain(late)
            .chain(keepalive.deadline())
            .chain(unfinished.deadline())
            .chain(over_http)
            .chain(terms.deadline())
            .chain(lag.deadline())
            .chain(lanes.deadline())
            // It is handed over within a moment, and nothing announces that.
            .chain((lanes.unhanded != 0).then_some(0))
            .min()
    }
}
