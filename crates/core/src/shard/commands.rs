//! Execution of commands: each in order among the publications, in slices.
//!
//! A command begins when all earlier publications are written, and no later one is matched before
//! it is done. So when a connection loses access, it is sent every earlier publication and no later
//! one, however many connections are selected and however many turns it takes.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use ht_proto::close::Close;
use ht_proto::room::Room;
use ht_proto::server::{self, Lost};

use crate::Hasher;
use crate::budget::cost;
use crate::command::{Action, Command, Ending, Permit};
use crate::connection::{ConnectionId, SessionKey};
use crate::grant::GrantSet;
use crate::peer::Peer;
use crate::recheck::Rechecked;
use crate::registry::Verdict;
use crate::session::{Session, Stage};
use crate::shard::queue::{Item, Running, Task};
use crate::shard::selection::id_of;
use crate::shard::{Admission, Shard, Welcome};
use crate::world::{Turn, World};

/// Subscriptions of one connection that are dropped in one step.
const DROPS: usize = 256;

/// Bytes of events about them in one step.
const EVENT_BYTES: usize = 64 << 10;

/// The API's answer for a client is older than the commands that are kept.
const TOO_OLD: Close = Close::BACKEND.within(5_000);

/// Commands were lost. Clients reconnect at random times within a span, not all at once.
const LOST: Close = Close::PERMISSIONS.within(10_000);

/// Sessions whose API answer is newer than the last command that began: the commands in between do
/// not concern them.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    asked_at: HashMap<SessionKey, u64, Hasher>,
    /// The greatest of them.
    last: u64,
}

impl Ahead {
    fn enter(&mut self, key: SessionKey, asked_at: u64) {
        self.asked_at.insert(key, asked_at);
        self.last = self.last.max(asked_at);
    }

    /// Whether the command at a position does not concern the session any more.
    fn is_newer(&self, key: SessionKey, position: u64) -> bool {
        let asked_at = self.asked_at.get(&key);
        asked_at.is_some_and(|asked_at| *asked_at >= position)
    }

