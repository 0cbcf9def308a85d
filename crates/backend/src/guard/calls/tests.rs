//! Who shares a call with whom, also where all hashes collide.

use std::hash::BuildHasherDefault;

use futures_util::FutureExt;
use http::{HeaderMap, HeaderValue};
use proptest::prelude::*;
use tokio::sync::mpsc;

use super::*;
use crate::answer::{Failure, Refusal};

const MS: Duration = Duration::from_millis(1);

/// Gives everything the same hash.
#[derive(Default)]
struct Collide;

impl Hasher for Collide {
    fn finish(&self) -> u64 {
        7
    }

    fn write(&mut self, _: &[u8]) {}
}

type Colliding = BuildHasherDefault<Collide>;

fn key(address: &str, headers: &[(&'static str, &str)]) -> Key {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(*name, HeaderValue::from_str(value).unwrap());
    }
    let credentials = Credentials::from(map);
    Key::new(credentials.from_address(Some(address.parse().unwrap())))
}

/// Admits with one room, this text.
fn admitted(text: &str) -> Answer {
    Answer::Admitted(Permissions::of(text.to_owned().into()))
}

#[test]
fn only_the_very_same_headers_from_the_same_address_are_the_same() {
    let own = key("10.0.0.1", &[("cookie", "a=1"), ("user-agent", "x")]);
    let same = key("10.0.0.1", &[("cookie", "a=1"), ("user-agent", "x")]);
    assert!(own == same);
    for other in [
        key("10.0.0.2", &[("cookie", "a=1"), ("user-agent", "x")]),
        key("10.0.0.1", &[("cookie", "a=1"), ("user-agent", "X")]),
        key("10.0.0.1", &[("cookie", "a=1 "), ("user-agent", "x")]),
        key("10.0.0.1", &[("cookie", "a=1")]),
        key("10.0.0.1", &[("cookie", "a=1"), ("cookie", "a=1")]),
        key("10.0.0.1", &[("cookie", "a=1"), ("x-real-ip", "x")]),
        key("10.0.0.1", &[("user-agent", "a=1"), ("cookie", "x")]),
        key("10.0.0.1", &[]),
    ] {
        assert!(own != other, "{:?}", other.credentials());
    }
}

/// What happens to the calls of a few clients.
#[derive(Clone, Debug)]
enum Step {
    Join(usize, usize),
    /// The call of this number goes out.
    Sent(prop::sample::Index),
    /// It is answered, or fails.
    Answer(prop::sample::Index, bool),
    /// This client leaves.
    Leave(prop::sample::Index),
    Wait(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..3usize, 0..4usize).prop_map(|(a, h)| Step::Join(a, h)),
        2 => any::<prop::sample::Index>().prop_map(Step::Sent),
        2 => (any::<prop::sample::Index>(), any::<bool>()).prop_map(|(i, ok)| Step::Answer(i, ok)),
        1 => any::<prop::sample::Index>().prop_map(Step::Leave),
        1 => (0..20u8).prop_map(Step::Wait),
    ]
}

const ADDRESSES: [&str; 3] = ["10.0.0.1", "10.0.0.2", "2001:db8::1"];
const HEADERS: [&[(&str, &str)]; 4] = [
    &[],
    &[("cookie", "a=1")],
    &[("cookie", "a=2")],
    &[("cookie", "a=1"), ("authorization", "Token 1")],
];

/// A call that was begun.
struct Begun {
    who: (usize, usize),
    sent: Option<Instant>,
    orders: mpsc::Sender<Order>,
}

enum Order {
    Sent(Instant),
    Answer(Answer, Instant),
}

/// Waits for orders as the guard's own call waits for its place and its answer.
async fn obey<S: BuildHasher>(ticket: Ticket<S>, mut orders: mpsc::Receiver<Order>) -> Answer {
    loop {
        match orders.recv().await {
            Some(Order::Sent(now)) => ticket.sent(now),
            Some(Order::Answer(answer, now)) => {
                ticket.finished(&answer, now);
                return answer;
            }
            None => std::future::pending().await,
        }
    }
}

struct Visitor {
    who: (usize, usize),
    came: Instant,
    call: Call,
}

struct World {
    calls: Arc<Calls<Colliding>>,
    coalesce: Duration,
    now: Instant,
    begun: Vec<Begun>,
    visitors: Vec<Visitor>,
}

impl World {
    fn new(coalesce: Duration) -> Self {
        Self {
            calls: Calls::new(coalesce),
            coalesce,
            now: Instant::now(),
            begun: Vec::new(),
            visitors: Vec::new(),
        }
    }

    fn join(&mut self, who: (usize, usize)) {
        let key = key(ADDRESSES[who.0], HEADERS[who.1]);
        let waits = |begun: &Begun| begun.who == who && begun.sent.is_none();
        let may_share = self
            .begun
            .iter()
            .any(|begun| waits(begun) && !begun.orders.is_closed());
        let before = self.begun.len();
        let begun = &mut self.begun;
        let call = self.calls.join(&key, self.now, |ticket| {
            let (orders, receiver) = mpsc::channel(4);
            begun.push(Begun {
                who,
                sent: None,
                orders,
            });
            Box::pin(obey(ticket, receiver))
        });
        if may_share {
            assert_eq!(before, self.begun.len(), "a call that waits is shared");
        }
        let came = self.now;
        self.visitors.push(Visitor { who, came, call });
    }

