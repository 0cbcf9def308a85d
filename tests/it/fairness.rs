//! Fairness: no client starves the others, be it a room that is published to without a pause, a
//! client that never stops sending, one enormous trigger, or a backend that hangs. The tests bound
//! how much work one gets done before the turn of the others, not how long that takes.

use std::io;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::thread::JoinHandle;

use serde_json::{Value, json};

use crate::support::{
    Client, Frame, Gateway, Handshake, NEVER, Reply, StubBackend, eventually, frame, http,
};

/// How often the others request their turn.
pub(crate) const TURNS: usize = 15;

/// A gateway whose connections share one thread.
fn one_thread(backend: &StubBackend) -> Gateway {
    Gateway::with(backend)
        .set("HT_THREADS", 1)
        .set("HT_LIMITS__OUTBOX_BYTES", "64MiB")
        // Those that never stop must be served, not disconnected.
        .set("HT_LIMITS__MESSAGES_PER_SECOND", 0)
        .start()
}

/// A task that runs until it is dropped, and counts what it did.
pub(crate) struct Busy {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Busy {
    fn with(mut work: impl FnMut() + Send + 'static) -> Self {
        let (stop, done) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&done));
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                work();
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self {
            stop,
            done,
            thread: Some(thread),
        }
    }

    /// Posts a body again and again.
    pub(crate) fn posting(gateway: &Gateway, body: String) -> Self {
        let door = gateway.internal().clone();
        Self::with(move || {
            let answer = http::request(&door, "POST", "/trigger/", &[], body.as_bytes());
            assert_eq!(answer.status, 200, "{answer:?}");
        })
    }

    /// A client that repeats one message, and reads the replies.
    pub(crate) fn talking(client: Client, said: &[Frame]) -> Self {
        let mut stream = client.stream;
        let mut answers = stream.try_clone().expect("a socket");
        thread::spawn(move || io::copy(&mut answers, &mut io::sink()));
        let bytes: Vec<u8> = said.iter().flat_map(Frame::bytes).collect();
        let bytes = bytes.repeat((64 << 10) / bytes.len());
        Self::with(move || stream.write_all(&bytes).expect("bytes sent"))
    }

    pub(crate) fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().expect("dropped once").join();
        assert!(ended.is_ok() || thread::panicking());
    }
}

/// How much of the other work was done in each turn; half of the turns saw at most this much. A
/// turn in which the test itself had to wait for the machine shows nothing about the gateway.
pub(crate) fn usual(turns: &mut [u64]) -> u64 {
    turns.sort_unstable();
    turns[turns.len() / 2]
}

/// Subscribes these clients to a room. They read everything.
pub(crate) fn audience(clients: impl IntoIterator<Item = Client>, room: &Value) {
    for mut client in clients {
        client.subscribe(room, "hot");
        thread::spawn(move || io::copy(&mut client.stream, &mut io::sink()));
    }
}

#[test]
fn a_hot_room_delays_neither_pings_nor_new_clients() {
    const AUDIENCE: usize = 100;
    const BATCH: usize = 100;
    /// What is matched before it is written, twice: a request may just have missed a turn.
    const DELIVERIES: u64 = 2 * (64 << 10);
    let gateway = one_thread(&StubBackend::open());
    let clients = (0..AUDIENCE).map(|_| Client::connect(&gateway));
    audience(clients, &json!({"room": "hot"}));
    let trigger = json!({"rooms": [{"room": "hot"}], "data": null});
    let body = json!([trigger]).to_string();
    let body = format!("[{}]", vec![&body[1..body.len() - 1]; BATCH].join(","));
    let posting: Vec<_> = (0..3)
        .map(|_| Busy::posting(&gateway, body.clone()))
        .collect();
    let delivered = |gateway: &Gateway| gateway.metric("high_templar_deliveries_total");
    let waiting = || {
        let placed = gateway.metric("high_templar_triggers_total") * AUDIENCE as u64;
        placed.saturating_sub(delivered(&gateway))
    };
    eventually("more than can be delivered at once", || {
        (waiting() > 5 * DELIVERIES).then_some(())
    });

    let mut client = Client::connect(&gateway);
    let sent = |client: &mut Client| {
        client.status()["ws_messages_send"]
            .as_u64()
            .expect("a count")
    };
    let mut turns = Vec::new();
    for _ in 0..TURNS {
        let before = sent(&mut client);
        turns.push(sent(&mut client) - before);
    }
    assert!(usual(&mut turns) <= DELIVERIES, "{turns:?}");

    let mut turns = Vec::new();
    for _ in 0..TURNS {
        let before = delivered(&gateway);
        let mut newcomer = Client::connect(&gateway);
        newcomer.subscribe(&json!({"room": 1}), 1);
        turns.push(sent(&mut newcomer) - before);
    }
    // Accepted, admitted, subscribed and answered.
    assert!(usual(&mut turns) <= 4 * DELIVERIES, "{turns:?}");
    assert!(waiting() > DELIVERIES, "nothing was left to do");
    drop(posting);
}

