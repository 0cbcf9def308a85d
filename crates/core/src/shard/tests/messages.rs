//! The first frame, pings, replies and errors.

use ht_frame::Opcode;
use ht_proto::hook::Hook;

use super::kit::*;
use crate::shard::Settings;

#[test]
fn the_first_frame_names_the_rooms() {
    let mut world = World::new();
    let mut client = world.open_with(r#"[{"a":"*"},{"b":1.50}]"#, usize::MAX);
    assert_eq!(
        client.hears(),
        [r#"{"is_authorized": true, "allowed_rooms": [{"a":"*"}, {"b":1.50}]}"#]
    );
    assert_eq!(client.writes(), 1);
    assert_eq!(world.told(), [Told::Hook(0, Hook::Connect), Told::Sent(0)]);
    assert_eq!((world.stats().connections, world.stats().admitted), (1, 1));
}

#[test]
fn only_the_exact_text_ping_is_a_ping() {
    let mut world = World::new();
    let mut client = world.open("[]");
    assert_eq!(world.ask(&mut client, "ping"), ["pong"]);
    let not_json = error_of(&client, "non-json-message");
    for text in [" ping", "ping ", "PING", "pin", "ping\n", ""] {
        assert_eq!(world.ask(&mut client, text), [&*not_json], "{text:?}");
    }
    let answer = world.ask(&mut client, "\"ping\"");
    assert_eq!(answer, [error_of(&client, "message-not-object")]);
    world.frame(&client, Opcode::Binary, b"ping");
    assert_eq!(client.hears(), [not_json]);
    let pings = Told::Hook(0, Hook::Ping);
    assert_eq!(
        world.told().iter().filter(|&told| *told == pings).count(),
        1
    );
}

#[test]
fn ping_hook_is_called_before_the_reply() {
    let mut world = World::new();
    let client = world.open("[]");
    world.told();
    world.say(&client, "ping");
    assert_eq!(world.told(), [Told::Hook(0, Hook::Ping), Told::Sent(0)]);
}

#[test]
fn errors_are_answered_and_the_connection_stays_open() {
    let mut world = World::new();
    let mut client = world.open(r#"[{"a":1}]"#);
    let deep = format!(r#"{{"a":{}1{}}}"#, "[".repeat(40), "]".repeat(40));
    let long = "x".repeat(1_100);
    let of_connection = [
        ("not json", "non-json-message"),
        ("{\"type\": \"ping\"", "non-json-message"),
        ("NaN", "non-json-message"),
        ("[]", "message-not-object"),
        ("1", "message-not-object"),
        ("\"x\"", "message-not-object"),
        ("null", "message-not-object"),
        ("{}", "message-type-not-allowed"),
        (r#"{"type": "publish"}"#, "message-type-not-allowed"),
        (r#"{"type": 1, "requestId": 5}"#, "message-type-not-allowed"),
    ];
    for (text, code) in of_connection {
        let answer = world.ask(&mut client, text);
        assert_eq!(answer, [error_of(&client, code)], "{text}");
    }
    let others = [
        (
            r#"{"type": "subscribe", "room": {"a": 1}}"#.into(),
            "no-request-id",
        ),
        (
            r#"{"type": "subscribe", "room": {"b": 1}}"#.into(),
            "no-request-id",
        ),
        (r#"{"type": "unsubscribe"}"#.into(), "no-request-id"),
        (
            r#"{"type": "subscribe", "requestId": 1}"#.into(),
            "invalid-room",
        ),
        (subscribe("[]", "1"), "invalid-room"),
        (subscribe("{\"a\": 1}", "[]"), "invalid-request-id"),
        (subscribe("{\"a\": 1}", "{}"), "invalid-request-id"),
        (unsubscribe("[1]"), "invalid-request-id"),
        (
            subscribe("{\"a\": 1}", &format!("\"{long}\"")),
            "request-id-too-long",
        ),
        (subscribe(&deep, "1"), "room-too-deep"),
        (
            subscribe(&format!(r#"{{"a":"{}"}}"#, long.repeat(20)), "1"),
            "room-too-long",
        ),
        (subscribe("{\"a\": 2}", "1"), "room-not-found"),
        (subscribe("{}", "1"), "room-not-found"),
        (unsubscribe("1"), "not-subscribed"),
    ];
    for (text, code) in &others {
        assert_eq!(world.ask(&mut client, text), [error(code)], "{text}");
    }
    world.subscribe(&mut client, r#"{"a":1}"#, "1");
    let total = (of_connection.len() + others.len()) as u64;
    assert_eq!(world.stats().errors.iter().sum::<u64>(), total);
    assert_eq!(world.stats().messages, total + 1);
}

#[test]
fn json_is_accepted_in_a_binary_frame_and_in_fragments() {
    let mut world = World::new();
    let mut client = world.open(r#"[{"a":1}]"#);
    world.frame(
        &client,
        Opcode::Binary,
        subscribe(r#"{"a":1}"#, "1").as_bytes(),
    );
    assert_eq!(client.hears(), [SUCCESS]);
    world.frame(&client, Opcode::Binary, b"\xff\xfe");
    assert_eq!(client.hears(), [error_of(&client, "non-json-message")]);

    let mut bytes = masked(Opcode::Text, b"pi");
    bytes[0] &= 0x7f;
    bytes.extend(masked(Opcode::Ping, b"between"));
    bytes.extend(masked(Opcode::Continuation, b"ng"));
    for byte in bytes {
        world.receive(&client, &[byte]);
    }
    assert_eq!(client.hears(), ["control pong between", "pong"]);
}

#[test]
fn requests_that_arrive_together_are_answered_in_order_with_one_write() {
    let mut world = World::new();
    let mut client = world.open(r#"[{"a":1}]"#);
    let before = client.writes();
    let texts = [
        "ping",
        &subscribe(r#"{"a":1}"#, "1"),
        "x",
        &unsubscribe("1"),
        &unsubscribe("1"),
    ];
    let frames = texts.map(|text| masked(Opcode::Text, text.as_bytes()));
    world.receive(&client, &frames.concat());
    assert_eq!(client.writes(), before + 1);
    assert_eq!(
        client.hears(),
        [
            "pong",
            SUCCESS,
            &error_of(&client, "non-json-message"),
            SUCCESS,
            &error("not-subscribed")
        ]
    );
}

#[test]
fn status_reports_the_totals() {
    let mut world = World::new();
    let mut client = world.open(r#"[{"a":1}]"#);
    let mut other = world.open(r#"[{"a":1}]"#);
    let refused = world.refuse(ht_proto::close::Close::NORMAL);
    world.subscribe(&mut client, r#"{"a":1}"#, "1");
    world.subscribe(&mut other, r#"{"a":1}"#, "1");
    world.publish(r#"{"a":1}"#, "0");
    world.deliver();
    client.hears();
    let status = r#"{"type": "status", "requestId": 5}"#;
    let expected = concat!(
        r#"{"open_connections": 2, "num_rooms": 1, "online_since": "2026-01-01T00:00:00", "#,
        r#""rabbitmq_messages_received": 7, "ws_messages_received": 3, "#,
        r#""ws_messages_send": 2, "ws_messages_send_error": 0, "ws_messages_send_queued": 0}"#
    );
    assert_eq!(world.ask(&mut client, status), [expected]);
    assert!(world.is_there(&refused));
}

#[test]
fn status_may_be_refused_by_setting() {
    let mut world = World::with(Settings {
        status_clients: false,
        ..settings()
    });
    let mut client = world.open("[]");
    let answer = world.ask(&mut client, r#"{"type": "status"}"#);
    assert_eq!(answer, [error_of(&client, "message-type-not-allowed")]);
}

#[test]
fn control_pings_are_answered_with_their_payload() {
    let mut world = World::new();
    let mut client = world.open("[]");
    world.frame(&client, Opcode::Ping, b"\x00\xff");
    world.frame(&client, Opcode::Pong, b"unasked");
    world.frame(&client, Opcode::Ping, b"");
    assert_eq!(client.hears(), [r"control pong \x00\xff", "control pong "]);
    assert_eq!(world.stats().messages, 0);
}
