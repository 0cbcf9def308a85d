//! Changing what an admitted session may subscribe to, in slices.

use std::sync::Arc;

use bytes::Bytes;
use ht_proto::cursor::Cursor;
use ht_proto::room::Room;
use ht_proto::server::{self, Lost};

use crate::budget::cost;
use crate::command::Permit;
use crate::connection::{ConnectionId, SessionKey};
use crate::grant::GrantSet;
use crate::peer::Peer;
use crate::recheck::Rights;
use crate::registry::Verdict;
use crate::session::{Session, Stage};
use crate::shard::Shard;
use crate::shard::selection::id_of;
use crate::who::Who;
use crate::world::{Turn, World};

/// Subscriptions of one connection that are dropped in one step.
const DROPS: usize = 256;

/// Bytes of events about them in one step.
const EVENT_BYTES: usize = 64 << 10;

/// New permissions of a session, from the API's answer or a command.
#[derive(Clone, Debug)]
pub(super) struct Change<'a> {
    grants: &'a Arc<GrantSet>,
    who: NewWho<'a>,
    /// The message to a client that accepts events, if the grants change.
    event: &'a Bytes,
    /// The first message to a client that was not sent one yet.
    pub(super) welcome: &'a Bytes,
}

#[derive(Clone, Copy, Debug)]
enum NewWho<'a> {
    /// This one.
    Whole(Option<&'a Arc<Who>>),
    /// Other labels and another view.
    Relabelled(&'a Permit),
}

impl<'a> From<&'a Permit> for Change<'a> {
    fn from(permit: &'a Permit) -> Self {
        Self {
            grants: &permit.grants,
            who: NewWho::Relabelled(permit),
            event: &permit.event,
            welcome: &permit.welcome,
        }
    }
}

impl<'a> From<&'a Rights> for Change<'a> {
    fn from(rights: &'a Rights) -> Self {
        Self {
            grants: &rights.grants,
            who: NewWho::Whole(rights.who.as_ref()),
            event: &rights.event,
            welcome: &rights.welcome,
        }
    }
}

impl<P: Peer> Shard<P> {
    /// Replaces a session's permissions, or continues with that. Returns whether it is done.
    pub(super) fn change(
        &mut self,
        key: SessionKey,
        change: &Change<'_>,
        halfway: bool,
        turn: &mut Turn<'_, impl World<P>>,
    ) -> bool {
        if !halfway && !self.set_rights(key, change) {
            return true;
        }
        if !self.drop_subscriptions(key, change.grants, Lost::Permissions, turn) {
            return false;
        }
        if let Some(id) = self.sessions.find(key)
            && self.is_open(id)
            && !self.holds.is_newcomer(key)
        {
            self.put_permissions(id, change.event, turn);
        }
        true
    }

    /// Tells a client that accepts events its new grants, with its cursor: after the command that
    /// held it, so that resuming from there is not refused because of that command.
    fn put_permissions(
        &mut self,
        id: ConnectionId,
        event: &[u8],
        turn: &mut Turn<'_, impl World<P>>,
    ) {
        if self.sessions[id.index()].transport.has_events() {
            let cursor = self.cursor(id);
            let resumption = self.resumption(id, turn);
            let told = cursor.map(|cursor| server::with_cursor(event, cursor, &resumption));
            self.put_message_at(id, told.as_deref().unwrap_or(event), cursor, turn);
        }
    }

