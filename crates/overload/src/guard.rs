//! [`CallGuard`]: decides which calls are made, and which clients get which response.
//!
//! A client first joins a queued call with the very same key ([`shared`]). A call waits in a fair
//! queue for one of a bounded number of slots ([`slots`]). If the backend fails, a circuit breaker
//! opens ([`crate::circuit`]), and rejected clients get a span within which to reconnect that grows
//! with their number ([`crate::pace`]).

mod shared;
mod slots;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use crate::call::{Key, Reply};
use crate::circuit::{Change, Circuit, Source};
use crate::config::GuardConfig;
use crate::fair_queue::{FairQueue, QueueEntry, QueueKey};
use crate::guard::shared::{Found, SharedCalls};
use crate::guard::slots::Slots;
use crate::pace::Pace;

/// Identifies a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(u64);

/// Identifies a client that waits for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WaiterId(u64);

/// Decision about a client that arrives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arrival<A> {
    /// It waits for this call, its own or that of another.
    Waits {
        /// Its id from now on.
        waiter: WaiterId,
        /// The call that it waits for.
        call: CallId,
    },
    /// It gets the response of a call that has just ended.
    Answered(A),
    /// It is rejected at once.
    Refused(Refusal),
}

/// Why a client is rejected without a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No slot was free within the timeout of the queue.
    Busy,
    /// The queue is full, and others need the room more.
    QueueFull,
    /// The circuit breaker is open.
    CircuitOpen,
}

/// What a response shows about the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shows {
    /// It works.
    Works,
    /// It responds, but the response is unusable.
    Answers,
    /// It may have an outage that affects all clients.
    Outage(Source),
}

/// An action for the shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output<K> {
    /// Make this call.
    Call(CallId, K),
    /// Reject this client.
    Refuse(WaiterId, Refusal),
    /// This call has ended: no client waits for it any more. If it is in progress, abandon it
    /// before further outputs are executed.
    Over(CallId),
    /// Read [`CallGuard::next_probe`] again.
    Probe,
}

#[derive(Debug)]
struct Call<K> {
    key: K,
    waiters: BTreeSet<WaiterId>,
    phase: Phase,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Waiting { entry: QueueEntry, until: Duration },
    UnderWay { since: Duration },
}

/// Decides which calls are made, and which clients get which response. After each step the outputs
/// must be executed, in their order ([`Self::poll_output`]).
#[derive(Debug)]
pub struct CallGuard<K, A> {
    waiting_max: usize,
    wait_timeout: Duration,
    /// All calls that are queued or in progress.
    calls: HashMap<CallId, Call<K>>,
    waiters: HashMap<WaiterId, CallId>,
    shared: SharedCalls<K, A>,
    slots: Slots,
    /// No call is queued while a slot is free that it may use.
    queue: FairQueue<CallId>,
    /// Deadlines of the queued calls.
    deadlines: BTreeSet<(Duration, CallId)>,
    circuit: Circuit,
    pace: Pace,
    outputs: VecDeque<Output<K>>,
    /// Numbers calls and clients.
    next: u64,
    joined: u64,
}

impl<K: Key, A: Reply> CallGuard<K, A> {
    /// A guard without clients.
    #[must_use]
    pub fn new(config: &GuardConfig) -> Self {
        let circuit = Circuit::new(
            config.circuit_failures,
            config.circuit_backoff,
            config.circuit_backoff_max,
        );
        Self {
            waiting_max: config.max_waiting,
            wait_timeout: config.wait_timeout,
            calls: HashMap::new(),
            waiters: HashMap::new(),
            shared: SharedCalls::new(config.coalesce),
            slots: Slots::new(config.max_in_flight),
            queue: FairQueue::default(),
            deadlines: BTreeSet::new(),
            circuit,
            pace: Pace::new(config.max_in_flight),
            outputs: VecDeque::new(),
            next: 0,
            joined: 0,
        }
    }

    /// A client must be authenticated.
    pub fn arrive(&mut self, key: &K, now: Duration) -> Arrival<A> {
        // Before anything is created or kept for a client that would be rejected.
        if self.circuit.check(now).is_err() {
            return Arrival::Refused(Refusal::CircuitOpen);
        }
        let call = match self.shared.find(key, now) {
            Some(Found::Answer(answer)) => {
                self.joined += 1;
                return Arrival::Answered(answer);
            }
            Some(Found::Call(call)) => {
                self.joined += 1;
                call
            }
            None => match self.begin(key, now) {
                Some(call) => call,
                None => return Arrival::Refused(Refusal::QueueFull),
            },
        };
        self.next += 1;
        let waiter = WaiterId(self.next);
        self.waiters.insert(waiter, call);
        if let Some(known) = self.calls.get_mut(&call) {
            known.waiters.insert(waiter);
        }
        Arrival::Waits { waiter, call }
    }

    /// A call was answered. Every client that waits for it gets the response; returns their ids,
    /// and the change of the circuit breaker.
    pub fn answered(
        &mut self,
        call: CallId,
        answer: &A,
        shows: Shows,
        now: Duration,
    ) -> (BTreeSet<WaiterId>, Option<Change>) {
        let Some(known) = self.calls.remove(&call) else {
            return (BTreeSet::new(), None);
        };
        let change = match shows {
            Shows::Works | Shows::Answers => self.circuit.answered(),
            Shows::Outage(source) => {
                if self.circuit.failed(source, now) {
                    self.outputs.push_back(Output::Probe);
                }
                None
            }
        };
        for waiter in &known.waiters {
            self.waiters.remove(waiter);
        }
        let queue_key = known.key.queue_key();
        self.shared.finished(known.key, call, answer, now);
        self.outputs.push_back(Output::Over(call));
        if let Phase::UnderWay { since } = known.phase {
            if shows == Shows::Works {
                self.pace.served(now.saturating_sub(since));
            }
            self.give_back(queue_key, now);
        }
        (known.waiters, change)
    }

