//! The guard as lists that are searched from the front.

use std::collections::VecDeque;
use std::time::Duration;

use proptest::sample::Index;

use super::{Brings, Brought};
use crate::call::{Key, Reply};
use crate::config::GuardConfig;
use crate::guard::{Arrival, CallGuard, CallId, Output, Refusal, Shows, WaiterId};

/// A call that has not ended.
#[derive(Clone, Debug)]
struct Call {
    id: CallId,
    brought: Brought,
    waiters: Vec<WaiterId>,
    sent: Option<Duration>,
    until: Duration,
}

/// A response that may be shared.
struct Kept {
    brought: Brought,
    sent: Duration,
    brings: Brings,
}

/// The guard, and what it should do.
pub(super) struct World {
    guard: CallGuard<Brought, Brings>,
    config: GuardConfig,
    now: Duration,
    calls: Vec<Call>,
    /// The queued calls, by address, in the order of their turns.
    turns: VecDeque<(u8, VecDeque<CallId>)>,
    kept: Vec<Kept>,
    /// The expected outputs, in their order.
    expected: Vec<Output<Brought>>,
}

impl World {
    pub(super) fn new(config: &GuardConfig) -> Self {
        Self {
            guard: CallGuard::new(config),
            config: config.clone(),
            now: Duration::ZERO,
            calls: Vec::new(),
            turns: VecDeque::new(),
            kept: Vec::new(),
            expected: Vec::new(),
        }
    }

    pub(super) fn arrive(&mut self, brought: Brought) {
        let is_open = self.guard.is_circuit_open();
        let arrival = self.guard.arrive(&brought, self.now);
        if is_open {
            assert_eq!(arrival, Arrival::Refused(Refusal::CircuitOpen));
            return self.check();
        }
        let (now, coalesce) = (self.now, self.config.coalesce);
        let is_fresh = |sent: Option<Duration>| {
            sent.is_none_or(|sent| !coalesce.is_zero() && now <= sent + coalesce)
        };
        // The newest one counts.
        let same = |call: &&mut Call| call.brought == brought && is_fresh(call.sent);
        let kept = self.kept.iter().rev().find(|kept| kept.brought == brought);
        if let Some(call) = self.calls.iter_mut().rev().find(same) {
            let Arrival::Waits { waiter, call: id } = arrival else {
                panic!("it joins a call");
            };
            assert_eq!(id, call.id);
            call.waiters.push(waiter);
        } else if let Some(kept) = kept.filter(|kept| is_fresh(Some(kept.sent))) {
            assert_eq!(arrival, Arrival::Answered(kept.brings.clone()));
        } else {
            self.begin(brought, arrival);
        }
        self.check();
    }

    /// A call is made, queued, or rejected.
    fn begin(&mut self, brought: Brought, arrival: Arrival<Brings>) {
        let is_free = self.is_free_for(brought.address);
        let waiting: usize = self.turns.iter().map(|(_, calls)| calls.len()).sum();
        if !is_free && waiting >= self.config.max_waiting && !self.make_room(brought.address) {
            assert_eq!(arrival, Arrival::Refused(Refusal::QueueFull));
            return;
        }
        let Arrival::Waits { waiter, call: id } = arrival else {
            panic!("there is room, and it got {arrival:?}");
        };
        assert!(self.calls.iter().all(|call| call.id != id));
        self.calls.push(Call {
            id,
            brought,
            waiters: vec![waiter],
            sent: is_free.then_some(self.now),
            until: self.now + self.config.wait_timeout,
        });
        if is_free {
            self.expected.push(Output::Call(id, brought));
            return;
        }
        let own = |(address, _): &&mut (u8, _)| *address == brought.address;
        match self.turns.iter_mut().find(own) {
            Some((_, calls)) => calls.push_back(id),
            None => self.turns.push_back((brought.address, [id].into())),
        }
    }

    /// One of the calls in progress is answered.
    pub(super) fn answer(&mut self, which: Index, shows: Shows) {
        let under_way: Vec<_> = self.calls.iter().filter(|it| it.sent.is_some()).collect();
        if under_way.is_empty() {
            return;
        }
        let call = which.get(&under_way).id;
        self.answer_to(call, shows);
    }

    fn answer_to(&mut self, call: CallId, shows: Shows) {
        let call = self.take(call);
        let brings = Brings {
            call: call.id,
            bytes: 1,
            is_good: shows == Shows::Works,
        };
        let (waiters, _) = self.guard.answered(call.id, &brings, shows, self.now);
        assert!(waiters.into_iter().eq(call.waiters), "each of them, once");
        let newest = self.calls.iter().all(|other| {
            // A newer call with the same key is the one that others join.
            other.brought != call.brought || other.id < call.id
        });
        let newer = |kept: &Kept| kept.brought == call.brought && kept.brings.call > call.id;
        let sent = call.sent.filter(|_| !self.config.coalesce.is_zero());
        if let (Some(sent), Some(_)) = (sent, brings.kept())
            && newest
            && !self.kept.iter().any(newer)
        {
            self.kept.push(Kept {
                brought: call.brought,
                sent,
                brings,
            });
        }
        self.expected.push(Output::Over(call.id));
        self.serve();
        self.check();
    }

    pub(super) fn leave(&mut self, which: Index) {
        let clients = self.calls.iter().flat_map(|call| &call.waiters);
        let clients: Vec<_> = clients.copied().collect();
        if clients.is_empty() {
            return;
        }
        let client = *which.get(&clients);
        self.guard.left(client, self.now);
        // Again: no client is removed twice.
        self.guard.left(client, self.now);
        let call = self
            .calls
            .iter_mut()
            .find(|it| it.waiters.contains(&client));
        let call = call.expect("it is one of theirs");
        call.waiters.retain(|other| *other != client);
        if call.waiters.is_empty() {
            let id = call.id;
            let call = self.take(id);
            self.expected.push(Output::Over(id));
            if call.sent.is_some() {
                self.serve();
            }
        }
        self.check();
    }

