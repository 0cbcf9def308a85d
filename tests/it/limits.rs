//! Limits: reaching one has a name, and affects no other client.

use std::io::{Read, Write};
use std::time::Duration;

use serde_json::json;

use crate::support::{Client, Frame, Gate, Gateway, Handshake, StubBackend, frame};

#[test]
fn a_message_may_be_as_long_as_allowed_and_no_longer() {
    let backend = StubBackend::open();
    for (setting, bytes) in [(None, 64 << 10), (Some(20_000), 20_000)] {
        let mut builder = Gateway::with(&backend);
        if let Some(bytes) = setting {
            builder = builder.set("HT_LIMITS__MESSAGE_BYTES", bytes);
        }
        let gateway = builder.start();
        let mut client = Client::connect(&gateway);
        client.send(&Frame::new(frame::TEXT, vec![b' '; bytes]));
        assert_eq!(client.expect_json()["message"], "non-json-message");
        // In fragments, the whole message counts.
        client.send(&Frame::new(frame::TEXT, vec![b' '; bytes / 2]).unfinished());
        client.send(&Frame::new(
            frame::CONTINUATION,
            vec![b' '; bytes - bytes / 2],
        ));
        assert_eq!(client.expect_json()["message"], "non-json-message");

        client.send_raw(&Frame::new(frame::TEXT, vec![b' '; bytes + 1]).bytes()[..20]);
        client.expect_close(1009);
        let mut client = Client::connect(&gateway);
        client.send(&Frame::new(frame::BINARY, vec![b' '; bytes]).unfinished());
        client.send(&Frame::new(frame::CONTINUATION, "x"));
        client.expect_close(1009);
        // A frame that announces more than any memory holds.
        let mut client = Client::connect(&gateway);
        client.send_raw(b"\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0");
        client.expect_close(1009);
    }
}

#[test]
fn request_heads_up_to_16_kib_are_accepted() {
    let backend = StubBackend::open();
    let gateway = Gateway::with(&backend)
        .set("HT_BACKEND__FORWARD_BYTES_MAX", "32KiB")
        .start();
    let cookie = "x".repeat(16_000);
    Handshake::new(&gateway)
        .header("Cookie", &cookie)
        .connect()
        .fence();
    assert_eq!(backend.requests()[0].header("cookie"), Some(&*cookie));
    for bytes in [33_000, 40_000, 60_000] {
        let long = Handshake::new(&gateway).header("Cookie", "x".repeat(bytes));
        assert_eq!(long.refused().status, 431, "{bytes}");
    }
    let token = "x".repeat(15_000);
    let path = format!("/ws/?token={token}");
    Handshake::new(&gateway).path(&path).connect().fence();
    let wanted = format!("Token {token}");
    assert_eq!(
        backend.requests()[1].header("authorization"),
        Some(&*wanted)
    );
    assert_eq!(backend.requests().len(), 2);
}

#[test]
fn a_head_that_does_not_come_is_not_waited_for() {
    let backend = StubBackend::open();
    let gateway = Gateway::with(&backend)
        .set("HT_LIMITS__HEAD_TIMEOUT", "200ms")
        .start();
    for begun in [&b""[..], b"GET /ws/ HTTP/1.1\r\nHost: x\r\n"] {
        let mut stream = gateway.public().connect().unwrap();
        stream.write_all(begun).unwrap();
        let mut answer = Vec::new();
        // Its end, with or without a word.
        let _ = stream.read_to_end(&mut answer);
        assert!(
            answer.is_empty() || answer.starts_with(b"HTTP/1.1 408"),
            "{answer:?}"
        );
    }
    let name = "high_templar_handshake_errors_total{reason=\"head\"}";
    gateway.wait_for_metric(name, 2);
}

