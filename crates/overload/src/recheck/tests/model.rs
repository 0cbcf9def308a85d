//! The machine as lists that are searched from the front.

use std::time::Duration;

use crate::recheck::tests::{Machine, at, check_idle, due};
use crate::recheck::{Patience, RecheckId, RecheckOutput};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Effect {
    Abandon(char),
    Call(char),
    Fail(Vec<u32>),
}

#[derive(Clone, Copy, Debug)]
struct Session {
    name: u32,
    credentials: char,
    not_before: u64,
    patience: Patience,
    since: Duration,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// It needs a call.
    Ready {
        is_urgent: bool,
    },
    /// The clock of the calls showed this before the call was sent.
    Calling {
        asked_at: u64,
    },
    Paused(Duration),
}

#[derive(Clone, Copy, Debug)]
struct Group {
    credentials: char,
    state: State,
}

/// The machine, and what it should do.
pub(super) struct World {
    machine: Machine,
    in_flight_max: usize,
    hold_timeout: Duration,
    now: Duration,
    /// The clock of the calls.
    pub(super) clock: u64,
    sessions: Vec<Session>,
    /// Those without a call are in the order in which they began to need one.
    groups: Vec<Group>,
    /// All calls so far.
    calls: Vec<(RecheckId, char)>,
    expected: Vec<Effect>,
}

impl World {
    pub(super) fn new(in_flight_max: usize, hold_timeout: Duration) -> Self {
        Self {
            machine: Machine::new(in_flight_max, hold_timeout),
            in_flight_max: in_flight_max.max(1),
            hold_timeout,
            now: Duration::ZERO,
            clock: 1,
            sessions: Vec::new(),
            groups: Vec::new(),
            calls: Vec::new(),
            expected: Vec::new(),
        }
    }

    pub(super) fn request(
        &mut self,
        name: u32,
        credentials: char,
        is_fresh: bool,
        patience: Patience,
    ) {
        let mut session = Session {
            name,
            credentials,
            not_before: if is_fresh { self.clock } else { 0 },
            patience,
            since: self.now,
        };
        let due = due(session.not_before, patience);
        self.machine.request(name, &credentials, due, self.now);
        if let Some(at) = self.sessions.iter().position(|it| it.name == name) {
            let former = self.sessions.remove(at);
            session.not_before = session.not_before.max(former.not_before);
            if former.patience == Patience::Held {
                session.patience = Patience::Held;
                session.since = former.since;
            }
        }
        self.sessions.push(session);
        self.drop_empty();
        let now_urgent = session.patience != Patience::Renewal;
        let own = |group: &&mut Group| group.credentials == credentials;
        match self.groups.iter_mut().find(own) {
            Some(Group {
                state: State::Ready { is_urgent },
                ..
            }) => *is_urgent |= now_urgent,
            Some(_) => {}
            None => self.make_ready(credentials),
        }
        self.check();
    }

    pub(super) fn cancel(&mut self, name: u32) {
        self.machine.cancel(name);
        self.sessions.retain(|session| session.name != name);
        self.drop_empty();
        self.check();
    }

    pub(super) fn answer(&mut self, which: usize) {
        let Some((call, credentials, asked_at)) = self.take_call(which) else {
            return;
        };
        let got = self.machine.answered(call, at(asked_at), self.now);
        let is_answered = |it: &Session| it.credentials == credentials && it.not_before <= asked_at;
        let answered = self.sessions.iter().filter(|it| is_answered(it));
        let mut answered: Vec<_> = answered.map(|session| session.name).collect();
        answered.sort_unstable();
        assert_eq!(got, answered);
        self.sessions.retain(|session| !is_answered(session));
        let own = |session: &&mut Session| session.credentials == credentials;
        for session in self.sessions.iter_mut().filter(own) {
            session.since = self.now;
        }
        self.make_ready(credentials);
        self.check();
    }

    pub(super) fn fail(&mut self, which: usize, pause: Duration) {
        let Some((call, credentials, _)) = self.take_call(which) else {
            return;
        };
        self.machine.failed(call, pause, 0, self.now);
        let state = State::Paused(self.now + pause / 2);
        self.groups.push(Group { credentials, state });
        self.fail_those(|it| it.credentials == credentials && it.patience == Patience::Once);
        self.check();
    }

    pub(super) fn wait(&mut self, time: Duration) {
        self.now += time;
        self.machine.timeout(self.now);
        let (now, hold_timeout) = (self.now, self.hold_timeout);
        self.fail_those(|it| it.patience == Patience::Held && it.since + hold_timeout <= now);
        let over = self.groups.iter().filter_map(|group| match group.state {
            State::Paused(until) if until <= now => Some((until, group.credentials)),
            State::Paused(_) | State::Ready { .. } | State::Calling { .. } => None,
        });
        let mut over: Vec<_> = over.collect();
        // Of those that end together the older group is first.
        let machine = &self.machine;
        over.sort_by_key(|(until, credentials)| (*until, machine.by_credentials[credentials]));
        for (_, credentials) in over {
            self.groups.retain(|group| group.credentials != credentials);
            self.make_ready(credentials);
        }
        self.check();
        let deadline = self.machine.deadline();
        assert!(deadline.is_none_or(|at| at > self.now), "{deadline:?}");
    }

