//! Compressed messages (RFC 7692), beside clients that do not support them.

use serde_json::{Value, json};

use crate::support::{Client, Frame, Gateway, Handshake, StubBackend, frame};

const ACCEPTED: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

/// Data of some 8 KB, such as an API sends.
fn orders() -> Value {
    (0..200)
        .map(|id| json!({"id": id, "status": "paid", "sum": id * 7919 % 997}))
        .collect()
}

fn subscribed(handshake: &Handshake, name: usize) -> Client {
    let mut client = handshake.connect();
    client.subscribe(&json!({"room": 1}), name);
    client
}

#[test]
fn negotiated_parameters() {
    let backend = StubBackend::open();
    let gateway = Gateway::start(&backend);
    let wide = format!("{ACCEPTED}; server_max_window_bits=15");
    for (offers, expected) in [
        (
            &["permessage-deflate; client_max_window_bits"][..],
            Some(ACCEPTED),
        ),
        (
            &["foo, permessage-deflate; server_max_window_bits=15"],
            Some(&*wide),
        ),
        (
            &[
                "permessage-deflate; server_max_window_bits=7",
                "permessage-deflate",
            ],
            Some(ACCEPTED),
        ),
        (&["permessage-deflate; level=9"], None),
        (&["x=\"", ";;;,,,"], None),
        (&[], None),
    ] {
        let handshake = offers
            .iter()
            .fold(Handshake::new(&gateway), |handshake, offer| {
                handshake.header("Sec-WebSocket-Extensions", offer)
            });
        let (answer, mut client) = handshake.send().answer();
        assert_eq!(answer.status, 101, "{answer:?}");
        assert_eq!(
            answer.header("sec-websocket-extensions"),
            expected,
            "{offers:?}"
        );
        assert_eq!(client.expect_json()["is_authorized"], true);
        client.fence();
    }
}

#[test]
fn a_publication_is_deflated_once_and_sent_plain_to_other_clients() {
    let backend = StubBackend::open();
    let gateway = Gateway::start(&backend);
    let plain = Handshake::new(&gateway);
    let deflate = plain.clone().deflate();
    let mut clients: Vec<_> = (0..20)
        .map(|name| subscribed([&plain, &deflate][name % 2], name))
        .collect();
    let data = orders();
    gateway.trigger(&json!({"rooms": [{"room": 1}], "data": data}));
    gateway.trigger(&json!({"rooms": [{"room": 1}], "data": "small"}));
    for (name, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.expect_publish(), (data.clone(), json!(name)));
        assert_eq!(client.expect_publish(), (json!("small"), json!(name)));
        assert_eq!(
            client.inflated,
            name % 2,
            "the large one, where it was agreed upon"
        );
        client.fence();
    }
    gateway.wait_for_metric("high_templar_deliveries_total", 40);
    gateway.wait_for_metric("high_templar_deflated_publications_total", 1);
    let before = gateway.metric("high_templar_deflate_input_bytes_total");
    let after = gateway.metric("high_templar_deflate_output_bytes_total");
    assert!(before as usize > data.to_string().len());
    assert!(after < before / 3, "{before} {after}");
}

#[test]
fn a_smaller_window_is_respected() {
    let backend = StubBackend::open();
    let gateway = Gateway::start(&backend);
    let offer = "permessage-deflate; server_max_window_bits=12";
    let handshake = Handshake::new(&gateway).header("Sec-WebSocket-Extensions", offer);
    let mut client = subscribed(&handshake, 1);
    // More than 4,096 bytes, and less.
    for (data, inflated) in [(orders(), 0), (json!("x".repeat(4_000)), 1)] {
        gateway.trigger(&json!({"rooms": [{"room": 1}], "data": data}));
        assert_eq!(client.expect_publish(), (data, json!(1)));
        assert_eq!(client.inflated, inflated);
    }
}

#[test]
fn requests_may_be_compressed() {
    let backend = StubBackend::open();
    let gateway = Gateway::start(&backend);
    let mut client = Handshake::new(&gateway).deflate().connect();
    let request = json!({"type": "subscribe", "room": {"room": 1}, "requestId": 1}).to_string();
    let whole = Frame::new(frame::TEXT, request).deflate();
    client.send(&whole);
    assert_eq!(client.expect_json(), json!({"code": "success"}));
    // In fragments, of which only the first one is marked as compressed.
    let (start, end) = whole.payload.split_at(whole.payload.len() / 2);
    let first = Frame {
        payload: start.to_vec(),
        ..whole.clone()
    };
    client.send(&first.unfinished());
    client.send(&Frame::new(frame::PING, "between"));
    client.send(&Frame::new(frame::CONTINUATION, end));
    assert_eq!(client.frame().opcode, frame::PONG);
    assert_eq!(client.expect_json(), json!({"code": "success"}));
    client.send(&Frame::new(frame::TEXT, "ping").deflate());
    assert_eq!(client.expect_text(), "pong");
    client.fence();
    assert_eq!(client.inflated, 0, "answers are plain");
    client.leave();
}

#[test]
fn compressed_messages_against_the_rules_close_the_connection() {
    let backend = StubBackend::open();
    let gateway = Gateway::start(&backend);
    let text = |payload: &[u8]| Frame::new(frame::TEXT, payload);
    let raw = |rsv, frame: Frame| Frame { rsv, ..frame };
    let bomb = text(&vec![b' '; 32 << 20]).deflate();
    assert!(bomb.payload.len() < 64 << 10);
    for (frame, code, reason) in [
        (bomb, 1009, "message-too-big"),
        (raw(4, text(b"no deflate")), 1007, "deflate-invalid"),
        (text(b"\xff").deflate(), 1007, "text-not-utf8"),
        (raw(4, Frame::new(frame::PING, "")), 1002, "reserved-bits"),
        (raw(2, text(b"ping")), 1002, "reserved-bits"),
    ] {
        let mut client = Handshake::new(&gateway).deflate().connect();
        client.send(&frame);
        assert_eq!(client.expect_close(code), reason);
    }
    let mut client = Client::connect(&gateway);
    client.send(&text(b"ping").deflate());
    assert_eq!(client.expect_close(1002), "reserved-bits");
}

#[test]
fn compression_can_be_switched_off() {
    let backend = StubBackend::open();
    let gateway = Gateway::with(&backend)
        .set("HT_COMPRESSION__ENABLED", "false")
        .start();
    let (answer, mut client) = Handshake::new(&gateway).deflate().send().answer();
    assert_eq!(answer.header("sec-websocket-extensions"), None);
    client.expect_json();
    client.subscribe(&json!({"room": 1}), 1);
    gateway.trigger(&json!({"rooms": [{"room": 1}], "data": orders()}));
    assert_eq!(client.expect_publish(), (orders(), json!(1)));
    assert_eq!(
        gateway.metric("high_templar_deflated_publications_total"),
        0
    );
}

#[test]
fn the_threshold_is_a_setting() {
    let backend = StubBackend::open();
    let gateway = Gateway::with(&backend)
        .set("HT_COMPRESSION__THRESHOLD", "200")
        .set("HT_COMPRESSION__LEVEL", "9")
        .start();
    let mut client = subscribed(&Handshake::new(&gateway).deflate(), 1);
    for (len, inflated) in [(100, 0), (200, 1)] {
        let data = json!("x".repeat(len));
        gateway.trigger(&json!({"rooms": [{"room": 1}], "data": data}));
        assert_eq!(client.expect_publish(), (data, json!(1)));
        assert_eq!(client.inflated, inflated);
    }
}
