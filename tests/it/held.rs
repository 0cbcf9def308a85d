//! Memory that clients make the gateway hold: it has limits of its own, so that whatever they hold,
//! triggers are accepted, the node is ready and new clients are admitted.

use std::io::{Read, Write};

use serde_json::json;

use crate::support::gateway::Builder;
use crate::support::{Client, Frame, Gateway, Handshake, NEVER, StubBackend, eventually, frame};

const MESSAGE: usize = 256 << 10;

/// A gateway with little memory, behind a proxy that states the clients' addresses.
fn builder(backend: &StubBackend) -> Builder {
    Gateway::with(backend)
        .set("HT_LIMITS__MEMORY_BYTES", "100MiB")
        .set("HT_LIMITS__MESSAGE_BYTES", MESSAGE)
        .set("HT_TRUSTED_PROXIES", "127.0.0.1")
        // Memory is returned to the system at once, not after ten seconds.
        .set("_RJEM_MALLOC_CONF", "dirty_decay_ms:0,muzzy_decay_ms:0")
}

/// A client from one of many addresses.
fn connect(gateway: &Gateway, address: usize) -> Client {
    let address = format!("192.0.2.{address}");
    Handshake::new(gateway)
        .header("X-Real-IP", &address)
        .connect()
}

/// All but the last byte of a message.
fn cut(bytes: usize) -> Vec<u8> {
    let mut message = Frame::new(frame::TEXT, vec![b' '; bytes]).bytes();
    message.pop();
    message
}

fn evicted(gateway: &Gateway, reason: &str) -> u64 {
    gateway.metric(&format!(
        "high_templar_evictions_total{{reason=\"{reason}\"}}"
    ))
}

fn held(gateway: &Gateway, kind: &str) -> u64 {
    gateway.metric(&format!("high_templar_client_bytes{{kind=\"{kind}\"}}"))
}

/// Triggers are accepted and delivered, the node is ready, new clients are admitted and may
/// subscribe.
#[track_caller]
fn assert_serves(gateway: &Gateway, old: &mut Client) {
    assert_serves_again(gateway, old);
    assert_eq!(gateway.metric("high_templar_triggers_shed_total"), 0);
}

/// The same, whatever was before.
#[track_caller]
fn assert_serves_again(gateway: &Gateway, old: &mut Client) {
    gateway.trigger(&json!({"rooms": [{"room": "old"}], "data": 1}));
    assert_eq!(old.expect_publish().0, 1);
    let ready = gateway.get("/ready");
    assert_eq!(ready.status, 200, "{ready:?}");
    let mut new = connect(gateway, 250);
    new.subscribe(&json!({"room": "new"}), "1");
    new.leave();
    assert_eq!(gateway.metric("high_templar_memory_short"), 0);
}

/// All clients disconnect; nothing is held for them any more.
#[track_caller]
fn assert_gives_back(gateway: &Gateway, clients: Vec<Client>) {
    drop(clients);
    gateway.wait_for_metric("high_templar_connections", 1);
    // At most one connection is left.
    eventually("credentials that were released", || {
        (held(gateway, "credentials") < 500).then_some(())
    });
    for kind in ["messages", "handshakes"] {
        let name = format!("high_templar_client_bytes{{kind=\"{kind}\"}}");
        gateway.wait_for_metric(&name, 0);
    }
    // Many subscriptions are dropped in slices.
    eventually("dropped subscriptions", || {
        (held(gateway, "subscriptions") < 2_000).then_some(())
    });
}

#[test]
fn unfinished_messages_of_one_address_turn_nobody_else_away() {
    let gateway = builder(&StubBackend::open()).start();
    let mut old = connect(&gateway, 1);
    old.subscribe(&json!({"room": "old"}), "1");
    let mut attackers = Vec::new();
    for _ in 0..100 {
        let mut attacker = connect(&gateway, 2);
        attacker.send_raw(&cut(MESSAGE));
        attackers.push(attacker);
    }
    assert_serves(&gateway, &mut old);
    eventually("evictions", || {
        (evicted(&gateway, "client_bytes_per_address") >= 60).then_some(())
    });
    // An eighth of half of the memory.
    assert!(held(&gateway, "messages") <= 100 << 20 >> 4);
    gateway.wait_for_line("limits.client_bytes_per_address is reached");
    assert_gives_back(&gateway, attackers);
    old.fence();
}

