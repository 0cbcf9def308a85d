//! `invalidate`: permissions change in the order of the publications, and no connection is dropped.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use ht_testkit::rabbitmq::RabbitMq;
use serde_json::{Value, json};

use crate::rabbitmq::wait_for_ready;
use crate::support::{Client, Gate, Gateway, Handshake, Reply, Seen, StubBackend, http};

const EVENTS: &str = "high-templar.v1, high-templar.events";

/// What each user may enter; everybody else every room `n`.
#[derive(Clone, Default)]
struct Rights(Arc<Mutex<HashMap<String, Value>>>);

impl Rights {
    fn set(&self, user: &str, rooms: Value) {
        self.0
            .lock()
            .expect("not poisoned")
            .insert(user.to_owned(), rooms);
    }

    fn answer(&self, seen: &Seen) -> Reply {
        let user = user_of(seen);
        let rooms = self.0.lock().expect("not poisoned").get(&user).cloned();
        let rooms = rooms.unwrap_or_else(|| json!([{"n": "*"}, {"m": "*"}]));
        let answer = json!({"allowed_rooms": rooms, "user": {"id": user}, "labels": ["all"]});
        Reply::json("200 OK", answer.to_string())
    }

    fn backend(&self) -> StubBackend {
        let rights = self.clone();
        StubBackend::new(move |seen| rights.answer(seen))
    }
}

/// The user whose token a call carries.
fn user_of(seen: &Seen) -> String {
    let token = seen.header("authorization").unwrap_or("Token nobody");
    token.trim_start_matches("Token ").to_owned()
}

fn handshake(gateway: &Gateway, user: &str) -> Handshake {
    Handshake::new(gateway).path(&format!("/ws/?token={user}"))
}

fn with_events(gateway: &Gateway, user: &str) -> Client {
    let handshake = handshake(gateway, user);
    handshake.header("Sec-WebSocket-Protocol", EVENTS).connect()
}

fn subscribe(client: &mut Client, room: Value, id: impl Into<Value>) {
    let id = id.into();
    let subscribe = json!({"type": "subscribe", "room": room, "requestId": id});
    assert_eq!(client.call(&subscribe)["code"], "success");
}

fn publish(room: Value, data: impl Into<Value>) -> Value {
    json!({"rooms": [room], "data": data.into()})
}

fn invalidate(user: &str) -> Value {
    json!({"command": "invalidate", "user": user})
}

/// The data of everything that is published to a client until `"end"`, by request id, and the types
/// of the other messages.
fn heard(client: &mut Client) -> (HashMap<String, Vec<Value>>, Vec<Value>) {
    let (mut by_id, mut others) = (HashMap::<_, Vec<_>>::new(), Vec::new());
    loop {
        let message = client.expect_json();
        if message["type"] != "publish" {
            others.push(message["type"].clone());
            continue;
        }
        if message["data"] == "end" {
            return (by_id, others);
        }
        let id = message["requestId"].as_str().expect("a text").to_owned();
        by_id.entry(id).or_default().push(message["data"].clone());
    }
}

/// Publishes to a room that will be lost and to one that is kept, in batches, until it is stopped.
struct Flood {
    over: Arc<AtomicBool>,
    /// From now on what is published is called `late`.
    late: Arc<AtomicBool>,
    publisher: std::thread::JoinHandle<u64>,
}

impl Flood {
    fn through(gateway: &Gateway) -> Self {
        let (over, late) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let (door, stop) = (gateway.internal().clone(), Arc::clone(&over));
        let is_late = Arc::clone(&late);
        let publisher = std::thread::spawn(move || {
            let mut count = 0;
            while !stop.load(Ordering::Relaxed) {
                let late = is_late.load(Ordering::SeqCst);
                let both = (count..count + 50).flat_map(|number| {
                    let data = if late { json!("late") } else { number.into() };
                    [
                        publish(json!({"n": 1}), data),
                        publish(json!({"n": 2}), number),
                    ]
                });
                let body = Value::from_iter(both).to_string();
                let answer = http::request(&door, "POST", "/trigger/", &[], body.as_bytes());
                assert_eq!(answer.status, 200, "{answer:?}");
                count += 50;
            }
            count
        });
        Self {
            over,
            late,
            publisher,
        }
    }

    /// How many were published to each room.
    fn stop(self) -> u64 {
        self.over.store(true, Ordering::Relaxed);
        self.publisher.join().expect("all were published")
    }
}

/// A client that is subscribed to the room that will be lost and to the one that is kept.
fn subscribed(gateway: &Gateway, user: &str, has_events: bool) -> Client {
    let mut client = match has_events {
        true => with_events(gateway, user),
        false => handshake(gateway, user).connect(),
    };
    subscribe(&mut client, json!({"n": 1}), "lost");
    subscribe(&mut client, json!({"n": 2}), "kept");
    client
}

