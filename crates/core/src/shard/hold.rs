//! Held sessions: after an `invalidate` nothing is sent to them until the API has answered about
//! them again.
//!
//! A session is held when the command has its turn in the queue: everything before it is written.
//! Fan-out skips the session from then on, as it does one that is being closed. The answer has its
//! turn in the same queue, so what the session missed is exactly what is in the window between the
//! two; it catches up ([`crate::shard::catch_up`]) before it is live again. Commands that select
//! it meanwhile have their turn when everything before them has been sent.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use ht_proto::close::Close;

use crate::Hasher;
use crate::budget::cost;
use crate::command::Command;
use crate::connection::{ConnectionId, SessionKey};
use crate::peer::Peer;
use crate::recheck::{Recheck, RecheckReason, Rechecked};
use crate::session::{Pending, Session, Stage};
use crate::shard::replay::Replay;
use crate::shard::rights::Change;
use crate::shard::{Output, Shard};
use crate::world::{Turn, World};

/// Commands that may wait for one session to catch up.
const DUE: usize = 64;

/// A session cannot be sent what it missed. Clients reconnect at random moments within a span.
pub(super) const GAP: Close = Close::GAP.within(10_000);

/// The sessions that are held.
#[derive(Debug, Default)]
pub(super) struct Holds {
    all: HashMap<SessionKey, Box<Hold>, Hasher>,
}

/// A session that is held.
#[derive(Debug)]
pub(super) struct Hold {
    /// Everything up to this position was sent to it.
    pub(super) upto: u64,
    pub(super) progress: Progress,
    /// Commands in their order, each with its position.
    pub(super) due: VecDeque<(u64, Due)>,
    /// It was admitted by an answer that is void by now, and sent nothing.
    is_newcomer: bool,
    /// Answers since it was held that came too early.
    pub(super) stale: u32,
    /// It is sent what its client missed while it was away.
    pub(super) replay: Option<Box<Replay>>,
    /// When it began to catch up, in ms.
    since: u64,
    /// The last gap that its client is told of where the session meets it; 0: there is none.
    pub(super) gap: u32,
}

/// How far a held session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// It awaits the answer to a call that was sent after this position was ordered.
    Awaits(u64),
    /// It catches up.
    CatchesUp,
    /// It catches up once its outbox is empty.
    Blocked,
    /// It catches up once the log has come as far as its client, or not within some time.
    AwaitsLog,
}

/// What is to be done when a session has been sent everything before it.
#[derive(Debug)]
pub(super) enum Due {
    /// A command.
    Command(Arc<Command>),
    /// The subscriptions that an answer no longer permits are dropped.
    Answer(Arc<Rechecked>),
    /// It is held again, for the answer to a call that was sent after this position was ordered.
    Hold(u64, RecheckReason),
}

/// How a session receives publications.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// When they have their turn.
    Live,
    /// Not before the API has answered about it.
    Awaiting,
    /// From the window.
    CatchingUp,
}

fn is_hold((_, due): &(u64, Due)) -> bool {
    matches!(due, Due::Hold(..))
}

impl Hold {
    /// Whether it awaits an answer.
    pub(super) fn awaits(&self) -> bool {
        matches!(self.progress, Progress::Awaits(_))
    }
}

impl Holds {
    pub(super) fn get_mut(&mut self, key: SessionKey) -> Option<&mut Hold> {
        self.all.get_mut(&key).map(|hold| &mut **hold)
    }

    /// What a held session is sent because its client was away.
    pub(super) fn replay_mut(&mut self, key: SessionKey) -> Option<&mut Replay> {
        self.get_mut(key)?.replay.as_deref_mut()
    }

    /// A session, if it is held.
    pub(super) fn get(&self, key: SessionKey) -> Option<&Hold> {
        self.all.get(&key).map(|hold| &**hold)
    }

    /// The holds that are due for a session are not needed any more: a later command has its
    /// permissions.
    pub(super) fn forget_due(&mut self, key: SessionKey) {
        if let Some(hold) = self.get_mut(key) {
            hold.due.retain(|due| !is_hold(due));
        }
    }

