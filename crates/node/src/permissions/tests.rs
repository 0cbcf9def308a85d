//! Requests of shards, and what they get for them, in virtual time.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::BoxFuture;
use ht_backend::{Backend, Credentials, Failure, Hook, Permissions};
use ht_core::index::Matching;
use ht_core::window::WindowLimits;
use ht_overload::Due;
use http::{HeaderMap, HeaderValue};

use super::*;
use crate::config::{PermissionsConfig, TenantsConfig};
use crate::inbox::Receiver;
use crate::node::Node;

const BOUNDS: inbox::Bounds = inbox::Bounds {
    inputs: 8,
    bytes: 1 << 20,
};

const MS: Duration = Duration::from_millis(1);

/// Answers each call after 100 ms.
struct Api {
    answer: Mutex<Answer>,
    calls: AtomicUsize,
    /// Calls in flight.
    open: Arc<()>,
}

impl Backend for Api {
    fn bootstrap<'a>(&'a self, _: &'a Credentials) -> BoxFuture<'a, Answer> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let open = Arc::clone(&self.open);
        Box::pin(async move {
            tokio::time::sleep(100 * MS).await;
            drop(open);
            self.answer.lock().unwrap().clone()
        })
    }

    fn probe(&self) -> BoxFuture<'_, Answer> {
        unreachable!("there is no guard")
    }

    fn has_hook(&self, _: Hook) -> bool {
        false
    }

    fn hook<'a>(&'a self, _: Hook, _: &'a Credentials) -> BoxFuture<'a, Result<(), Failure>> {
        unreachable!("there are no hooks")
    }
}

/// Two shards whose inboxes the test reads.
struct Setting {
    node: Node,
    api: Arc<Api>,
    shards: [Receiver; 2],
    shutdown: CancellationToken,
    service: tokio::task::JoinHandle<()>,
}

impl Setting {
    fn new(answer: Answer, permissions: PermissionsConfig) -> Self {
        let mut node = Node::new(2, Matching::default(), WindowLimits::default());
        let [first, second] = std::array::from_fn(|_| {
            let poll = mio::Poll::new().unwrap();
            inbox::inbox(BOUNDS, inbox::waker(&poll, mio::Token(0)).unwrap())
        });
        let api = Arc::new(Api {
            answer: Mutex::new(answer),
            calls: AtomicUsize::new(0),
            open: Arc::default(),
        });
        let backend: Arc<dyn Backend> = Arc::<Api>::clone(&api);
        let tenants = Tenants::new(&TenantsConfig::default(), Some(backend), node.call_clock());
        node.tenants = Arc::new(tenants.unwrap());
        let rechecker = Rechecker {
            mailbox: Arc::clone(&node.rechecks),
            tenants: Arc::clone(&node.tenants),
            interner: Arc::clone(&node.interner),
            clock: node.call_clock(),
            reports: Reports {
                meters: Arc::clone(&node.meters),
                counters: Arc::clone(&node.counters),
                throttles: Arc::clone(&node.throttles),
            },
            live: Live::of_defaults(permissions),
            inboxes: vec![first.0, second.0],
        };
        let shutdown = CancellationToken::new();
        let service = tokio::spawn(rechecker.run(shutdown.clone()));
        Self {
            node,
            api,
            shards: [first.1, second.1],
            shutdown,
            service,
        }
    }

    fn request(&self, asker: Asker, cookie: &'static str, due: Due) {
        let mut headers = HeaderMap::new();
        headers.insert("cookie", HeaderValue::from_static(cookie));
        let credentials = self.node.interner.credentials(&headers.into());
        let credentials = Some(credentials);
        self.node
            .rechecks
            .request(asker, Request { credentials, due });
    }

    /// The next answer to a shard.
    async fn answer(&mut self, shard: usize) -> Arc<Rechecked> {
        loop {
            if let Some(Input::Rechecked(rechecked)) = self.shards[shard].next(|_| false, false) {
                return rechecked;
            }
            tokio::time::sleep(MS).await;
        }
    }

    fn calls(&self) -> usize {
        self.api.calls.load(Ordering::Relaxed)
    }

    async fn end(self) {
        self.shutdown.cancel();
        self.service.await.unwrap();
    }
}

fn asker(shard: usize, slot: u64) -> Asker {
    Asker {
        shard,
        has_token: false,
        key: SessionKey::from_bits(slot),
    }
}

fn due(patience: Patience) -> Due {
    Due {
        not_before: CallTime::default(),
        patience,
    }
}

