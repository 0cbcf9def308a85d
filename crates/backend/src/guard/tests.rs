//! The whole guard over a backend in memory, in virtual time.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use http::{HeaderMap, HeaderValue};
use tokio::sync::Semaphore;

use super::*;
use crate::CallTime;
use crate::answer::{Permissions, Refusal};

const SECOND: Duration = Duration::from_secs(1);

/// Returns the configured answer after the configured delay.
#[derive(Default)]
struct Memory {
    /// Default answer for all clients but those below.
    answer: Mutex<Option<Answer>>,
    /// Answer to the gateway's own calls; 401 if unset.
    own: Mutex<Option<Answer>>,
    probed: AtomicUsize,
    takes: Mutex<Duration>,
    /// Clients with this cookie hang until there is a permit.
    gate: Option<(&'static str, Semaphore)>,
    asked: Mutex<Vec<String>>,
    in_flight: AtomicUsize,
    in_flight_max: AtomicUsize,
}

/// A call under way.
struct UnderWay<'a>(&'a AtomicUsize);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Memory {
    fn answers(&self, answer: Answer) {
        *self.answer.lock().unwrap() = Some(answer);
    }

    fn own(&self, answer: Answer) {
        *self.own.lock().unwrap() = Some(answer);
    }

    fn probed(&self) -> usize {
        self.probed.load(Ordering::SeqCst)
    }

    fn takes(&self, time: Duration) {
        *self.takes.lock().unwrap() = time;
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    async fn serve(&self, cookie: String) -> Answer {
        let count = self.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        let _under_way = UnderWay(&self.in_flight);
        self.in_flight_max.fetch_max(count, Ordering::SeqCst);
        self.asked.lock().unwrap().push(cookie.clone());
        let takes = *self.takes.lock().unwrap();
        tokio::time::sleep(takes).await;
        if let Some((_, gate)) = self.gate.as_ref().filter(|(who, _)| *who == cookie) {
            gate.acquire().await.unwrap().forget();
        }
        let told = self.answer.lock().unwrap().clone();
        told.unwrap_or_else(|| admitted(&cookie))
    }
}

impl Backend for Memory {
    fn bootstrap<'a>(&'a self, credentials: &'a Credentials) -> BoxFuture<'a, Answer> {
        let cookie = credentials.headers()["cookie"].to_str().unwrap();
        self.serve(cookie.to_owned()).boxed()
    }

    fn probe(&self) -> BoxFuture<'_, Answer> {
        async {
            let takes = *self.takes.lock().unwrap();
            tokio::time::sleep(takes).await;
            self.probed.fetch_add(1, Ordering::SeqCst);
            let own = self.own.lock().unwrap().clone();
            own.unwrap_or(Answer::Refused(Refusal::Status(401)))
        }
        .boxed()
    }

    fn has_hook(&self, hook: Hook) -> bool {
        hook == Hook::Ping
    }

    fn hook<'a>(&'a self, _: Hook, _: &'a Credentials) -> BoxFuture<'a, Result<(), Failure>> {
        std::future::ready(Err(Failure::Closed)).boxed()
    }
}

fn admitted(text: &str) -> Answer {
    Answer::Admitted(Permissions::of(text.to_owned().into()))
}

/// A client with a cookie; the address is its first byte.
fn visitor(cookie: &str) -> Credentials {
    let mut headers = HeaderMap::new();
    headers.insert("cookie", HeaderValue::from_str(cookie).unwrap());
    let address = [10, 0, 0, cookie.as_bytes()[0]];
    Credentials::from(headers).from_address(Some(address.into()))
}

/// The result of a client, as a word.
async fn ask(guard: &Guard, cookie: &str) -> String {
    match guard.bootstrap(&visitor(cookie)).await {
        Answer::Admitted(admission) => String::from_utf8(admission.allowed_rooms.into()).unwrap(),
        Answer::Refused(refusal) => refusal.kind().as_str().into(),
        Answer::Failed(failure) => failure.kind().as_str().into(),
    }
}

fn status(status: u16) -> Answer {
    Answer::Failed(Failure::Status {
        status,
        retry_after: None,
    })
}