    /// How a session receives publications.
    pub(super) fn state(&self, key: SessionKey) -> State {
        match self.all.get(&key).map(|hold| hold.progress) {
            None => State::Live,
            Some(Progress::Awaits(_)) => State::Awaiting,
            Some(Progress::CatchesUp | Progress::Blocked | Progress::AwaitsLog) => {
                State::CatchingUp
            }
        }
    }

    /// Whether a session is held that was sent nothing yet.
    pub(super) fn is_newcomer(&self, key: SessionKey) -> bool {
        self.all.get(&key).is_some_and(|hold| hold.is_newcomer)
    }
}

impl<P> Session<P> {
    /// Whether it is admitted, and sent no publications for now.
    pub(super) fn is_held(&self) -> bool {
        self.pending.is_closed() && matches!(self.stage, Stage::Open { .. })
    }
}

impl<P: Peer> Shard<P> {
    /// Holds a session until the API has answered about it, to a call that was sent after
    /// `not_before` was ordered. Everything before is written.
    pub(super) fn hold(
        &mut self,
        key: SessionKey,
        not_before: u64,
        reason: RecheckReason,
        turn: &mut Turn<'_, impl World<P>>,
    ) {
        let Some(id) = self.sessions.find(key).filter(|id| self.is_open(*id)) else {
            return;
        };
        self.suspend_ticket(id);
        match self.holds.state(key) {
            State::Live => self.begin_hold(id, not_before, reason),
            State::Awaiting => self.await_answer(key, not_before, reason),
            State::CatchingUp => self.defer(key, Due::Hold(not_before, reason), turn),
        }
    }

    /// Holds a session whose answer is void since a position, before it is sent anything.
    pub(super) fn hold_newcomer(&mut self, key: SessionKey, not_before: u64) {
        let id = ConnectionId(key.slot);
        self.suspend_ticket(id);
        self.begin_hold(id, not_before, RecheckReason::Newcomer);
    }

    fn begin_hold(&mut self, id: ConnectionId, not_before: u64, reason: RecheckReason) {
        let key = self.sessions.key(id.0);
        let pending = std::mem::replace(&mut self.sessions[id.index()].pending, Pending::CLOSED);
        let tenant = self.tenant_of(id);
        debug_assert_eq!(
            self.lanes.pending(tenant, pending),
            0,
            "its hits are written"
        );
        let hold = Hold {
            upto: self.lanes.passed_of(tenant),
            progress: Progress::Awaits(not_before),
            due: VecDeque::new(),
            is_newcomer: reason == RecheckReason::Newcomer,
            stale: 0,
            replay: None,
            since: 0,
            gap: 0,
        };
        self.holds.all.insert(key, Box::new(hold));
        self.budget.spend(cost::HOLD);
        self.stats.connections_held += 1;
        self.await_answer(key, not_before, reason);
    }

    /// Holds a live session that was sent everything up to a position: it catches up.
    pub(super) fn hold_for_replay(
        &mut self,
        id: ConnectionId,
        upto: u64,
        replay: Replay,
        now: u64,
    ) -> SessionKey {
        let progress = Progress::CatchesUp;
        self.hold_at(id, upto, (progress, Some(Box::new(replay))), now)
    }

    /// Holds a live session until the log has come as far as its client.
    pub(super) fn hold_for_log(&mut self, id: ConnectionId, now: u64) {
        let upto = self.known(id);
        self.hold_at(id, upto, (Progress::AwaitsLog, None), now);
    }

    fn hold_at(
        &mut self,
        id: ConnectionId,
        upto: u64,
        (progress, replay): (Progress, Option<Box<Replay>>),
        now: u64,
    ) -> SessionKey {
        let key = self.sessions.key(id.0);
        // What is pending is sent from the window.
        self.sessions[id.index()].pending = Pending::CLOSED;
        let hold = Hold {
            upto,
            progress,
            due: VecDeque::new(),
            is_newcomer: false,
            stale: 0,
            replay,
            since: now,
            gap: 0,
        };
        self.holds.all.insert(key, Box::new(hold));
        self.stats.connections_held += 1;
        key
    }