    /// Sets new permissions of an admitted session. Returns whether its grants changed.
    pub(super) fn set_rights(&mut self, key: SessionKey, change: &Change<'_>) -> bool {
        let Some(id) = self.sessions.find(key) else {
            return false;
        };
        let Stage::Open { grants, group } = &mut self.sessions[id.index()].stage else {
            return false;
        };
        if grants.tenant() != change.grants.tenant() {
            debug_assert!(false, "permissions are of the session's tenant");
            return false;
        }
        let before = std::mem::replace(grants, Arc::clone(change.grants));
        let (tenant, group) = (grants.tenant(), *group);
        let old = self.directory.who(group).cloned();
        let new = match change.who {
            NewWho::Whole(who) => who.cloned(),
            NewWho::Relabelled(permit) => permit.who(old.as_deref()).map(Arc::new),
        };
        let is_other = old != new;
        if is_other {
            let names = [old.as_deref(), new.as_deref()];
            let names = names.into_iter().flatten().map(|who| who.names().count());
            self.budget.spend(names.sum::<usize>() as u64 * cost::NAME);
            let sessions = &self.sessions;
            let id_of = |slot| id_of(sessions, slot);
            self.directory.leave(id.0, group, id_of);
            let entered = self.directory.enter(id.0, tenant, new, id_of);
            if let Stage::Open { group, .. } = &mut self.sessions[id.index()].stage {
                *group = entered;
            }
        }
        let is_changed = !Arc::ptr_eq(&before, change.grants);
        self.stats.permissions_changed += u64::from(is_changed);
        self.confirm_ticket(id, is_changed || is_other);
        is_changed
    }

    /// Drops subscriptions of an admitted session: those that `set` does not permit, or after a
    /// command those that it does. Some at a time; returns whether all are dropped.
    pub(super) fn drop_subscriptions(
        &mut self,
        key: SessionKey,
        set: &GrantSet,
        reason: Lost,
        turn: &mut Turn<'_, impl World<P>>,
    ) -> bool {
        let Some(id) = self.sessions.find(key).filter(|id| self.is_open(*id)) else {
            return true;
        };
        let Session { own, transport, .. } = &mut self.sessions[id.index()];
        let mut events = std::mem::take(&mut self.scratch);
        let mut left = DROPS;
        let judge = |room: &Room, name: &str| {
            if set.permits(room) == (reason == Lost::Permissions) {
                return Verdict::Keep;
            }
            if left == 0 || events.len() > EVENT_BYTES {
                return Verdict::Stop;
            }
            left -= 1;
            if transport.has_events() {
                let event = server::unsubscribed(name, room, reason);
                transport.put_message(&mut events, event.as_bytes(), None);
            }
            Verdict::Drop
        };
        let closed = |tenant, room: &_| turn.world.room_closed(tenant, room);
        let retained = self.registry.retain_some(own, judge, closed);
        let (looked, dropped) = (retained.looked as u64, retained.dropped as u64);
        self.stats.subscriptions_lost += dropped;
        self.budget
            .spend(looked * cost::TEST_GRANTS + dropped * cost::DROP);
        self.count_registry();
        if !events.is_empty() {
            self.budget.spend(cost::write(events.len()));
            self.send_or_gather(id, &events, turn);
        }
        self.recycle(events);
        self.settle(key, false, turn);
        retained.finished
    }

    /// Sends an event to a client that accepts events. `cursor`: of a client that was sent it.
    pub(super) fn put_event(
        &mut self,
        id: ConnectionId,
        event: &[u8],
        cursor: Option<Cursor>,
        turn: &mut Turn<'_, impl World<P>>,
    ) {
        if self.sessions[id.index()].transport.has_events() {
            self.put_message_at(id, event, cursor, turn);
        }
    }

    /// Sends a message to a client.
    pub(super) fn put_message(
        &mut self,
        id: ConnectionId,
        message: &[u8],
        turn: &mut Turn<'_, impl World<P>>,
    ) {
        self.put_message_at(id, message, None, turn);
    }

    /// The same. `cursor`: of a client that was sent it.
    fn put_message_at(
        &mut self,
        id: ConnectionId,
        message: &[u8],
        cursor: Option<Cursor>,
        turn: &mut Turn<'_, impl World<P>>,
    ) {
        let transport = &self.sessions[id.index()].transport;
        let mut scratch = std::mem::take(&mut self.scratch);
        transport.put_message(&mut scratch, message, cursor);
        self.budget.spend(cost::write(scratch.len()));
        self.send_or_gather(id, &scratch, turn);
        self.recycle(scratch);
    }
}
