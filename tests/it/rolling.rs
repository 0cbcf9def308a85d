//! A rolling restart: two nodes behind a balancer, subscribers that reconnect as requested,
//! publishers that retry on the other node.
//!
//! The guarantees: on one connection no publication after its subscription is missed until its
//! close frame, and a publication that got a 200 before a node was told to shut down reaches all
//! clients connected to it then. A subscriber fetches anew what is published between two of its
//! connections after it subscribed again.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use ht_testkit::rabbitmq::{RabbitMq, Vhost};
use serde_json::{Value, json};

use crate::rabbitmq::wait_for_ready;
use crate::support::balancer::Balancer;
use crate::support::stream::Address;
use crate::support::{Client, Gateway, Handshake, StubBackend};
use crate::support::{eventually, frame, http};

const PUBLISHERS: usize = 2;
const SUBSCRIBERS: usize = 12;

/// Triggers of each publisher while a node is away or there again.
const TRIGGERS: u64 = 30;

/// The state of the API.
#[derive(Default)]
struct Api {
    /// By publisher: the last number that was written to the database, before its trigger.
    written: [AtomicU64; PUBLISHERS],
    /// The last number whose trigger was answered 200.
    answered: [AtomicU64; PUBLISHERS],
    /// The publications with a 200 when a node was last told to shut down.
    answered_before: Mutex<[u64; PUBLISHERS]>,
    subscribed: AtomicUsize,
    closed: AtomicUsize,
    over: AtomicBool,
}

fn all(numbers: &[AtomicU64; PUBLISHERS]) -> [u64; PUBLISHERS] {
    std::array::from_fn(|publisher| numbers[publisher].load(Ordering::SeqCst))
}

/// Writes, publishes and retries on the other node until it is accepted.
fn publish(api: &Api, nodes: &Mutex<Vec<Address>>, publisher: usize) {
    for number in 1.. {
        if api.over.load(Ordering::SeqCst) {
            return;
        }
        api.written[publisher].store(number, Ordering::SeqCst);
        let data = json!({"publisher": publisher, "number": number});
        let id = format!("{publisher}-{number}");
        let body = json!({"rooms": [{"room": 1}], "data": data, "id": id}).to_string();
        for attempt in publisher.. {
            let nodes = nodes.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let node = &nodes[attempt % nodes.len()];
            match http::try_request(node, "POST", "/trigger/", &[], body.as_bytes()) {
                Ok(answer) if answer.status == 200 => break,
                Ok(answer) => assert!([503, 504].contains(&answer.status), "{answer:?}"),
                Err(_) => thread::sleep(Duration::from_millis(5)),
            }
        }
        api.answered[publisher].store(number, Ordering::SeqCst);
    }
}

/// Connects again and again until it receives the end.
fn subscribe(api: &Api, balancer: &Address, subscriber: u64) {
    loop {
        let Ok(Some(mut client)) = connect(balancer) else {
            thread::sleep(Duration::from_millis(5));
            continue;
        };
        // The state that it fetches anew: whatever is written after this must arrive over the
        // connection.
        let fetched = all(&api.written);
        api.subscribed.fetch_add(1, Ordering::SeqCst);
        let Some(span) = hear(api, &mut client, fetched) else {
            return;
        };
        api.closed.fetch_add(1, Ordering::SeqCst);
        thread::sleep(Duration::from_millis(
            span * subscriber / SUBSCRIBERS as u64,
        ));
    }
}

/// A connection with its subscription; `None` if the node shut down meanwhile.
fn connect(balancer: &Address) -> io::Result<Option<Client>> {
    let (answer, mut client) = Handshake::at(balancer).send().try_answer()?;
    assert_eq!(answer.status, 101, "{answer:?}");
    client.try_frame()?;
    client.send_json(&json!({"type": "subscribe", "room": {"room": 1}, "requestId": 1}));
    let frame = client.try_frame()?;
    match frame.opcode {
        frame::CLOSE => Ok(None),
        _ if frame.payload == br#"{"code": "success"}"# => Ok(Some(client)),
        _ => panic!("{frame:?}"),
    }
}

