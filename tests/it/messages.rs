//! Requests of clients and the replies to them.

use std::io::Write;

use serde_json::{Value, json};

use crate::support::{Client, Frame, Gateway, StubBackend, frame};

fn success() -> Value {
    json!({"code": "success"})
}

fn error(message: &str) -> Value {
    json!({"code": "error", "message": message})
}

/// A client, and the guard that keeps its gateway running.
fn client() -> (Gateway, Client) {
    let gateway = Gateway::start(&StubBackend::open());
    let client = Client::connect(&gateway);
    (gateway, client)
}

/// Provokes the first error reply, which names the connection.
#[track_caller]
fn connection_id(client: &mut Client) -> String {
    let reply = client.call(&json!({}));
    let id = reply["requestId"].as_str().expect("an id").to_owned();
    let parsed: uuid::Uuid = id.parse().expect("a UUID");
    assert_eq!(parsed.get_version_num(), 4);
    id
}

#[test]
fn only_ping_is_answered_with_pong() {
    let (_gateway, mut client) = client();
    client.send_text("ping");
    let pong = Frame {
        masked: false,
        ..Frame::new(frame::TEXT, "pong")
    };
    assert_eq!(client.frame(), pong);
    for no_ping in ["PING", " ping", "ping ", "ping\n", "Ping", "pin", ""] {
        client.send_text(no_ping);
        assert_eq!(
            client.expect_json()["message"],
            "non-json-message",
            "{no_ping:?}"
        );
    }
    client.send(&Frame::new(frame::BINARY, "ping"));
    assert_eq!(client.expect_json()["message"], "non-json-message");
    client.send_text("\"ping\"");
    assert_eq!(client.expect_json()["message"], "message-not-object");
}

#[test]
fn replies_that_cannot_name_the_request_name_the_connection() {
    let (gateway, mut client) = client();
    let id = connection_id(&mut client);
    assert_ne!(connection_id(&mut Client::connect(&gateway)), id);
    for (text, message) in [
        ("{", "non-json-message"),
        ("rubbish", "non-json-message"),
        ("{} {}", "non-json-message"),
        ("{\"type\": \"status\",}", "non-json-message"),
        ("{'type': 'status'}", "non-json-message"),
        ("{\"type\": NaN}", "non-json-message"),
        ("{\"a\": \"\n\"}", "non-json-message"),
        ("[]", "message-not-object"),
        ("[{\"type\": \"status\"}]", "message-not-object"),
        ("1", "message-not-object"),
        ("\"x\"", "message-not-object"),
        ("null", "message-not-object"),
        ("true", "message-not-object"),
        ("{}", "message-type-not-allowed"),
        (
            "{\"type\": \"publish\", \"requestId\": 7}",
            "message-type-not-allowed",
        ),
        (
            "{\"type\": \"Subscribe\", \"requestId\": 7}",
            "message-type-not-allowed",
        ),
        ("{\"type\": null}", "message-type-not-allowed"),
        ("{\"type\": [\"status\"]}", "message-type-not-allowed"),
        (
            "{\"requestId\": 7, \"room\": {}}",
            "message-type-not-allowed",
        ),
    ] {
        client.send_text(text);
        let wanted = json!({"requestId": id, "code": "error", "message": message});
        assert_eq!(client.expect_json(), wanted, "{text}");
    }
    client.fence();
}

#[test]
fn binary_json_is_answered_in_text() {
    let (_gateway, mut client) = client();
    let message = json!({"type": "subscribe", "room": {"room": 1}, "requestId": 1});
    client.send(&Frame::new(frame::BINARY, message.to_string()));
    assert_eq!(client.expect_json(), success());
    client.send(&Frame::new(frame::BINARY, b"\xff\xfe"));
    assert_eq!(client.expect_json()["message"], "non-json-message");
    client.fence();
}

