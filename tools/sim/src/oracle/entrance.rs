//! The judge of admission: which calls the API may get, and which clients may be rejected.

use std::collections::{BTreeMap, BTreeSet};

use ht_overload::{CallId, GuardConfig, Refusal};

use crate::api::CALL_TIMEOUT;
use crate::gate::{Full, GateLimits};
use crate::oracle::Oracle;

/// Slack beyond all timeouts, in ms.
const SLACK: u64 = 200;

/// How many seconds' worth of its rate an address may use at once.
const BURST: u64 = 10;

/// The entrance of one life of a node.
#[derive(Debug, Default)]
pub(super) struct Entrance {
    /// Calls that the API works on, and for whose addresses.
    under_way: BTreeMap<CallId, u8>,
    /// Clients that wait for a call that was not sent, in order of arrival.
    waiting: Vec<Waiting>,
    /// How many calls of the second address were sent while the first one waited for its turn.
    passed: BTreeMap<(u8, u8), usize>,
    /// Calls of clients that failed since the last answer.
    failures: u32,
    /// Since when they are as many as raise a suspicion.
    suspect: Option<u64>,
    /// The gateway's own call failed since the last answer.
    is_confirmed: bool,
    /// When clients of each address were admitted.
    times: BTreeMap<u8, Vec<u64>>,
}

#[derive(Debug)]
struct Waiting {
    visitor: usize,
    address: u8,
    call: CallId,
}

impl Entrance {
    /// Queued calls, by address.
    fn lanes(&self) -> BTreeMap<u8, usize> {
        let calls = self.waiting.iter().map(|it| (it.address, it.call));
        let mut lanes = BTreeMap::new();
        for (address, _) in calls.collect::<BTreeSet<_>>() {
            *lanes.entry(address).or_default() += 1;
        }
        lanes
    }

    fn calls_of(&self, address: u8) -> usize {
        let own = self.under_way.values().filter(|&&own| own == address);
        own.count()
    }
}

impl Oracle {
    /// A client got a permit, or none. `present`: clients with one, and whether it is a handshake.
    pub(crate) fn enters(
        &mut self,
        life: usize,
        address: u8,
        present: &[(u8, bool)],
        limits: GateLimits,
        full: Option<&Full>,
        now: u64,
    ) {
        let own = present.iter().filter(|(of, _)| *of == address);
        let open = own.clone().count();
        let handshakes = own.filter(|(_, is_handshake)| *is_handshake).count();
        let half = (limits.handshakes / 2).max(1);
        let in_progress = present.iter().filter(|(_, is_handshake)| *is_handshake);
        let in_progress = in_progress.count();
        let times = self.lives[life].entrance.times.entry(address).or_default();
        if !matches!(full, Some(Full::Open | Full::Rate(_))) {
            times.push(now);
        }
        let rate = limits.per_second as u64;
        let (is_right, what) = match full {
            Some(Full::Open) => (open >= limits.per_address, "connections of its address"),
            Some(Full::HandshakesOfAddress) => (handshakes >= half, "handshakes of its address"),
            Some(Full::Handshakes) => (in_progress >= limits.handshakes, "handshakes"),
            Some(Full::Connections) => (present.len() >= limits.connections, "connections"),
            Some(Full::Rate(_)) => {
                let last = times.last().copied().unwrap_or(0);
                let is_often = times.len() as u64 >= rate * BURST && now < last + BURST * 1_000;
                (is_often, "attempts of its address")
            }
            None => {
                let is_free = |limit: usize, taken: usize| limit == 0 || taken < limit;
                let is_seldom = rate == 0
                    || times.iter().rev().zip(1u64..).all(|(&first, count)| {
                        count * 1_000 <= (now - first + BURST * 1_000) * rate
                    });
                let is_right = is_free(limits.per_address, open)
                    && is_free(half, handshakes)
                    && in_progress < limits.handshakes
                    && is_free(limits.connections, present.len())
                    && is_seldom;
                (is_right, "a permit")
            }
        };
        if !is_right {
            let count = present.len();
            self.violation(|| {
                format!(
                    "address {address} gets {full:?} for {what}: it has {open}, the node {count}"
                )
            });
        }
    }

    /// A client waits for a call.
    pub(crate) fn waits(&mut self, visitor: usize, life: usize, address: u8, call: CallId) {
        self.visits.insert(visitor, life);
        let entrance = &mut self.lives[life].entrance;
        if !entrance.under_way.contains_key(&call) {
            entrance.waiting.push(Waiting {
                visitor,
                address,
                call,
            });
        }
    }

