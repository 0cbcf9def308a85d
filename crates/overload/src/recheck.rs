//! [`Rechecks`]: queries the API again about sessions that are open, because their permissions may
//! have changed or are about to expire.
//!
//! Sessions with the same credentials are a group, which shares calls. A group has at most one call
//! in flight; it answers those of its sessions that accept an answer that old, and all others cause
//! exactly one more call. The number of calls in flight is bounded, so that clients that connect
//! meanwhile keep their turns at the [guard](crate::CallGuard). A call without a usable answer is
//! repeated after a pause, for sessions that are held until they have waited too long.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::hash::Hash;
use std::time::Duration;

use crate::call::CallTime;

/// Identifies a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecheckId(u64);

/// A session that needs an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// The answer to a call that was sent before the clock of the calls showed this does not count.
    /// The default: any answer counts.
    pub not_before: CallTime,
    /// How long it waits.
    pub patience: Patience,
}

/// How long a session waits for a usable answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Its client is sent nothing meanwhile: until the timeout.
    Held,
    /// Its permissions still hold: until its request is cancelled. Others go first.
    Renewal,
    /// Its client waits for the result of one attempt: no call is repeated for it.
    Once,
}

/// An action for the shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecheckOutput<C, S> {
    /// Make this call. The clock of the calls is read before it is sent.
    Call(RecheckId, C),
    /// No session waits for this call any more: abandon it before further outputs are executed.
    Abandon(RecheckId),
    /// There was no usable answer for these sessions, and none will follow.
    Fail(Vec<S>),
}

/// Decides which calls are made again for open sessions, and which sessions get which answer.
///
/// `C` are credentials, which are equal for clients that may share an answer; `S` names a session.
/// After each step the outputs must be executed, in their order ([`Self::poll_output`]).
#[derive(Debug)]
pub struct Rechecks<C, S> {
    in_flight_max: usize,
    hold_timeout: Duration,
    /// Each has a session that waits.
    groups: HashMap<GroupId, Group<C, S>>,
    by_credentials: HashMap<C, GroupId>,
    sessions: HashMap<S, GroupId>,
    calls: HashMap<RecheckId, GroupId>,
    /// Groups that need a call. None waits here while another call may be made.
    ready: BTreeMap<Turn, GroupId>,
    /// Groups whose last call failed, by the end of their pause.
    paused: BTreeSet<(Duration, GroupId)>,
    /// Sessions that are held, by the beginning of their wait.
    held: BTreeSet<(Duration, S)>,
    outputs: VecDeque<RecheckOutput<C, S>>,
    /// Numbers groups, calls and turns.
    next: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct GroupId(u64);

/// A group's place among those that need a call: those first for which a client waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    can_wait: bool,
    number: u64,
}

#[derive(Debug)]
struct Group<C, S> {
    credentials: C,
    waiting: BTreeMap<S, Waiting>,
    state: State,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    due: Due,
    /// When it began, or the API last gave a usable answer.
    since: Duration,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Ready(Turn),
    Calling(RecheckId),
    Paused(Duration),
}

impl<C: Clone + Eq + Hash, S: Copy + Ord + Hash> Rechecks<C, S> {
    /// Makes at most `in_flight_max` calls at once, and at least one. A session that is held waits
    /// for a usable answer up to `hold_timeout`.
    #[must_use]
    pub fn new(in_flight_max: usize, hold_timeout: Duration) -> Self {
        Self {
            in_flight_max: in_flight_max.max(1),
            hold_timeout,
            groups: HashMap::new(),
            by_credentials: HashMap::new(),
            sessions: HashMap::new(),
            calls: HashMap::new(),
            ready: BTreeMap::new(),
            paused: BTreeSet::new(),
            held: BTreeSet::new(),
            outputs: VecDeque::new(),
            next: 0,
        }
    }

    /// Changes the timeout, also for sessions that wait already.
    pub fn set_hold_timeout(&mut self, hold_timeout: Duration) {
        self.hold_timeout = hold_timeout;
    }

    /// A session needs an answer to a call with these credentials. A later request of a session
    /// replaces the former one, but accepts no older answer than that.
    pub fn request(&mut self, session: S, credentials: &C, due: Due, now: Duration) {
        let mut waiting = Waiting { due, since: now };
        if let Some((id, former)) = self.find(session) {
            waiting.due.not_before = due.not_before.with(former.due.not_before);
            if former.due.patience == Patience::Held {
                waiting.due.patience = Patience::Held;
                waiting.since = former.since;
            }
            if self.by_credentials.get(credentials) != Some(&id) {
                self.remove(session);
            }
        }
        let id = self.group(credentials);
        self.sessions.insert(session, id);
        if waiting.due.patience == Patience::Held {
            self.held.insert((waiting.since, session));
        }
        if let Some(group) = self.groups.get_mut(&id) {
            group.waiting.insert(session, waiting);
            if let State::Ready(turn) = &mut group.state
                && turn.can_wait
                && waiting.due.patience != Patience::Renewal
            {
                self.ready.remove(turn);
                turn.can_wait = false;
                self.ready.insert(*turn, id);
            }
        }
        self.settle();
    }

    /// A session ended, or needs no answer any more.
    pub fn cancel(&mut self, session: S) {
        self.remove(session);
        self.settle();
    }

