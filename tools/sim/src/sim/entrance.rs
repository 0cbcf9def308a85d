//! Admission: permits, the calls to the API that a node's guard makes, and rejected clients.

mod answers;
mod probes;
mod rechecks;

use std::time::Duration;

use ht_overload::{Arrival, CallId, CallTime, Output, RecheckId, Refusal, Shows, Source, WaiterId};

use crate::api::{Bootstrap, Brought, CALL_TIMEOUT, Says};
use crate::gate::{Gate, HandshakePermit, Permit};
use crate::mutant::Mutant;
use crate::sim::tickets::Offer;
use crate::sim::{AGAIN, Event, Sim};

/// Slack beyond all timeouts before a wait counts as too long, in ms.
const SLACK: u64 = 5;

/// One attempt to connect.
#[derive(Debug)]
pub(crate) struct Visitor {
    /// The client, and which attempt of it; `None` for one of a crowd.
    pub(super) client: Option<(usize, u64)>,
    /// It is no client: the API is asked again about open sessions.
    recheck: Option<RecheckId>,
    pub(super) node: usize,
    pub(super) life: usize,
    pub(super) brought: Brought,
    pub(super) permits: Option<(Permit, HandshakePermit)>,
    waiter: Option<WaiterId>,
    /// The ticket that is looked at.
    pub(super) offer: Option<Offer>,
}

/// Many clients that connect at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Crowd {
    pub(crate) address: u8,
    pub(crate) count: usize,
    /// All bring the same.
    pub(crate) same: bool,
    pub(crate) bootstrap: Bootstrap,
    /// After how many ms they disconnect.
    pub(crate) patience: u64,
}

impl Sim {
    pub(super) fn crowd(&mut self, node: usize, crowd: Crowd) {
        for _ in 0..crowd.count {
            self.cookies += usize::from(!crowd.same);
            let cookie = match crowd.same {
                true => 0,
                false => self.cookies,
            };
            // Cookies of clients are small numbers.
            let cookie = 1_000 + cookie;
            let visitor = self.visit(None, node, (crowd.address, cookie), crowd.bootstrap);
            self.events.after(crowd.patience, Event::Leaves(visitor));
        }
    }

    /// A client tries to connect. Returns the number of the attempt.
    pub(super) fn visit(
        &mut self,
        client: Option<(usize, u64)>,
        node: usize,
        (address, cookie): (u8, usize),
        bootstrap: Bootstrap,
    ) -> usize {
        let now = self.events.now;
        let brought = self.brought(node, (address, cookie));
        self.manners.insert((address, cookie), bootstrap);
        let number = self.visitors.len();
        let life = self.nodes[node].life;
        self.visitors.push(Visitor {
            client,
            recheck: None,
            node,
            life,
            brought,
            permits: None,
            waiter: None,
            offer: None,
        });
        if !self.nodes[node].is_up || self.nodes[node].is_closed {
            self.turned_away(number, AGAIN);
            return number;
        }
        let present = self.present(node);
        let entered = Gate::enter(&self.nodes[node].gate, address);
        let limits = self.plan.shape.gate;
        self.oracle
            .enters(life, address, &present, limits, entered.as_ref().err(), now);
        match entered {
            Ok(permits) => self.visitors[number].permits = Some(permits),
            Err(_) => {
                self.turned_away(number, AGAIN);
                return number;
            }
        }
        if !self.offers(number) {
            self.arrive(number);
        }
        number
    }

    /// What a client brings: it shares no call that was sent before the last command, or before a gap.
    pub(super) fn brought(&self, node: usize, (address, cookie): (u8, usize)) -> Brought {
        let coalesces = !self.plan.shape.guard.coalesce.is_zero();
        Brought {
            address,
            cookie,
            came_at: match coalesces {
                true => self.nodes[node].call_time(),
                false => CallTime::default(),
            },
            is_nobody: self.plan.mutant == Some(Mutant::OneQueue),
        }
    }

    /// Somebody waits for the API.
    pub(super) fn arrive(&mut self, number: usize) {
        let now = self.events.now;
        let Visitor {
            node,
            life,
            brought,
            ..
        } = self.visitors[number];
        let address = brought.address;
        match self.nodes[node].guard.arrive(&brought, at(now)) {
            Arrival::Waits { waiter, call } => {
                self.nodes[node].waiters.insert(waiter, number);
                self.visitors[number].waiter = Some(waiter);
                self.oracle.waits(number, life, address, call);
                let patience = self.plan.shape.guard.wait_timeout;
                let patience = ms(patience) + CALL_TIMEOUT + SLACK;
                self.events.after(patience, Event::Impatient(number));
            }
            Arrival::Answered(says) => self.told(number, says),
            Arrival::Refused(refusal) => {
                let (guard, up) = (&self.plan.shape.guard, self.up_since);
                self.oracle.refused(life, address, refusal, guard, up, now);
                self.sent_away(number);
            }
        }
        self.follow(node);
    }

