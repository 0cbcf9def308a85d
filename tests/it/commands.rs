//! Commands: disconnect, unsubscribe and permit, among triggers in one order.

mod newcomers;
mod rabbitmq;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::support::{Client, Gate, Gateway, Handshake, Reply, Seen, StubBackend, http, places};

const EVENTS: &str = "high-templar.v1, high-templar.events";

/// The API's response about the user whose token it is, who may enter every room `n`.
fn permissions(seen: &Seen) -> Value {
    let token = seen.header("authorization").unwrap_or("Token nobody");
    let user = token.trim_start_matches("Token ");
    json!({
        "allowed_rooms": [{"n": "*"}],
        "user": {"id": user},
        "session": format!("s-{user}"),
        "labels": ["all", format!("group-{}", user.len())],
    })
}

fn api() -> StubBackend {
    StubBackend::new(|seen| Reply::json("200 OK", permissions(seen).to_string()))
}

fn handshake(gateway: &Gateway, user: &str) -> Handshake {
    Handshake::new(gateway).path(&format!("/ws/?token={user}"))
}

/// A client of this user that is subscribed to `{"n": 1}` as `"x"`.
fn listener(gateway: &Gateway, user: &str) -> Client {
    let mut client = handshake(gateway, user).connect();
    client.subscribe(&json!({"n": 1}), "x");
    client
}

fn publish(data: impl Into<Value>) -> Value {
    json!({"rooms": [{"n": 1}], "data": data.into()})
}

/// Sends a command; returns how many connections it meant.
#[track_caller]
fn command(gateway: &Gateway, command: &Value) -> u64 {
    let answer = gateway.trigger(command);
    assert!(answer["position"].is_u64(), "{answer}");
    assert_eq!(answer["epoch"].as_str().map(str::len), Some(6), "{answer}");
    answer["matched"].as_u64().expect("how many were meant")
}