    fn sent(&mut self, number: usize) {
        if self.begun[number].sent.is_none() {
            self.begun[number].sent = Some(self.now);
            let _ = self.begun[number].orders.try_send(Order::Sent(self.now));
            self.poll();
        }
    }

    fn answer(&mut self, number: usize, good: bool) {
        self.sent(number);
        let answer = match good {
            true => admitted(&number.to_string()),
            false => Answer::Failed(Failure::Closed),
        };
        let order = Order::Answer(answer, self.now);
        let _ = self.begun[number].orders.try_send(order);
        self.poll();
    }

    /// Lets every client look whether there is an answer, and checks whose it is.
    fn poll(&mut self) {
        let mut visitors = std::mem::take(&mut self.visitors);
        visitors.retain_mut(|visitor| {
            let Some(answer) = (&mut visitor.call).now_or_never() else {
                return true;
            };
            if let Answer::Admitted(admission) = answer {
                let text = std::str::from_utf8(&admission.allowed_rooms).unwrap();
                let call = &self.begun[text.parse::<usize>().unwrap()];
                assert_eq!(call.who, visitor.who, "an answer for somebody else");
                let fresh = call.sent.unwrap() + self.coalesce >= visitor.came;
                assert!(fresh, "an answer from before its time");
            }
            false
        });
        self.visitors = visitors;
    }
}

proptest! {
    #[test]
    fn nobody_gets_the_answer_of_another_or_an_old_one_or_none(
        coalesce in prop_oneof![Just(0u32), 1..30u32],
        steps in prop::collection::vec(step(), 0..80),
    ) {
        let mut world = World::new(coalesce * MS);
        for step in steps {
            match step {
                Step::Join(address, headers) => world.join((address, headers)),
                Step::Sent(index) if !world.begun.is_empty() => {
                    world.sent(index.index(world.begun.len()));
                }
                Step::Answer(index, good) if !world.begun.is_empty() => {
                    world.answer(index.index(world.begun.len()), good);
                }
                Step::Leave(index) if !world.visitors.is_empty() => {
                    let leaves = index.index(world.visitors.len());
                    world.visitors.swap_remove(leaves);
                }
                Step::Sent(_) | Step::Answer(..) | Step::Leave(_) => {}
                Step::Wait(ms) => world.now += u32::from(ms) * MS,
            }
        }
        for number in 0..world.begun.len() {
            world.answer(number, true);
        }
        world.poll();
        prop_assert!(world.visitors.is_empty(), "somebody waits for ever");
        let table = world.calls.lock();
        prop_assert!(table.entries.len() <= table.kept.len(), "an entry is left behind");
    }
}

#[test]
fn finished_answers_are_kept_within_bounds() {
    let calls: Arc<Calls> = Calls::new(Duration::from_secs(3_600));
    let now = Instant::now();
    let ask = |number: usize, bytes: usize| {
        let own = key("10.0.0.1", &[("cookie", &number.to_string())]);
        let call = calls.join(&own, now, |ticket| {
            Box::pin(async move {
                ticket.sent(now);
                let answer = admitted(&"x".repeat(bytes));
                ticket.finished(&answer, now);
                answer
            })
        });
        call.now_or_never().unwrap();
        let table = calls.lock();
        assert_eq!(table.entries.len(), table.kept.len());
        (table.kept.len(), table.kept_bytes)
    };
    for number in 0..2 * KEPT_MAX {
        let (kept, bytes) = ask(number, 1_000);
        assert!(
            kept <= KEPT_MAX && bytes <= KEPT_BYTES_MAX,
            "{kept} {bytes}"
        );
    }
    for number in 0..40 {
        let (_, bytes) = ask(10_000 + number, 1 << 20);
        assert!(bytes <= KEPT_BYTES_MAX, "{bytes}");
    }
    let (kept, _) = ask(20_000, KEPT_BYTES_MAX + 1);
    assert_eq!(kept, 0);
    // What is kept goes when its moment is over, at the next visit.
    ask(1, 1);
    let later = now + Duration::from_secs(3_601);
    let other = key("10.0.0.2", &[]);
    let _call = calls.join(&other, later, |ticket| {
        Box::pin(async move {
            let _ticket = ticket;
            std::future::pending().await
        })
    });
    assert!(calls.lock().kept.is_empty());
}

#[test]
fn a_refusal_is_kept_and_a_failure_is_not() {
    let calls: Arc<Calls> = Calls::new(MS);
    let now = Instant::now();
    let own = key("10.0.0.1", &[]);
    let ask = |answer: Answer| {
        let call = calls.join(&own, now, |ticket| {
            Box::pin(async move {
                ticket.sent(now);
                ticket.finished(&answer, now);
                answer
            })
        });
        call.now_or_never().unwrap()
    };
    let failed = ask(Answer::Failed(Failure::Closed));
    assert!(matches!(failed, Answer::Failed(_)));
    let refused = ask(Answer::Refused(Refusal::Status(403)));
    assert!(matches!(refused, Answer::Refused(_)));
    let again = ask(admitted("never asked"));
    assert!(matches!(again, Answer::Refused(Refusal::Status(403))));
    assert_eq!(calls.joined(), 1);
}