    /// Time passes; what is due meanwhile is done at its time.
    pub(super) fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.guard.deadline().filter(|&due| due <= end) {
            assert!(due >= self.now, "it was due before");
            self.now = due;
            self.guard.timeout(due);
            let late = self.calls.iter();
            let late = late.filter(|call| call.sent.is_none() && call.until <= due);
            let mut late: Vec<_> = late.map(|call| (call.until, call.id)).collect();
            late.sort_unstable();
            assert!(!late.is_empty(), "nobody has waited too long");
            for (_, call) in late {
                self.refuse(call, Refusal::Busy);
            }
            self.check();
        }
        self.now = end;
        let waits = |call: &Call| call.sent.is_some() || call.until > end;
        assert!(self.calls.iter().all(waits), "somebody waits too long");
    }

    pub(super) fn probe(&mut self, answered: bool) {
        if self.guard.next_probe().is_some_and(|due| due <= self.now) {
            self.guard.probed(answered, self.now, 7);
        }
        self.check();
    }

    /// All calls are answered, and nothing is left.
    pub(super) fn end(mut self) {
        while let Some(call) = self.calls.iter().find(|call| call.sent.is_some()) {
            self.answer_to(call.id, Shows::Works);
        }
        assert!(self.calls.is_empty(), "somebody waits for ever");
        let guard = self.guard;
        assert_eq!(
            (guard.in_flight(), guard.waiting(), guard.waiters()),
            (0, 0, 0)
        );
        assert!(guard.calls.is_empty() && guard.deadlines.is_empty());
        let (kept, _, known) = guard.shared.sizes();
        assert!(known <= kept, "an entry is left behind");
    }

    /// The outputs are the expected ones, and the limits hold.
    fn check(&mut self) {
        let outputs = std::iter::from_fn(|| self.guard.poll_output());
        let outputs: Vec<_> = outputs.filter(|it| *it != Output::Probe).collect();
        assert_eq!(outputs, std::mem::take(&mut self.expected));
        let under_way = self.calls.iter().filter(|call| call.sent.is_some());
        let under_way: Vec<_> = under_way.collect();
        let waiters = self.calls.iter().map(|call| call.waiters.len());
        assert_eq!(self.guard.in_flight(), under_way.len());
        assert_eq!(self.guard.waiters(), waiters.sum());
        assert_eq!(self.guard.waiting(), self.calls.len() - under_way.len());
        let most = self.config.max_in_flight;
        assert!(under_way.len() <= most);
        for address in 0..3 {
            let own = under_way
                .iter()
                .filter(|call| call.brought.address == address);
            assert!(own.count() <= (most - most / 4).max(1), "one has all");
        }
        // No call waits needlessly.
        let mut waiting = self.turns.iter();
        assert!(!waiting.any(|(address, _)| self.is_free_for(*address)));
    }

    /// Whether a call of this address may be made.
    fn is_free_for(&self, address: u8) -> bool {
        let most = self.config.max_in_flight;
        let sent = |call: &&Call| call.sent.is_some();
        let under_way = self.calls.iter().filter(sent).count();
        let own = |call: &&Call| call.brought.address == address;
        let own = self.calls.iter().filter(sent).filter(own).count();
        let is_known = address < 3;
        under_way < most && (!is_known || own < (most - most / 4).max(1))
    }

    /// Free slots are given to the calls whose turn it is.
    fn serve(&mut self) {
        while let Some(at) = (0..self.turns.len()).find(|&at| self.is_free_for(self.turns[at].0)) {
            let (address, mut calls) = self.turns.remove(at).expect("it is there");
            let id = calls.pop_front().expect("nobody has a turn for nothing");
            if !calls.is_empty() {
                self.turns.push_back((address, calls));
            }
            if self.guard.is_circuit_open() {
                self.refuse(id, Refusal::CircuitOpen);
                continue;
            }
            let now = self.now;
            let call = self.calls.iter_mut().find(|call| call.id == id);
            let call = call.expect("it waits");
            call.sent = Some(now);
            let brought = call.brought;
            self.expected.push(Output::Call(id, brought));
        }
    }

    /// The last of the longest queue makes room, unless the own one would be as long.
    fn make_room(&mut self, address: u8) -> bool {
        let own = self.turns.iter().find(|(other, _)| *other == address);
        let own = own.map_or(0, |(_, calls)| calls.len());
        let key = |address: u8| Brought { address, cookie: 0 }.queue_key();
        let longest = self.turns.iter();
        let longest = longest.max_by_key(|(address, calls)| (calls.len(), key(*address)));
        let Some((_, longest)) = longest.filter(|(_, calls)| calls.len() > own + 1) else {
            return false;
        };
        let last = *longest.back().expect("it is the longest");
        self.refuse(last, Refusal::QueueFull);
        true
    }

    fn refuse(&mut self, id: CallId, why: Refusal) {
        let call = self.take(id);
        let refused = call.waiters.iter();
        let refused = refused.map(|&waiter| Output::Refuse(waiter, why));
        self.expected.extend(refused);
        self.expected.push(Output::Over(id));
    }

    fn take(&mut self, id: CallId) -> Call {
        let at = self.calls.iter().position(|call| call.id == id);
        for (_, calls) in &mut self.turns {
            calls.retain(|other| *other != id);
        }
        self.turns.retain(|(_, calls)| !calls.is_empty());
        self.calls.remove(at.expect("it is not over"))
    }
}