#[test]
fn clients_that_never_stop_talking_hold_up_nobody() {
    /// The shortest messages that fit into one client's read budget before the turn of the others.
    /// The other sends less in as many bytes.
    const IN_A_TURN: u64 = 2 * (64 << 10) / 10;
    /// A question, a trigger, its delivery and another question take some turns.
    const MESSAGES: u64 = 5 * IN_A_TURN;
    let gateway = one_thread(&StubBackend::open());
    let ping = [Frame::new(frame::TEXT, "ping")];
    let visit = [
        json!({"type": "subscribe", "room": {"room": 7}, "requestId": 7}),
        json!({"type": "unsubscribe", "requestId": 7}),
    ];
    let visit = visit.map(|message| Frame::new(frame::TEXT, message.to_string()));
    let talking = [
        Busy::talking(Client::connect(&gateway), &ping),
        Busy::talking(Client::connect(&gateway), &visit),
    ];
    eventually("both are read", || {
        talking
            .iter()
            .all(|talking| talking.done() > 10)
            .then_some(())
    });
    let mut client = Client::connect(&gateway);
    client.subscribe(&json!({"room": 1}), 1);
    let heard = |client: &mut Client| {
        let status = client.status();
        status["ws_messages_received"].as_u64().expect("a count")
    };
    let mut turns = Vec::new();
    for n in 0..2 * TURNS {
        let before = heard(&mut client);
        gateway.trigger(&json!({"rooms": [{"room": 1}], "data": n}));
        assert_eq!(client.expect_publish().0, n);
        turns.push(heard(&mut client) - before);
    }
    assert!(usual(&mut turns) <= MESSAGES, "{turns:?}");
    // They are not starved either.
    for talking in &talking {
        let before = talking.done();
        eventually("it goes on", || (talking.done() > before).then_some(()));
    }
}

#[test]
fn a_trigger_that_matches_everything_many_times_is_matched_between_pings() {
    const SUBSCRIPTIONS: usize = 3_000;
    const ROOMS: usize = 1_000;
    let grants = json!([{"a": "*", "b": "*"}, {"room": "*"}]);
    let gateway = one_thread(&StubBackend::admitting(grants));
    let mut crowd = Client::connect(&gateway);
    for n in 0..SUBSCRIPTIONS {
        crowd.subscribe(&json!({"a": n, "b": "*"}), n);
    }
    let mut client = Client::connect(&gateway);
    client.subscribe(&json!({"room": "first"}), "first");
    client.subscribe(&json!({"room": "last"}), "last");
    let meeting = (0..ROOMS).map(|n| json!({"a": "*", "b": n}));
    let rooms: Vec<_> = std::iter::once(json!({"room": "first"}))
        .chain(meeting)
        .chain([json!({"room": "last"})])
        .collect();
    gateway.trigger(&json!({"rooms": rooms, "data": null}));
    assert_eq!(client.expect_publish(), (json!(null), json!("first")));
    let mut pongs = 0;
    loop {
        client.send_text("ping");
        let text = client.expect_text();
        if text != "pong" {
            let message: Value = serde_json::from_str(&text).expect("JSON");
            assert_eq!(message["requestId"], "last");
            break;
        }
        pongs += 1;
    }
    // 3,000,000 rooms are looked at, at most 20,000 or so before a ping has its turn.
    assert!(pongs >= 20, "{pongs}");
    // Each of them once; the order is unspecified.
    let mut heard: Vec<_> = (0..SUBSCRIPTIONS)
        .map(|_| crowd.expect_publish().1.as_u64().expect("a number"))
        .collect();
    heard.sort_unstable();
    assert!(heard.into_iter().eq(0..SUBSCRIPTIONS as u64));
    crowd.fence();
}