fn numbers(count: u64) -> Vec<Value> {
    (0..count).map(Value::from).collect()
}

#[test]
fn under_a_flood_nothing_leaks_and_nothing_is_lost() {
    for threads in [1, 2, 4] {
        let rights = Rights::default();
        let backend = rights.backend();
        let gateway = Gateway::with(&backend).set("HT_THREADS", threads).start();
        let mut clients: Vec<_> = (0..8)
            .map(|number| subscribed(&gateway, "7", number % 2 == 0))
            .collect();
        let mut witness = subscribed(&gateway, "8", false);
        let flood = Flood::through(&gateway);
        for client in clients.iter_mut().chain([&mut witness]) {
            assert_eq!(client.expect_publish().0, 0);
            assert_eq!(client.expect_publish().0, 0);
        }
        rights.set("7", json!([{"n": 2}]));
        let batch = json!([
            publish(json!({"n": 1}), "last"),
            invalidate("7"),
            publish(json!({"n": 1}), "first"),
        ]);
        assert_eq!(gateway.trigger(&batch)[1]["matched"], 8);
        backend.wait_for(10);
        let count = flood.stop();
        gateway.trigger(&publish(json!({"n": 2}), "end"));
        for (number, client) in clients.iter_mut().enumerate() {
            let (by_id, events) = heard(client);
            assert_eq!(by_id["kept"], numbers(count)[1..], "threads: {threads}");
            let (last, lost) = by_id["lost"].split_last().unwrap();
            assert_eq!(last, "last");
            assert_eq!(lost, &numbers(count)[1..=lost.len()]);
            let told: &[&str] = match number % 2 {
                0 => &["unsubscribed", "permissions"],
                _ => &[],
            };
            assert_eq!(events, told);
        }
        let (by_id, _) = heard(&mut witness);
        assert_eq!(by_id["kept"], numbers(count)[1..]);
        assert_eq!(by_id["lost"].len() as u64, count - 1 + 2);
        // Tabs on one thread share a call, and those of all threads while it is under way.
        assert!((10..=9 + threads).contains(&backend.requests().len()));
    }
}

#[test]
fn after_the_answer_nothing_leaks_on_any_node() {
    let vhost = RabbitMq::shared().vhost();
    let rights = Rights::default();
    let backend = rights.backend();
    let nodes: Vec<_> = (0..3)
        .map(|_| {
            let node = Gateway::with(&backend).set("HT_RABBITMQ__URL", vhost.url());
            let node = node.set("HT_THREADS", 2).start();
            wait_for_ready(&node);
            node
        })
        .collect();
    let mut clients: Vec<_> = nodes
        .iter()
        .flat_map(|node| [true, false].map(|events| subscribed(node, "7", events)))
        .collect();
    let flood = Flood::through(&nodes[0]);
    for client in &mut clients {
        assert_eq!(client.expect_publish().0, 0);
    }
    rights.set("7", json!([{"n": 2}]));
    // Another publisher than that of the flood, through another node.
    assert_eq!(nodes[1].trigger(&invalidate("7"))["matched"], 2);
    flood.late.store(true, Ordering::SeqCst);
    for node in &nodes {
        node.wait_for_metric("high_templar_subscriptions_lost_total", 2);
    }
    let count = flood.stop();
    nodes[0].trigger(&publish(json!({"n": 2}), "end"));
    for client in &mut clients {
        let (by_id, _) = heard(client);
        assert_eq!(by_id["kept"], numbers(count));
        let lost = by_id.get("lost").map_or(&[][..], |lost| lost);
        assert_eq!(lost, &numbers(count)[1..=lost.len()], "nothing late");
    }
}

#[test]
fn what_was_published_before_is_delivered_however_much_waits() {
    let rights = Rights::default();
    let gateway = Gateway::with(&rights.backend())
        .set("HT_THREADS", 1)
        .start();
    let mut client = subscribed(&gateway, "7", false);
    rights.set("7", json!([{"n": 2}]));
    for thousand in 0..10 {
        let before = (0..1_000).map(|number| publish(json!({"n": 1}), thousand * 1_000 + number));
        let last = [invalidate("7"), publish(json!({"n": 1}), "leak")];
        let mixed = before
            .take(998)
            .chain(last.into_iter().filter(|_| thousand == 9));
        gateway.trigger(&Value::from_iter(mixed));
    }
    gateway.trigger(&publish(json!({"n": 2}), "end"));
    let expected = (0..10_000).filter(|number| number % 1_000 < 998);
    assert_eq!(
        heard(&mut client).0["lost"],
        expected.map(Value::from).collect::<Vec<_>>()
    );
}