#[test]
fn subscribing_and_unsubscribing() {
    let (_gateway, mut client) = client();
    for (message, reply) in [
        (
            json!({"type": "subscribe", "room": {"room": 1}, "requestId": "a"}),
            success(),
        ),
        (
            json!({"type": "subscribe", "room": {"room": 1}, "requestId": "b", "extra": [1, {}]}),
            success(),
        ),
        (
            json!({"type": "subscribe", "room": {"room": 1}}),
            error("no-request-id"),
        ),
        // The requestId is looked at before the permission.
        (
            json!({"type": "subscribe", "room": {"no": 1}}),
            error("no-request-id"),
        ),
        (
            json!({"type": "subscribe", "room": {"no": 1}, "requestId": 1}),
            error("room-not-found"),
        ),
        (
            json!({"type": "subscribe", "room": {}, "requestId": 1}),
            error("room-not-found"),
        ),
        (
            json!({"type": "subscribe", "requestId": 1}),
            error("invalid-room"),
        ),
        (
            json!({"type": "subscribe", "room": [], "requestId": 1}),
            error("invalid-room"),
        ),
        (
            json!({"type": "subscribe", "room": "room", "requestId": 1}),
            error("invalid-room"),
        ),
        (
            json!({"type": "subscribe", "room": null, "requestId": 1}),
            error("invalid-room"),
        ),
        (
            json!({"type": "subscribe", "room": {"room": 1}, "requestId": [1]}),
            error("invalid-request-id"),
        ),
        (
            json!({"type": "subscribe", "room": {"room": 1}, "requestId": {"a": 1}}),
            error("invalid-request-id"),
        ),
        (
            json!({"type": "unsubscribe", "requestId": "c"}),
            error("not-subscribed"),
        ),
        (json!({"type": "unsubscribe"}), error("no-request-id")),
        (
            json!({"type": "unsubscribe", "requestId": []}),
            error("invalid-request-id"),
        ),
        (
            json!({"type": "unsubscribe", "requestId": "a", "room": {"another": 1}}),
            success(),
        ),
        (
            json!({"type": "unsubscribe", "requestId": "a"}),
            error("not-subscribed"),
        ),
        (
            json!({"type": "unsubscribe", "requestId": "b", "room": 7}),
            success(),
        ),
    ] {
        assert_eq!(client.call(&message), reply, "{message}");
    }
    assert_eq!(client.status()["num_rooms"], 0);
    client.fence();
}