    /// Answers everything that is left.
    pub(super) fn finish(mut self) {
        while !self.sessions.is_empty() {
            self.wait(self.hold_timeout);
            self.answer(0);
        }
        check_idle(&self.machine);
    }

    /// Removes a group with a call in flight.
    fn take_call(&mut self, which: usize) -> Option<(RecheckId, char, u64)> {
        let calling = self.groups.iter().filter_map(|group| match group.state {
            State::Calling { asked_at } => Some((group.credentials, asked_at)),
            State::Ready { .. } | State::Paused(_) => None,
        });
        let calling: Vec<_> = calling.collect();
        let (credentials, asked_at) = *calling.get(which.checked_rem(calling.len())?)?;
        self.groups.retain(|group| group.credentials != credentials);
        let mut calls = self.calls.iter().rev();
        let call = calls.find(|(_, of)| *of == credentials)?.0;
        Some((call, credentials, asked_at))
    }

    /// A group that is not listed needs a call, if a session waits for it.
    fn make_ready(&mut self, credentials: char) {
        let own = |session: &&Session| session.credentials == credentials;
        let own: Vec<_> = self.sessions.iter().filter(own).collect();
        if !own.is_empty() {
            let is_urgent = own.iter().any(|it| it.patience != Patience::Renewal);
            let state = State::Ready { is_urgent };
            self.groups.push(Group { credentials, state });
        }
    }

    fn fail_those(&mut self, is_failed: impl Fn(&Session) -> bool) {
        let mut failed: Vec<_> = self.sessions.iter().filter(|it| is_failed(it)).collect();
        if failed.is_empty() {
            return;
        }
        let is_held = |session: &Session| session.patience == Patience::Held;
        failed.sort_unstable_by_key(|it| (is_held(it).then_some(it.since), it.name));
        let names = failed.iter().map(|session| session.name).collect();
        self.sessions.retain(|session| !is_failed(session));
        self.drop_empty();
        self.expected.push(Effect::Fail(names));
    }

    /// Ends groups without a session.
    fn drop_empty(&mut self) {
        let (sessions, expected) = (&self.sessions, &mut self.expected);
        self.groups.retain(|group| {
            let mut all = sessions.iter();
            let is_empty = all.all(|session| session.credentials != group.credentials);
            if is_empty && matches!(group.state, State::Calling { .. }) {
                expected.push(Effect::Abandon(group.credentials));
            }
            !is_empty
        });
    }

    fn in_flight(&self) -> usize {
        let calling = |group: &&Group| matches!(group.state, State::Calling { .. });
        self.groups.iter().filter(calling).count()
    }

    /// The group whose turn it is.
    fn next(&mut self) -> Option<&mut Group> {
        let urgency = |group: &Group| match group.state {
            State::Ready { is_urgent } => Some(u8::from(is_urgent)),
            State::Calling { .. } | State::Paused(_) => None,
        };
        let best = self.groups.iter().filter_map(urgency).max()?;
        let mut groups = self.groups.iter_mut();
        groups.find(|group| urgency(group) == Some(best))
    }

    /// Makes the calls that are due, and compares all outputs.
    fn check(&mut self) {
        let asked_at = self.clock;
        while self.in_flight() < self.in_flight_max
            && let Some(group) = self.next()
        {
            group.state = State::Calling { asked_at };
            let call = Effect::Call(group.credentials);
            self.expected.push(call);
        }
        let mut effects = Vec::new();
        while let Some(output) = self.machine.poll_output() {
            effects.push(match output {
                RecheckOutput::Call(call, credentials) => {
                    self.calls.push((call, credentials));
                    Effect::Call(credentials)
                }
                RecheckOutput::Abandon(call) => {
                    let mut calls = self.calls.iter();
                    let (_, credentials) = calls.find(|(it, _)| *it == call).unwrap();
                    Effect::Abandon(*credentials)
                }
                RecheckOutput::Fail(sessions) => Effect::Fail(sessions),
            });
        }
        let expected = std::mem::take(&mut self.expected);
        assert_eq!(in_any_order(effects), in_any_order(expected));
        assert_eq!(self.machine.in_flight(), self.in_flight());
        assert_eq!(self.machine.waiting(), self.sessions.len());
        let held = self
            .sessions
            .iter()
            .filter(|it| it.patience == Patience::Held);
        assert_eq!(self.machine.held(), held.count());
    }
}

/// Calls that are abandoned together are so in any order.
fn in_any_order(mut effects: Vec<Effect>) -> Vec<Effect> {
    let abandons =
        |a: &Effect, b: &Effect| matches!((a, b), (Effect::Abandon(_), Effect::Abandon(_)));
    for run in effects.chunk_by_mut(abandons) {
        run.sort();
    }
    effects
}
