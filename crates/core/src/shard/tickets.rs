//! Resume tickets of the sessions: who gets one, and when a proof may be given.
//!
//! A proof says that the permissions of a session are up to date at its cursor. So there is none
//! from the moment when a command or a gap puts them in doubt to the answer that confirms them.

use ht_proto::cursor::Cursor;
use ht_proto::server::Resumption;

use crate::connection::ConnectionId;
use crate::peer::Peer;
use crate::session::Stage;
use crate::shard::Shard;
use crate::ticket::Granted;
use crate::transport::TicketState;
use crate::world::{Turn, World};

impl<P: Peer> Shard<P> {
    /// What a client is sent to be let in again.
    pub(super) fn resumption(
        &mut self,
        id: ConnectionId,
        turn: &mut Turn<'_, impl World<P>>,
    ) -> Resumption {
        match self.cursor(id) {
            Some(cursor) => self.resumption_at(id, cursor, turn),
            None => Resumption::default(),
        }
    }

    /// The same with the cursor that it is sent with it, which may be an earlier one.
    fn resumption_at(
        &mut self,
        id: ConnectionId,
        cursor: Cursor,
        turn: &mut Turn<'_, impl World<P>>,
    ) -> Resumption {
        let key = self.sessions.key(id.0);
        let expires_in = self.terms.expires_in(key, turn.now);
        let session = &mut self.sessions[id.index()];
        let anew = match session.transport.ticket() {
            TicketState::Given => false,
            TicketState::Due => true,
            TicketState::Never | TicketState::Suspended => return Resumption::default(),
        };
        let Stage::Open { grants, group } = &session.stage else {
            return Resumption::default();
        };
        if expires_in == Some(0) {
            return Resumption::default();
        }
        let granted = Granted {
            connection: session.id,
            who: self.directory.who(*group).map(|who| &**who),
            grants,
            cursor,
            expires_in,
        };
        let resumption = turn.world.resumption(&mut session.peer, &granted, anew);
        if anew {
            session.transport.set_ticket(match resumption.ticket {
                Some(_) => TicketState::Given,
                None => TicketState::Never,
            });
        }
        resumption
    }

    /// What a client is sent to be let in again with the answer to a `ping`. A command that is being
    /// executed is before its cursor, and may not have reached its session yet.
    pub(super) fn resumption_of_ping(
        &mut self,
        id: ConnectionId,
        turn: &mut Turn<'_, impl World<P>>,
    ) -> Resumption {
        match self.cursor(id) {
            Some(cursor) => self.resumption_now(id, cursor, turn),
            None => Resumption::default(),
        }
    }

    /// The same with a cursor that may be an earlier one.
    pub(super) fn resumption_now(
        &mut self,
        id: ConnectionId,
        cursor: Cursor,
        turn: &mut Turn<'_, impl World<P>>,
    ) -> Resumption {
        let lane = self.lanes.get(self.tenant_of(id));
        match lane.is_some_and(|lane| lane.is_executing()) {
            true => Resumption::default(),
            false => self.resumption_at(id, cursor, turn),
        }
    }

    /// The permissions of a session are in doubt.
    pub(super) fn suspend_ticket(&mut self, id: ConnectionId) {
        let transport = &mut self.sessions[id.index()].transport;
        transport.set_ticket(TicketState::Suspended);
    }

    /// The permissions of a session are known anew.
    pub(super) fn confirm_ticket(&mut self, id: ConnectionId, is_changed: bool) {
        let transport = &mut self.sessions[id.index()].transport;
        if is_changed || transport.ticket() == TicketState::Suspended {
            transport.set_ticket(TicketState::Due);
        }
    }
}