    /// A client got its result, was rejected or disconnected.
    pub(crate) fn ends(&mut self, visitor: usize) {
        let Some(life) = self.visits.remove(&visitor) else {
            return self
                .violation(|| format!("visitor {visitor} is answered twice, or after it left"));
        };
        let entrance = &mut self.lives[life].entrance;
        entrance
            .waiting
            .retain(|waiting| waiting.visitor != visitor);
        let lanes = entrance.lanes();
        entrance
            .passed
            .retain(|(lane, _), _| lanes.contains_key(lane));
    }

    /// The node that a client waited at is killed.
    pub(crate) fn forgets(&mut self, visitor: usize) {
        self.visits.remove(&visitor);
    }

    /// The API gets a call.
    pub(crate) fn calls(
        &mut self,
        life: usize,
        call: CallId,
        address: u8,
        guard: &GuardConfig,
        now: u64,
    ) {
        let most = guard.max_in_flight;
        let most_of_one = (most - most / 4).max(1);
        let entrance = &mut self.lives[life].entrance;
        entrance.waiting.retain(|waiting| waiting.call != call);
        let mut passed_by = None;
        for &lane in entrance.lanes().keys() {
            if lane == address || entrance.calls_of(lane) >= most_of_one {
                continue;
            }
            let times = entrance.passed.entry((lane, address)).or_default();
            *times += 1;
            if *times > 1 {
                passed_by = Some(lane);
            }
        }
        entrance.passed.retain(|(lane, _), _| *lane != address);
        let under_way = entrance.under_way.len();
        let own = entrance.calls_of(address);
        entrance.under_way.insert(call, address);
        // Three own calls that fail, each after the pause behind the last one.
        let found_within = 3 * (millis(guard.circuit_backoff) + CALL_TIMEOUT)
            + millis(guard.circuit_backoff)
            + SLACK;
        let is_out = entrance.suspect.filter(|since| now > since + found_within);
        if under_way >= most {
            self.violation(|| format!("the API works on {under_way} calls, {most} are permitted"));
        } else if own >= most_of_one {
            self.violation(|| format!("address {address} has {own} of {most} calls to the API"));
        } else if let Some(lane) = passed_by {
            self.violation(|| format!("address {lane} waits, and {address} is served again"));
        } else if let Some(since) = is_out {
            self.violation(|| {
                format!("a call goes out, and the API is out of order since {since}")
            });
        }
    }

    /// The API does not work on a call any more.
    pub(crate) fn call_ends(&mut self, life: usize, call: CallId) {
        self.lives[life].entrance.under_way.remove(&call);
    }

    /// What a client's call shows: the API responds, or does not.
    pub(crate) fn hears(&mut self, life: usize, is_answered: bool, most: u32, now: u64) {
        let entrance = &mut self.lives[life].entrance;
        if is_answered {
            entrance.failures = 0;
            entrance.suspect = None;
            entrance.is_confirmed = false;
        } else {
            entrance.failures += 1;
            if entrance.failures >= most {
                entrance.suspect.get_or_insert(now);
            }
        }
    }

    /// The gateway's own call was answered, or was not.
    pub(crate) fn probed(&mut self, life: usize, is_answered: bool) {
        let entrance = &mut self.lives[life].entrance;
        if is_answered {
            entrance.failures = 0;
            entrance.suspect = None;
        }
        entrance.is_confirmed = !is_answered;
    }

    /// A client is rejected without a call. `up`: since when the API responds to all.
    pub(crate) fn refused(
        &mut self,
        life: usize,
        address: u8,
        refusal: Refusal,
        guard: &GuardConfig,
        up: Option<u64>,
        now: u64,
    ) {
        let entrance = &self.lives[life].entrance;
        let lanes = entrance.lanes();
        let own = lanes.get(&address).copied().unwrap_or(0);
        let longest = lanes.values().copied().max().unwrap_or(0);
        let all: usize = lanes.values().sum();
        let is_confirmed = entrance.is_confirmed;
        let back_within = millis(guard.circuit_backoff_max) + 2 * CALL_TIMEOUT + SLACK;
        let is_late = up.filter(|since| now > since + back_within);
        match refusal {
            Refusal::CircuitOpen if !is_confirmed => {
                self.violation(|| {
                    "the circuit is open, and no call of the node's own failed".into()
                });
            }
            Refusal::CircuitOpen => {
                if let Some(since) = is_late {
                    self.violation(|| {
                        format!("the circuit is open, and the API is up since {since}")
                    });
                }
            }
            Refusal::QueueFull if all < guard.max_waiting || longest > own + 1 => {
                self.violation(|| {
                    format!(
                        "address {address} finds no room with {own} calls, another has {longest}"
                    )
                });
            }
            Refusal::QueueFull | Refusal::Busy => {}
        }
    }
}

fn millis(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