fn guard(backend: &Arc<Memory>, edit: impl FnOnce(&mut GuardConfig)) -> Guard {
    let mut config = GuardConfig {
        max_in_flight: 1,
        circuit_failures: 3,
        ..GuardConfig::default()
    };
    edit(&mut config);
    Guard::new(Arc::clone(backend) as Arc<dyn Backend>, &config)
}

/// A backend where the client `hold` hangs.
fn gated() -> Arc<Memory> {
    Arc::new(Memory {
        gate: Some(("hold", Semaphore::new(0))),
        ..Memory::default()
    })
}

/// Sleeps in virtual time.
async fn until(mut is: impl FnMut() -> bool) {
    for _ in 0..100_000 {
        if is() {
            return;
        }
        tokio::time::sleep(SECOND / 100).await;
    }
    panic!("it does not happen");
}

fn open(backend: &Memory) {
    backend.gate.as_ref().unwrap().1.add_permits(1);
}

#[tokio::test(start_paused = true)]
async fn never_more_calls_than_places_and_all_are_served() {
    let backend = Arc::new(Memory::default());
    backend.takes(SECOND / 10);
    let guard = guard(&backend, |config| config.max_in_flight = 20);
    let cookies: Vec<_> = (0..500).map(|number| format!("{number}")).collect();
    let told = join_all(cookies.iter().map(|cookie| ask(&guard, cookie))).await;
    assert_eq!(told, cookies);
    assert_eq!(backend.in_flight_max.load(Ordering::SeqCst), 20);
    assert_eq!(backend.asked().len(), 500);
    assert_eq!(guard.guard().unwrap(), GuardCounts::default());
}

#[tokio::test]
async fn addresses_take_turns() {
    let backend = gated();
    let guard = guard(&backend, |_| {});
    let crowd: Vec<_> = (0..100).map(|number| format!("crowd-{number}")).collect();
    let hold = ask(&guard, "hold");
    let crowd = join_all(crowd.iter().map(|cookie| ask(&guard, cookie)));
    let rest = async {
        let (one, other) = (ask(&guard, "one"), ask(&guard, "two"));
        let opened = async { open(&backend) };
        tokio::join!(one, other, opened)
    };
    tokio::join!(hold, crowd, rest);
    // "one" arrived after a hundred of another address.
    let asked = backend.asked();
    assert_eq!(asked[..4], ["hold", "crowd-0", "one", "two"]);
    assert_eq!(asked.len(), 103);
}

