//! One order for all clients: whatever entry point a trigger uses, and however many subscribers.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::support::{Client, Gateway, StubBackend, http};

#[test]
fn triggers_of_one_connection_arrive_in_their_order() {
    let gateway = Gateway::start(&StubBackend::open());
    let mut clients: Vec<_> = (0..8).map(|_| Client::connect(&gateway)).collect();
    for client in &mut clients {
        client.subscribe(&json!({"room": 1}), 1);
    }
    // Sent at once, the second before the first is answered.
    let mut door = gateway.internal().connect().unwrap();
    let mut bytes = Vec::new();
    for n in 0..100 {
        let body = json!({"rooms": [{"room": 1}], "data": n}).to_string();
        let head = format!(
            "POST /trigger/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        bytes.extend([head.as_bytes(), body.as_bytes()].concat());
    }
    door.write_all(&bytes).unwrap();
    door.finish();
    for client in &mut clients {
        for n in 0..100 {
            assert_eq!(client.expect_publish().0, n);
        }
    }
    let mut answers = String::new();
    door.read_to_string(&mut answers).unwrap();
    assert_eq!(answers.matches("HTTP/1.1 200").count(), 100);
}

#[test]
fn all_clients_of_all_threads_receive_the_same_order() {
    let gateway = Gateway::start(&StubBackend::open());
    let mut clients: Vec<_> = (0..10).map(|_| Client::connect(&gateway)).collect();
    for client in &mut clients {
        client.subscribe(&json!({"room": 1}), 1);
    }
    let door = gateway.internal().clone();
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let door = door.clone();
            std::thread::spawn(move || {
                for n in 0..50 {
                    let body = json!({"rooms": [{"room": 1}], "data": [writer, n]}).to_string();
                    let answer = http::request(&door, "POST", "/trigger/", &[], body.as_bytes());
                    assert_eq!(answer.status, 200);
                }
            })
        })
        .collect();
    let heard: Vec<Vec<Value>> = clients
        .iter_mut()
        .map(|client| (0..200).map(|_| client.expect_publish().0).collect())
        .collect();
    for writer in writers {
        writer.join().unwrap();
    }
    for other in &heard[1..] {
        assert_eq!(other, &heard[0]);
    }
    // And each writer's own in its order.
    for writer in 0..4 {
        let own = heard[0].iter().filter(|data| data[0] == writer);
        let wanted: Vec<_> = (0..50).map(|n| json!([writer, n])).collect();
        assert!(own.eq(wanted.iter()));
    }
}

#[test]
fn publications_after_a_subscribe_reply_are_received() {
    let gateway = Gateway::start(&StubBackend::open());
    let mut client = Client::connect(&gateway);
    for n in 0..200 {
        client.subscribe(&json!({"room": n}), n);
        gateway.trigger(&json!({"rooms": [{"room": n}], "data": n}));
        assert_eq!(client.expect_publish(), (json!(n), json!(n)));
        let unsubscribe = json!({"type": "unsubscribe", "requestId": n});
        assert_eq!(client.call(&unsubscribe), json!({"code": "success"}));
        // Nothing after the reply.
        gateway.trigger(&json!({"rooms": [{"room": n}], "data": "late"}));
    }
    client.fence();
}

