//! What differs for a client that chose our subprotocol, and what does not.

use ht_frame::Opcode;
use ht_proto::subprotocol::Subprotocol;

use super::kit::*;

const GRANTS: &str = r#"[{"a":1}]"#;

fn v1() -> World {
    let mut world = World::new();
    world.subprotocol = Some(Subprotocol::V1);
    world
}

fn success_of(name: &str) -> String {
    format!(r#"{{"code": "success", "requestId": {name}}}"#)
}

fn error_named(code: &str, name: &str) -> String {
    format!(r#"{{"requestId": {name}, "code": "error", "message": "{code}"}}"#)
}

#[test]
fn replies_name_their_request() {
    let mut world = v1();
    let mut client = world.open(GRANTS);
    for name in ["1", "\"a\"", "null", "1.50", "true"] {
        let answer = world.ask(&mut client, &subscribe(r#"{"a":1}"#, name));
        assert_eq!(answer, [success_of(name)]);
        world.publish(r#"{"a":1}"#, "0");
        world.deliver();
        assert_eq!(client.hears(), [publish("0", name)]);
        let answer = world.ask(&mut client, &unsubscribe(name));
        assert_eq!(answer, [success_of(name)]);
        let answer = world.ask(&mut client, &unsubscribe(name));
        assert_eq!(answer, [error_named("not-subscribed", name)]);
    }
    let answer = world.ask(&mut client, &unsubscribe(r#""\u0062""#));
    assert_eq!(answer, [error_named("not-subscribed", "\"b\"")]);
}

#[test]
fn errors_name_their_request_where_it_has_a_valid_name() {
    let mut world = v1();
    let mut client = world.open(GRANTS);
    let long = "x".repeat(1_100);
    for (text, answer) in [
        (
            subscribe("{\"a\":2}", "7"),
            r#"{"requestId": 7, "code": "error", "message": "room-not-found", "reason": "not granted; the closest grant differs in `a`: granted 1 (number), asked 2 (number)"}"#.into(),
        ),
        (subscribe("[]", "7"), error_named("invalid-room", "7")),
        (
            r#"{"type":"subscribe","requestId":7}"#.into(),
            error_named("invalid-room", "7"),
        ),
        (
            r#"{"type":"who","requestId":"me"}"#.into(),
            error_named("message-type-not-allowed", "\"me\""),
        ),
        (
            r#"{"type":"subscribe","room":{}}"#.into(),
            error("no-request-id"),
        ),
        (subscribe("{}", "[7]"), error("invalid-request-id")),
        (
            subscribe("{}", &format!("\"{long}\"")),
            error("request-id-too-long"),
        ),
        ("{}".into(), error_of(&client, "message-type-not-allowed")),
        (
            r#"{"type":"who","requestId":{}}"#.into(),
            error_of(&client, "message-type-not-allowed"),
        ),
        ("[7]".into(), error_of(&client, "message-not-object")),
        (
            "{\"requestId\":7".into(),
            error_of(&client, "non-json-message"),
        ),
    ] {
        assert_eq!(world.ask(&mut client, &text), [answer], "{text}");
    }
}

#[test]
fn other_messages_are_unchanged() {
    let mut world = v1();
    let mut client = world.open(GRANTS);
    assert_eq!(world.ask(&mut client, "ping"), ["pong"]);
    let plain = {
        let mut world = World::new();
        let mut client = world.open(GRANTS);
        world.ask(&mut client, r#"{"type":"status"}"#)
    };
    let answer = world.ask(&mut client, r#"{"type":"status","requestId":1}"#);
    assert_eq!(answer.len(), plain.len());
    assert!(!answer[0].contains("requestId"), "{answer:?}");
    world.frame(&client, Opcode::Close, &1000u16.to_be_bytes());
    assert_eq!(client.hears(), ["close 1000"]);
}

#[test]
fn admitted_client_cannot_authenticate_again() {
    let authenticate = r#"{"type":"authenticate","token":"t","requestId":1}"#;
    let mut world = World::new();
    let mut client = world.open(GRANTS);
    let answer = world.ask(&mut client, authenticate);
    assert_eq!(answer, [error_of(&client, "message-type-not-allowed")]);
    world.subprotocol = Some(Subprotocol::V1);
    let mut client = world.open(GRANTS);
    let answer = world.ask(&mut client, authenticate);
    assert_eq!(answer, [error_named("message-type-not-allowed", "1")]);
}