#[tokio::test]
async fn a_full_queue_evicts_from_the_longest_lane() {
    let backend = gated();
    let guard = guard(&backend, |config| config.max_waiting = 3);
    let hold = ask(&guard, "hold");
    let crowd = ["c1", "c2", "c3", "c4"].map(|cookie| ask(&guard, cookie));
    let rest = async {
        assert_eq!(guard.guard().unwrap().waiting, 3);
        tokio::join!(ask(&guard, "one"), async { open(&backend) }).0
    };
    let (_, crowd, one) = tokio::join!(hold, join_all(crowd), rest);
    assert_eq!(crowd, ["c1", "c2", "line-full", "line-full"]);
    assert_eq!(one, "one");
    assert_eq!(backend.asked(), ["hold", "c1", "one", "c2"]);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_longer_than_allowed_or_holds_a_stand_after_it() {
    let backend = gated();
    let guard = guard(&backend, |config| config.wait_timeout = SECOND);
    let hold = ask(&guard, "hold");
    let rest = async {
        let started = Instant::now();
        assert_eq!(ask(&guard, "late").await, "busy");
        assert_eq!(started.elapsed(), SECOND);
        // One that disconnects by itself.
        assert_eq!(ask(&guard, "gone").now_or_never(), None);
        assert_eq!(guard.guard().unwrap().waiting, 0);
        open(&backend);
        ask(&guard, "next").await
    };
    let (_, next) = tokio::join!(hold, rest);
    assert_eq!(next, "next");
    assert_eq!(backend.asked(), ["hold", "next"]);
}

#[tokio::test]
async fn a_slot_assigned_to_a_disconnecting_client_passes_to_the_next() {
    let backend = gated();
    let guard = guard(&backend, |_| {});
    let mut hold = Box::pin(ask(&guard, "hold"));
    assert_eq!((&mut hold).now_or_never(), None);
    let mut leaver = Box::pin(ask(&guard, "leaver"));
    assert_eq!((&mut leaver).now_or_never(), None);
    open(&backend);
    hold.await;
    // The disconnected client has the slot now, and has not observed it yet.
    assert_eq!(guard.guard().unwrap().in_flight, 1);
    assert_eq!(backend.asked(), ["hold"]);
    drop(leaver);
    assert_eq!(guard.guard().unwrap(), GuardCounts::default());
    assert_eq!(ask(&guard, "next").await, "next");
}

#[tokio::test]
async fn identical_clients_share_a_queued_call() {
    let backend = gated();
    let guard = guard(&backend, |_| {});
    let hold = ask(&guard, "hold");
    let same = join_all((0..50).map(|_| ask(&guard, "same")));
    let (_, same, ()) = tokio::join!(hold, same, async { open(&backend) });
    assert!(same.iter().all(|told| told == "same"));
    assert_eq!(backend.asked(), ["hold", "same"]);
    assert_eq!(guard.guard().unwrap().shared, 49);
}

#[tokio::test]
async fn a_call_in_flight_is_shared_only_with_coalesce() {
    for (coalesce, calls) in [(Duration::ZERO, 2), (3_600 * SECOND, 1)] {
        let backend = gated();
        let guard = guard(&backend, |config| {
            config.max_in_flight = 10;
            config.coalesce = coalesce;
        });
        let mut first = Box::pin(ask(&guard, "hold"));
        assert_eq!((&mut first).now_or_never(), None);
        let mut second = Box::pin(ask(&guard, "hold"));
        assert_eq!((&mut second).now_or_never(), None);
        assert_eq!(backend.asked().len(), calls);
        (0..3).for_each(|_| open(&backend));
        assert_eq!(tokio::join!(first, second), ("hold".into(), "hold".into()));
        // Nor is its result used again.
        assert_eq!(ask(&guard, "hold").await, "hold");
        assert_eq!(backend.asked().len(), if calls == 1 { 1 } else { 3 });
    }
}

#[tokio::test]
async fn the_first_client_of_a_call_may_disconnect_before_the_others() {
    for coalesce in [Duration::ZERO, SECOND] {
        let backend = gated();
        let guard = guard(&backend, |config| config.coalesce = coalesce);
        let mut hold = Box::pin(ask(&guard, "hold"));
        assert_eq!((&mut hold).now_or_never(), None);
        let mut leader = Box::pin(ask(&guard, "same"));
        assert_eq!((&mut leader).now_or_never(), None);
        let follower = ask(&guard, "same");
        let rest = async {
            drop(leader);
            open(&backend);
        };
        let (_, told, ()) = tokio::join!(hold, follower, rest);
        assert_eq!(told, "same");
        assert_eq!(backend.asked(), ["hold", "same"]);
    }
}

#[tokio::test]
async fn a_call_without_clients_is_abandoned() {
    let backend = gated();
    let guard = guard(&backend, |_| {});
    let mut first = Box::pin(ask(&guard, "hold"));
    let mut second = Box::pin(ask(&guard, "same"));
    let mut third = Box::pin(ask(&guard, "same"));
    for visitor in [&mut first, &mut second, &mut third] {
        assert_eq!(visitor.now_or_never(), None);
    }
    drop(first);
    assert_eq!(backend.in_flight.load(Ordering::SeqCst), 0);
    drop((second, third));
    assert_eq!(guard.guard().unwrap().in_flight, 0);
    assert_eq!(ask(&guard, "next").await, "next");
    assert_eq!(backend.asked(), ["hold", "next"]);
}

/// What makes calls fail.
const CLOSED: Answer = Answer::Failed(Failure::Closed);

/// Runs a guard's upkeep beside a test.
async fn upkept<T>(guard: &Guard, test: impl Future<Output = T>) -> T {
    tokio::select! {
        () = guard.upkeep() => unreachable!("it does not end"),
        done = test => done,
    }
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_fails_is_not_called_until_it_answers_the_gateway() {
    let backend = Arc::new(Memory::default());
    let guard = guard(&backend, |_| {});
    let test = async {
        backend.answers(CLOSED);
        backend.own(CLOSED);
        for visitor in ["a", "b", "c"] {
            assert_eq!(ask(&guard, visitor).await, "closed");
        }
        until(|| guard.guard().unwrap().circuit_open).await;
        for _ in 0..100 {
            assert_eq!(ask(&guard, "d").await, "circuit-open");
        }
        let open = Instant::now();
        assert_eq!((backend.asked().len(), backend.probed()), (3, 1));
        // The probes continue without any client, and at growing intervals.
        until(|| backend.probed() == 5).await;
        assert!(open.elapsed() >= (SECOND + 2 * SECOND + 4 * SECOND + 8 * SECOND) / 2);
        assert_eq!(ask(&guard, "d").await, "circuit-open");
        // Any answer closes it.
        backend.own(Answer::Refused(Refusal::Status(403)));
        until(|| !guard.guard().unwrap().circuit_open).await;
        backend.answers(admitted("in"));
        assert_eq!(ask(&guard, "d").await, "in");
        assert_eq!((backend.asked().len(), backend.probed()), (4, 6));
        assert_eq!(guard.guard().unwrap().circuit_opened, 1);
    };
    upkept(&guard, test).await;
}

/// One client whose calls fail, as by a cookie that is longer than the API's buffer.
#[tokio::test(start_paused = true)]
async fn calls_that_fail_by_their_credentials_open_nothing() {
    let crowd: [&[&str]; 4] = [
        // One address, one cookie.
        &["x"],
        // One address, many cookies.
        &["x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9"],
        // Fewer addresses than the threshold.
        &["x", "y"],
        // And more of them.
        &["x", "y", "z", "u", "v", "w"],
    ];
    for cookies in crowd {
        let backend = Arc::new(Memory::default());
        let guard = guard(&backend, |_| {});
        let test = async {
            for round in 0..100 {
                backend.answers(CLOSED);
                for cookie in cookies {
                    assert_eq!(ask(&guard, cookie).await, "closed");
                }
                if round % 10 == 9 {
                    *backend.answer.lock().unwrap() = None;
                    assert_eq!(ask(&guard, "honest").await, "honest");
                }
                tokio::time::sleep(SECOND / 20).await;
            }
        };
        upkept(&guard, test).await;
        assert_eq!(guard.guard().unwrap().circuit_opened, 0);
        // The gateway's own calls are few.
        assert!((1..=12).contains(&backend.probed()), "{}", backend.probed());
    }
}

#[tokio::test(start_paused = true)]
async fn when_the_circuit_opens_nobody_is_left_in_line() {
    let backend = Arc::new(Memory::default());
    backend.answers(CLOSED);
    backend.own(CLOSED);
    backend.takes(SECOND);
    let guard = guard(&backend, |config| config.max_in_flight = 8);
    let cookies: Vec<_> = (0..1_000).map(|number| format!("{number}")).collect();
    let asked = join_all(cookies.iter().map(|cookie| ask(&guard, cookie)));
    let told = upkept(&guard, asked).await;
    let closed = told.iter().filter(|told| *told == "closed").count();
    let sent_away = told.iter().filter(|told| *told == "circuit-open").count();
    // Calls are still sent while the first own call is in flight, a second.
    assert_eq!(closed + sent_away, 1_000);
    assert!((8..=24).contains(&closed), "{closed}");
    let counts = guard.guard().unwrap();
    assert_eq!((counts.in_flight, counts.waiting), (0, 0));
}

/// Calls that hang, of one address.
#[tokio::test(start_paused = true)]
async fn one_address_never_has_all_places() {
    let backend = Arc::new(Memory {
        gate: Some(("hang", Semaphore::new(0))),
        ..Memory::default()
    });
    let guard = guard(&backend, |config| {
        config.max_in_flight = 8;
        config.coalesce = Duration::ZERO;
    });
    let mut hanging: Vec<_> = (0..20).map(|_| Box::pin(ask(&guard, "hang"))).collect();
    for call in &mut hanging {
        assert_eq!(call.now_or_never(), None);
    }
    // Those that waited are one call.
    assert!(guard.guard().unwrap().in_flight <= 6);
    for visitor in ["a", "b", "c"] {
        let asked = Instant::now();
        assert_eq!(ask(&guard, visitor).await, visitor);
        assert_eq!(asked.elapsed(), Duration::ZERO);
    }
    // The slots are released, and assigned to waiting calls.
    (0..20).for_each(|_| open(&backend));
    assert!(join_all(hanging).await.iter().all(|told| told == "hang"));
    assert_eq!(guard.guard().unwrap().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn only_what_concerns_everybody_opens_the_circuit() {
    let outages = [
        Answer::Failed(Failure::Connect("x".into())),
        Answer::Failed(Failure::Truncated),
        status(502),
        status(503),
        status(504),
    ];
    let answers = [
        status(500),
        status(429),
        Answer::Refused(Refusal::Status(401)),
        Answer::Refused(Refusal::AllowedRooms),
        Answer::Failed(Failure::NotObject),
        Answer::Failed(Failure::ContentType(None)),
    ];
    let all = outages.map(|outage| (outage, true)).into_iter();
    for (answer, opens) in all.chain(answers.map(|answer| (answer, false))) {
        let backend = Arc::new(Memory::default());
        backend.answers(answer.clone());
        backend.own(answer.clone());
        let guard = guard(&backend, |_| {});
        let test = async {
            for visitor in ["a", "b", "c", "d", "e"] {
                ask(&guard, visitor).await;
                tokio::time::sleep(SECOND / 10).await;
            }
        };
        upkept(&guard, test).await;
        assert_eq!(guard.guard().unwrap().circuit_open, opens, "{answer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_span_to_come_back_in_grows_with_the_crowd_and_the_backoff() {
    let backend = Arc::new(Memory::default());
    let guard = guard(&backend, |_| {});
    let spans: Vec<_> = (0..100).map(|_| guard.come_back_within()).collect();
    assert_eq!((spans[0], spans[99]), (SECOND, 2 * SECOND));
    tokio::time::advance(60 * SECOND).await;
    backend.answers(CLOSED);
    backend.own(CLOSED);
    let test = async {
        for visitor in ["a", "b", "c"] {
            ask(&guard, visitor).await;
        }
        until(|| backend.probed() == 8).await;
    };
    upkept(&guard, test).await;
    // The rest of a wait that jitter shortened by up to a half.
    let span = guard.come_back_within();
    assert!((15 * SECOND..=31 * SECOND).contains(&span), "{span:?}");
}

#[tokio::test]
async fn hooks_pass_through() {
    let guard = guard(&Arc::new(Memory::default()), |_| {});
    assert!(guard.has_hook(Hook::Ping) && !guard.has_hook(Hook::Connect));
    let told = guard.hook(Hook::Ping, &Credentials::default()).await;
    assert_eq!(told, Err(Failure::Closed));
}

#[tokio::test(start_paused = true)]
async fn an_answer_has_the_number_of_its_call_and_serves_nobody_who_comes_later() {
    let backend = gated();
    let guard = guard(&backend, |config| {
        config.coalesce = 3_600 * SECOND;
        config.max_in_flight = 1;
    });
    let number = Arc::new(AtomicUsize::new(1));
    let clock = Arc::clone(&number);
    guard.number_calls(Arc::new(move || CallTime {
        commands: clock.load(Ordering::SeqCst) as u64,
        gap: 0,
    }));
    let asked_at = async |cookie: &str| match guard.bootstrap(&visitor(cookie)).await {
        Answer::Admitted(permissions) => permissions.asked_at.map(|at| at.commands),
        other @ (Answer::Refused(_) | Answer::Failed(_)) => panic!("{other:?}"),
    };
    let waits = async {
        until(|| backend.asked().len() == 1).await;
        // One shares the call; the other waits for the only slot, and is authenticated when the
        // first has its result.
        let (shared, other, ()) = tokio::join!(asked_at("hold"), asked_at("other"), async {
            number.store(2, Ordering::SeqCst);
            open(&backend);
        });
        (shared, other)
    };
    let (first, (shared, other)) = tokio::join!(asked_at("hold"), waits);
    assert_eq!((first, shared, other), (Some(1), Some(1), Some(2)));
    assert_eq!(
        asked_at("other").await,
        Some(2),
        "asked anew, for it came later"
    );
    assert_eq!(asked_at("other").await, Some(2), "kept");
    open(&backend);
    assert_eq!(asked_at("hold").await, Some(2));
    assert_eq!(backend.asked(), ["hold", "other", "other", "hold"]);
}