#[test]
fn enormous_triggers_hold_up_neither_each_other_nor_the_small_ones() {
    /// Enormous triggers that are done while another client waits for a turn.
    const DONE: u64 = 3;
    let gateway = one_thread(&StubBackend::open());
    let rooms: Vec<_> = (0..1_000).map(|n| json!({"room": n + 1_000})).collect();
    let small = json!({"rooms": [{"room": "nobody"}], "data": null}).to_string();
    let bodies = [
        json!({"rooms": rooms, "data": "x".repeat(4 << 20)}).to_string(),
        format!("[{}]", vec![small; 5_000].join(",")),
    ];
    let posting = bodies.map(|body| Busy::posting(&gateway, body));
    eventually("both came through", || {
        posting
            .iter()
            .all(|posting| posting.done() > 0)
            .then_some(())
    });
    let done = || posting.iter().map(Busy::done).sum::<u64>();
    let mut client = Client::connect(&gateway);
    client.subscribe(&json!({"room": 1}), 1);
    type Step<'a> = (&'a str, Box<dyn FnMut() + 'a>);
    let steps: [Step<'_>; 4] = [
        (
            "health",
            Box::new(|| assert_eq!(gateway.get("/live").status, 200)),
        ),
        ("newcomer", Box::new(|| Client::connect(&gateway).fence())),
        (
            "trigger",
            Box::new(|| {
                gateway.trigger(&json!({"rooms": [{"room": 2}], "data": null}));
            }),
        ),
        (
            "delivery",
            Box::new(|| {
                client.fence();
                gateway.trigger(&json!({"rooms": [{"room": 1}], "data": null}));
                client.expect_publish();
            }),
        ),
    ];
    for (name, mut step) in steps {
        let mut turns = Vec::new();
        for _ in 0..TURNS {
            let before = done();
            step();
            turns.push(done() - before);
        }
        assert!(usual(&mut turns) <= DONE, "{name} {turns:?}");
    }
}

#[test]
fn a_backend_that_hangs_holds_up_only_who_asks_it() {
    const HANGING: usize = 50;
    let backend = StubBackend::new(|seen| match seen.header("authorization") {
        None if seen.is_bootstrap() => Reply::rooms(&json!([{"room": "*"}])),
        // Hooks never get a response, and neither does the bootstrap call of a client with a token.
        _ => Reply::Hang(Vec::new()),
    });
    let gateway = Gateway::with(&backend)
        .set("HT_THREADS", 1)
        .set("HT_BACKEND__TIMEOUT", NEVER)
        .hooks()
        .start();
    let hanging: Vec<_> = (0..HANGING)
        .map(|n| {
            // No address may have all slots at the backend.
            let address = format!("192.0.2.{}", n % 2);
            let handshake = Handshake::new(&gateway).path("/ws/?token=x");
            handshake.header("X-Real-IP", address).send()
        })
        .collect();
    let waiting = |history: &crate::support::backend::History| {
        let asked = history.requests.iter().filter(|seen| seen.is_bootstrap());
        asked
            .filter(|seen| seen.header("authorization").is_some())
            .count()
    };
    backend.wait("hanging visitors", |history| {
        (waiting(history) == HANGING).then_some(())
    });
    let mut others = Vec::new();
    for n in 0..TURNS {
        let mut client = Client::connect(&gateway);
        client.subscribe(&json!({"room": n}), n);
        others.push(client);
        for (n, client) in others.iter_mut().enumerate() {
            client.fence();
            gateway.trigger(&json!({"rooms": [{"room": n}], "data": n}));
            assert_eq!(client.expect_publish(), (json!(n), json!(n)));
        }
        assert_eq!(gateway.get("/live").status, 200);
    }
    // No client was disconnected meanwhile.
    let still = backend.wait("a history", |history| {
        Some((waiting(history), history.abandoned))
    });
    assert_eq!(still, (HANGING, 0));
    drop(hanging);
}

#[test]
fn a_client_that_sends_much_and_closes_is_removed_once_read() {
    let gateway = one_thread(&StubBackend::open());
    // There are no replies to these, so only the reading takes time.
    let much = Frame::new(frame::PONG, vec![b'x'; 100])
        .bytes()
        .repeat(30_000);
    for _ in 0..3 {
        let mut client = Client::connect(&gateway);
        client.send_raw(&much);
        client.stream.finish();
        gateway.wait_for_metric("high_templar_connections", 0);
    }
}

/// A message as large as the default limits admit, in as few bytes as deflate makes of it.
fn bomb() -> Frame {
    Frame::new(frame::TEXT, vec![b'['; 64 << 10]).deflate()
}

/// A publication, its delivery and a reply, so many times.
fn deliver_beside(gateway: &Gateway, client: &mut Client, count: usize) {
    client.subscribe(&json!({"room": "fair"}), "fair");
    for n in 0..count {
        gateway.trigger(&json!({"rooms": [{"room": "fair"}], "data": n}));
        assert_eq!(client.expect_publish().0, n);
        client.fence();
    }
}