fn admitted() -> Answer {
    Answer::Admitted(Permissions {
        user_id: Some("7".into()),
        expires_in: Some(9_000 * MS),
        ..Permissions::of(br#"[{"n": 1}]"#.as_slice().into())
    })
}

fn failed() -> Answer {
    Answer::Failed(Failure::Closed)
}

#[tokio::test(start_paused = true)]
async fn one_call_answers_all_sessions_with_the_same_credentials() {
    let mut setting = Setting::new(admitted(), PermissionsConfig::default());
    setting.node.commands.placed(5);
    for (shard, slot) in [(0, 1), (1, 2), (0, 3)] {
        setting.request(asker(shard, slot), "a", due(Patience::Held));
    }
    setting.request(asker(0, 4), "b", due(Patience::Held));
    let first = setting.answer(0).await;
    let keys = |slots: &[u64]| -> Vec<_> {
        let slots = slots.iter();
        slots.map(|slot| SessionKey::from_bits(*slot)).collect()
    };
    assert_eq!(first.keys, keys(&[1, 3]));
    assert_eq!((first.asked_at, first.has_token), (5, false));
    let RecheckOutcome::Permitted(rights) = &first.outcome else {
        panic!("{first:?}");
    };
    assert_eq!(rights.who.as_ref().and_then(|who| who.user()), Some("7"));
    assert_eq!(rights.expires_in, Some(9_000));
    let welcome = br#"{"is_authorized": true, "allowed_rooms": [{"n": 1}]}"#;
    assert_eq!(rights.welcome, welcome.as_slice());
    assert_eq!(setting.answer(1).await.keys, keys(&[2]));
    assert_eq!(setting.answer(0).await.keys, keys(&[4]));
    assert_eq!(setting.calls(), 2);
    setting.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_passed_on_whatever_form_it_has() {
    for refusal in [
        Answer::Refused(Refusal::Status(403)),
        Answer::Admitted(Permissions::of(b"[1]".as_slice().into())),
    ] {
        let mut setting = Setting::new(refusal, PermissionsConfig::default());
        setting.request(asker(1, 1), "a", due(Patience::Held));
        let answer = setting.answer(1).await;
        assert!(
            matches!(answer.outcome, RecheckOutcome::Refused),
            "{answer:?}"
        );
        setting.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_usable_answer_the_hold_ends_as_the_settings_say() {
    for (unreachable, keeps) in [(Unreachable::Close, false), (Unreachable::Keep, true)] {
        let permissions = PermissionsConfig {
            unreachable,
            ..PermissionsConfig::default()
        };
        let mut setting = Setting::new(failed(), permissions);
        let begun = Instant::now();
        setting.request(asker(0, 1), "a", due(Patience::Held));
        let answer = setting.answer(0).await;
        let held = begun.elapsed();
        assert!(
            (30_000 * MS..30_100 * MS).contains(&held),
            "{unreachable:?}: {held:?}"
        );
        match answer.outcome {
            RecheckOutcome::Keep => assert!(keeps),
            RecheckOutcome::Unreachable { within } => assert!(!keeps && within >= 1_000),
            RecheckOutcome::Permitted(_) | RecheckOutcome::Refused => panic!("{answer:?}"),
        }
        // After pauses of 2.5 to 5 seconds each.
        assert!((5..=12).contains(&setting.calls()), "{}", setting.calls());
        let counter = &setting.node.counters.permissions_unreachable;
        assert_eq!(counter.load(Ordering::Relaxed), 1);
        setting.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_api_recovers_while_sessions_are_held() {
    let mut setting = Setting::new(failed(), PermissionsConfig::default());
    setting.request(asker(0, 1), "a", due(Patience::Held));
    tokio::time::sleep(1_000 * MS).await;
    *setting.api.answer.lock().unwrap() = admitted();
    let answer = setting.answer(0).await;
    assert!(matches!(answer.outcome, RecheckOutcome::Permitted(_)));
    assert_eq!(setting.calls(), 2);
    setting.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_call_for_sessions_that_have_ended_is_abandoned() {
    let setting = Setting::new(admitted(), PermissionsConfig::default());
    setting.request(asker(0, 1), "a", due(Patience::Held));
    tokio::time::sleep(10 * MS).await;
    assert_eq!(Arc::strong_count(&setting.api.open), 2);
    setting.node.rechecks.cancel(asker(0, 1));
    tokio::time::sleep(10 * MS).await;
    assert_eq!(Arc::strong_count(&setting.api.open), 1);
    setting.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_token_gets_the_result_of_one_attempt() {
    let mut setting = Setting::new(failed(), PermissionsConfig::default());
    let token = Asker {
        has_token: true,
        ..asker(0, 1)
    };
    setting.request(token, "a", due(Patience::Once));
    let answer = setting.answer(0).await;
    assert!(answer.has_token);
    assert!(matches!(answer.outcome, RecheckOutcome::Unreachable { .. }));
    assert_eq!(setting.calls(), 1);
    let counter = &setting.node.counters.permissions_unreachable;
    assert_eq!(counter.load(Ordering::Relaxed), 0);
    // One that no header can hold is refused without a call.
    let request = Request {
        credentials: None,
        due: due(Patience::Once),
    };
    setting.node.rechecks.request(token, request);
    let answer = setting.answer(0).await;
    assert!(answer.has_token && matches!(answer.outcome, RecheckOutcome::Refused));
    assert_eq!(setting.calls(), 1);
    setting.end().await;
}