#[test]
fn a_connection_that_is_no_websocket_gets_one_answer_and_gives_its_place_back() {
    let backend = StubBackend::open();
    let gateway = Gateway::start(&backend);
    let upgrade = Handshake::new(&gateway).without("Sec-WebSocket-Version");
    for (request, status) in [
        (b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), 200),
        (b"GET /ws/ HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), 426),
        (b"POST /ws/ HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), 405),
        (upgrade.bytes(), 426),
    ] {
        let mut stream = gateway.public().connect().unwrap();
        stream.write_all(&request).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
        let mut lines = answer.lines();
        let connection = lines.find(|line| line.starts_with("connection: "));
        let ends = connection.is_some_and(|line| line.ends_with("close"));
        assert!(ends, "{answer}");
    }
}

#[test]
fn a_full_node_responds_503_until_a_client_disconnects() {
    let backend = StubBackend::open();
    let gateway = Gateway::with(&backend)
        .set("HT_LIMITS__CONNECTIONS", 2)
        .start();
    let one = Client::connect(&gateway);
    let mut two = Client::connect(&gateway);
    let answer = Handshake::new(&gateway).refused();
    assert_eq!(answer.status, 503);
    assert!(answer.text().contains("Retry later"), "{answer:?}");
    assert_eq!(backend.requests().len(), 2);
    gateway.wait_for_line("limits.connections is reached");
    one.leave();
    // Those on their way in count, too.
    let asked: Vec<_> = (0..5).map(|_| Handshake::new(&gateway).send()).collect();
    let mut answers: Vec<_> = asked.into_iter().map(|asked| asked.answer()).collect();
    answers.retain(|(answer, _)| answer.status == 101);
    assert_eq!(answers.len(), 1);
    for (_, client) in &mut answers {
        assert_eq!(client.expect_json()["is_authorized"], true);
    }
    drop(answers);
    gateway.wait_for_metric("high_templar_connections", 1);
    let mut three = Client::connect(&gateway);
    assert_eq!(three.status()["open_connections"], 2);
    two.fence();
}

#[test]
fn handshakes_in_progress_are_limited() {
    let gate = Gate::default();
    let backend = StubBackend::behind(&gate);
    let gateway = Gateway::with(&backend)
        .set("HT_LIMITS__HANDSHAKES", 2)
        .start();
    let asked: Vec<_> = (0..2).map(|_| Handshake::new(&gateway).send()).collect();
    backend.wait_for(2);
    let answer = Handshake::new(&gateway).refused();
    assert_eq!(answer.status, 503, "{answer:?}");
    gateway.wait_for_line("limits.handshakes is reached");
    // Requests other than websocket handshakes are served all the same.
    let health = crate::support::http::request(gateway.public(), "GET", "/health", &[], b"");
    assert_eq!(health.status, 200);
    gate.open();
    for asked in asked {
        assert_eq!(asked.open().expect_json()["is_authorized"], true);
    }
    Client::connect(&gateway).fence();
}

#[test]
fn who_does_not_read_is_let_go_and_the_others_hear_everything() {
    let backend = StubBackend::open();
    let gateway = Gateway::with(&backend)
        .set("HT_LIMITS__OUTBOX_BYTES", "64KiB")
        .start();
    let mut slow = Client::connect(&gateway);
    slow.subscribe(&json!({"room": 1}), "slow");
    let mut good = Client::connect(&gateway);
    good.subscribe(&json!({"room": 1}), "good");
    let data = "x".repeat(100_000);
    let mut sent = 0;
    while gateway.metric("high_templar_evictions_total{reason=\"outbox_bytes\"}") == 0 {
        gateway.trigger(&json!({"rooms": [{"room": 1}], "data": [sent, data]}));
        assert_eq!(good.expect_publish().0[0], sent);
        sent += 1;
        assert!(sent < 2_000, "nobody is let go");
    }
    gateway.wait_for_line("evicted a connection");
    gateway.wait_for_open(&mut good, 1);
    let status = good.status();
    assert_eq!(status["num_rooms"], 1);
    assert!(
        status["ws_messages_send_error"].as_u64() >= Some(1),
        "{status}"
    );
    assert_eq!(status["ws_messages_send_queued"], 0);
}

#[test]
fn a_client_that_never_reads_its_replies_is_not_read_indefinitely() {
    let gateway = Gateway::with(&StubBackend::open())
        .set("HT_LIMITS__MESSAGES_PER_SECOND", 0)
        .start();
    let mut client = Client::connect(&gateway);
    client
        .stream
        .set_timeouts(Duration::from_millis(500))
        .unwrap();
    // Much more than all buffers on the path hold; none of it may pile up in the gateway.
    let pings = Frame::new(frame::TEXT, "{\"type\": \"status\"}")
        .bytes()
        .repeat(10_000);
    let mut stopped = false;
    for _ in 0..400 {
        if client.stream.write_all(&pings).is_err() {
            stopped = true;
            break;
        }
    }
    assert!(
        stopped,
        "100 MB were taken from a client that does not read"
    );
    Client::connect(&gateway).fence();
}

#[test]
fn who_never_stops_talking_is_sent_away_and_the_others_stay() {
    let gateway = Gateway::with(&StubBackend::open())
        .set("HT_LIMITS__MESSAGES_PER_SECOND", 1)
        .start();
    let mut other = Client::connect(&gateway);
    let mut talker = Client::connect(&gateway);
    // Ten at once, and as many more as seconds passed: the last of these are too many for any.
    talker.send_raw(&Frame::new(frame::TEXT, "ping").bytes().repeat(1_000));
    let mut heard = 0;
    let closed = loop {
        let frame = talker.frame();
        match frame.opcode {
            frame::TEXT => heard += 1,
            frame::CLOSE => break frame,
            _ => panic!("{frame:?}"),
        }
    };
    assert!((10..1_000).contains(&heard), "{heard}");
    assert_eq!(closed.payload, b"\x10\x68too-many-messages");
    gateway.wait_for_metric(
        "high_templar_evictions_total{reason=\"messages_per_second\"}",
        1,
    );
    let line = gateway.wait_for_line("evicted a connection");
    assert!(line.contains("messages_per_second"), "{line}");
    other.fence();
}
