//! How sessions begin: the API's answer about a client, and the commands since.

use std::collections::HashMap;
use std::sync::Arc;

use ht_proto::close::Close;
use ht_proto::hook::Hook;
use ht_proto::server;

use crate::Hasher;
use crate::budget::cost;
use crate::command::Ending;
use crate::connection::{ConnectionId, SessionKey};
use crate::grant::GrantSet;
use crate::peer::Peer;
use crate::session::Stage;
use crate::shard::selection::id_of;
use crate::shard::{Admission, Shard, Welcome};
use crate::who::Who;
use crate::world::{Turn, World};

/// The API's answer for a client is older than the commands that are kept.
pub(super) const TOO_OLD: Close = Close::BACKEND.within(5_000);

/// Sessions whose API answer is newer than the last command that began: the commands in between do
/// not concern them.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    asked_at: HashMap<SessionKey, u64, Hasher>,
    /// The greatest of them.
    last: u64,
}

impl Ahead {
    pub(super) fn enter(&mut self, key: SessionKey, asked_at: u64) {
        self.asked_at.insert(key, asked_at);
        self.last = self.last.max(asked_at);
    }

    /// Whether the command at a position does not concern the session any more.
    pub(super) fn is_newer(&self, key: SessionKey, position: u64) -> bool {
        let asked_at = self.asked_at.get(&key);
        asked_at.is_some_and(|asked_at| *asked_at >= position)
    }

    /// Sweeps sessions that are older than the command at a position: all of them, or once there
    /// are many.
    pub(super) fn begin(&mut self, position: u64, sessions: usize) {
        if self.last < position {
            self.asked_at = HashMap::default();
        } else if self.asked_at.len() > 2 * sessions.max(AHEAD) {
            self.asked_at.retain(|_, asked_at| *asked_at >= position);
        }
    }
}

/// Fewest of them that are worth a sweep.
const AHEAD: usize = 1_024;

impl<P: Peer> Shard<P> {
    /// Applies to a newly admitted client the commands since the API was queried about it. Call it
    /// before [`Self::open`], and [`Self::set_gap`] before this.
    pub fn catch_up(&mut self, welcome: &mut Welcome) {
        let Admission::Admitted(grants) = &welcome.admission else {
            return;
        };
        let lane = self.lanes.get(grants.tenant());
        let recheck = self.settings.permissions.recheck;
        let mut units = 0;
        // Without a lane there are none.
        let commands = lane.map_or(Some(None), |lane| {
            lane.recent.after(welcome.asked_at).map(Some)
        });
        let is_known = commands.is_some_and(|commands| {
            for command in commands.into_iter().flatten() {
                units += welcome.apply(command, recheck);
                if units > cost::CATCH_UP {
                    return false;
                }
            }
            true
        });
        // Some that were lost in a gap are not known at all.
        let is_known = is_known && welcome.gap >= self.gaps.current();
        self.budget.spend(units);
        if is_known || !matches!(welcome.admission, Admission::Admitted(_)) {
            return;
        }
        match recheck {
            // Whatever the commands were, a later answer includes their effect.
            true => welcome.invalidated_at = Some(lane.map_or(0, |lane| lane.recent.last())),
            false => welcome.refuse(Admission::Refused(TOO_OLD)),
        }
    }

    /// Records an admitted session that knows of commands which have not begun here, or has already
    /// applied the current one: a search may still find it.
    fn note_ahead(&mut self, key: SessionKey, asked_at: u64) {
        let tenant = self.tenant_of(ConnectionId(key.slot));
        // What has had its turn is done, whichever tenants the commands since are of.
        let passed = self.lanes.passed_of(tenant);
        let lane = self.lanes.get_mut(tenant);
        let last = lane.recent.last().max(passed);
        if asked_at > last || lane.running.is_some() {
            lane.ahead.enter(key, asked_at.max(lane.recent.last()));
        }
    }

