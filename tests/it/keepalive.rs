//! Dead peers are detected.

use std::time::Duration;

use serde_json::json;

use crate::support::{Client, Frame, Gateway, StubBackend, frame};

#[test]
fn who_does_not_answer_a_ping_is_closed_and_who_does_is_not() {
    let backend = StubBackend::open();
    let gateway = Gateway::with(&backend)
        .set("HT_KEEPALIVE__INTERVAL", "200ms")
        .set("HT_KEEPALIVE__TIMEOUT", "4s")
        .start();
    let mut alive = Client::connect(&gateway);
    let mut dead = Client::connect(&gateway);
    dead.subscribe(&json!({"room": 1}), "1");
    // It replies for much longer than the other has time to.
    while gateway.metric("high_templar_no_pongs_total") == 0 {
        let ping = alive.frame();
        assert_eq!((ping.opcode, &*ping.payload), (frame::PING, &b""[..]));
        alive.send(&Frame::new(frame::PONG, ping.payload));
    }
    assert_eq!(dead.frame().opcode, frame::PING);
    assert_eq!(dead.expect_close(4001), "no-pong");
    alive.send_json(&json!({"type": "status"}));
    let status = loop {
        let frame = alive.frame();
        if frame.opcode == frame::TEXT {
            break String::from_utf8(frame.payload).unwrap();
        }
        alive.send(&Frame::new(frame::PONG, frame.payload));
    };
    assert!(
        status.contains("\"open_connections\": 1,") || status.contains("\"open_connections\":1,"),
        "{status}"
    );
}

#[test]
fn active_clients_and_disabled_keepalive_get_no_pings() {
    let backend = StubBackend::open();
    let gateway = Gateway::with(&backend)
        .set("HT_KEEPALIVE__INTERVAL", 0)
        .start();
    let mut client = Client::connect(&gateway);
    assert!(client.is_silent(Duration::from_millis(500)));
    client.fence();
    assert_eq!(gateway.metric("high_templar_no_pongs_total"), 0);
}