#[test]
fn unfinished_messages_of_many_addresses_cost_those_who_hold_most() {
    let gateway = builder(&StubBackend::open())
        .set("HT_LIMITS__CLIENT_TOTAL_BYTES", "8MiB")
        .set("HT_LIMITS__CLIENT_BYTES_PER_ADDRESS", "2MiB")
        .start();
    let mut old = connect(&gateway, 1);
    old.subscribe(&json!({"room": "old"}), "1");
    let mut honest = connect(&gateway, 3);
    let half = cut(10_000);
    honest.send_raw(&half[..5_000]);
    let mut attackers = Vec::new();
    for address in 0..100 {
        let mut attacker = connect(&gateway, 10 + address % 20);
        // Not all of them in one piece.
        for part in cut(MESSAGE).chunks(if address % 2 == 0 { 1 << 20 } else { 9_000 }) {
            attacker.send_raw(part);
        }
        attackers.push(attacker);
    }
    eventually("evictions", || {
        (evicted(&gateway, "client_total_bytes") >= 30).then_some(())
    });
    eventually("less is held", || {
        (held(&gateway, "messages") <= 8 << 20).then_some(())
    });
    assert_serves(&gateway, &mut old);
    let line = gateway.wait_for_line("evicted a connection");
    assert!(line.contains("client_total_bytes"), "{line}");
    honest.send_raw(&half[5_000..]);
    honest.send_raw(b"x");
    assert_eq!(honest.expect_json()["message"], "non-json-message");
    attackers.push(honest);
    assert_gives_back(&gateway, attackers);
}

#[test]
fn the_largest_subscriptions_cost_those_who_hold_most() {
    let gateway = builder(&StubBackend::open())
        .set("HT_LIMITS__CLIENT_TOTAL_BYTES", "8MiB")
        .set("HT_LIMITS__CLIENT_BYTES_PER_ADDRESS", "1MiB")
        .start();
    let mut old = connect(&gateway, 1);
    old.subscribe(&json!({"room": "old"}), "1");
    let mut attackers = Vec::new();
    for address in 0..20 {
        let mut attacker = connect(&gateway, 10 + address);
        let (mut refused, mut closed) = (0, false);
        for room in 0..80 {
            let room = json!({"room": format!("{address} {room} {}", "x".repeat(16_000))});
            let message = json!({"type": "subscribe", "room": room, "requestId": 1});
            attacker.send_text(&message.to_string());
            let answer = attacker.frame();
            closed = answer.opcode == frame::CLOSE;
            if closed {
                // It was the largest holder of all itself.
                break;
            }
            let answer = String::from_utf8_lossy(&answer.payload).into_owned();
            refused += u32::from(answer.contains("too-many-subscriptions"));
        }
        // An address has room for some 60 of them.
        assert!(closed || (10..40).contains(&refused), "{refused}");
        attackers.push(attacker);
        assert!(held(&gateway, "subscriptions") <= 8 << 20);
        if address % 5 == 4 {
            assert_serves(&gateway, &mut old);
        }
    }
    // All have room for eight at most. At its address's limit a client is not evicted, but refused.
    assert!(evicted(&gateway, "client_total_bytes") >= 11);
    assert_eq!(evicted(&gateway, "client_bytes_per_address"), 0);
    assert_gives_back(&gateway, attackers);
}