    /// A call was answered; the clock of the calls showed `asked_at` before it was sent. Returns
    /// the sessions that get the answer.
    pub fn answered(&mut self, call: RecheckId, asked_at: CallTime, now: Duration) -> Vec<S> {
        let mut answered = Vec::new();
        if let Some(id) = self.calls.remove(&call)
            && let Some(group) = self.groups.get_mut(&id)
        {
            for (session, waiting) in &mut group.waiting {
                if asked_at.includes(waiting.due.not_before) {
                    answered.push(*session);
                } else if waiting.due.patience == Patience::Held {
                    self.held.remove(&(waiting.since, *session));
                    waiting.since = now;
                    self.held.insert((now, *session));
                }
            }
            for session in &answered {
                self.remove(*session);
            }
            self.end_state(id);
        }
        self.settle();
        answered
    }

    /// A call brought no usable answer: it is repeated at a random moment of the second half of
    /// `pause`.
    pub fn failed(&mut self, call: RecheckId, pause: Duration, random: u32, now: Duration) {
        if let Some(id) = self.calls.remove(&call)
            && let Some(group) = self.groups.get_mut(&id)
        {
            let half = pause / 2;
            let part = f64::from(random) / (f64::from(u32::MAX) + 1.0);
            let until = now.saturating_add(half + half.mul_f64(part));
            group.state = State::Paused(until);
            self.paused.insert((until, id));
            let once = group.waiting.iter();
            let once = once.filter(|(_, waiting)| waiting.due.patience == Patience::Once);
            let once: Vec<_> = once.map(|(session, _)| *session).collect();
            self.fail(once);
        }
        self.settle();
    }

    /// When [`Self::timeout`] is due.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        let held = self.held.first();
        let held = held.map(|(since, _)| since.saturating_add(self.hold_timeout));
        let paused = self.paused.first().map(|(until, _)| *until);
        held.into_iter().chain(paused).min()
    }

    /// Fails sessions that have waited too long, and repeats calls after their pause.
    pub fn timeout(&mut self, now: Duration) {
        let mut late = Vec::new();
        while let Some(&(since, session)) = self.held.first()
            && since.saturating_add(self.hold_timeout) <= now
        {
            self.held.pop_first();
            late.push(session);
        }
        self.fail(late);
        while let Some(&(until, id)) = self.paused.first()
            && until <= now
        {
            self.end_state(id);
        }
        self.settle();
    }

    /// The next output, until there is none.
    pub fn poll_output(&mut self) -> Option<RecheckOutput<C, S>> {
        self.outputs.pop_front()
    }

    /// Calls in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.calls.len()
    }

    /// Sessions that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.sessions.len()
    }

    /// Sessions among them that are held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// A session that waits, and its group.
    fn find(&self, session: S) -> Option<(GroupId, Waiting)> {
        let id = *self.sessions.get(&session)?;
        let waiting = self.groups.get(&id)?.waiting.get(&session)?;
        Some((id, *waiting))
    }

    /// The group of these credentials, which is created if there is none.
    fn group(&mut self, credentials: &C) -> GroupId {
        if let Some(&id) = self.by_credentials.get(credentials) {
            return id;
        }
        self.next += 1;
        let id = GroupId(self.next);
        let turn = Turn {
            can_wait: true,
            number: self.next,
        };
        let group = Group {
            credentials: credentials.clone(),
            waiting: BTreeMap::new(),
            state: State::Ready(turn),
        };
        self.groups.insert(id, group);
        self.by_credentials.insert(credentials.clone(), id);
        self.ready.insert(turn, id);
        id
    }

    /// A session waits no longer. The last one of a group ends it, and its call.
    fn remove(&mut self, session: S) -> Option<Waiting> {
        let id = self.sessions.remove(&session)?;
        let group = self.groups.get_mut(&id)?;
        let waiting = group.waiting.remove(&session)?;
        self.held.remove(&(waiting.since, session));
        if group.waiting.is_empty() {
            match group.state {
                State::Ready(turn) => drop(self.ready.remove(&turn)),
                State::Paused(until) => drop(self.paused.remove(&(until, id))),
                State::Calling(call) => {
                    if self.calls.remove(&call).is_some() {
                        self.outputs.push_back(RecheckOutput::Abandon(call));
                    }
                }
            }
            self.by_credentials.remove(&group.credentials);
            self.groups.remove(&id);
        }
        Some(waiting)
    }

    /// The call or the pause of a group has ended: it needs another call.
    fn end_state(&mut self, id: GroupId) {
        let Some(group) = self.groups.get_mut(&id) else {
            return;
        };
        if let State::Paused(until) = group.state {
            self.paused.remove(&(until, id));
        }
        self.next += 1;
        let mut waiting = group.waiting.values();
        let turn = Turn {
            can_wait: waiting.all(|waiting| waiting.due.patience == Patience::Renewal),
            number: self.next,
        };
        group.state = State::Ready(turn);
        self.ready.insert(turn, id);
    }

    fn fail(&mut self, sessions: Vec<S>) {
        if sessions.is_empty() {
            return;
        }
        for session in &sessions {
            self.remove(*session);
        }
        self.outputs.push_back(RecheckOutput::Fail(sessions));
    }

    /// Makes calls for as long as more may be in flight.
    fn settle(&mut self) {
        while self.calls.len() < self.in_flight_max
            && let Some((_, id)) = self.ready.pop_first()
        {
            let Some(group) = self.groups.get_mut(&id) else {
                continue;
            };
            self.next += 1;
            let call = RecheckId(self.next);
            group.state = State::Calling(call);
            self.calls.insert(call, id);
            let output = RecheckOutput::Call(call, group.credentials.clone());
            self.outputs.push_back(output);
        }
    }
}
