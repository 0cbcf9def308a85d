//! Random steps against a naive model, in which every hash collides; and the limits of what is
//! kept.

mod model;

use std::hash::{Hash, Hasher};
use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;
use crate::guard::shared::{KEPT_BYTES_MAX, KEPT_MAX};
use crate::guard::tests::model::World;

const MS: Duration = Duration::from_millis(1);

/// An address, and what a client of it brings. All hashes collide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Brought {
    address: u8,
    cookie: u32,
}

impl Hash for Brought {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

impl Key for Brought {
    fn queue_key(&self) -> QueueKey {
        // The last address is not known.
        let is_known = self.address < 3;
        let address = Ipv4Addr::new(10, 0, 0, self.address).into();
        is_known.then_some(address).into()
    }

    fn bytes(&self) -> usize {
        4
    }
}

/// The result of a call: its key, and how long the response is; it is kept if it is usable.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Brings {
    call: CallId,
    bytes: usize,
    is_good: bool,
}

impl Reply for Brings {
    fn kept(&self) -> Option<(Self, usize)> {
        self.is_good.then(|| (self.clone(), self.bytes))
    }
}

#[derive(Clone, Debug)]
enum Step {
    Arrive(u8, u32),
    /// One of the calls in progress is answered.
    Answer(prop::sample::Index, bool),
    /// One of them fails, as in an outage, for the client of this number.
    Fail(prop::sample::Index, u64),
    /// This client disconnects.
    Leave(prop::sample::Index),
    Wait(u8),
    Probe(bool),
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        8 => (0..4u8, 0..4u32).prop_map(|(address, cookie)| Step::Arrive(address, cookie)),
        4 => (index(), any::<bool>()).prop_map(|(call, good)| Step::Answer(call, good)),
        3 => (index(), 0..4u64).prop_map(|(call, client)| Step::Fail(call, client)),
        2 => index().prop_map(Step::Leave),
        2 => (0..20u8).prop_map(Step::Wait),
        2 => any::<bool>().prop_map(Step::Probe),
    ]
}

fn config() -> impl Strategy<Value = GuardConfig> {
    let coalesce = prop_oneof![Just(0u32), 1..30u32];
    let all = (1..8usize, 0..6usize, 1..60u32, coalesce, 0..4u32);
    all.prop_map(
        |(max_in_flight, max_waiting, wait, coalesce, circuit_failures)| GuardConfig {
            max_in_flight,
            max_waiting,
            wait_timeout: wait * MS,
            coalesce: coalesce * MS,
            circuit_failures,
            circuit_backoff: 10 * MS,
            circuit_backoff_max: 40 * MS,
        },
    )
}

proptest! {
    /// Never more calls than slots and never all of them for one address; no call is overtaken by
    /// more than one call of each other address; every client is answered once, within the timeout,
    /// with its own response, and not with an old one; nothing is kept of clients that
    /// disconnected.
    #[test]
    fn the_guard_is_as_the_model(
        config in config(),
        steps in prop::collection::vec(step(), 0..200),
    ) {
        let mut world = World::new(&config);
        for step in steps {
            match step {
                Step::Arrive(address, cookie) => world.arrive(Brought { address, cookie }),
                Step::Answer(call, true) => world.answer(call, Shows::Works),
                Step::Answer(call, false) => world.answer(call, Shows::Answers),
                Step::Fail(call, client) => {
                    let source = Source { address: client, credentials: client };
                    world.answer(call, Shows::Outage(source));
                }
                Step::Leave(client) => world.leave(client),
                Step::Wait(ms) => world.wait(u32::from(ms) * MS),
                Step::Probe(answered) => world.probe(answered),
            }
        }
        world.end();
    }
}

/// A guard that keeps responses for an hour.
fn keeping() -> CallGuard<Brought, Brings> {
    CallGuard::new(&GuardConfig {
        coalesce: Duration::from_secs(3_600),
        ..GuardConfig::default()
    })
}

/// A client arrives at a guard with a free slot, and is answered. Returns whether it joined.
fn ask(
    guard: &mut CallGuard<Brought, Brings>,
    cookie: u32,
    bytes: usize,
    shows: Shows,
    now: Duration,
) -> bool {
    let brought = Brought { address: 0, cookie };
    let Arrival::Waits { waiter, call } = guard.arrive(&brought, now) else {
        return true;
    };
    assert_eq!(guard.poll_output(), Some(Output::Call(call, brought)));
    let is_good = shows == Shows::Works;
    let brings = Brings {
        call,
        bytes,
        is_good,
    };
    let (waiters, _) = guard.answered(call, &brings, shows, now);
    assert_eq!(waiters, [waiter].into());
    assert_eq!(guard.poll_output(), Some(Output::Over(call)));
    assert_eq!(guard.poll_output(), None);
    false
}

#[test]
fn kept_responses_are_bounded() {
    let mut guard = keeping();
    let now = Duration::ZERO;
    for number in 0..2 * KEPT_MAX as u32 {
        ask(&mut guard, number, 1_000, Shows::Works, now);
        let (kept, bytes, known) = guard.shared.sizes();
        assert!(kept <= KEPT_MAX && bytes <= KEPT_BYTES_MAX);
        assert_eq!(kept, known);
    }
    for number in 0..40 {
        ask(&mut guard, 10_000 + number, 1 << 20, Shows::Works, now);
        let (_, bytes, _) = guard.shared.sizes();
        assert!(bytes <= KEPT_BYTES_MAX, "{bytes}");
    }
    ask(&mut guard, 20_000, KEPT_BYTES_MAX + 1, Shows::Works, now);
    assert_eq!(guard.shared.sizes(), (0, 0, 0));
    // Kept responses are removed after they expire, with the next client.
    ask(&mut guard, 1, 1, Shows::Works, now);
    assert!(ask(&mut guard, 1, 1, Shows::Works, now));
    let later = now + Duration::from_secs(3_601);
    assert!(!ask(&mut guard, 2, 1, Shows::Answers, later));
    assert_eq!(guard.shared.sizes(), (0, 0, 0));
}

#[test]
fn responses_are_shared_until_they_expire_and_failures_are_not() {
    let mut guard = keeping();
    let now = Duration::ZERO;
    assert!(!ask(&mut guard, 1, 1, Shows::Answers, now));
    assert!(!ask(&mut guard, 1, 1, Shows::Works, now));
    assert!(ask(&mut guard, 1, 1, Shows::Works, now));
    assert_eq!(guard.joined(), 1);
}
