//! Sending a session what it missed while it was held: the publications of the window for its
//! subscriptions, in slices.

use ht_proto::entry::TenantId;
use ht_proto::server::GapCause;

use crate::budget::cost;
use crate::connection::{ConnectionId, SessionKey};
use crate::peer::Peer;
use crate::recheck::RecheckOutcome;
use crate::session::{Broken, Stage};
use crate::shard::Shard;
use crate::shard::cursors::Sender;
use crate::shard::fan_out::writer::Writer;
use crate::shard::hold::{Due, GAP, Progress};
use crate::shard::queue::Item;
use crate::shard::replay::{ENTRIES, Floor, Replay, WANTED};
use crate::window::{Kept, Step, Wanted};
use crate::world::{Turn, World};

/// Bytes that are written in one step, with the work of compressing them as bytes.
const BYTES: usize = 256 << 10;

/// Why a step of catching up ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reached {
    /// Everything was sent.
    End,
    /// The slice is over.
    Slice,
    /// The client accepts no more for now.
    Full,
    /// Some of it is no longer known: what is after this position is.
    Gap(u64, GapCause),
}

impl<P: Peer> Shard<P> {
    /// Lists a session that catches up.
    pub(super) fn list_catching(&mut self, key: SessionKey) {
        let Some(id) = self.sessions.find(key) else {
            return;
        };
        let tenant = self.tenant_of(id);
        self.lanes.get_mut(tenant).catching.push_back(key);
        self.queue_catching(tenant);
    }

    /// Queues the tenant's next session that catches up. One at a time, so that what others are sent
    /// is never behind all of them.
    pub(super) fn queue_catching(&mut self, tenant: TenantId) {
        let lane = self.lanes.get_mut(tenant);
        if !lane.catching.is_empty() && !lane.has_catch_up() {
            self.lanes.push_own(tenant, Item::CatchUp);
        }
    }

    /// Lists sessions of the current lane again that could not be live because more was to be handed
    /// over, if more was. Most often there are none, and this is called for every publication.
    #[inline(always)]
    pub(super) fn list_unhanded(&mut self) {
        if self.lanes.unhanded != 0 {
            self.list_handed(self.lanes.current.tenant);
        }
    }

    /// The same of all lanes.
    pub(super) fn list_all_unhanded(&mut self) {
        if self.lanes.unhanded != 0 {
            let tenants = self.lanes.with_unhanded();
            tenants
                .into_iter()
                .for_each(|tenant| self.list_handed(tenant));
        }
    }

    #[cold]
    fn list_handed(&mut self, tenant: TenantId) {
        let passed = self.lanes.passed_of(tenant);
        let lane = self.lanes.get_mut(tenant);
        if !lane.unhanded.is_empty() && passed > lane.unhanded_at {
            let unhanded = std::mem::take(&mut lane.unhanded);
            self.lanes.unhanded -= 1;
            unhanded.into_iter().for_each(|key| self.list_catching(key));
        }
    }

    /// The next session that catches up.
    pub(super) fn next_catching(&mut self) -> Option<SessionKey> {
        loop {
            let key = self.lanes.current.catching.pop_front()?;
            let progress = self.holds.get_mut(key).map(|hold| hold.progress);
            if progress == Some(Progress::CatchesUp) {
                return Some(key);
            }
        }
    }

    /// Continues with a session that catches up, in its turn: everything queued before is written.
    /// Returns whether its turn is over.
    pub(super) fn catch_up_step(
        &mut self,
        key: SessionKey,
        turn: &mut Turn<'_, impl World<P>>,
    ) -> bool {
        let passed = self.lanes.passed();
        let Some(id) = self.sessions.find(key) else {
            return true;
        };
        let Some(hold) = self.holds.get_mut(key) else {
            return true;
        };
        if hold
            .replay
            .as_ref()
            .is_some_and(|replay| replay.is_counting())
        {
            return self.count_step(key, turn);
        }
        let (upto, due) = (hold.upto, hold.due.front());
        let until = due.map_or(passed, |(position, _)| *position);
        if upto < until {
            return self.replay_step(key, until, turn);
        }
        if due.is_some() {
            return self.execute_due(key, turn);
        }
        if hold
            .replay
            .as_ref()
            .is_some_and(|replay| passed < replay.need)
        {
            let lane = &mut self.lanes.current;
            self.lanes.unhanded += usize::from(lane.unhanded.is_empty());
            lane.unhanded.push(key);
            lane.unhanded_at = passed;
            return true;
        }
        self.stats.window_catch_ups += 1;
        self.go_live(id, turn);
        true
    }