#[test]
fn memory_is_returned_after_all_clients_disconnect() {
    let gateway = builder(&StubBackend::open()).start();
    let mut old = connect(&gateway, 1);
    old.subscribe(&json!({"room": "old"}), "1");
    let allocated = || gateway.metric("high_templar_memory_allocated_bytes");
    let before = eventually("a look", || Some(allocated()).filter(|it| *it > 0));
    let mut clients = Vec::new();
    for address in 0..6 {
        let mut client = connect(&gateway, 10 + address);
        for room in 0..2_000 {
            let room = json!({"room": format!("{address} {room} {}", "x".repeat(400))});
            let message = json!({"type": "subscribe", "room": room, "requestId": 1});
            client.send_text(&message.to_string());
            assert_eq!(client.expect_text(), r#"{"code": "success"}"#);
        }
        client.send_raw(&cut(MESSAGE));
        clients.push(client);
    }
    let held = held(&gateway, "subscriptions");
    assert!((8 << 20..24 << 20).contains(&held), "{held}");
    // The accounted memory is the allocated memory, up to the allocator's rounding.
    eventually("a look at what is allocated", || {
        (allocated() > before + held * 3 / 4).then_some(())
    });
    assert_gives_back(&gateway, clients);
    eventually("memory that was given back", || {
        (allocated() < before + (2 << 20)).then_some(())
    });
    assert_serves(&gateway, &mut old);
}

#[test]
fn a_node_that_was_short_of_memory_recovers_when_all_have_left() {
    // Without limits on what clients hold, and with the allocator's own pace of returning memory.
    let gateway = Gateway::with(&StubBackend::open())
        .set("HT_LIMITS__MEMORY_BYTES", "64MiB")
        .set("HT_LIMITS__CLIENT_TOTAL_BYTES", 0)
        .set("HT_LIMITS__MESSAGE_BYTES", MESSAGE)
        .set("HT_TRUSTED_PROXIES", "127.0.0.1")
        .start();
    let mut old = connect(&gateway, 1);
    old.subscribe(&json!({"room": "old"}), "1");
    let allocated = || gateway.metric("high_templar_memory_allocated_bytes");
    let before = eventually("a look", || Some(allocated()).filter(|it| *it > 0));
    let mut clients: Vec<_> = (0..300usize)
        .map(|at| connect(&gateway, 2 + at % 200))
        .collect();
    for (at, client) in clients.iter_mut().enumerate() {
        for room in 0..20 {
            client.subscribe(&json!({"room": format!("{at} {room}")}), room.to_string());
        }
        client.send_raw(&cut(MESSAGE));
    }
    gateway.wait_for_line("memory is short");
    assert_eq!(gateway.get("/ready").status, 503);
    assert_gives_back(&gateway, clients);
    gateway.wait_for_line("memory is no longer short");
    assert_serves_again(&gateway, &mut old);
    eventually("memory that was given back", || {
        (allocated() < before + (4 << 20)).then_some(())
    });
}

const CLOSED: &str = "high_templar_handshake_errors_total{reason=\"handshake-bytes\"}";

#[test]
fn request_heads_that_are_never_finished_evict_nobody() {
    let gateway = builder(&StubBackend::open())
        .set("HT_LIMITS__CLIENT_TOTAL_BYTES", "4MiB")
        .set("HT_LIMITS__HEAD_TIMEOUT", "60s")
        .start();
    let mut old = connect(&gateway, 1);
    old.subscribe(&json!({"room": "old"}), "1");
    gateway.wait_for_metric("high_templar_client_bytes{kind=\"handshakes\"}", 0);
    let head = format!("GET /ws/ HTTP/1.1\r\nX: {}", "x".repeat(30_000));
    let visitors: Vec<_> = (0..100)
        .map(|_| {
            let mut visitor = gateway.public().connect().expect("a connection");
            // A client that is closed already takes no more.
            let _ = visitor.write_all(head.as_bytes());
            visitor
        })
        .collect();
    // A quarter has room for some 35 of them.
    eventually("closed connections", || {
        (gateway.metric(CLOSED) >= 60).then_some(())
    });
    gateway.wait_for_line("request heads and first frames hold a quarter");
    let held_by_heads = held(&gateway, "handshakes");
    assert!(
        (500_000..3 << 19).contains(&held_by_heads),
        "{held_by_heads}"
    );
    assert_serves(&gateway, &mut old);
    assert_eq!(evicted(&gateway, "client_total_bytes"), 0);
    drop(visitors);
    assert_gives_back(&gateway, Vec::new());
}

#[test]
fn long_request_heads_of_one_address_leave_room_for_those_of_others() {
    let gateway = builder(&StubBackend::open())
        .set("HT_LIMITS__CLIENT_TOTAL_BYTES", "4MiB")
        .set("HT_LIMITS__HEAD_TIMEOUT", "60s")
        .set("HT_PROXY_PROTOCOL", true)
        .start();
    let from = |address: &str, head: &str| {
        let mut visitor = gateway.public().connect().expect("a connection");
        let proxy = format!("PROXY TCP4 {address} 127.0.0.1 5000 5000\r\n{head}");
        // A client that is closed already takes no more.
        let _ = visitor.write_all(proxy.as_bytes());
        visitor
    };
    let head = format!("GET /ws/ HTTP/1.1\r\nX: {}", "x".repeat(30_000));
    let visitors: Vec<_> = (0..40).map(|_| from("192.0.2.7", &head)).collect();
    gateway.wait_for_line("one address holds half of what request heads");
    eventually("closed connections", || {
        (gateway.metric(CLOSED) >= 15).then_some(())
    });
    // A client at another address with many cookies is served.
    let long = format!(
        "GET /nothing HTTP/1.1\r\nHost: a\r\nCookie: {}\r\n\r\n",
        "c".repeat(10_000)
    );
    let mut other = from("192.0.2.8", &long);
    let mut answer = [0; 12];
    other.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 404");
    drop((visitors, other));
    gateway.wait_for_metric("high_templar_client_bytes{kind=\"handshakes\"}", 0);
}

#[test]
fn first_frames_that_are_never_finished_are_accounted_until_they_end() {
    let gateway = builder(&StubBackend::open())
        .set("HT_LIMITS__CLIENT_TOTAL_BYTES", "4MiB")
        .set("HT_AUTH__FIRST_FRAME", "true")
        .set("HT_AUTH__FIRST_FRAME_TIMEOUT", NEVER)
        .start();
    let mut visitors: Vec<_> = (0..10).map(|_| Handshake::new(&gateway).open()).collect();
    for visitor in &mut visitors {
        visitor.send_raw(&cut(50_000));
    }
    eventually("accounted first frames", || {
        (held(&gateway, "handshakes") >= 500_000).then_some(())
    });
    assert_eq!(gateway.metric(CLOSED), 0);
    for _ in 0..40 {
        let mut visitor = Handshake::new(&gateway).open();
        visitor.send_raw(&cut(50_000));
        visitors.push(visitor);
    }
    eventually("closed connections", || {
        (gateway.metric(CLOSED) >= 20).then_some(())
    });
    drop(visitors);
    gateway.wait_for_metric("high_templar_client_bytes{kind=\"handshakes\"}", 0);
}

#[test]
fn a_message_that_is_never_finished_ends_its_connection() {
    let gateway = Gateway::with(&StubBackend::open())
        .set("HT_LIMITS__MESSAGE_TIMEOUT", "300ms")
        .start();
    let mut other = Client::connect(&gateway);
    let mut whole = Client::connect(&gateway);
    whole.send_raw(&cut(1_000));
    let mut dripped = Client::connect(&gateway);
    dripped.send(&Frame::new(frame::TEXT, " ").unfinished());
    while evicted(&gateway, "message_timeout") < 2 {
        dripped.send(&Frame::new(frame::CONTINUATION, " ").unfinished());
        other.fence();
    }
    for client in [&mut whole, &mut dripped] {
        assert_eq!(client.expect_close(4002), "message-timeout");
    }
    gateway.wait_for_line("evicted a connection");
    other.fence();
}