    /// By address, the clients with a permit of this node: whether in a handshake or connected.
    fn present(&self, node: usize) -> Vec<(u8, bool)> {
        let own = &self.nodes[node];
        let handshakes = own.waiters.values();
        let handshakes = handshakes.filter(|&&number| self.visitors[number].recheck.is_none());
        let handshakes = handshakes.chain(&own.resuming);
        let handshakes = handshakes.map(|&number| (self.visitors[number].brought.address, true));
        let connected = own.shards.iter().flat_map(|shard| shard.around.holders());
        let connected = connected.map(|number| (self.address_of(number), false));
        handshakes.chain(connected).collect()
    }

    /// Executes the output of a node's guard.
    fn follow(&mut self, node: usize) {
        while let Some(output) = self.nodes[node].guard.poll_output() {
            self.follow_output(node, output);
        }
        let due = self.nodes[node].guard.deadline().map(ms);
        if let Some(due) = due.filter(|_| self.plan.mutant != Some(Mutant::NoTimeout))
            && self.nodes[node].guard_due.is_none_or(|at| due < at)
        {
            self.nodes[node].guard_due = Some(due);
            let life = self.nodes[node].life;
            self.events.at(due, Event::GuardDue { node, life });
        }
    }

    fn follow_output(&mut self, node: usize, output: Output<Brought>) {
        let (now, life) = (self.events.now, self.nodes[node].life);
        match output {
            Output::Call(call, brought) => {
                let own = self
                    .manners
                    .get(&(brought.address, brought.cookie))
                    .copied();
                let own = own.unwrap_or(Bootstrap::Admits(1));
                let (after, admitted) = self.mood.answer(own);
                let said = self.said(node, brought.cookie);
                let says = Says {
                    brought,
                    admitted,
                    said,
                };
                self.nodes[node].calls.insert(call);
                let guard = &self.plan.shape.guard;
                self.oracle.calls(life, call, brought.address, guard, now);
                let event = Event::Answer {
                    node,
                    life,
                    call,
                    says,
                };
                self.events.after(after, event);
            }
            Output::Refuse(waiter, refusal) => {
                let Some(number) = self.nodes[node].waiters.remove(&waiter) else {
                    return;
                };
                let address = self.visitors[number].brought.address;
                let (guard, up) = (&self.plan.shape.guard, self.up_since);
                if refusal == Refusal::CircuitOpen {
                    self.oracle.refused(life, address, refusal, guard, up, now);
                }
                self.oracle.ends(number);
                self.sent_away(number);
            }
            Output::Over(call) => {
                if self.plan.mutant != Some(Mutant::RunawayCall) {
                    self.nodes[node].calls.remove(&call);
                    self.oracle.call_ends(life, call);
                }
            }
            Output::Probe => self.plan_probe(node),
        }
    }

    /// The API responds to a call, unless it was abandoned.
    pub(super) fn answer(&mut self, node: usize, call: CallId, mut says: Says) {
        let now = self.events.now;
        let granted = self.granted(says.brought.cookie);
        says.said.grants.get_or_insert(granted);
        let own = &mut self.nodes[node];
        if !own.calls.remove(&call) {
            return;
        }
        self.oracle.call_ends(own.life, call);
        let source = Source {
            address: u64::from(says.brought.address),
            credentials: says.brought.cookie as u64,
        };
        let shows = match says.admitted {
            Some(_) => Shows::Works,
            None => Shows::Outage(source),
        };
        let is_answered = says.admitted.is_some();
        let most = self.plan.shape.guard.circuit_failures;
        self.oracle.hears(own.life, is_answered, most, now);
        let (waiters, _) = own.guard.answered(call, &says, shows, at(now));
        if !is_answered && self.plan.mutant == Some(Mutant::BlamedApi) {
            own.guard.probed(false, at(now), 0);
        }
        let own = &mut self.nodes[node];
        let numbers = waiters.iter();
        let numbers = numbers.filter_map(|waiter| own.waiters.remove(waiter));
        let numbers: Vec<_> = numbers.collect();
        numbers.iter().for_each(|&number| self.oracle.ends(number));
        // Before anybody arrives because of the answer.
        self.follow(node);
        numbers
            .into_iter()
            .for_each(|number| self.told(number, says));
        self.follow(node);
    }