    /// Admits or refuses a session that is in no queue, and sends its first message.
    pub(super) fn welcome(
        &mut self,
        key: SessionKey,
        welcome: Welcome,
        turn: &mut Turn<'_, impl World<P>>,
    ) {
        let id = ConnectionId(key.slot);
        let Welcome {
            message,
            admission,
            who,
            asked_at,
            invalidated_at,
            expires_in,
            has_token,
            resumed,
            ..
        } = welcome;
        self.budget.spend(cost::OPEN);
        match &admission {
            Admission::Admitted(grants) => {
                self.admit(id, Arc::clone(grants), who, turn);
                self.note_ahead(key, asked_at);
                self.sessions[id.index()].transport.set_token(has_token);
                if let Some(position) = invalidated_at {
                    self.hold_newcomer(key, position);
                } else {
                    self.begin_term(key, expires_in, turn.now);
                    self.greet(id, &message, resumed.is_some(), turn);
                }
            }
            Admission::Refused(_) | Admission::TurnedAway(_) | Admission::Disconnected(_) => {
                self.turn_down(id, &admission, &message, turn);
            }
        }
    }

    /// Sends its first message to a session that is admitted. `resumed`: by a ticket.
    pub(super) fn greet(
        &mut self,
        id: ConnectionId,
        message: &[u8],
        resumed: bool,
        turn: &mut Turn<'_, impl World<P>>,
    ) {
        self.stats.admitted += 1;
        let peer = &mut self.sessions[id.index()].peer;
        turn.world.hook(Hook::Connect, peer, turn.now);
        if self.is_stream(id) {
            return self.greet_stream(id, message, resumed, turn);
        }
        let message = self.first_message(id, message, resumed, turn);
        self.send_first(id, &message, turn);
    }

    /// Refuses a held session that was sent nothing yet, as if the API had given its answer before.
    pub(super) fn turn_down_newcomer(
        &mut self,
        id: ConnectionId,
        admission: &Admission,
        turn: &mut Turn<'_, impl World<P>>,
    ) {
        self.deregister(id, turn);
        self.turn_down(id, admission, server::NOT_AUTHORIZED.as_bytes(), turn);
    }

    /// Refuses a session that is in no queue.
    fn turn_down(
        &mut self,
        id: ConnectionId,
        admission: &Admission,
        message: &[u8],
        turn: &mut Turn<'_, impl World<P>>,
    ) {
        let (close, at_once) = match admission {
            Admission::Admitted(_) => return,
            // What it sends is meaningless, and nothing is to be read from it.
            Admission::Refused(close) if self.is_stream(id) => (*close, Some((*close).into())),
            Admission::Refused(close) => (*close, None),
            Admission::TurnedAway(close) => (*close, Some(Ending::from(*close))),
            // Its own close frame follows at once.
            Admission::Disconnected(ending) => (Close::NORMAL, Some(ending.clone())),
        };
        self.refuse(id, close, turn.now);
        if !self.is_stream(id) {
            self.send_first(id, message, turn);
        }
        if let Some(Ending { code, reason }) = at_once {
            self.leave_with(id, code, &reason, turn);
        }
    }

    /// Sends a session's first message.
    pub(super) fn send_first(
        &mut self,
        id: ConnectionId,
        message: &[u8],
        turn: &mut Turn<'_, impl World<P>>,
    ) {
        self.budget.spend(cost::write(message.len()));
        let mut scratch = std::mem::take(&mut self.scratch);
        let transport = &self.sessions[id.index()].transport;
        transport.put_message(&mut scratch, message, None);
        self.send(id, &scratch, turn);
        self.recycle(scratch);
    }

    pub(super) fn refuse(&mut self, id: ConnectionId, close: Close, now: u64) {
        self.stats.refused += 1;
        self.sessions[id.index()].stage = Stage::Refused(close);
        self.refused.push(&mut self.sessions, id.0, now);
    }

    fn admit(
        &mut self,
        id: ConnectionId,
        grants: Arc<GrantSet>,
        who: Option<Arc<Who>>,
        turn: &mut Turn<'_, impl World<P>>,
    ) {
        self.stats.connections += 1;
        self.gaps.opened(id.index());
        let names = who.as_ref().map_or(0, |who| who.names().count());
        self.budget.spend(names as u64 * cost::NAME);
        let (tenant, sessions) = (grants.tenant(), &self.sessions);
        self.tallies.of(tenant, &self.stats).opened += 1;
        self.lanes.get_mut(tenant).sessions += 1;
        let id_of = |slot| id_of(sessions, slot);
        let group = self.directory.enter(id.0, tenant, who, id_of);
        self.sessions[id.index()].stage = Stage::Open { grants, group };
        if self.is_stream(id) {
            self.enter_stream(id, turn.now);
        } else {
            self.idle.push(&mut self.sessions, id.0, turn.now);
            self.keepalive.enter(id.0, turn.now);
        }
        self.charge_peer(id, turn);
    }
}