    /// Executes what is due for a session, or continues with that. Returns whether the session's
    /// turn is over.
    fn execute_due(&mut self, key: SessionKey, turn: &mut Turn<'_, impl World<P>>) -> bool {
        let Some(hold) = self.holds.get_mut(key) else {
            return true;
        };
        let Some((position, due)) = hold.due.pop_front() else {
            return true;
        };
        match due {
            // No `permit` is behind it: one would have replaced it (`change_later`).
            Due::Hold(not_before, reason) => {
                self.await_answer(key, not_before, reason);
                true
            }
            Due::Answer(rechecked) => {
                let RecheckOutcome::Permitted(rights) = &rechecked.outcome else {
                    return false;
                };
                let done = self.change(key, &rights.into(), true, turn);
                if !done && let Some(hold) = self.holds.get_mut(key) {
                    hold.due.push_front((position, Due::Answer(rechecked)));
                }
                false
            }
            Due::Command(command) => {
                let done = self.execute_deferred(key, &command.action, turn);
                if !done && let Some(hold) = self.holds.get_mut(key) {
                    hold.due.push_front((position, Due::Command(command)));
                }
                false
            }
        }
    }

    /// Sends a session some of what it missed up to a position. Returns whether its turn is over.
    fn replay_step(
        &mut self,
        key: SessionKey,
        until: u64,
        turn: &mut Turn<'_, impl World<P>>,
    ) -> bool {
        let id = ConnectionId(key.slot);
        let Some(hold) = self.holds.get_mut(key) else {
            return true;
        };
        let mut upto = hold.upto;
        let replay = hold.replay.take();
        let result = self.replay(id, (&mut upto, until), replay.as_deref(), turn.now);
        if let Some(hold) = self.holds.get_mut(key) {
            hold.replay = replay;
        }
        if self.sessions[id.index()].outbox.is_some() {
            self.waits(id, turn);
        }
        if self.is_full_poll(id) {
            // The rest is left to the next one.
            self.list_poll(key);
            return true;
        }
        let reached = match result {
            Ok(reached) => reached,
            Err(broken) => {
                // It may have been evicted already.
                if self.sessions.find(key).is_some() {
                    self.broken(id, broken, turn);
                }
                return true;
            }
        };
        let Some(hold) = self.holds.get_mut(key) else {
            return true;
        };
        hold.upto = if reached == Reached::End { until } else { upto };
        match reached {
            Reached::End => return false,
            Reached::Slice => self.lanes.current.catching.push_back(key),
            Reached::Full => hold.progress = Progress::Blocked,
            Reached::Gap(position, cause) => {
                hold.upto = position;
                self.pass_gap(key, cause, turn);
            }
        }
        true
    }

    /// A session goes on after what is no longer known, if its client can be told of it.
    fn pass_gap(&mut self, key: SessionKey, cause: GapCause, turn: &mut Turn<'_, impl World<P>>) {
        let id = ConnectionId(key.slot);
        if self.sessions[id.index()].transport.has_events() {
            self.lanes.current.catching.push_back(key);
            if let Some(hold) = self.holds.get_mut(key) {
                self.gaps.told(id.index(), std::mem::take(&mut hold.gap));
            }
            self.put_gap(id, cause, turn);
        } else {
            self.stats.window_gaps += 1;
            self.leave(id, GAP, turn);
        }
    }