    /// Waits beyond the timeout are ended.
    pub(super) fn guard_due(&mut self, node: usize) {
        let now = self.events.now;
        let own = &mut self.nodes[node];
        if own.guard_due == Some(now) {
            own.guard_due = None;
            own.guard.timeout(at(now));
            self.follow(node);
        }
    }

    /// A client is identified, or the API fails.
    fn told(&mut self, number: usize, says: Says) {
        let visitor = &mut self.visitors[number];
        visitor.waiter = None;
        let brought = visitor.brought;
        if brought != says.brought {
            self.oracle
                .violation(|| format!("visitor {number} got the answer of another"));
        }
        let (node, recheck) = (visitor.node, visitor.recheck);
        if let Some(id) = recheck {
            return self.asked_again(node, id, Some(says));
        }
        let permits = visitor.permits.take();
        let Some((client, attempt)) = visitor.client else {
            return;
        };
        match (says.admitted, permits) {
            (Some(admitted), Some((permit, _handshake))) => {
                self.answered(client, attempt, node, (admitted, says.said), permit);
            }
            _ => self.turned_away(number, AGAIN),
        }
    }

    /// A client is rejected by the guard.
    fn sent_away(&mut self, number: usize) {
        let visitor = &mut self.visitors[number];
        visitor.waiter = None;
        let permits = visitor.permits.take();
        let node = visitor.node;
        if let Some(id) = visitor.recheck {
            return self.asked_again(node, id, None);
        }
        if self.plan.mutant == Some(Mutant::LeakedPermit) {
            self.nodes[node].leaked.extend(permits);
        }
        let now = self.events.now;
        let span = self.nodes[node].guard.come_back_within(at(now));
        self.sent_away += 1;
        self.turned_away(number, ms(span));
    }

    /// A client that was not admitted retries.
    pub(super) fn turned_away(&mut self, number: usize, within: u64) {
        let visitor = &mut self.visitors[number];
        visitor.permits = None;
        if let Some((client, attempt)) = visitor.client
            && self.clients[client].gives_up(attempt)
        {
            self.come_back(client, within);
        }
    }

    /// A client does not wait any more.
    pub(super) fn leaves(&mut self, number: usize) {
        self.forgets_offer(number);
        let visitor = &mut self.visitors[number];
        let (node, life) = (visitor.node, visitor.life);
        let Some(waiter) = visitor.waiter.take().filter(|_| self.lives(node, life)) else {
            return;
        };
        self.visitors[number].permits = None;
        self.oracle.ends(number);
        let now = self.events.now;
        if self.plan.mutant == Some(Mutant::ForgottenLeave) {
            return;
        }
        self.nodes[node].waiters.remove(&waiter);
        self.nodes[node].guard.left(waiter, at(now));
        self.follow(node);
    }

    /// A client must have its result by now.
    pub(super) fn check_patience(&mut self, number: usize) {
        let visitor = &self.visitors[number];
        if visitor.waiter.is_some() && self.lives(visitor.node, visitor.life) {
            self.oracle
                .violation(|| format!("visitor {number} waits and waits for an answer"));
        }
    }

    /// A node is killed, and the connections in their handshake are broken.
    pub(super) fn lose_visitors(&mut self, node: usize) {
        for number in std::mem::take(&mut self.nodes[node].waiters).into_values() {
            self.visitors[number].waiter = None;
            self.oracle.forgets(number);
            self.turned_away(number, AGAIN);
        }
        self.lose_offers(node);
    }

    /// A node admits no more clients: those in their handshake are to reconnect.
    pub(super) fn close_entrance(&mut self, node: usize) {
        self.nodes[node].is_closed = true;
        let waiting: Vec<_> = self.nodes[node].waiters.values().copied().collect();
        let is_client = |number: &usize| self.visitors[*number].recheck.is_none();
        let clients: Vec<_> = waiting.into_iter().filter(is_client).collect();
        for number in clients {
            self.leaves(number);
            self.turned_away(number, AGAIN);
        }
        self.lose_offers(node);
    }
}

pub(super) fn at(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A time in whole ms, rounded up.
pub(super) fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}