    /// Sweeps sessions that are older than the command at a position: all of them, or once there
    /// are many.
    fn begin(&mut self, position: u64, sessions: usize) {
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
    /// Queues a command behind all earlier publications. [`Self::fan_out`] executes it, and
    /// [`World::carried_out`] is called when that is done.
    pub fn command(&mut self, command: Arc<Command>) {
        self.fan_out.push(Item::Command(command));
    }

    /// Queues the API's new answer about sessions behind all earlier publications.
    pub fn rechecked(&mut self, rechecked: Arc<Rechecked>) {
        self.fan_out.push(Item::Rechecked(rechecked));
    }

    /// Queues the substitute for lost commands, the last of them at `position`: the connections
    /// they selected are unknown, so every connection is closed.
    pub fn lose_commands(&mut self, position: u64) {
        self.fan_out.push(Item::Lost(position));
    }

    /// Applies to a newly admitted client the commands since the API was queried about it. Call it
    /// before [`Self::open`].
    pub fn catch_up(&mut self, welcome: &mut Welcome) {
        let Admission::Admitted(_) = &welcome.admission else {
            return;
        };
        let Some(commands) = self.recent.after(welcome.asked_at) else {
            return welcome.refuse(Admission::Refused(TOO_OLD));
        };
        let mut units = 0;
        for command in commands {
            units += welcome.apply(command);
            if units > cost::CATCH_UP {
                welcome.refuse(Admission::Refused(TOO_OLD));
                break;
            }
        }
        self.budget.spend(units);
    }

    /// Records an admitted session that knows of commands which have not begun here, or has already
    /// applied the current one: a search may still find it.
    pub(super) fn note_ahead(&mut self, key: SessionKey, asked_at: u64) {
        let last = self.recent.last();
        if asked_at > last || self.fan_out.running.is_some() {
            self.ahead.enter(key, asked_at.max(last));
        }
    }

    /// Continues with the first command in the queue, by one step. Returns the number of
    /// connections processed.
    pub(super) fn carry_out(&mut self, turn: &mut Turn<'_, impl World<P>>) -> usize {
        let running = self.fan_out.running.take();
        let Some(mut running) = running.or_else(|| self.begin_command()) else {
            return 0;
        };
        if !self.step(&mut running, turn) {
            self.fan_out.running = Some(running);
            return 1;
        }
        self.fan_out.pop();
        if let Task::Command(command, _) = &running.task {
            turn.world.carried_out(command, running.matched);
        }
        1
    }

    fn begin_command(&mut self) -> Option<Box<Running>> {
        let task = match self.fan_out.next()? {
            Item::Publications(_) => return None,
            Item::Rechecked(rechecked) => {
                debug_assert!(rechecked.keys.is_empty(), "no session is queried about yet");
                self.fan_out.pop();
                return None;
            }
            Item::Command(command) => {
                let command = Arc::clone(command);
                if !matches!(command.action, Action::Count) {
                    // From now on: a session added while it is executed is not found by the search.
                    self.recent.begin(&command);
                    self.ahead.begin(command.position, self.sessions.len());
                }
                let search = self.search(command.selection.clone());
                Task::Command(command, Some(search))
            }
            Item::Lost(position) => {
                let position = *position;
                self.recent.forget(position);
                self.ahead.begin(position, self.sessions.len());
                Task::CloseAll(position, LOST.into(), 0)
            }
        };
        Some(Box::new(Running {
            task,
            found: VecDeque::new(),
            matched: 0,
            halfway: false,
        }))
    }

    /// Searches for connections, or processes one. Returns whether the command is done.
    fn step(&mut self, running: &mut Running, turn: &mut Turn<'_, impl World<P>>) -> bool {
        let (command, search) = match &mut running.task {
            Task::Command(command, search) => (Arc::clone(command), search),
            Task::CloseAll(position, ending, next) => {
                let Some(key) = self.next_open(next) else {
                    return true;
                };
                if !self.ahead.is_newer(key, *position) {
                    self.disconnect(key, ending, turn);
                }
                return false;
            }
        };
        let Some(&key) = running.found.front() else {
            let Some(mut searching) = search.take() else {
                return true;
            };
            let mut found = Vec::new();
            if !self.continue_search(&mut searching, &mut found) {
                *search = Some(searching);
            }
            let is_count = matches!(command.action, Action::Count);
            found.retain(|key| is_count || !self.ahead.is_newer(*key, command.position));
            running.matched += found.len();
            if !is_count {
                running.found = found.into();
            }
            return search.is_none() && running.found.is_empty();
        };
        let done = match &command.action {
            Action::Count => true,
            Action::Permit(permit) => self.permit(key, permit, running.halfway, turn),
            Action::Unsubscribe(from) => self.drop_subscriptions(key, from, Lost::Command, turn),
            Action::Disconnect(ending) => {
                self.disconnect(key, ending, turn);
                true
            }
            Action::Invalidate { within } => {
                let ending = Close::PERMISSIONS.within(*within).into();
                self.disconnect(key, &ending, turn);
                true
            }
        };
        running.halfway = !done;
        if done {
            running.found.pop_front();
        }
        false
    }

    /// Advances a slot to behind the next admitted session, and returns that session.
    fn next_open(&mut self, next: &mut usize) -> Option<SessionKey> {
        while *next < self.sessions.capacity() && !self.budget.is_spent() {
            self.budget.spend(cost::LOOK);
            let id = ConnectionId(u32::try_from(*next).expect("keys were given as u32"));
            if self.sessions.contains(*next) && self.is_open(id) {
                break;
            }
            *next += 1;
        }
        (*next < self.sessions.capacity()).then(|| {
            let slot = u32::try_from(*next).expect("keys were given as u32");
            *next += 1;
            self.sessions.key(slot)
        })
    }

    fn disconnect(&mut self, key: SessionKey, ending: &Ending, turn: &mut Turn<'_, impl World<P>>) {
        if let Some(id) = self.sessions.find(key)
            && self.is_open(id)
        {
            self.leave_with(id, ending.code, &ending.reason, turn);
        }
    }

    /// Replaces a session's permissions, or continues with that. Returns whether it is done.
    fn permit(
        &mut self,
        key: SessionKey,
        permit: &Permit,
        halfway: bool,
        turn: &mut Turn<'_, impl World<P>>,
    ) -> bool {
        let Some(id) = self.sessions.find(key) else {
            return true;
        };
        if !halfway && !self.take_permit(id, permit) {
            return true;
        }
        if !self.drop_subscriptions(key, &permit.grants, Lost::Permissions, turn) {
            return false;
        }
        if self.sessions.find(key).is_some() && self.is_open(id) {
            self.put_event(id, &permit.event, turn);
        }
        true
    }

    /// Sets new permissions of an admitted session. Returns whether its grants changed.
    fn take_permit(&mut self, id: ConnectionId, permit: &Permit) -> bool {
        let Stage::Open { grants, group } = &mut self.sessions[id.index()].stage else {
            return false;
        };
        let before = std::mem::replace(grants, Arc::clone(&permit.grants));
        let (tenant, group) = (grants.tenant(), *group);
        let old = self.directory.who(group).cloned();
        let new = permit.who(old.as_deref());
        if old.as_deref() != new.as_ref() {
            let names = [old.as_deref(), new.as_ref()];
            let names = names.into_iter().flatten().map(|who| who.names().count());
            self.budget.spend(names.sum::<usize>() as u64 * cost::NAME);
            let sessions = &self.sessions;
            let id_of = |slot| id_of(sessions, slot);
            self.directory.leave(id.0, group, id_of);
            let entered = self.directory.enter(id.0, tenant, new.map(Arc::new), id_of);
            if let Stage::Open { group, .. } = &mut self.sessions[id.index()].stage {
                *group = entered;
            }
        }
        !Arc::ptr_eq(&before, &permit.grants)
    }

    /// Drops subscriptions of an admitted session: those that `set` does not permit, or after a
    /// command those that it does. Some at a time; returns whether all are dropped.
    fn drop_subscriptions(
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
                transport.put_text(&mut events, event.as_bytes());
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
            self.send(id, &events, turn);
        }
        self.recycle(events);
        self.settle(key, false, turn);
        retained.finished
    }

    /// Sends an event to a client that accepts events.
    fn put_event(&mut self, id: ConnectionId, event: &[u8], turn: &mut Turn<'_, impl World<P>>) {
        let transport = &self.sessions[id.index()].transport;
        if !transport.has_events() {
            return;
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        transport.put_text(&mut scratch, event);
        self.budget.spend(cost::write(scratch.len()));
        self.send(id, &scratch, turn);
        self.recycle(scratch);
    }
}