/// Receives without a gap until the close frame, and returns the reconnect span in milliseconds.
/// `None`: it is over.
fn hear(api: &Api, client: &mut Client, fetched: [u64; PUBLISHERS]) -> Option<u64> {
    let mut last: [Option<u64>; PUBLISHERS] = [None; PUBLISHERS];
    loop {
        let frame = client.frame();
        if frame.opcode == frame::CLOSE {
            let (code, reason) = frame.payload.split_first_chunk().expect("a close code");
            assert_eq!(u16::from_be_bytes(*code), 1012);
            let before = *api.answered_before.lock().expect("no panic");
            for publisher in 0..PUBLISHERS {
                let known = last[publisher].unwrap_or(0).max(fetched[publisher]);
                let answered = before[publisher];
                assert!(
                    known >= answered,
                    "{answered} of {publisher} is lost: {known}"
                );
            }
            let reason = String::from_utf8_lossy(reason).into_owned();
            let span = reason.strip_prefix("restart ").expect("a span");
            return Some(span.parse().expect("milliseconds"));
        }
        let message: Value = serde_json::from_slice(&frame.payload).expect("JSON");
        let data = &message["data"];
        if data == "over" {
            return None;
        }
        let publisher = data["publisher"].as_u64().expect("a publisher") as usize;
        let number = data["number"].as_u64().expect("a number");
        match last[publisher] {
            Some(last) => assert_eq!(number, last + 1, "in order, without a gap"),
            None => assert!(number <= fetched[publisher] + 1, "{number}: {fetched:?}"),
        }
        last[publisher] = Some(number);
    }
}

fn start(backend: &StubBackend, vhost: &Vhost) -> Gateway {
    let gateway = Gateway::with(backend)
        .set("HT_RABBITMQ__URL", vhost.url())
        .start();
    wait_for_ready(&gateway);
    gateway
}

/// Waits until every publisher has published so many more.
fn progress(api: &Api) {
    let start = all(&api.answered);
    eventually("triggers are taken", || {
        let now = all(&api.answered);
        let further = now
            .iter()
            .zip(start)
            .all(|(now, start)| now - start >= TRIGGERS);
        further.then_some(())
    });
}

#[test]
fn a_rolling_restart_loses_no_trigger_that_was_answered_200() {
    let vhost = RabbitMq::shared().vhost();
    let backend = StubBackend::open();
    let mut nodes = [start(&backend, &vhost), start(&backend, &vhost)];
    let balancer = Balancer::before(&[nodes[0].public(), nodes[1].public()]);
    let internal = Mutex::new(nodes.iter().map(|node| node.internal().clone()).collect());
    let api = Api::default();
    thread::scope(|scope| {
        for subscriber in 0..SUBSCRIBERS as u64 {
            let (api, balancer) = (&api, balancer.address());
            scope.spawn(move || subscribe(api, balancer, subscriber));
        }
        let all_are_there = || {
            eventually("every subscriber is there", || {
                let away = api.closed.load(Ordering::SeqCst) + SUBSCRIBERS;
                (api.subscribed.load(Ordering::SeqCst) == away).then_some(())
            });
        };
        all_are_there();
        let publishers: Vec<_> = (0..PUBLISHERS)
            .map(|publisher| {
                let (api, nodes) = (&api, &internal);
                scope.spawn(move || publish(api, nodes, publisher))
            })
            .collect();
        for (index, node) in nodes.iter_mut().enumerate() {
            progress(&api);
            all_are_there();
            *api.answered_before.lock().expect("no panic") = all(&api.answered);
            node.signal("TERM");
            assert_eq!(node.wait_for_end(), Some(0));
            progress(&api);
            *node = start(&backend, &vhost);
            balancer.replace(index, node.public());
            internal.lock().expect("no panic")[index] = node.internal().clone();
        }
        progress(&api);
        all_are_there();
        api.over.store(true, Ordering::SeqCst);
        for publisher in publishers {
            publisher.join().expect("a publisher");
        }
        nodes[0].trigger(&json!({"rooms": [{"room": 1}], "data": "over"}));
    });
    assert!(
        api.closed.load(Ordering::SeqCst) >= SUBSCRIBERS,
        "each was moved at least once"
    );
}
