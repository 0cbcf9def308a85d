//! Explaining to a client why no grant permits its room.

use ht_proto::room::Room;

use crate::connection::ConnectionId;
use crate::grant::GrantSet;
use crate::peer::Peer;
use crate::refusal;
use crate::shard::Shard;
use crate::world::{Turn, World};

impl<P: Peer> Shard<P> {
    /// Explains to the log, and to a client that chose our subprotocol, why none of its own grants
    /// permits `room`. Without a reader, nothing is compared.
    pub(super) fn explain(
        &mut self,
        id: ConnectionId,
        grants: &GrantSet,
        room: &Room,
        turn: &mut Turn<'_, impl World<P>>,
    ) -> Option<String> {
        let session = &self.sessions[id.index()];
        let is_sent = session.transport.subprotocol().is_some();
        let is_logged = turn.world.logs_refused_rooms();
        if !is_sent && !is_logged {
            return None;
        }
        let explanation = refusal::explain(grants.nearest_first(room), room);
        self.budget.spend(explanation.units);
        if is_logged {
            turn.world
                .room_refused(session.id, &session.peer, &explanation.text);
        }
        is_sent.then_some(explanation.text)
    }
}
