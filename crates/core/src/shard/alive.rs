//! Heartbeat: control pings to inactive connections.

use ht_proto::close::Close;

use crate::connection::ConnectionId;
use crate::peer::Peer;
use crate::session::Stage;
use crate::shard::Shard;
use crate::world::{Turn, World};

impl<P: Peer> Shard<P> {
    /// Pings an inactive connection. One with queued data is judged by whether it accepts that: a
    /// ping would only be sent after it. Of a held one that sent much nothing is read.
    pub(super) fn ask(&mut self, id: ConnectionId, turn: &mut Turn<'_, impl World<P>>) {
        if self.sessions[id.index()].waiting() > 0 || self.is_full(id) {
            return self.keepalive.heard(id.0, turn.now);
        }
        self.keepalive.asked(id.0, turn.now);
        let mut scratch = std::mem::take(&mut self.scratch);
        self.sessions[id.index()].transport.put_ping(&mut scratch);
        self.send(id, &scratch, turn);
        self.recycle(scratch);
    }

    /// Closes a connection that did not answer, unless it may have had no chance to: while much is
    /// queued for it, or was sent by it while it is held, nothing is read.
    pub(super) fn give_up(&mut self, id: ConnectionId, turn: &mut Turn<'_, impl World<P>>) {
        if self.sessions[id.index()].waiting() > 0 || self.is_full(id) {
            return self.keepalive.heard(id.0, turn.now);
        }
        self.stats.no_pongs += 1;
        self.leave(id, Close::NO_PONG, turn);
    }

    /// Schedules a ping for every admitted connection from now on.
    pub(super) fn ask_all(&mut self, now: u64) {
        for (key, session) in self.sessions.iter() {
            let is_stream = session.transport.stream().is_some();
            if matches!(session.stage, Stage::Open { .. }) && !is_stream {
                let id = u32::try_from(key).expect("keys were given as u32");
                self.keepalive.enter(id, now);
            }
        }
    }
}