#[test]
fn compressed_clients_hold_up_nobody_and_are_evicted() {
    const ATTACKERS: usize = 16;
    /// More than ten seconds of the rate, and the messages sent meanwhile.
    const EACH: usize = 200;
    let backend = StubBackend::open();
    for subprotocol in [None, Some("high-templar.v1")] {
        let gateway = Gateway::with(&backend)
            .set("HT_THREADS", 1)
            .set("HT_LIMITS__INFLATED_BYTES_PER_SECOND", "64KiB")
            .start();
        let bytes = bomb().bytes().repeat(EACH);
        let attacks: Vec<_> = (0..ATTACKERS)
            .map(|_| {
                let handshake = Handshake::new(&gateway).deflate();
                let handshake = match subprotocol {
                    Some(name) => handshake.header("Sec-WebSocket-Protocol", name),
                    None => handshake,
                };
                let mut stream = handshake.connect().stream;
                let bytes = bytes.clone();
                thread::spawn(move || {
                    // It is closed before all is sent.
                    let _ = stream.write_all(&bytes);
                    io::copy(&mut stream, &mut io::sink())
                })
            })
            .collect();
        let mut client = Client::connect(&gateway);
        deliver_beside(&gateway, &mut client, TURNS);
        let evicted = "high_templar_evictions_total{reason=\"inflated_bytes_per_second\"}";
        gateway.wait_for_metric(evicted, ATTACKERS as u64);
        gateway.wait_for_line("inflated_bytes_per_second");
        for attack in attacks {
            let _ = attack.join().expect("an end");
        }
        client.fence();
        assert_eq!(gateway.get("/ready").status, 200);
    }
}

#[test]
fn refused_clients_that_send_compressed_messages_hold_up_nobody() {
    const ATTACKERS: usize = 12;
    let backend = StubBackend::new(|seen| match seen.header("authorization") {
        Some(_) => Reply::forbidden(),
        None => Reply::rooms(&json!([{"room": "*"}])),
    });
    let gateway = one_thread(&backend);
    let bytes = bomb().bytes().repeat(2_000);
    let attacks: Vec<_> = (0..ATTACKERS)
        .map(|_| {
            let handshake = Handshake::new(&gateway).path("/ws/?token=x").deflate();
            let bytes = bytes.clone();
            Busy::with(move || {
                let mut stream = handshake.open().stream;
                let _ = stream.write_all(&bytes);
                let _ = io::copy(&mut stream, &mut io::sink());
            })
        })
        .collect();
    eventually("they were refused", || {
        (gateway.metric("high_templar_refused_total") > ATTACKERS as u64).then_some(())
    });
    let mut client = Client::connect(&gateway);
    deliver_beside(&gateway, &mut client, TURNS);
    // None of it was parsed.
    assert_eq!(gateway.metric("high_templar_violations_total"), 0);
    drop(attacks);
}

#[test]
fn maximal_subscribers_that_leave_together_hold_up_nobody() {
    const LEAVING: usize = 5;
    const SUBSCRIPTIONS: usize = 2_000;
    let gateway = one_thread(&StubBackend::open());
    let mut leaving: Vec<_> = (0..LEAVING).map(|_| Client::connect(&gateway)).collect();
    for (n, client) in leaving.iter_mut().enumerate() {
        let says: Vec<u8> = (0..SUBSCRIPTIONS)
            .flat_map(|m| {
                let room = json!({"room": format!("{n} {m}")});
                let says = json!({"type": "subscribe", "room": room, "requestId": "all"});
                Frame::new(frame::TEXT, says.to_string()).bytes()
            })
            .collect();
        client.send_raw(&says);
        for _ in 0..SUBSCRIPTIONS {
            assert_eq!(client.expect_json()["code"], "success");
        }
    }
    let mut client = Client::connect(&gateway);
    let rooms = |client: &mut Client| client.status()["num_rooms"].as_u64().expect("a count");
    assert_eq!(rooms(&mut client), (LEAVING * SUBSCRIPTIONS) as u64);
    // One unsubscribe of all of them: nothing of it is left when its reply arrives.
    let unsubscribe = json!({"type": "unsubscribe", "requestId": "all"});
    assert_eq!(leaving[0].call(&unsubscribe)["code"], "success");
    assert_eq!(rooms(&mut client), ((LEAVING - 1) * SUBSCRIPTIONS) as u64);
    // The others close, and no trace of them is left when the next reply arrives.
    for client in &mut leaving {
        client.send(&Frame::close(1000, ""));
    }
    deliver_beside(&gateway, &mut client, TURNS);
    for client in &mut leaving {
        client.expect_close(1000);
    }
    assert_eq!(rooms(&mut client), 1);
    gateway.wait_for_open(&mut client, 1);
}