    /// Sends a session what it missed from `upto` to `until`, or the begin of that, and advances
    /// `upto`.
    fn replay(
        &mut self,
        id: ConnectionId,
        (upto, until): (&mut u64, u64),
        replay: Option<&Replay>,
        now: u64,
    ) -> Result<Reached, Broken> {
        let is_untold = self.is_untold(id);
        let Self {
            sessions,
            registry,
            settings,
            stats,
            tallies,
            budget,
            deflater,
            scratch,
            tail,
            ..
        } = self;
        let (bounds, session) = (settings.bounds(), &mut sessions[id.index()]);
        let Stage::Open { grants, .. } = &session.stage else {
            return Ok(Reached::End);
        };
        if session.own.is_empty() {
            return Ok(Reached::End);
        }
        let (tenant, view) = (grants.tenant(), settings.window.view());
        if *upto < view.start_of(tenant) {
            let position = view.start_of(tenant).min(until);
            return Ok(Reached::Gap(position, GapCause::Window));
        }
        let wanted = registry.wanted(&session.own, WANTED);
        let most = bounds.each / 2;
        let mut sender = Sender {
            registry,
            compression: &settings.compression,
            deflater,
            tail,
            cursors: session
                .transport
                .subprotocol()
                .filter(|_| !is_untold)
                .map(|_| replay.map_or(Floor::at(0), |replay| replay.heard)),
        };
        tallies.enter(tenant, stats);
        let deflate = session.transport.deflate();
        let mut writer = Writer::new((session, deflate), bounds, std::mem::take(scratch), stats);
        let (mut examined, mut messages, mut hits) = (0, 0, Vec::new());
        let wanted_rooms = wanted.as_ref().map_or(0, Wanted::len);
        budget.spend(cost::want(wanted_rooms));
        let mut reached = Ok(Reached::End);
        for step in view.steps_after(*upto, wanted.as_ref()) {
            if *upto >= until || writer.is_full() {
                break;
            }
            if examined >= ENTRIES || writer.bytes >= BYTES || (examined > 0 && budget.is_spent()) {
                reached = Ok(Reached::Slice);
                break;
            }
            examined += 1;
            let item = match step {
                Step::Item(item) => item,
                Step::Skipped(position) => {
                    budget.spend(cost::test_segment(wanted_rooms));
                    *upto = position.min(until);
                    continue;
                }
            };
            if item.position > until {
                break;
            }
            let logged = match &item.body {
                Kept::Entry(logged) => logged,
                // It had its own turn, for all sessions.
                Kept::Command(_) | Kept::Trimmed => continue,
                Kept::Hole => {
                    reached = Ok(Reached::Gap(item.position, GapCause::Broker));
                    break;
                }
            };
            let publication = logged.publication();
            if publication.tenant == tenant {
                let own = &writer.session.own;
                let looked = match replay {
                    None => registry.hits_of(id, own, publication, &mut hits),
                    Some(replay) => {
                        let looked = registry.replayed_hits(id, own, publication, &mut hits);
                        replay.retain(registry, publication, &mut hits);
                        looked
                    }
                };
                budget.spend(looked as u64 * cost::LOOK);
            }
            budget.spend(cost::LOOK + hits.len() as u64 * cost::HIT);
            let waiting = writer.session.waiting();
            if waiting > 0 && waiting + hits.len() * publication.head_len() > most {
                reached = Ok(Reached::Full);
                break;
            }
            let sent = sender.send(&mut writer, publication, &hits, &mut 0);
            messages += hits.len();
            hits.clear();
            let is_slow = writer.session.outbox.is_some();
            let sent = sent.and_then(|()| if is_slow { writer.flush() } else { Ok(()) });
            if let Err(broken) = sent {
                reached = Err(broken);
                break;
            }
            *upto = item.position;
        }
        let reached = reached.and_then(|reached| writer.flush().map(|()| reached));
        let Writer { scratch, bytes, .. } = writer;
        self.budget.spend(cost::write(bytes));
        self.recycle(scratch);
        self.lanes.current.pay(messages, bytes, now);
        reached
    }

    /// The outbox of a session is empty: it may continue to catch up.
    pub(super) fn unblock(&mut self, key: SessionKey) {
        if let Some(hold) = self.holds.get_mut(key)
            && hold.progress == Progress::Blocked
        {
            hold.progress = Progress::CatchesUp;
            self.list_catching(key);
        }
    }
}