    /// A client does not wait any more. Its call is abandoned if no other client waits for it.
    pub fn left(&mut self, waiter: WaiterId, now: Duration) {
        let Some(id) = self.waiters.remove(&waiter) else {
            return;
        };
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        call.waiters.remove(&waiter);
        if call.waiters.is_empty() {
            self.end(id, now);
        }
    }

    /// When [`Self::timeout`] is due.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        self.deadlines.first().map(|(until, _)| *until)
    }

    /// Rejects the clients that have waited too long.
    pub fn timeout(&mut self, now: Duration) {
        while let Some(&(until, call)) = self.deadlines.first()
            && until <= now
        {
            self.deadlines.pop_first();
            self.refuse(call, Refusal::Busy, now);
        }
    }

    /// When the gateway's own call is due, if one is. The shell makes one at a time.
    #[must_use]
    pub fn next_probe(&self) -> Option<Duration> {
        self.circuit.next_probe()
    }

    /// Result of the gateway's own call. `random` shortens the time to the next one (jitter), so
    /// that many nodes do not probe in step.
    pub fn probed(&mut self, answered: bool, now: Duration, random: u32) -> Option<Change> {
        self.circuit.probed(answered, now, random)
    }

    /// The reconnect span of a client that is rejected now. Each call counts as one.
    pub fn come_back_within(&mut self, now: Duration) -> Duration {
        let away = self.circuit.check(now).err().unwrap_or_default();
        self.pace
            .book(now, now.saturating_add(away), self.queue.len())
    }

    /// The next output, until there is none.
    pub fn poll_output(&mut self) -> Option<Output<K>> {
        self.outputs.pop_front()
    }

    /// Calls that have a slot.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.slots.taken()
    }

    /// Queued calls.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Clients that wait, whether their call is in progress or queued.
    #[must_use]
    pub fn waiters(&self) -> usize {
        self.waiters.len()
    }

    /// Clients that joined the call of another so far.
    #[must_use]
    pub fn joined(&self) -> u64 {
        self.joined
    }

    /// Whether the circuit breaker is open.
    #[must_use]
    pub fn is_circuit_open(&self) -> bool {
        self.circuit.is_open()
    }

    /// How often it opened so far.
    #[must_use]
    pub fn circuit_opened(&self) -> u64 {
        self.circuit.opened()
    }

    /// Creates a call, in progress at once if a slot is free. None: there is no room for it.
    fn begin(&mut self, key: &K, now: Duration) -> Option<CallId> {
        let queue_key = key.queue_key();
        let is_free = !self.slots.is_full() && self.slots.is_open_to(queue_key);
        if !is_free && self.queue.len() >= self.waiting_max {
            let last = self.queue.make_room(queue_key)?;
            self.refuse(last, Refusal::QueueFull, now);
        }
        self.next += 1;
        let id = CallId(self.next);
        self.shared.begin(key.clone(), id);
        let phase = if is_free {
            Phase::UnderWay { since: now }
        } else {
            let until = now.saturating_add(self.wait_timeout);
            self.deadlines.insert((until, id));
            let entry = self.queue.push(queue_key, id);
            Phase::Waiting { entry, until }
        };
        let call = Call {
            key: key.clone(),
            waiters: BTreeSet::new(),
            phase,
        };
        self.calls.insert(id, call);
        if is_free {
            self.start(id, now);
        }
        Some(id)
    }

    /// A call is made.
    fn start(&mut self, id: CallId, now: Duration) {
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        if let Phase::Waiting { until, .. } = call.phase {
            self.deadlines.remove(&(until, id));
        }
        call.phase = Phase::UnderWay { since: now };
        self.slots.take(call.key.queue_key());
        self.shared.sent(&call.key, id, now);
        self.outputs.push_back(Output::Call(id, call.key.clone()));
    }

    /// Rejects all clients that wait for a call.
    fn refuse(&mut self, id: CallId, refusal: Refusal, now: Duration) {
        if let Some(call) = self.calls.get_mut(&id) {
            for waiter in std::mem::take(&mut call.waiters) {
                self.waiters.remove(&waiter);
                self.outputs.push_back(Output::Refuse(waiter, refusal));
            }
        }
        self.end(id, now);
    }

    /// A call ends without a response.
    fn end(&mut self, id: CallId, now: Duration) {
        let Some(call) = self.calls.remove(&id) else {
            return;
        };
        self.shared.forget(&call.key, id);
        self.outputs.push_back(Output::Over(id));
        match call.phase {
            Phase::Waiting { entry, until } => {
                self.queue.remove(entry);
                self.deadlines.remove(&(until, id));
            }
            Phase::UnderWay { .. } => self.give_back(call.key.queue_key(), now),
        }
    }

    /// Releases a slot and gives it to the next in the queue, unless the circuit is open.
    fn give_back(&mut self, key: QueueKey, now: Duration) {
        self.slots.give_back(key);
        while !self.slots.is_full() {
            let slots = &self.slots;
            let Some((_, next)) = self.queue.pop(|key| slots.is_open_to(key)) else {
                return;
            };
            if self.circuit.check(now).is_err() {
                self.refuse(next, Refusal::CircuitOpen, now);
            } else {
                self.start(next, now);
            }
        }
    }
}
