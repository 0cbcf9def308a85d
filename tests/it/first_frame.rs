//! Tokens in the first frame: the websocket is open before the backend is called.

use serde_json::json;

use crate::subprotocol::{admitting, named, offer};
use crate::support::{Client, Frame, Gateway, Handshake, NEVER, StubBackend, frame};

const AUTHENTICATE: &str = r#"{"type": "authenticate", "token": "right"}"#;

/// A gateway that waits for a first frame for as long as a test needs.
fn waiting(backend: &StubBackend) -> Gateway {
    Gateway::with(backend)
        .set("HT_AUTH__FIRST_FRAME", "true")
        .set("HT_AUTH__FIRST_FRAME_TIMEOUT", NEVER)
        .start()
}

#[track_caller]
fn expect_admitted(client: &mut Client) {
    assert_eq!(client.expect_json()["is_authorized"], true);
    client.fence();
}

#[track_caller]
fn expect_turned_away(client: &mut Client) {
    assert_eq!(client.expect_text(), r#"{"is_authorized": false}"#);
    assert_eq!(client.expect_close(4301), "authenticate");
}

#[test]
fn the_backend_is_asked_when_the_token_is_there() {
    let backend = admitting("right");
    let gateway = waiting(&backend);
    let handshake = Handshake::new(&gateway).header("User-Agent", "Browser");
    let mut client = handshake.open();
    client.send(&Frame::new(frame::PING, "there?"));
    assert_eq!(client.frame().payload, b"there?");
    assert!(backend.requests().is_empty());
    client.send_text(AUTHENTICATE);
    expect_admitted(&mut client);
    let seen = backend.wait_for(1).remove(0);
    assert_eq!(seen.header("authorization"), Some("Token right"));
    assert_eq!(seen.header("user-agent"), Some("Browser"));

    let mut visitor = handshake.open();
    visitor.send_text(r#"{"type": "authenticate", "token": "wrong"}"#);
    assert_eq!(visitor.expect_json()["is_authorized"], false);
    assert_eq!(visitor.expect_close(1000), "");
    let mut visitor = offer(&gateway, "high-templar.v1").open();
    visitor.send_text(r#"{"type": "authenticate", "token": "wrong"}"#);
    assert_eq!(visitor.expect_json()["is_authorized"], false);
    assert_eq!(visitor.expect_close(4300), "refused");
}

#[test]
fn it_may_be_fragmented_compressed_or_sent_with_the_handshake() {
    let gateway = waiting(&admitting("right"));
    let whole = Frame::new(frame::TEXT, AUTHENTICATE);

    let mut client = Handshake::new(&gateway).open();
    for byte in whole.bytes() {
        client.send_raw(&[byte]);
    }
    expect_admitted(&mut client);

    let mut client = Handshake::new(&gateway).open();
    let (first, rest) = AUTHENTICATE.split_at(9);
    client.send(&Frame::new(frame::TEXT, first).unfinished());
    client.send(&Frame::new(frame::PING, "between"));
    assert_eq!(client.frame().payload, b"between");
    client.send(&Frame::new(frame::CONTINUATION, rest));
    expect_admitted(&mut client);

    let mut client = Handshake::new(&gateway).open();
    client.send(&Frame::new(frame::BINARY, AUTHENTICATE));
    expect_admitted(&mut client);

    let mut client = Handshake::new(&gateway).deflate().open();
    client.send(&whole.clone().deflate());
    expect_admitted(&mut client);

    // With the handshake, and the next message right behind it.
    let mut asked = Handshake::new(&gateway).send();
    let subscribe = json!({"type": "subscribe", "room": {"room": 1}, "requestId": 1});
    let subscribe = Frame::new(frame::TEXT, subscribe.to_string()).bytes();
    let (begun, ended) = subscribe.split_at(20);
    let bytes = [&whole.bytes(), begun].concat();
    std::io::Write::write_all(&mut asked.0, &bytes).unwrap();
    let mut client = asked.open();
    assert_eq!(client.expect_json()["is_authorized"], true);
    client.send_raw(ended);
    assert_eq!(client.expect_json(), json!({"code": "success"}));
}

#[test]
fn anything_else_is_rejected_and_not_forwarded() {
    let backend = admitting("right");
    let gateway = waiting(&backend);
    let text = |text: &str| Frame::new(frame::TEXT, text).bytes();
    let json = |token: &str| text(&json!({"type": "authenticate", "token": token}).to_string());
    let mut cases = vec![
        text("ping"),
        text(r#"{"type": "subscribe", "room": {}, "requestId": 1}"#),
        text(r#"{"type": "authenticate"}"#),
        text(r#"{"type": "authenticate", "token": 5}"#),
        text("rubbish"),
        json(""),
        json("a\r\nX-Forged: 1"),
        json("a\0"),
        json("a\tb"),
        json(&"a".repeat(33 << 10)),
        json(&"a".repeat(70 << 10)),
        Frame::new(frame::BINARY, b"\xff").bytes(),
    ];
    let breaches = [
        Frame::new(frame::TEXT, b"\xff").bytes(),
        Frame::new(frame::PING, [0; 126]).bytes(),
        Frame {
            masked: false,
            ..Frame::new(frame::TEXT, AUTHENTICATE)
        }
        .bytes(),
        Frame::new(frame::TEXT, AUTHENTICATE).deflate().bytes(),
    ];
    cases.extend(breaches);
    let count = cases.len() as u64;
    for bytes in cases {
        let mut client = Handshake::new(&gateway).open();
        client.send_raw(&bytes);
        expect_turned_away(&mut client);
    }
    assert!(backend.requests().is_empty());
    let name = "high_templar_handshake_errors_total{reason=\"authenticate\"}";
    gateway.wait_for_metric(name, count);
    // A client that disconnects is removed.
    let mut client = Handshake::new(&gateway).open();
    client.send(&Frame::close(1000, ""));
    assert_eq!(client.frame().opcode, frame::CLOSE);
    client.expect_end();
    gateway.wait_for_metric(name, count);
}

#[test]
fn a_first_frame_that_is_late_or_never_complete_is_turned_away() {
    let gateway = Gateway::with(&admitting("right"))
        .set("HT_AUTH__FIRST_FRAME", "true")
        .set("HT_AUTH__FIRST_FRAME_TIMEOUT", "1s")
        .start();
    let mut silent = Handshake::new(&gateway).open();
    let mut within = Handshake::new(&gateway).open();
    let (begun, ended) = AUTHENTICATE.split_at(9);
    within.send(&Frame::new(frame::TEXT, begun).unfinished());
    expect_turned_away(&mut silent);
    // Messages sent after that get no reply.
    assert_eq!(within.expect_text(), r#"{"is_authorized": false}"#);
    assert_eq!(within.frame().payload, b"\x10\xcdauthenticate");
    within.send(&Frame::new(frame::CONTINUATION, ended));
    within.expect_end();
}

#[test]
fn a_client_with_credentials_is_authenticated_at_once_unless_it_asks_to_wait() {
    let backend = StubBackend::open();
    let gateway = Gateway::with(&backend)
        .set("HT_AUTH__FIRST_FRAME", "true")
        .set("HT_AUTH__FIRST_FRAME_TIMEOUT", NEVER)
        .file("[backend.headers]\nX-Session-Token = { param = \"session_token\" }\n")
        .start();
    let plain = || Handshake::new(&gateway);
    let not_allowed = "message-type-not-allowed";
    // A token that came with the handshake may be replaced later, by a request with an id.
    let v1 = format!("high-templar.v1, {}", named("t"));
    let named_too = format!("high-templar.authenticate, {}", named("t"));
    for (handshake, message) in [
        (plain().header("Cookie", "sessionid=s"), not_allowed),
        (plain().path("/ws/?token=t"), not_allowed),
        (plain().path("/ws/?session_token=t"), not_allowed),
        (offer(&gateway, &named("t")), not_allowed),
        (offer(&gateway, &named_too), not_allowed),
        (offer(&gateway, &v1), "no-request-id"),
    ] {
        let mut client = handshake.connect();
        client.send_text(AUTHENTICATE);
        assert_eq!(client.expect_json()["message"], message);
    }
    let asked = backend.requests().len();
    let mut client = offer(&gateway, "high-templar.v1, high-templar.authenticate")
        .header("Cookie", "sessionid=s")
        .open();
    client.send_text(AUTHENTICATE);
    expect_admitted(&mut client);
    let seen = backend.requests().split_off(asked);
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].header("authorization"), Some("Token right"));
    assert_eq!(seen[0].header("cookie"), Some("sessionid=s"));
    // If two tokens differ, neither counts.
    let mut client = offer(&gateway, "high-templar.authenticate")
        .path("/ws/?token=other")
        .open();
    client.send_text(AUTHENTICATE);
    expect_turned_away(&mut client);
    assert_eq!(backend.requests().len(), asked + 1);
}

#[test]
fn without_the_setting_no_client_waits() {
    let backend = StubBackend::open();
    let gateway = Gateway::start(&backend);
    Handshake::new(&gateway).connect().fence();
    let mut client = offer(&gateway, "high-templar.authenticate").connect();
    client.send_text(AUTHENTICATE);
    assert_eq!(client.expect_json()["message"], "message-type-not-allowed");
    assert_eq!(backend.requests().len(), 2);
}

#[test]
fn the_wait_counts_as_a_handshake_under_way() {
    let backend = admitting("right");
    let gateway = Gateway::with(&backend)
        .set("HT_AUTH__FIRST_FRAME", "true")
        .set("HT_AUTH__FIRST_FRAME_TIMEOUT", NEVER)
        .set("HT_LIMITS__HANDSHAKES", 1)
        .start();
    let mut client = Handshake::new(&gateway).open();
    assert_eq!(Handshake::new(&gateway).refused().status, 503);
    client.send_text(AUTHENTICATE);
    expect_admitted(&mut client);
    // Its slot is free again, and so is that of a client that disconnects silently.
    let waiting = Handshake::new(&gateway).open();
    drop(waiting);
    let mut other = crate::support::eventually("a free place", || {
        let (answer, client) = Handshake::new(&gateway).send().answer();
        (answer.status == 101).then_some(client)
    });
    other.send_text(AUTHENTICATE);
    expect_admitted(&mut other);
}
