//! Execution of commands: each in order among the publications, in slices.
//!
//! A command begins when all earlier publications are written, and no later one is matched before
//! it is done. So when a connection loses access, it is sent every earlier publication and no later
//! one, however many connections are selected and however many turns it takes.

use std::collections::VecDeque;
use std::sync::Arc;

use ht_proto::close::Close;
use ht_proto::entry::TenantId;
use ht_proto::server::Lost;

use crate::budget::cost;
use crate::command::{Action, Command, Ending};
use crate::connection::{ConnectionId, SessionKey};
use crate::peer::Peer;
use crate::shard::hold::{Due, State};
use crate::shard::queue::{Item, Running, Task};
use crate::shard::rights::Change;
use crate::shard::{Admission, Output, Search, Shard};
use crate::world::{Turn, World};

/// Commands were lost. Clients reconnect at random times within a span, not all at once.
const LOST: Close = Close::PERMISSIONS.within(10_000);

impl<P: Peer> Shard<P> {
    /// Queues a command behind all earlier publications. [`Self::fan_out`] executes it, and
    /// [`World::carried_out`] is called when that is done.
    pub fn command(&mut self, command: Arc<Command>) {
        self.lanes
            .push(command.selection.tenant, Item::Command(command));
    }

    /// Queues the substitute for lost commands of a tenant, the last of them at `position`: the
    /// connections they selected are unknown, so every connection of the tenant is closed.
    pub fn lose_commands(&mut self, tenant: TenantId, position: u64) {
        self.lanes.push(tenant, Item::Lost(position));
    }

    /// Continues with the first command in the queue, by one step. Returns the number of
    /// connections processed.
    pub(super) fn carry_out(&mut self, turn: &mut Turn<'_, impl World<P>>) -> usize {
        let running = self.lanes.current.running.take();
        let Some(mut running) = running.or_else(|| self.begin_command(turn)) else {
            // Some items are done at once.
            return 1;
        };
        if !self.step(&mut running, turn) {
            self.lanes.current.running = Some(running);
            return 1;
        }
        self.lanes.current.pop();
        if let Task::Command(command, _) = &running.task {
            turn.world.carried_out(command, running.matched);
        }
        self.queue_catching(self.lanes.current.tenant);
        1
    }