    /// A held session awaits the answer to a call that was sent after this position was ordered.
    pub(super) fn await_answer(&mut self, key: SessionKey, not_before: u64, reason: RecheckReason) {
        let Some(hold) = self.holds.get_mut(key) else {
            return;
        };
        let not_before = match hold.progress {
            Progress::Awaits(position) => position.max(not_before),
            Progress::CatchesUp | Progress::Blocked | Progress::AwaitsLog => not_before,
        };
        hold.progress = Progress::Awaits(not_before);
        self.outputs.push_back(Output::Recheck(Recheck {
            key,
            not_before,
            is_held: true,
            reason,
            token: None,
        }));
    }

    /// Has something done when a held session has been sent everything before it.
    pub(super) fn defer(&mut self, key: SessionKey, due: Due, turn: &mut Turn<'_, impl World<P>>) {
        let passed = self.lanes.passed_of(self.tenant_of(ConnectionId(key.slot)));
        if let Some(hold) = self.holds.get_mut(key) {
            hold.due.push_back((passed, due));
            if hold.due.len() > DUE {
                self.stats.window_gaps += 1;
                self.leave(ConnectionId(key.slot), GAP, turn);
            }
        }
    }

    /// Gives new permissions to a session that catches up. Later commands select it by its new
    /// identity; its subscriptions are dropped when it has been sent everything before `due`. It
    /// need not be held for an older answer any more.
    pub(super) fn change_later(
        &mut self,
        key: SessionKey,
        change: &Change<'_>,
        due: Due,
        turn: &mut Turn<'_, impl World<P>>,
    ) {
        let is_changed = self.set_rights(key, change);
        let Some(hold) = self.holds.get_mut(key) else {
            return;
        };
        match hold.due.iter().position(is_hold) {
            Some(first) if is_changed => hold.due[first].1 = due,
            None if is_changed => self.defer(key, due, turn),
            Some(_) | None => {}
        }
        self.holds.forget_due(key);
    }

    /// A held session has its answer: it catches up. One that was sent nothing yet is sent its
    /// first message.
    pub(super) fn release(
        &mut self,
        key: SessionKey,
        welcome: &[u8],
        turn: &mut Turn<'_, impl World<P>>,
    ) {
        let Some(hold) = self.holds.get_mut(key) else {
            return;
        };
        hold.progress = Progress::CatchesUp;
        hold.since = turn.now;
        let is_newcomer = std::mem::take(&mut hold.is_newcomer);
        self.list_catching(key);
        if is_newcomer {
            // It was sent nothing yet, so it missed nothing.
            self.missed_nothing(ConnectionId(key.slot));
            self.greet(ConnectionId(key.slot), welcome, false, turn);
        }
    }

    /// A held session is live again. Its client's messages are processed from now on.
    pub(super) fn go_live(&mut self, id: ConnectionId, turn: &mut Turn<'_, impl World<P>>) {
        let key = self.sessions.key(id.0);
        if let Some(hold) = self.holds.all.remove(&key) {
            turn.world.caught_up(turn.now.saturating_sub(hold.since));
            self.stats.connections_held -= 1;
            // It was sent everything since.
            if hold.gap != 0 {
                self.gaps.told(id.index(), hold.gap);
            }
            self.sessions[id.index()].pending = Pending::EMPTY;
            self.resume_postponed(key);
            if self.is_stream(id) {
                self.stream_is_live(id, turn);
            }
        }
    }

    /// Forgets that a session is held, which ends. Returns whether it was sent nothing at all.
    pub(super) fn forget_hold(&mut self, id: ConnectionId) -> bool {
        let key = self.sessions.key(id.0);
        self.lag.forget(key);
        if self.terms.forget(key) {
            self.outputs.push_back(Output::CancelRecheck(key));
        }
        if !self.sessions[id.index()].is_held() {
            return false;
        }
        let Some(hold) = self.holds.all.remove(&key) else {
            return false;
        };
        self.stats.connections_held -= 1;
        if matches!(hold.progress, Progress::Awaits(_)) {
            self.outputs.push_back(Output::CancelRecheck(key));
        }
        hold.is_newcomer
    }
}
