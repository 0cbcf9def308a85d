//! The opening handshake, and the socket's behaviour before and beside messages.

use std::io::Write;
use std::time::Duration;

use serde_json::json;

use crate::support::{Client, Frame, Gate, Gateway, Handshake, Reply, StubBackend, frame};

#[test]
fn the_101_waits_for_the_backend() {
    let gate = Gate::default();
    let behind = gate.clone();
    let backend = StubBackend::new(move |_| {
        Reply::Behind(behind.clone(), Reply::rooms(&json!([{"a": 1}])).into())
    });
    let gateway = Gateway::start(&backend);
    let mut asked = Handshake::new(&gateway).send();
    backend.wait_for(1);
    assert!(asked.is_silent(Duration::from_millis(100)));
    gate.open();
    let mut client = asked.open();
    let first = json!({"is_authorized": true, "allowed_rooms": [{"a": 1}]});
    assert_eq!(client.expect_json(), first);
}

#[test]
fn subprotocols_and_unknown_extensions_are_declined_and_any_host_is_served() {
    let backend = StubBackend::open();
    let gateway = Gateway::start(&backend);
    for handshake in [
        Handshake::new(&gateway)
            .header("Sec-WebSocket-Protocol", "soap, wamp")
            .header(
                "Sec-WebSocket-Extensions",
                "permessage-bzip2; client_max_window_bits",
            ),
        Handshake::new(&gateway)
            .without("Host")
            .header("Host", "evil.example:1"),
        Handshake::new(&gateway).path("/ws"),
        Handshake::new(&gateway).path("/ws?token=x"),
    ] {
        let (answer, mut client) = handshake.send().answer();
        assert_eq!(answer.status, 101, "{handshake:?}: {answer:?}");
        assert_eq!(answer.header("sec-websocket-protocol"), None);
        assert_eq!(answer.header("sec-websocket-extensions"), None);
        assert_eq!(client.expect_json()["is_authorized"], true);
        client.fence();
    }
}

#[test]
fn anything_but_a_handshake_is_refused_without_calling_the_backend() {
    let backend = StubBackend::open();
    let gateway = Gateway::start(&backend);
    let good = || Handshake::new(&gateway);
    for (handshake, statuses) in [
        (good().path("/"), &[404][..]),
        (good().path("/ws/x"), &[404]),
        (good().path("/trigger/"), &[404]),
        (good().path("/metrics"), &[404]),
        (good().path("/ready"), &[404]),
        (good().line("POST /ws/ HTTP/1.1"), &[405]),
        (good().line("PUT /ws HTTP/1.1"), &[405]),
        (good().line("GET /ws/ HTTP/1.0"), &[400, 426]),
        (good().without("Upgrade").without("Connection"), &[400, 426]),
        (good().without("Upgrade"), &[400, 426]),
        (good().without("Sec-WebSocket-Key"), &[400, 426]),
        (
            good().header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
            &[400],
        ),
        (good().without("Sec-WebSocket-Version"), &[400, 426]),
        (
            good()
                .without("Sec-WebSocket-Version")
                .header("Sec-WebSocket-Version", "12"),
            &[400, 426],
        ),
    ] {
        let answer = handshake.refused();
        assert!(
            statuses.contains(&answer.status),
            "{handshake:?}: {answer:?}"
        );
        if [400, 426].contains(&answer.status) {
            assert_eq!(
                answer.header("sec-websocket-version"),
                Some("13"),
                "{answer:?}"
            );
        }
        if answer.status == 405 {
            assert_eq!(answer.header("allow"), Some("GET"));
        }
        assert!(!answer.body.is_empty(), "{handshake:?}");
    }
    assert!(backend.requests().is_empty());
}

#[test]
fn anything_but_http_leaves_the_gateway_unharmed() {
    let gateway = Gateway::start(&StubBackend::open());
    for rubbish in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"GET /ws/\r\n\r\n",
        b"\0\0\0\0\r\n\r\n",
        b"GET /ws/ HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET http://[::1/ws/ HTTP/1.1\r\n\r\n",
    ] {
        let mut stream = gateway.public().connect().unwrap();
        stream.write_all(rubbish).unwrap();
        stream.finish();
        let mut answer = Vec::new();
        let _ = std::io::Read::read_to_end(&mut stream, &mut answer);
        assert!(
            answer.is_empty() || answer.starts_with(b"HTTP/1.1 400"),
            "{rubbish:?}: {:?}",
            String::from_utf8_lossy(&answer)
        );
    }
    Client::connect(&gateway).fence();
}