    fn begin_command(&mut self, turn: &mut Turn<'_, impl World<P>>) -> Option<Box<Running>> {
        let task = match self.lanes.current.next()? {
            Item::Publications(_) => return None,
            Item::Rechecked(rechecked) => Task::Rechecked(Arc::clone(rechecked), 0),
            &Item::Hold(key, position, reason) => {
                self.lanes.current.pop();
                // No command that was executed here meanwhile may be missing in the answer.
                let not_before = position.max(self.lanes.current.recent.last());
                self.hold_or_close(key, not_before, reason, turn);
                return None;
            }
            &Item::Gap(key, number, upto, cause) => {
                self.lanes.current.pop();
                self.tell_gap(key, (number, upto, cause), turn);
                return None;
            }
            Item::CatchUp => match self.next_catching() {
                Some(key) => Task::CatchUp(key),
                None => {
                    self.lanes.current.pop();
                    return None;
                }
            },
            Item::Command(command) => {
                let command = Arc::clone(command);
                if !matches!(command.action, Action::Count) {
                    // From now on: a session added while it is executed is not found by the search.
                    let lane = &mut self.lanes.current;
                    lane.passed = command.position;
                    lane.recent.begin(&command);
                    lane.commanded_at = turn.now;
                    lane.ahead.begin(command.position, lane.sessions);
                    self.lanes.bound_commands();
                }
                let search = self.search(command.selection.clone());
                Task::Command(command, Some(search))
            }
            Item::Lost(position) => {
                let position = *position;
                let lane = &mut self.lanes.current;
                lane.passed = position;
                lane.recent.forget(position);
                lane.commanded_at = turn.now;
                lane.ahead.begin(position, lane.sessions);
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

    /// Continues with an item, by one step. Returns whether it is done.
    fn step(&mut self, running: &mut Running, turn: &mut Turn<'_, impl World<P>>) -> bool {
        match &mut running.task {
            Task::Command(command, search) => {
                let (command, search) = (Arc::clone(command), search.take());
                self.step_command(running, &command, search, turn)
            }
            Task::CloseAll(position, ending, next) => {
                let Some(key) = self.next_open(next) else {
                    return true;
                };
                let lane = &self.lanes.current;
                if self.is_of(key, lane.tenant) && !lane.ahead.is_newer(key, *position) {
                    self.disconnect(key, ending, turn);
                }
                false
            }
            Task::Rechecked(rechecked, next) => {
                let Some(&key) = rechecked.keys.get(*next) else {
                    return true;
                };
                let rechecked = Arc::clone(rechecked);
                // Another tenant's has its turn in another lane.
                let done = !self.is_of(key, self.lanes.current.tenant)
                    || self.take_answer(key, &rechecked, running.halfway, turn);
                *next += usize::from(done);
                running.halfway = !done;
                false
            }
            Task::CatchUp(key) => self.catch_up_step(*key, turn),
        }
    }

    /// Searches for connections of a command, or processes one. Returns whether it is done.
    fn step_command(
        &mut self,
        running: &mut Running,
        command: &Arc<Command>,
        search: Option<Search>,
        turn: &mut Turn<'_, impl World<P>>,
    ) -> bool {
        let Some(&key) = running.found.front() else {
            let Some(mut searching) = search else {
                return true;
            };
            let mut found = Vec::new();
            let is_over = self.continue_search(&mut searching, &mut found);
            let is_count = matches!(command.action, Action::Count);
            let ahead = &self.lanes.current.ahead;
            found.retain(|key| is_count || !ahead.is_newer(*key, command.position));
            running.matched += found.len();
            if !is_count {
                running.found = found.into();
            }
            let is_done = is_over && running.found.is_empty();
            running.task = Task::Command(Arc::clone(command), (!is_over).then_some(searching));
            return is_done;
        };
        running.task = Task::Command(Arc::clone(command), search);
        let done = self.execute(key, command, running.halfway, turn);
        running.halfway = !done;
        if done {
            running.found.pop_front();
        }
        false
    }

    /// Executes a command for a session, or continues with that. Returns whether it is done.
    fn execute(
        &mut self,
        key: SessionKey,
        command: &Arc<Command>,
        halfway: bool,
        turn: &mut Turn<'_, impl World<P>>,
    ) -> bool {
        let state = self.holds.state(key);
        match (&command.action, state) {
            (Action::Count, _) => {}
            (Action::Disconnect(ending), _) => self.disconnect(key, ending, turn),
            (Action::Invalidate { within }, _) => {
                self.hold_within(key, command.position, *within, turn);
            }
            (Action::Permit(permit), State::Awaiting) => {
                self.begin_term(key, permit.expires_in, turn.now);
                let done = self.take_rights(key, &Change::from(permit), halfway, turn);
                if done {
                    self.outputs.push_back(Output::CancelRecheck(key));
                    // It is behind them, and has the permissions since the first.
                    self.holds.forget_due(key);
                }
                return done;
            }
            (Action::Permit(permit), State::CatchingUp) => {
                self.begin_term(key, permit.expires_in, turn.now);
                let due = Due::Command(Arc::clone(command));
                self.change_later(key, &permit.into(), due, turn);
            }
            (Action::Unsubscribe(_), State::Awaiting | State::CatchingUp) => {
                self.defer(key, Due::Command(Arc::clone(command)), turn);
            }
            (Action::Permit(permit), State::Live) => {
                self.begin_term(key, permit.expires_in, turn.now);
                return self.change(key, &permit.into(), halfway, turn);
            }
            (Action::Unsubscribe(from), State::Live) => {
                return self.drop_subscriptions(key, from, Lost::Command, turn);
            }
        }
        true
    }

    /// Drops the subscriptions of a session that was sent everything before a command, or some of
    /// them. Returns whether all are dropped.
    pub(super) fn execute_deferred(
        &mut self,
        key: SessionKey,
        action: &Action,
        turn: &mut Turn<'_, impl World<P>>,
    ) -> bool {
        match action {
            Action::Permit(permit) => self.change(key, &permit.into(), true, turn),
            Action::Unsubscribe(from) => self.drop_subscriptions(key, from, Lost::Command, turn),
            Action::Count | Action::Disconnect(_) | Action::Invalidate { .. } => true,
        }
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

    pub(super) fn disconnect(
        &mut self,
        key: SessionKey,
        ending: &Ending,
        turn: &mut Turn<'_, impl World<P>>,
    ) {
        let Some(id) = self.sessions.find(key).filter(|id| self.is_open(*id)) else {
            return;
        };
        if self.holds.is_newcomer(key) {
            self.turn_down_newcomer(id, &Admission::Disconnected(ending.clone()), turn);
        } else {
            self.leave_with(id, ending.code, &ending.reason, turn);
        }
    }
}
