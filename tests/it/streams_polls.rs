//! Long polls: each is answered by any node, and nothing of a client is kept between two of them.

use std::thread;
use std::time::{Duration, Instant};

use ht_testkit::rabbitmq::RabbitMq;
use serde_json::{Value, json};

use crate::rabbitmq::wait_for_ready;
use crate::streams_events::gateway;
use crate::support::source::Asking;
use crate::support::stream::Address;
use crate::support::{Gateway, Reply, Seen, StubBackend, eventually};

/// A client that polls, and what it keeps.
#[derive(Clone, Debug, Default)]
struct Poller {
    cursor: Option<String>,
    ticket: Option<String>,
    proof: Option<String>,
    heard: Vec<Value>,
}

impl Poller {
    /// Polls once. Returns the answer.
    fn poll(&mut self, to: &Address, wait: u64) -> Value {
        let mut body = json!({
            "subscriptions": [{"requestId": 1, "room": {"n": 1}}, {"requestId": 2, "room": {"n": 2}}],
            "cursor": self.cursor,
            "wait": wait,
        });
        if let (Some(ticket), Some(cursor), Some(proof)) = (&self.ticket, &self.cursor, &self.proof)
        {
            body["resume"] = format!("{ticket}.{cursor}.{proof}").into();
        }
        let source = Asking::event_source("/poll/").post(&body).open(to);
        assert_eq!(source.status, 200);
        assert_eq!(source.header("content-type"), Some("application/json"));
        let answer: Value = serde_json::from_slice(&source.body()).expect("JSON");
        let text = |name: &str| answer[name].as_str().map(str::to_owned);
        self.cursor = text("cursor").or(self.cursor.take());
        self.ticket = text("ticket").or(self.ticket.take());
        self.proof = text("proof");
        let messages = answer["messages"].as_array().expect("a list");
        let data = messages.iter().filter(|it| it["type"] == "publish");
        self.heard.extend(data.map(|it| it["data"].clone()));
        answer
    }
}

fn api() -> StubBackend {
    StubBackend::admitting(json!([{"n": "*"}]))
}

fn publish(gateway: &Gateway, data: impl Into<Value>) {
    gateway.trigger(&json!({"rooms": [{"n": 1}], "data": data.into()}));
}

#[test]
fn a_poll_is_answered_when_there_is_a_message_or_its_time_is_over() {
    let backend = api();
    let gateway = gateway(&backend).start();
    let mut poller = Poller::default();
    let first = poller.poll(gateway.public(), 60_000);
    assert_eq!(first["allowed_rooms"], json!([{"n": "*"}]));
    assert_eq!(first["messages"], json!([]));
    let (mut waiting, address) = (poller.clone(), gateway.public().clone());
    let waiting = thread::spawn(move || {
        waiting.poll(&address, 60_000);
        waiting
    });
    gateway.wait_for_metric("high_templar_polls", 1);
    publish(&gateway, "now");
    let mut poller = waiting.join().expect("an answer");
    assert_eq!(poller.heard, ["now"]);
    let begun = Instant::now();
    let answer = poller.poll(gateway.public(), 300);
    assert!(begun.elapsed() >= Duration::from_millis(300));
    assert_eq!(
        (&answer["messages"], &answer["recovered"]),
        (&json!([]), &json!(true))
    );
    publish(&gateway, "missed");
    let begun = Instant::now();
    poller.poll(gateway.public(), 60_000);
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert_eq!(poller.heard, ["now", "missed"]);
    gateway.wait_for_metric("high_templar_polls", 0);
}