#[test]
fn publications_before_a_message_arrive_before_its_reply() {
    let gateway = Gateway::with(&StubBackend::open())
        .set("HT_THREADS", 1)
        .set("HT_LIMITS__MESSAGES_PER_SECOND", 0)
        .start();
    let mut client = Client::connect(&gateway);
    // Other clients that send continuously, so that the thread is always busy.
    let mut talking: Vec<_> = (0..6).map(|_| Client::connect(&gateway)).collect();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Also if this thread fails: the others would continue for ever.
        let _over = Over(&over);
        for other in &mut talking {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    for _ in 0..20 {
                        other.send_text("ping");
                    }
                    for _ in 0..20 {
                        assert_eq!(other.expect_text(), "pong");
                    }
                }
            });
        }
        let success = json!({"code": "success"});
        let many: Vec<_> = (0..1_000)
            .map(|n| json!({"rooms": [{"room": 1}], "data": n}))
            .collect();
        for round in 0..200 {
            client.subscribe(&json!({"room": 1}), 1);
            // A pong is a barrier.
            gateway.trigger(&json!({"rooms": [{"room": 1}], "data": round}));
            client.send_text("ping");
            assert_eq!(client.expect_publish(), (json!(round), json!(1)));
            assert_eq!(client.expect_text(), "pong");
            // So is `status`.
            gateway.trigger(&json!({"rooms": [{"room": 1}], "data": round}));
            client.send_json(&json!({"type": "status"}));
            assert_eq!(client.expect_publish(), (json!(round), json!(1)));
            assert!(client.expect_json()["open_connections"].is_number());
            // Also behind many.
            if round % 20 == 0 {
                gateway.trigger(&json!(many));
                client.send_text("ping");
                for n in 0..many.len() {
                    assert_eq!(client.expect_publish(), (json!(n), json!(1)));
                }
                assert_eq!(client.expect_text(), "pong");
            }
            // An unsubscribe is replied to after the publications that it might have lost.
            gateway.trigger(&json!({"rooms": [{"room": 1}], "data": round}));
            client.send_json(&json!({"type": "unsubscribe", "requestId": 1}));
            assert_eq!(client.expect_publish(), (json!(round), json!(1)));
            assert_eq!(client.expect_json(), success);
        }
    });
}

/// Ends the others' loop when it is dropped.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn many_subscribers_receive_each_trigger_once() {
    let gateway = Gateway::start(&StubBackend::open());
    let mut clients: Vec<_> = (0..200).map(|_| Client::connect(&gateway)).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        client.subscribe(&json!({"room": "all"}), "all");
        client.subscribe(&json!({"room": n}), "own");
    }
    for n in 0..200 {
        gateway.trigger(&json!({"rooms": [{"room": n}], "data": n}));
    }
    for n in 0..20 {
        gateway.trigger(&json!({"rooms": [{"room": "all"}], "data": n}));
    }
    for (n, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.expect_publish(), (json!(n), json!("own")));
        for n in 0..20 {
            assert_eq!(client.expect_publish(), (json!(n), json!("all")));
        }
        client.fence();
    }
    gateway.wait_for_metric("high_templar_deliveries_total", 200 + 200 * 20);
}

#[test]
fn a_client_that_resubscribes_misses_nothing_in_between() {
    let gateway = Gateway::start(&StubBackend::open());
    // On both threads.
    let mut clients: Vec<_> = (0..4).map(|_| Client::connect(&gateway)).collect();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Also if an assertion fails: the scope waits for the publisher.
        let _over = OnDrop(|| over.store(true, Ordering::Relaxed));
        let door = gateway.internal();
        scope.spawn(|| {
            let mut n = 0;
            while !over.load(Ordering::Relaxed) {
                let body = json!({"rooms": [{"room": 1}], "data": n}).to_string();
                let answer = http::request(door, "POST", "/trigger/", &[], body.as_bytes());
                assert_eq!(answer.status, 200);
                n += 1;
            }
        });
        for round in 0..20 {
            let client = &mut clients[round % 4];
            let room = match round % 3 {
                0 => json!({"room": "*"}),
                _ => json!({"room": 1}),
            };
            client.subscribe(&room, 1);
            let first = client.expect_publish().0.as_u64().unwrap();
            for next in first + 1..first + 5 {
                assert_eq!(client.expect_publish().0, next);
            }
            client.send_json(&json!({"type": "unsubscribe", "requestId": 1}));
            while client.expect_json()["type"] == "publish" {}
        }
    });
}

/// Runs a closure on drop.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
