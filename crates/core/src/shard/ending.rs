//! How connections end.

use ht_frame::CloseCode;
use ht_proto::close::Close;

use crate::connection::Pending;
use crate::connection::State;
use crate::peer::Effects;
use crate::peer::Moment;
use crate::peer::Peer;
use crate::registry::ConnectionId;
use crate::shard::Shard;

/// How long a peer has to answer our close frame, in ms.
pub(super) const CLOSING: u64 = 3_000;

/// The same while the node goes, in ms: a round trip over a bad network.
const LEAVING: u64 = 1_000;

impl<P: Peer> Shard<P> {
    /// Closes up to `count` admitted connections, each after what was published to it; those first
    /// whose clients have been silent for longest.
    pub fn close_some(
        &mut self,
        count: usize,
        close: Close,
        now: u64,
        effects: &mut impl Effects<P>,
    ) {
        for _ in 0..count {
            let Some(id) = self.idle.first() else {
                return;
            };
            self.leave(ConnectionId(id), close, now, effects);
        }
    }

    /// Closes every connection: the node goes. From now on it waits less for those that took all
    /// and do not answer.
    pub fn close_all(&mut self, close: Close, now: u64, effects: &mut impl Effects<P>) {
        self.closing.set_limit(LEAVING);
        let all: Vec<_> = self.connections.iter().map(|(key, _)| key).collect();
        for key in all {
            let id = ConnectionId(u32::try_from(key).expect("keys were given as u32"));
            self.leave(id, close, now, effects);
        }
    }

    /// Closes a connection after what was published to it, unless it is being closed.
    pub(super) fn leave(
        &mut self,
        id: ConnectionId,
        close: Close,
        now: u64,
        effects: &mut impl Effects<P>,
    ) {
        self.gather_queued();
        self.flush_connection(id, now, effects);
        let connection = self.connections.get(id.index());
        if connection.is_some_and(|known| !matches!(known.state, State::Closing { .. })) {
            self.close(id, close, now, effects);
        }
    }

    /// Sends a close frame and waits for the peer's.
    pub(super) fn close(
        &mut self,
        id: ConnectionId,
        close: Close,
        now: u64,
        effects: &mut impl Effects<P>,
    ) {
        self.retire(id, false, now, effects);
        let mut scratch = std::mem::take(&mut self.scratch);
        let code = CloseCode(close.code());
        ht_frame::put_close(&mut scratch, code, &close.reason());
        self.send(id, &scratch, now, effects);
        self.recycle(scratch);
    }

    /// A connection that is being closed has had its time. While the node goes that is short, but
    /// one that has not taken all yet has as long as ever.
    pub(super) fn closed(&mut self, id: ConnectionId, now: u64, effects: &mut impl Effects<P>) {
        let connection = &self.connections[id.index()];
        match connection.state {
            State::Closing { until, .. } if connection.waiting() > 0 && until > now => {
                self.closing.remove(&mut self.connections, id.0);
                self.closing.push(&mut self.connections, id.0, now);
            }
            State::Open(_) | State::Refused(_) | State::Closing { .. } => {
                self.remove(id, now, effects);
            }
        }
    }

    /// Whether our close frame was sent.
    pub(super) fn is_closing(&self, id: ConnectionId) -> bool {
        matches!(self.connections[id.index()].state, State::Closing { .. })
    }

    /// Forgets all that a connection subscribed to; from now on it is only being closed.
    pub(super) fn retire(
        &mut self,
        id: ConnectionId,
        deaf: bool,
        now: u64,
        effects: &mut impl Effects<P>,
    ) {
        self.deregister(id, now, effects);
        let until = now + CLOSING;
        self.connections[id.index()].state = State::Closing { deaf, until };
        self.closing.push(&mut self.connections, id.0, now);
    }

    /// Takes a connection out of its queue and, if it was admitted, out of the registry and the
    /// count.
    fn deregister(&mut self, id: ConnectionId, now: u64, effects: &mut impl Effects<P>) {
        match self.connections[id.index()].state {
            State::Refused(_) => self.refused.remove(&mut self.connections, id.0),
            State::Closing { .. } => self.closing.remove(&mut self.connections, id.0),
            State::Open(_) => {
                self.idle.remove(&mut self.connections, id.0);
                self.keepalive.leave(id.0);
                let connection = &mut self.connections[id.index()];
                // Hits name subscriptions that are about to go.
                let pending = std::mem::replace(&mut connection.pending, Pending::EMPTY);
                self.stats.undelivered += self.fan_out.pending(pending);
                self.registry
                    .drop_all(&mut connection.own, |room| effects.room_closed(room));
                self.stats.connections -= 1;
                self.uncharge_all(id, effects);
                let connection = &mut self.connections[id.index()];
                effects.moment(Moment::Disconnect, &mut connection.peer, now);
                self.count_registry();
            }
        }
    }

    pub(super) fn remove(&mut self, id: ConnectionId, now: u64, effects: &mut impl Effects<P>) {
        self.deregister(id, now, effects);
        self.unwatch(id);
        self.uncharge_rest(id, effects);
        if self.connections[id.index()].unfinished {
            self.note_unfinished(id, 0, false, now);
        }
        let connection = self.connections.remove(id.index());
        self.stats.queued -= connection.queued();
        self.stats.undelivered += connection.queued();
    }
}