#[test]
fn the_wait_has_a_bound() {
    let backend = api();
    let gateway = gateway(&backend).set("HT_POLL__WAIT_MAX", "1s").start();
    let mut poller = Poller::default();
    poller.poll(gateway.public(), 0);
    let begun = Instant::now();
    poller.poll(gateway.public(), 600_000);
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[test]
fn polls_over_three_nodes_in_turn_hear_everything_once_and_in_order() {
    const PUBLICATIONS: usize = 10_000;
    let (vhost, backend) = (RabbitMq::shared().vhost(), api());
    let nodes = [(); 3].map(|()| {
        let node = gateway(&backend)
            .set("HT_RABBITMQ__URL", vhost.url())
            .set("HT_RABBITMQ__LOG", "stream")
            .set("HT_RESUME__SECRET", "a-secret-of-tickets-for-the-tests")
            .set("HT_LIMITS__HANDSHAKES_PER_SECOND", 0)
            .start();
        wait_for_ready(&node);
        node
    });
    // All have read the same log before anybody has a cursor of it.
    nodes[0].trigger(&json!({"rooms": [{"n": 3}], "data": "begin"}));
    eventually("one position", || {
        let cursors = nodes
            .each_ref()
            .map(|node| node.get("/position").json()["cursor"].clone());
        cursors
            .iter()
            .all(|cursor| *cursor == cursors[0])
            .then_some(())
    });
    let addresses: Vec<_> = nodes.iter().map(|node| node.public().clone()).collect();
    let pollers: Vec<_> = (0..4)
        .map(|first| {
            let mut poller = Poller::default();
            poller.poll(&addresses[first % 3], 0);
            let addresses = addresses.clone();
            thread::spawn(move || {
                for turn in first.. {
                    let answer = poller.poll(&addresses[turn % 3], 5_000);
                    assert_eq!(answer["recovered"], true, "{answer}");
                    if poller.heard.len() >= PUBLICATIONS {
                        return poller;
                    }
                }
                unreachable!("it ends before")
            })
        })
        .collect();
    for begin in (0..PUBLICATIONS).step_by(100) {
        let batch: Vec<_> = (begin..begin + 100)
            .map(|data| json!({"rooms": [{"n": 1}], "data": data}))
            .collect();
        nodes[begin / 100 % 3].trigger(&batch.into());
    }
    for poller in pollers {
        let poller = poller.join().expect("everything");
        let expected = (0..PUBLICATIONS).map(Value::from);
        assert!(
            poller.heard.iter().cloned().eq(expected),
            "complete and in order"
        );
    }
    // Only the first poll of each client was without a ticket.
    let calls = backend.requests().len();
    assert!(calls < 20, "{calls} calls");
}

#[test]
fn a_cursor_older_than_the_window_is_not_recovered_and_the_next_one_is() {
    let backend = api();
    let gateway = gateway(&backend).set("HT_WINDOW__ENTRIES", 1).start();
    let mut poller = Poller::default();
    poller.poll(gateway.public(), 0);
    for data in 0..1_000 {
        publish(&gateway, data);
    }
    let answer = poller.poll(gateway.public(), 60_000);
    assert_eq!(
        (&answer["recovered"], &answer["reason"]),
        (&json!(false), &json!("age"))
    );
    assert_eq!(answer["messages"], json!([]));
    publish(&gateway, "new");
    poller.poll(gateway.public(), 60_000);
    assert_eq!(poller.heard, ["new"]);
}

#[test]
fn after_an_invalidate_the_next_poll_asks_the_api_and_nothing_leaks() {
    let answer = |seen: &Seen, rooms: Value| {
        let user = seen.header("cookie").unwrap_or("nobody");
        let body = json!({"allowed_rooms": rooms, "user": {"id": user}});
        Reply::json("200 OK", body.to_string())
    };
    let calls = std::sync::atomic::AtomicUsize::new(0);
    let backend = StubBackend::new(move |seen| {
        match calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
            0 => answer(seen, json!([{"n": "*"}])),
            _ => answer(seen, json!([{"n": 2}])),
        }
    });
    let gateway = gateway(&backend).start();
    let mut poller = Poller::default();
    poller.poll(gateway.public(), 0);
    poller.poll(gateway.public(), 0);
    assert_eq!(backend.requests().len(), 1, "the second one had a ticket");
    gateway.trigger(&json!({"command": "invalidate", "user": "sessionid=7"}));
    publish(&gateway, "secret");
    let answer = poller.poll(gateway.public(), 500);
    assert_eq!(backend.requests().len(), 2);
    assert_eq!(
        (&answer["recovered"], &answer["reason"]),
        (&json!(false), &json!("permissions"))
    );
    assert_eq!(
        answer["refused"],
        json!([{"requestId": 1, "message": "room-not-found"}])
    );
    assert_eq!(poller.heard, [Value::Null; 0]);
    gateway.wait_for_metric("high_templar_poll_bootstraps_total", 1);
}

#[test]
fn polls_without_a_ticket_call_the_api_each_time_and_a_metric_says_so() {
    // Grants of more than a ticket may have.
    let grants: Vec<_> = (0..400)
        .map(|n| json!({"a-long-name-of-a-key": n}))
        .collect();
    let grants: Value = grants.into_iter().chain([json!({"n": "*"})]).collect();
    let backend = StubBackend::admitting(grants);
    let gateway = gateway(&backend).start();
    let mut poller = Poller::default();
    let first = poller.poll(gateway.public(), 0);
    assert_eq!(first.get("ticket"), None);
    for _ in 0..3 {
        poller.poll(gateway.public(), 0);
    }
    assert_eq!(backend.requests().len(), 4);
    gateway.wait_for_metric("high_templar_poll_bootstraps_total", 3);
}

#[test]
fn a_poll_that_waits_at_a_drain_gets_a_status() {
    let backend = api();
    let mut gateway = gateway(&backend).start();
    let mut poller = Poller::default();
    poller.poll(gateway.public(), 0);
    let body = json!({
        "subscriptions": [{"requestId": 1, "room": {"n": 1}}],
        "cursor": poller.cursor,
        "wait": 50_000,
    });
    let address = gateway.public().clone();
    let waiting = thread::spawn(move || Asking::event_source("/poll/").post(&body).open(&address));
    gateway.wait_for_metric("high_templar_polls", 1);
    gateway.signal("TERM");
    let source = waiting.join().expect("an answer");
    assert_eq!(source.status, 503);
    assert!(source.header("retry-after").is_some());
    let body: Value = serde_json::from_slice(&source.body()).expect("JSON");
    assert_eq!(
        (&body["code"], &body["reason"]),
        (&json!(1012), &json!("restart"))
    );
    assert_eq!(gateway.wait_for_end(), Some(0));
}

#[test]
fn a_client_that_leaves_is_not_waited_for() {
    let backend = api();
    let gateway = gateway(&backend).start();
    let mut poller = Poller::default();
    poller.poll(gateway.public(), 0);
    let body = json!({"subscriptions": [], "cursor": poller.cursor, "wait": 50_000}).to_string();
    let mut stream = gateway.public().connect().expect("a connection");
    let head = format!(
        "POST /poll/ HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    std::io::Write::write_all(&mut stream, head.as_bytes()).expect("it is sent");
    gateway.wait_for_metric("high_templar_polls", 1);
    drop(stream);
    eventually("nobody waits", || {
        (gateway.metric("high_templar_polls") == 0).then_some(())
    });
    gateway.wait_for_metric("high_templar_connections", 0);
}