#[test]
fn request_ids_are_scalars_returned_unchanged() {
    let (gateway, mut client) = client();
    let ids = [
        json!(0),
        json!(""),
        json!(null),
        json!(true),
        json!(false),
        json!(1.5),
        json!(-3),
        json!("0"),
        json!("é\u{1f600}"),
        json!("a\"b\\c\n"),
        json!(12_345_678_901_234_567_890u64),
        json!("6e0f1e4a-6f3b-11ee-b962-0242ac120002"),
    ];
    for (n, id) in ids.iter().enumerate() {
        client.subscribe(&json!({"room": n}), id.clone());
    }
    for (n, id) in ids.iter().enumerate() {
        gateway.trigger(&json!({"rooms": [{"room": n}], "data": n}));
        assert_eq!(client.expect_publish(), (json!(n), id.clone()));
    }
    // They are different names, and each can be dropped.
    for id in ids {
        assert_eq!(
            client.call(&json!({"type": "unsubscribe", "requestId": id})),
            success()
        );
    }
    assert_eq!(client.status()["num_rooms"], 0);
    // As it was written, even where a parser would read another number.
    client.send_text(r#"{"type":"subscribe","room":{"room":1},"requestId":1.50}"#);
    assert_eq!(client.expect_json(), success());
    gateway.trigger(&json!({"rooms": [{"room": 1}], "data": 0}));
    let frame = client.expect_text();
    assert!(frame.contains("1.50"), "{frame}");
}

#[test]
fn one_subscription_for_each_room_and_request_id() {
    let (gateway, mut client) = client();
    let room = json!({"room": 1});
    client.subscribe(&room, "a");
    client.subscribe(&room, "a");
    gateway.trigger(&json!({"rooms": [room], "data": 1}));
    assert_eq!(client.expect_publish(), (json!(1), json!("a")));
    client.fence();

    client.subscribe(&room, "b");
    gateway.trigger(&json!({"rooms": [room], "data": 2}));
    let mut both = [client.expect_publish(), client.expect_publish()];
    both.sort_by_key(|(_, id)| id.to_string());
    assert_eq!(both, [(json!(2), json!("a")), (json!(2), json!("b"))]);

    // One name for two rooms.
    client.subscribe(&json!({"room": 2}), "a");
    gateway.trigger(&json!({"rooms": [{"room": 2}], "data": 3}));
    assert_eq!(client.expect_publish(), (json!(3), json!("a")));
    assert_eq!(client.status()["num_rooms"], 2);

    // Unsubscribing drops both, and the name is clean again.
    assert_eq!(
        client.call(&json!({"type": "unsubscribe", "requestId": "a"})),
        success()
    );
    assert_eq!(client.status()["num_rooms"], 1);
    gateway.trigger(&json!({"rooms": [{"room": 2}, {"room": 1}], "data": 4}));
    assert_eq!(client.expect_publish(), (json!(4), json!("b")));
    client.fence();
    client.subscribe(&json!({"room": 3}), "a");
    gateway.trigger(&json!({"rooms": [{"room": 1}, {"room": 2}, {"room": 3}], "data": 5}));
    assert_eq!(client.expect_publish(), (json!(5), json!("b")));
    assert_eq!(client.expect_publish(), (json!(5), json!("a")));
    client.fence();
}

#[test]
fn request_ids_belong_to_their_connection() {
    let (gateway, mut one) = client();
    let mut two = Client::connect(&gateway);
    one.subscribe(&json!({"room": 1}), "x");
    two.subscribe(&json!({"room": 2}), "x");
    let unsubscribe = json!({"type": "unsubscribe", "requestId": "x"});
    assert_eq!(one.call(&unsubscribe), success());
    gateway.trigger(&json!({"rooms": [{"room": 1}, {"room": 2}], "data": 1}));
    assert_eq!(two.expect_publish(), (json!(1), json!("x")));
    one.fence();
    assert_eq!(two.call(&unsubscribe), success());
}

#[test]
fn replies_arrive_in_the_order_of_the_requests() {
    let (_gateway, mut client) = client();
    let mut bytes = Vec::new();
    for n in 0..500 {
        for message in [
            json!({"type": "subscribe", "room": {"room": n}, "requestId": n}).to_string(),
            json!({"type": "unsubscribe", "requestId": n + 10_000}).to_string(),
            "ping".to_owned(),
            "rubbish".to_owned(),
        ] {
            bytes.extend(Frame::new(frame::TEXT, message).bytes());
        }
    }
    let mut writer = match &client.stream {
        crate::support::stream::Stream::Tcp(stream) => stream.try_clone().unwrap(),
        crate::support::stream::Stream::Unix(_) => unreachable!("listening on TCP"),
    };
    let writing = std::thread::spawn(move || writer.write_all(&bytes).unwrap());
    for n in 0..500 {
        assert_eq!(client.expect_json(), success(), "{n}");
        assert_eq!(client.expect_json(), error("not-subscribed"), "{n}");
        assert_eq!(client.expect_text(), "pong", "{n}");
        assert_eq!(client.expect_json()["message"], "non-json-message", "{n}");
    }
    writing.join().unwrap();
}

#[test]
fn too_deep_or_too_long_requests_have_their_own_codes_and_keep_the_connection() {
    let backend = StubBackend::open();
    let gateway = Gateway::with(&backend)
        .set("HT_LIMITS__ROOM_DEPTH", 3)
        .set("HT_LIMITS__ROOM_BYTES", 100)
        .set("HT_LIMITS__REQUEST_ID_BYTES", 40)
        .set("HT_LIMITS__SUBSCRIPTIONS", 3)
        .start();
    let mut client = Client::connect(&gateway);
    let subscribe =
        |room: Value, id: Value| json!({"type": "subscribe", "room": room, "requestId": id});
    let long = "x".repeat(101);
    for (message, reply) in [
        (subscribe(json!({"room": [[1]]}), json!(1)), success()),
        (
            subscribe(json!({"room": [[[1]]]}), json!(1)),
            error("room-too-deep"),
        ),
        (
            subscribe(json!({"room": long}), json!(1)),
            error("room-too-long"),
        ),
        (
            subscribe(json!({"room": 1}), json!(long)),
            error("request-id-too-long"),
        ),
        (
            json!({"type": "unsubscribe", "requestId": long}),
            error("request-id-too-long"),
        ),
        (subscribe(json!({"room": 2}), json!(2)), success()),
        (subscribe(json!({"room": 3}), json!(3)), success()),
        (
            subscribe(json!({"room": 4}), json!(4)),
            error("too-many-subscriptions"),
        ),
        // An existing one does not exceed the limit.
        (subscribe(json!({"room": 3}), json!(3)), success()),
        (json!({"type": "unsubscribe", "requestId": 2}), success()),
        (subscribe(json!({"room": 4}), json!(4)), success()),
    ] {
        assert_eq!(client.call(&message), reply, "{message}");
    }
    let deep = format!(
        "{{\"type\": {}1{}}}",
        "[".repeat(30_000),
        "]".repeat(30_000)
    );
    client.send_text(&deep);
    assert_eq!(client.expect_json()["code"], "error");
    client.fence();
    let counted = "high_templar_client_errors_total{code=\"too-many-subscriptions\"}";
    gateway.wait_for_metric(counted, 1);
}