#[test]
fn control_pings_fragments_and_a_close_frame_are_answered() {
    let gateway = Gateway::start(&StubBackend::open());
    let mut client = Client::connect(&gateway);
    for payload in [&b""[..], b"payload", &[0xff; 125]] {
        client.send(&Frame::new(frame::PING, payload));
        let pong = Frame {
            masked: false,
            ..Frame::new(frame::PONG, payload)
        };
        assert_eq!(client.frame(), pong);
    }
    // An unsolicited pong is ignored.
    client.send(&Frame::new(frame::PONG, "unasked"));
    // One message in three frames, with a ping between them.
    client.send(&Frame::new(frame::TEXT, "pi").unfinished());
    client.send(&Frame::new(frame::CONTINUATION, "").unfinished());
    client.send(&Frame::new(frame::PING, "between"));
    client.send(&Frame::new(frame::CONTINUATION, "ng"));
    assert_eq!(client.frame().payload, b"between");
    assert_eq!(client.expect_text(), "pong");
    // Byte by byte.
    for byte in Frame::new(frame::TEXT, "ping").bytes() {
        client.send_raw(&[byte]);
    }
    assert_eq!(client.expect_text(), "pong");
    client.leave();

    for (sent, echoed) in [
        (Frame::new(frame::CLOSE, ""), Frame::new(frame::CLOSE, "")),
        (
            Frame::close(1001, "going away"),
            Frame::close(1001, "going away"),
        ),
        (Frame::close(4_321, ""), Frame::close(4_321, "")),
    ] {
        let mut client = Client::connect(&gateway);
        client.send(&sent);
        assert_eq!(
            client.frame(),
            Frame {
                masked: false,
                ..echoed
            }
        );
        client.expect_end();
    }
}

#[test]
fn breaches_of_the_protocol_are_closed_with_their_code() {
    let gateway = Gateway::start(&StubBackend::open());
    let text = || Frame::new(frame::TEXT, "ping");
    let more = |first: Frame, second: Frame| [first.bytes(), second.bytes()].concat();
    for (bytes, code) in [
        (
            Frame {
                masked: false,
                ..text()
            }
            .bytes(),
            1002,
        ),
        (Frame { rsv: 4, ..text() }.bytes(), 1002),
        (Frame { rsv: 2, ..text() }.bytes(), 1002),
        (Frame { rsv: 1, ..text() }.bytes(), 1002),
        (Frame::new(3, "").bytes(), 1002),
        (Frame::new(11, "").bytes(), 1002),
        (Frame::new(frame::PING, [0; 126]).bytes(), 1002),
        (Frame::new(frame::PING, "").unfinished().bytes(), 1002),
        (Frame::new(frame::CLOSE, [0; 126]).bytes(), 1002),
        (Frame::new(frame::CLOSE, [3]).bytes(), 1002),
        (Frame::close(1005, "").bytes(), 1002),
        (Frame::close(1006, "").bytes(), 1002),
        (Frame::close(999, "").bytes(), 1002),
        (Frame::close(5_000, "").bytes(), 1002),
        (Frame::new(frame::CLOSE, b"\x03\xe8\xff").bytes(), 1007),
        (Frame::new(frame::CONTINUATION, "x").bytes(), 1002),
        (more(text().unfinished(), text()), 1002),
        (Frame::new(frame::TEXT, b"\xff").bytes(), 1007),
        (Frame::new(frame::TEXT, b"\xed\xa0\x80").bytes(), 1007),
        (
            more(
                Frame::new(frame::TEXT, b"\xce").unfinished(),
                Frame::new(frame::CONTINUATION, b"\xce"),
            ),
            1007,
        ),
    ] {
        let mut client = Client::connect(&gateway);
        client.send_raw(&bytes);
        client.expect_close(code);
    }
    let mut other = Client::connect(&gateway);
    other.fence();
    gateway.wait_for_open(&mut other, 1);
    gateway.wait_for_metric("high_templar_violations_total", 20);
}

#[test]
fn a_close_frame_is_answered_although_more_was_sent_behind_it() {
    let gateway = Gateway::start(&StubBackend::open());
    let mut client = Client::connect(&gateway);
    let close = Frame::close(1000, "").bytes();
    client.send_raw(&[&close[..], &Frame::new(frame::TEXT, "ping").bytes()].concat());
    assert_eq!(
        client.frame(),
        Frame {
            masked: false,
            ..Frame::close(1000, "")
        }
    );
    client.expect_end();
}

#[test]
fn messages_sent_right_behind_the_handshake_are_answered() {
    let gateway = Gateway::start(&StubBackend::open());
    let handshake = Handshake::new(&gateway);
    let mut asked = handshake.send();
    asked
        .0
        .write_all(&Frame::new(frame::TEXT, "ping").bytes())
        .unwrap();
    let mut client = asked.open();
    assert_eq!(client.expect_json()["is_authorized"], true);
    assert_eq!(client.expect_text(), "pong");
}

#[test]
fn a_client_that_disconnects_silently_is_removed_at_once() {
    let gateway = Gateway::start(&StubBackend::open());
    let mut watcher = Client::connect(&gateway);
    watcher.subscribe(&json!({"room": 0}), 1);
    for reset in [false, true] {
        let mut client = Client::connect(&gateway);
        client.subscribe(&json!({"room": 1}), 1);
        let status = watcher.status();
        assert_eq!(status["open_connections"], 2);
        assert_eq!(status["num_rooms"], 2);
        if reset {
            client.stream.reset_on_drop();
        } else {
            // Only its half of the connection: nothing is sent from there any more.
            client.stream.finish();
            gateway.wait_for_open(&mut watcher, 1);
        }
        drop(client);
        gateway.wait_for_open(&mut watcher, 1);
        assert_eq!(watcher.status()["num_rooms"], 1);
    }
}