#[test]
fn a_thousand_invalidates_during_one_call_cause_one_more() {
    let rights = Rights::default();
    let (gate, scripted) = (Gate::default(), rights.clone());
    let behind = gate.clone();
    let calls = Arc::new(Mutex::new(0));
    let backend = StubBackend::new(move |seen| {
        let mut calls = calls.lock().unwrap();
        *calls += 1;
        let answer = scripted.answer(seen);
        match *calls {
            1 => answer,
            _ => Reply::Behind(behind.clone(), answer.into()),
        }
    });
    let gateway = Gateway::start(&backend);
    let mut client = subscribed(&gateway, "7", true);
    gateway.trigger(&invalidate("7"));
    backend.wait_for(2);
    rights.set("7", json!([{"n": 2}]));
    let many = (0..1_000).map(|_| invalidate("7"));
    gateway.trigger(&Value::from_iter(many));
    gate.open();
    gateway.trigger(&publish(json!({"n": 1}), "leak"));
    gateway.trigger(&publish(json!({"n": 2}), "end"));
    let (by_id, events) = heard(&mut client);
    assert_eq!(
        (by_id.len(), &events[..]),
        (0, &[json!("unsubscribed"), json!("permissions")][..])
    );
    assert_eq!(backend.requests().len(), 3);
}

#[test]
fn a_wider_subscription_than_the_new_grants_is_dropped() {
    let rights = Rights::default();
    let gateway = Gateway::start(&rights.backend());
    let mut client = with_events(&gateway, "7");
    subscribe(&mut client, json!({"n": "*"}), "all");
    rights.set("7", json!([{"n": 1}]));
    gateway.trigger(&invalidate("7"));
    let lost = json!({
        "type": "unsubscribed", "requestId": "all", "room": {"n": "*"}, "reason": "permissions",
    });
    assert_eq!(client.expect_json(), lost);
    let grants = json!({"type": "permissions", "allowed_rooms": [{"n": 1}]});
    assert_eq!(client.expect_json(), grants);
    // Gained rooms are open right after the event.
    rights.set("7", json!([{"n": 1}, {"n": 5}]));
    let five = json!({"type": "subscribe", "room": {"n": 5}, "requestId": "five"});
    assert_eq!(client.call(&five)["message"], "room-not-found");
    gateway.trigger(&invalidate("7"));
    assert_eq!(client.expect_json()["type"], "permissions");
    assert_eq!(client.call(&five)["code"], "success");
}

#[test]
fn equal_grants_in_another_order_are_no_news() {
    let rights = Rights::default();
    let backend = rights.backend();
    let gateway = Gateway::start(&backend);
    rights.set("7", json!([{"n": 1}, {"n": 2}]));
    let mut client = subscribed(&gateway, "7", true);
    rights.set("7", json!([{"n": 2}, {"n": 1}]));
    gateway.trigger(&invalidate("7"));
    backend.wait_for(2);
    gateway.trigger(&publish(json!({"n": 1}), "still"));
    gateway.trigger(&publish(json!({"n": 2}), "end"));
    let (by_id, events) = heard(&mut client);
    assert_eq!(
        (&by_id["lost"][..], events),
        (&[json!("still")][..], vec![])
    );
}

#[test]
fn a_room_selects_everybody_who_may_enter_it() {
    let rights = Rights::default();
    let backend = rights.backend();
    rights.set("1", json!([{"n": 1}]));
    rights.set("2", json!([{"n": "*"}]));
    rights.set("3", json!([{"n": 3}]));
    let gateway = Gateway::start(&backend);
    let clients = ["1", "2", "3"].map(|user| handshake(&gateway, user).connect());
    let of_room = json!({"command": "invalidate", "room": {"n": 1}});
    assert_eq!(gateway.trigger(&of_room)["matched"], 2);
    let asked = backend.wait_for(5);
    let mut users: Vec<_> = asked[3..].iter().map(user_of).collect();
    users.sort();
    assert_eq!(users, ["1", "2"]);
    drop(clients);
}

#[test]
fn resuming_from_the_cursor_of_new_permissions_is_not_refused_for_them() {
    let rights = Rights::default();
    let gateway = Gateway::start(&rights.backend());
    let permit = |n| json!({"command": "permit", "user": "7", "allowed_rooms": [{"n": n}]});
    for (n, command) in [(1, invalidate("7")), (2, permit(2))] {
        rights.set("7", json!([{"n": "*"}]));
        let mut client = with_events(&gateway, "7");
        rights.set("7", json!([{"n": n}]));
        gateway.trigger(&command);
        let told = client.expect_whole();
        assert_eq!(told["type"], "permissions", "{told}");
        drop(client);
        gateway.trigger(&publish(json!({"n": n}), "missed"));
        let mut client = with_events(&gateway, "7");
        let resume = json!({
            "type": "resume", "requestId": "r", "cursor": told["cursor"],
            "subscriptions": [{"requestId": n, "room": {"n": n}}],
        });
        let answer = client.call(&resume);
        assert_eq!(answer["recovered"], true, "{answer}");
        assert_eq!(client.expect_publish(), (json!("missed"), json!(n)));
    }
}