#[test]
fn a_disconnect_closes_the_selected_clients_with_its_code() {
    let gateway = Gateway::start(&api());
    for (come_back, code) in [
        (json!("soon"), 4003),
        (json!("later"), 4103),
        (json!("never"), 4203),
        (json!("sign-in"), 4303),
        (Value::Null, 4303),
    ] {
        let mut meant = [listener(&gateway, "7"), listener(&gateway, "7")];
        let mut other = listener(&gateway, "8");
        let mut disconnect = json!({"command": "disconnect", "user": 7, "reason": "signed-out"});
        if !come_back.is_null() {
            disconnect["come_back"] = come_back;
        }
        assert_eq!(command(&gateway, &disconnect), 2);
        for client in &mut meant {
            assert_eq!(client.expect_close(code), "signed-out");
        }
        gateway.trigger(&publish(1));
        assert_eq!(other.expect_publish().0, 1);
        assert_eq!(
            command(
                &gateway,
                &json!({"command": "disconnect", "session": "s-8"})
            ),
            1
        );
        assert_eq!(other.expect_close(4303), "ended");
    }
    let count = gateway.metric(r#"high_templar_commands_total{command="disconnect"}"#);
    assert_eq!(count, 10);
    let line = gateway.wait_for_line("carrying out a command of the API");
    assert!(line.contains("disconnect") && line.contains('7'), "{line}");
}

#[test]
fn commands_and_triggers_of_one_request_keep_their_order() {
    for threads in [1, 4] {
        let backend = api();
        let gateway = Gateway::with(&backend).set("HT_THREADS", threads).start();
        let mut clients: Vec<_> = (0..6).map(|_| listener(&gateway, "7")).collect();
        let mut other = listener(&gateway, "8");
        let mixed = json!([
            publish("before"),
            {"command": "permit", "user": "7", "allowed_rooms": [{"n": 2}]},
            publish("between"),
            {"command": "disconnect", "user": "7", "come_back": "soon"},
            publish("after"),
        ]);
        let answer = gateway.trigger(&mixed);
        let positions: Vec<_> = answer
            .as_array()
            .unwrap()
            .iter()
            .map(|it| &it["position"])
            .collect();
        assert_eq!(positions, [1, 2, 3, 4, 5]);
        assert_eq!(
            (&answer[1]["matched"], &answer[3]["matched"]),
            (&json!(6), &json!(6))
        );
        assert_eq!(
            places(answer[0].clone()),
            json!({"position": 1}),
            "a trigger is answered as ever"
        );
        for client in &mut clients {
            assert_eq!(client.expect_publish().0, "before");
            assert_eq!(client.expect_close(4003), "ended");
        }
        for data in ["before", "between", "after"] {
            assert_eq!(other.expect_publish().0, data);
        }
        gateway.wait_for_metric("high_templar_subscriptions_lost_total", 6);
    }
}

#[test]
fn nothing_after_a_permit_reaches_what_was_lost_while_very_much_is_published() {
    let backend = api();
    let gateway = Gateway::with(&backend).set("HT_THREADS", 4).start();
    let mut clients: Vec<_> = (0..8).map(|_| listener(&gateway, "7")).collect();
    let mut witness = listener(&gateway, "8");
    let over = Arc::new(AtomicBool::new(false));
    let (door, stop) = (gateway.internal().clone(), Arc::clone(&over));
    let publisher = std::thread::spawn(move || {
        let batch: Vec<_> = (0..100).map(|_| publish(0)).collect();
        let body = Value::from(batch).to_string();
        while !stop.load(Ordering::Relaxed) {
            let answer = http::request(&door, "POST", "/trigger/", &[], body.as_bytes());
            assert_eq!(answer.status, 200);
        }
    });
    for client in clients.iter_mut().chain([&mut witness]) {
        assert_eq!(client.expect_publish().0, 0);
    }
    let batch = json!([
        publish("last"),
        {"command": "permit", "user": "7", "allowed_rooms": [{"n": 2}]},
        publish("first"),
    ]);
    gateway.trigger(&batch);
    over.store(true, Ordering::Relaxed);
    publisher.join().unwrap();
    gateway.trigger(&json!({"rooms": [{"n": 2}], "data": null}));
    for client in &mut clients {
        let mut heard = client.expect_publish().0;
        while heard == 0 {
            heard = client.expect_publish().0;
        }
        assert_eq!(heard, "last");
        // All that was published behind it was for the room that was lost.
        client.send_json(&json!({"type": "subscribe", "room": {"n": 2}, "requestId": "end"}));
        assert_eq!(client.expect_json(), json!({"code": "success"}));
        client.send_json(&json!({"type": "subscribe", "room": {"n": 1}, "requestId": "x"}));
        assert_eq!(client.expect_json()["message"], "room-not-found");
    }
    let mut heard = witness.expect_publish().0;
    while heard != "first" {
        heard = witness.expect_publish().0;
    }
}

#[test]
fn clients_that_listen_for_events_receive_them_in_order() {
    let gateway = Gateway::start(&api());
    let offer = |names| handshake(&gateway, "7").header("Sec-WebSocket-Protocol", names);
    let mut events = offer(EVENTS).connect();
    let mut deaf = offer("high-templar.v1").connect();
    let mut old = handshake(&gateway, "7").connect();
    for client in [&mut events, &mut deaf, &mut old] {
        for (room, id) in [(json!({"n": 1}), 1), (json!({"n": 2}), 2)] {
            let subscribe = json!({"type": "subscribe", "room": room, "requestId": id});
            assert_eq!(client.call(&subscribe)["code"], "success");
        }
    }
    let from = json!({"command": "unsubscribe", "user": "7", "from": [{"n": 1}]});
    assert_eq!(command(&gateway, &from), 3);
    let permit = json!({"command": "permit", "user": "7", "allowed_rooms": [{"n": 9}, {"m": 1}]});
    assert_eq!(command(&gateway, &permit), 3);
    for (id, reason) in [(1, "command"), (2, "permissions")] {
        let expected = json!({
            "type": "unsubscribed", "requestId": id, "room": {"n": id}, "reason": reason,
        });
        assert_eq!(events.expect_json(), expected);
    }
    let expected = json!({"type": "permissions", "allowed_rooms": [{"n": 9}, {"m": 1}]});
    assert_eq!(events.expect_json(), expected);
    // The same grants in another order are no news.
    let again = json!({"command": "permit", "user": "7", "allowed_rooms": [{"m": 1}, {"n": 9}]});
    assert_eq!(command(&gateway, &again), 3);
    let everywhere = json!({"rooms": [{"n": 1}, {"n": 2}, {"n": 9}], "data": "x"});
    gateway.trigger(&everywhere);
    for client in [&mut events, &mut deaf, &mut old] {
        let subscribe = json!({"type": "subscribe", "room": {"n": 9}, "requestId": 3});
        assert_eq!(
            client.call(&subscribe)["code"],
            "success",
            "and nothing before it"
        );
    }
}

#[test]
fn an_exact_room_removes_nothing_from_a_wider_subscription() {
    let gateway = Gateway::start(&api());
    let mut client = listener(&gateway, "7");
    client.subscribe(&json!({"n": "*"}), "all");
    let from = |room| json!({"command": "unsubscribe", "label": "all", "from": [room]});
    assert_eq!(command(&gateway, &from(json!({"n": 1}))), 1);
    gateway.trigger(&publish(1));
    assert_eq!(client.expect_publish(), (json!(1), json!("all")));
    // The grants stay.
    client.subscribe(&json!({"n": 1}), "x");
    assert_eq!(command(&gateway, &from(json!({"n": "*"}))), 1);
    gateway.trigger(&publish(2));
    client.subscribe(&json!({"n": 1}), "x");
    gateway.trigger(&publish(3));
    assert_eq!(client.expect_publish(), (json!(3), json!("x")));
    gateway.wait_for_metric("high_templar_subscriptions_lost_total", 3);
}

#[test]
fn a_room_selects_clients_that_may_enter_it_subscribed_or_not() {
    let backend = StubBackend::new(|seen| {
        let rooms = match seen.header("authorization") {
            Some("Token one") => json!([{"n": 1}]),
            Some("Token all") => json!([{"n": "*"}]),
            _ => json!([{"n": 2}, {"m": 1}]),
        };
        Reply::rooms(&rooms)
    });
    let gateway = Gateway::start(&backend);
    let mut one = handshake(&gateway, "one").connect();
    let mut all = handshake(&gateway, "all").connect();
    let mut other = handshake(&gateway, "other").connect();
    let disconnect = |room| json!({"command": "disconnect", "room": room});
    assert_eq!(command(&gateway, &disconnect(json!({"n": 1}))), 2);
    assert_eq!(one.expect_close(4303), "ended");
    assert_eq!(all.expect_close(4303), "ended");
    other.fence();
    assert_eq!(command(&gateway, &disconnect(json!({"m": "*"}))), 1);
    assert_eq!(other.expect_close(4303), "ended");
}

#[test]
fn a_dry_run_counts_the_clients_that_the_command_selects() {
    let gateway = Gateway::start(&api());
    let mut clients: Vec<_> = ["7", "7", "8", "12"]
        .map(|user| listener(&gateway, user))
        .into();
    for (selector, value, count) in [
        ("user", json!(7), 2),
        ("label", json!("all"), 4),
        ("label", json!(["group-2", "nobody"]), 1),
        ("room", json!({"n": 5}), 4),
        ("everyone", json!(true), 4),
        ("session", json!("s-9"), 0),
    ] {
        let unsubscribe = |dry_run: bool| {
            let mut command = json!({"command": "unsubscribe", "from": [{"m": 1}]});
            command[selector] = value.clone();
            command["dry_run"] = dry_run.into();
            command
        };
        assert_eq!(command(&gateway, &unsubscribe(true)), count, "{selector}");
        assert_eq!(command(&gateway, &unsubscribe(false)), count, "{selector}");
    }
    let dry = json!({"command": "disconnect", "everyone": true, "dry_run": true});
    let mixed = gateway.trigger(&json!([publish(1), dry, publish(2)]));
    assert_eq!(mixed[1]["matched"], 4);
    for client in &mut clients {
        assert_eq!(
            (client.expect_publish().0, client.expect_publish().0),
            (json!(1), json!(2))
        );
    }
    assert_eq!(
        gateway.metric(r#"high_templar_commands_total{command="disconnect"}"#),
        0
    );
}

#[test]
fn a_command_with_the_same_id_is_executed_once() {
    let gateway = Gateway::start(&api());
    let disconnect = json!({"command": "disconnect", "user": "7", "id": "logout-81"});
    let mut first = listener(&gateway, "7");
    let answer = gateway.trigger(&disconnect);
    assert_eq!(answer["matched"], 1);
    first.expect_close(4303);
    let mut second = listener(&gateway, "7");
    let again = gateway.trigger(&disconnect);
    assert_eq!(again["duplicate"], true);
    assert_eq!(again["position"], answer["position"]);
    assert!(again.get("matched").is_none());
    second.fence();
}

#[test]
fn what_is_wrong_is_refused_and_nobody_is_touched() {
    let gateway = Gateway::start(&api());
    let mut client = listener(&gateway, "7");
    for command in [
        json!({"command": "disconnect"}),
        json!({"command": "disconnect", "everyone": false}),
        json!({"command": "disconnect", "usr": 7}),
        json!({"command": "disconnect", "user": ""}),
        json!({"command": "disconnect", "everyone": true, "user": 7}),
        json!({"command": "disconnect", "user": 7, "come_back": "tomorrow"}),
        json!({"command": "disconnect", "user": 7, "reason": "Signed out"}),
        json!({"command": "disconnect", "user": 7, "rooms": [{"n": 1}]}),
        json!({"command": "disconnect", "user": 7, "confirm": "everybody"}),
        json!({"command": "disconnect", "user": 7, "confirm": "everywhere", "dry_run": true}),
        json!({"command": "disconnect", "user": 7, "issued_before": 5}),
        json!({"command": "permit", "label": "all", "allowed_rooms": []}),
        json!({"command": "permit", "user": 7, "allowed_rooms": [], "expires_in": 0}),
        json!({"command": "permit", "user": 7}),
        json!({"command": "unsubscribe", "user": 7}),
        json!({"command": "invalidate", "user": 7, "within": -1}),
        json!({"command": "drop", "user": 7}),
    ] {
        let answer = gateway.post(command.to_string());
        assert_eq!(answer.status, 400, "{command}");
        assert!(answer.json()["error"].is_string());
        let mixed = json!([publish("never"), command]);
        let answer = gateway.post(mixed.to_string());
        assert_eq!(
            (answer.status, &answer.json()["trigger"]),
            (400, &json!(1)),
            "{command}"
        );
    }
    gateway.trigger(&publish("next"));
    assert_eq!(client.expect_publish().0, "next");
}

#[test]
fn no_browser_and_no_foreign_host_commands() {
    let backend = api();
    let gateway = Gateway::with(&backend)
        .set("HT_INTERNAL__API_KEY", "k".repeat(32))
        .start();
    let mut client = listener(&gateway, "7");
    let body = json!({"command": "disconnect", "everyone": true}).to_string();
    let key = format!("Bearer {}", "k".repeat(32));
    let post = |headers: &[(&str, &str)]| {
        let answer = http::request(
            gateway.internal(),
            "POST",
            "/trigger/",
            headers,
            body.as_bytes(),
        );
        answer.status
    };
    assert_eq!(
        post(&[("Authorization", &key), ("Origin", "http://localhost")]),
        403
    );
    assert_eq!(
        post(&[("Authorization", &key), ("Sec-Fetch-Site", "same-origin")]),
        403
    );
    assert_eq!(post(&[]), 401);
    let public = http::request(gateway.public(), "POST", "/trigger/", &[], body.as_bytes());
    assert_eq!(public.status, 404);
    client.fence();
    assert_eq!(post(&[("Authorization", &key)]), 200);
    client.expect_close(4303);
}
