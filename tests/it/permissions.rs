//! Permissions that change while clients are connected: the API is queried again, and clients
//! receive what was published in the right rooms, in order.

mod newcomers;
mod terms;
mod tokens;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use crate::support::{Client, Frame, Gate, Gateway, Handshake, Reply, Seen, StubBackend, frame};

const EVENTS: &str = "high-templar.v1, high-templar.events";

/// What the API answers from now on.
#[derive(Clone)]
struct Answer(Arc<Mutex<Reply>>);

impl Answer {
    fn set(&self, reply: Reply) {
        *self.lock() = reply;
    }

    fn get(&self) -> Reply {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Reply> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An API whose answer a test changes.
fn api(first: Reply) -> (StubBackend, Answer) {
    let answer = Answer(Arc::new(Mutex::new(first)));
    let now = answer.clone();
    let backend = StubBackend::new(move |_| now.get());
    (backend, answer)
}

/// Admits the user to these rooms.
fn admit(user: &str, rooms: &Value) -> Reply {
    let body = json!({"allowed_rooms": rooms, "user": {"id": user}});
    Reply::json("200 OK", body.to_string())
}

/// The reply, once the gate is open.
fn behind(gate: &Gate, reply: Reply) -> Reply {
    Reply::Behind(gate.clone(), reply.into())
}

fn rooms(numbers: &[u64]) -> Value {
    numbers.iter().map(|n| json!({ "n": n })).collect()
}

/// A client that accepts events.
fn listener(gateway: &Gateway) -> Client {
    let mut client = Handshake::new(gateway)
        .header("Sec-WebSocket-Protocol", EVENTS)
        .open();
    assert_eq!(client.expect_json()["is_authorized"], true);
    client
}

/// A client that accepts no events.
fn old(gateway: &Gateway) -> Client {
    Handshake::new(gateway).connect()
}

fn subscribe(client: &mut Client, number: u64) {
    let room = json!({"n": number});
    let message = json!({"type": "subscribe", "room": room, "requestId": number});
    assert_eq!(client.call(&message)["code"], "success", "{message}");
}

fn publish(gateway: &Gateway, number: u64, data: &Value) {
    gateway.trigger(&json!({"rooms": [{"n": number}], "data": data}));
}

/// Sends the command; returns how many connections it meant.
#[track_caller]
fn invalidate(gateway: &Gateway) -> Value {
    gateway.trigger(&json!({"command": "invalidate", "user": "7"}))["matched"].take()
}

fn unsubscribed(number: u64) -> Value {
    let room = json!({"n": number});
    json!({"type": "unsubscribed", "requestId": number, "room": room, "reason": "permissions"})
}

fn permissions(numbers: &[u64]) -> Value {
    json!({"type": "permissions", "allowed_rooms": rooms(numbers)})
}

fn bootstraps(seen: &[Seen]) -> usize {
    seen.iter().filter(|seen| seen.is_bootstrap()).count()
}

#[test]
fn rooms_that_are_kept_lose_and_repeat_nothing_and_others_get_nothing_more() {
    for threads in [1, 4] {
        let (backend, answer) = api(admit("7", &rooms(&[1, 2])));
        let gateway = Gateway::with(&backend).set("HT_THREADS", threads).start();
        let mut clients = [listener(&gateway), old(&gateway), listener(&gateway)];
        for client in &mut clients {
            subscribe(client, 1);
            subscribe(client, 2);
        }
        publish(&gateway, 1, &json!("before"));
        publish(&gateway, 2, &json!("before"));
        let gate = Gate::default();
        answer.set(behind(&gate, admit("7", &rooms(&[1, 3]))));
        assert_eq!(invalidate(&gateway), 3);
        for number in 0..200 {
            publish(&gateway, 1 + number % 2, &json!(number));
        }
        for client in &mut clients {
            assert_eq!(client.expect_publish(), (json!("before"), json!(1)));
            assert_eq!(client.expect_publish(), (json!("before"), json!(2)));
            client.fence();
        }
        gateway.wait_for_metric("high_templar_connections_held", 3);
        gate.open();
        gateway.wait_for_metric("high_templar_connections_held", 0);
        publish(&gateway, 1, &json!("after"));
        publish(&gateway, 2, &json!("after"));
        for (index, client) in clients.iter_mut().enumerate() {
            if index != 1 {
                assert_eq!(client.expect_json(), unsubscribed(2));
                assert_eq!(client.expect_json(), permissions(&[1, 3]));
            }
            for number in (0..200).step_by(2) {
                assert_eq!(client.expect_publish(), (json!(number), json!(1)));
            }
            assert_eq!(client.expect_publish(), (json!("after"), json!(1)));
            client.fence();
        }
        // Three tabs of one browser: one call each, and one more for all.
        assert_eq!(bootstraps(&backend.requests()), 4);
        gateway.wait_for_metric("high_templar_subscriptions_lost_total", 3);
        gateway.wait_for_metric("high_templar_permissions_changed_total", 3);
        let asked = r#"high_templar_permissions_asked_total{reason="command"}"#;
        assert_eq!(gateway.metric(asked), 3);
        assert_eq!(gateway.metric("high_templar_hold_seconds_count"), 3);
    }
}

#[test]
fn a_held_client_is_answered_pings_at_once_and_the_rest_by_its_new_permissions() {
    let (backend, answer) = api(admit("7", &rooms(&[1])));
    let gateway = Gateway::start(&backend);
    let mut client = listener(&gateway);
    let gate = Gate::default();
    answer.set(behind(&gate, admit("7", &rooms(&[2]))));
    assert_eq!(invalidate(&gateway), 1);
    gateway.wait_for_metric("high_templar_connections_held", 1);
    for number in [1, 2] {
        let room = json!({"n": number});
        client.send_json(&json!({"type": "subscribe", "room": room, "requestId": number}));
    }
    client.fence();
    client.send(&Frame::new(frame::PING, "x"));
    let pong = client.frame();
    assert_eq!((pong.opcode, &*pong.payload), (frame::PONG, &b"x"[..]));
    publish(&gateway, 2, &json!("before it subscribed"));
    gate.open();
    assert_eq!(client.expect_json(), permissions(&[2]));
    let refused = client.expect_json();
    assert_eq!(
        (&refused["requestId"], &refused["message"]),
        (&json!(1), &json!("room-not-found"))
    );
    let accepted = client.expect_json();
    assert_eq!(
        (&accepted["requestId"], &accepted["code"]),
        (&json!(2), &json!("success"))
    );
    publish(&gateway, 2, &json!("after"));
    assert_eq!(client.expect_publish().0, "after");
}

#[test]
fn ten_invalidates_during_a_call_cause_exactly_one_more() {
    let gate = Gate::default();
    let (backend, answer) = api(admit("7", &rooms(&[1])));
    let gateway = Gateway::start(&backend);
    let mut client = listener(&gateway);
    subscribe(&mut client, 1);
    answer.set(behind(&gate, admit("7", &rooms(&[1, 2]))));
    invalidate(&gateway);
    backend.wait_for(2);
    for _ in 0..10 {
        assert_eq!(invalidate(&gateway), 1);
    }
    answer.set(admit("7", &rooms(&[3])));
    gate.open();
    assert_eq!(client.expect_json(), unsubscribed(1));
    assert_eq!(client.expect_json(), permissions(&[3]));
    subscribe(&mut client, 3);
    assert_eq!(bootstraps(&backend.requests()), 3);
}

#[test]
fn the_same_permissions_are_no_news() {
    let (backend, answer) = api(admit("7", &rooms(&[1, 2])));
    let gateway = Gateway::start(&backend);
    let mut client = listener(&gateway);
    subscribe(&mut client, 1);
    answer.set(admit("7", &rooms(&[2, 1])));
    assert_eq!(invalidate(&gateway), 1);
    backend.wait_for(2);
    gateway.wait_for_metric("high_templar_hold_seconds_count", 1);
    publish(&gateway, 1, &json!("next"));
    assert_eq!(client.expect_publish().0, "next");
    assert_eq!(gateway.metric("high_templar_permissions_changed_total"), 0);
}

#[test]
fn a_client_that_the_api_refuses_returns_and_is_refused_at_the_handshake() {
    let (backend, answer) = api(admit("7", &rooms(&[1])));
    let gateway = Gateway::start(&backend);
    let mut clients = [listener(&gateway), old(&gateway)];
    for client in &mut clients {
        subscribe(client, 1);
    }
    answer.set(Reply::forbidden());
    assert_eq!(invalidate(&gateway), 2);
    publish(&gateway, 1, &json!("never"));
    for client in &mut clients {
        assert_eq!(client.expect_close(4002), "permissions");
    }
    let mut again = Handshake::new(&gateway)
        .header("Sec-WebSocket-Protocol", EVENTS)
        .open();
    assert_eq!(again.expect_json()["is_authorized"], false);
    again.expect_close(4300);
    let mut again = Handshake::new(&gateway).open();
    assert_eq!(again.expect_json()["is_authorized"], false);
    again.expect_close(1000);
    gateway.wait_for_line("the backend refused a client that is connected");
}

#[test]
fn a_client_never_becomes_another_user() {
    let (backend, answer) = api(admit("7", &rooms(&[1])));
    let gateway = Gateway::start(&backend);
    let mut client = listener(&gateway);
    subscribe(&mut client, 1);
    answer.set(admit("8", &rooms(&[1, 2])));
    assert_eq!(invalidate(&gateway), 1);
    publish(&gateway, 1, &json!("of another user"));
    assert_eq!(client.expect_close(4002), "permissions");
}

#[test]
fn while_the_api_is_down_nothing_is_sent_until_the_hold_ends() {
    for (unreachable, keeps) in [("close", false), ("keep", true)] {
        let (backend, answer) = api(admit("7", &rooms(&[1])));
        let gateway = Gateway::with(&backend)
            .set("HT_PERMISSIONS__HOLD_TIMEOUT", "300ms")
            .set("HT_PERMISSIONS__UNREACHABLE", unreachable)
            .start();
        let mut client = listener(&gateway);
        subscribe(&mut client, 1);
        answer.set(Reply::Reset);
        assert_eq!(invalidate(&gateway), 1);
        publish(&gateway, 1, &json!("during the hold"));
        if keeps {
            assert_eq!(client.expect_publish().0, "during the hold");
            subscribe(&mut client, 1);
        } else {
            let reason = client.expect_close(1013);
            assert!(reason.starts_with("backend "), "{reason}");
        }
        assert_eq!(
            gateway.metric("high_templar_permissions_unreachable_total"),
            1
        );
        let line = gateway.wait_for_line("no usable answer from the backend within");
        assert!(line.contains("connections=1"), "{line}");
    }
}

#[test]
fn the_api_may_recover_during_the_hold() {
    let (backend, answer) = api(admit("7", &rooms(&[1])));
    let gateway = Gateway::start(&backend);
    let mut client = listener(&gateway);
    subscribe(&mut client, 1);
    answer.set(Reply::http("503 Service Unavailable", &[], ""));
    assert_eq!(invalidate(&gateway), 1);
    backend.wait_for(2);
    publish(&gateway, 1, &json!("during the hold"));
    answer.set(admit("7", &rooms(&[1, 2])));
    assert_eq!(client.expect_json(), permissions(&[1, 2]));
    assert_eq!(client.expect_publish().0, "during the hold");
}

#[test]
fn a_held_client_that_disconnects_abandons_its_call() {
    let (backend, answer) = api(admit("7", &rooms(&[1])));
    let gateway = Gateway::start(&backend);
    let client = listener(&gateway);
    answer.set(Reply::Hang(Vec::new()));
    assert_eq!(invalidate(&gateway), 1);
    backend.wait_for(2);
    client.leave();
    backend.wait("abandoned call", |history| {
        (history.abandoned == 1).then_some(())
    });
    gateway.wait_for_metric("high_templar_connections_held", 0);
    gateway.wait_for_metric("high_templar_backend_calls_in_flight", 0);
}

#[test]
fn without_kept_credentials_clients_are_closed_to_prove_themselves_again() {
    let (backend, _) = api(admit("7", &rooms(&[1])));
    let gateway = Gateway::with(&backend)
        .set("HT_PERMISSIONS__RECHECK", "false")
        .start();
    let mut client = listener(&gateway);
    let kept = r#"high_templar_client_bytes{kind="credentials"}"#;
    assert_eq!(gateway.metric(kept), 0);
    assert_eq!(invalidate(&gateway), 1);
    client.expect_close(4002);
    assert_eq!(bootstraps(&backend.requests()), 1);
}

#[test]
fn kept_credentials_count_and_are_not_logged() {
    let (backend, answer) = api(admit("7", &rooms(&[1])));
    let gateway = Gateway::with(&backend)
        .set("HT_LOG__LEVEL", "trace")
        .start();
    let cookie = format!("sessionid={}", "s3cret".repeat(100));
    let handshake = Handshake::new(&gateway).header("Cookie", &cookie);
    let client = handshake.connect();
    let kept = r#"high_templar_client_bytes{kind="credentials"}"#;
    let bytes = gateway.metric(kept);
    assert!((600..1_000).contains(&bytes), "{bytes}");
    answer.set(Reply::forbidden());
    assert_eq!(invalidate(&gateway), 1);
    let asked = backend.wait_for(2);
    assert_eq!(asked[1].header("cookie"), Some(&*cookie));
    assert_eq!(asked[0].headers, asked[1].headers, "the same request again");
    gateway.wait_for_metric(kept, 0);
    drop(client);
    assert!(!gateway.log().contains("s3cret"));
}

#[test]
fn a_response_that_clients_share_for_a_while_is_not_used_again() {
    let (backend, answer) = api(admit("7", &rooms(&[1])));
    let gateway = Gateway::with(&backend)
        .set("HT_BACKEND__COALESCE", "30s")
        .start();
    let mut client = listener(&gateway);
    answer.set(admit("7", &rooms(&[2])));
    assert_eq!(invalidate(&gateway), 1);
    assert_eq!(client.expect_json(), permissions(&[2]));
    // Nobody else gets the older one either.
    let mut other = Handshake::new(&gateway).open();
    assert_eq!(other.expect_json()["allowed_rooms"], rooms(&[2]));
}

#[test]
fn the_timeout_of_a_hold_is_a_live_setting() {
    let (backend, answer) = api(admit("7", &rooms(&[1])));
    let gateway = Gateway::start(&backend);
    let mut client = listener(&gateway);
    answer.set(Reply::Reset);
    assert_eq!(invalidate(&gateway), 1);
    gateway.wait_for_metric("high_templar_connections_held", 1);
    gateway.reload("[permissions]\nhold_timeout = \"200ms\"\n");
    let reason = client.expect_close(1013);
    assert!(reason.starts_with("backend "), "{reason}");
}

#[test]
fn a_node_that_shuts_down_closes_held_clients_like_others() {
    let (backend, answer) = api(admit("7", &rooms(&[1])));
    let mut gateway = Gateway::start(&backend);
    let mut client = listener(&gateway);
    answer.set(Reply::Hang(Vec::new()));
    assert_eq!(invalidate(&gateway), 1);
    backend.wait_for(2);
    gateway.signal("TERM");
    client.expect_close(1012);
    assert_eq!(gateway.wait_for_end(), Some(0));
}
