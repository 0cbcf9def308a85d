//! Idle timeout: connections whose client sends nothing for too long.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Client, DEADLINE, Frame, Gateway, StubBackend, frame};

#[test]
fn a_silent_client_is_closed_with_1000_although_it_receives_much() {
    let backend = StubBackend::open();
    let gateway = Gateway::with(&backend)
        .hooks()
        .set("HT_LIMITS__IDLE_TIMEOUT", "600ms")
        .start();
    let mut silent = Client::connect(&gateway);
    silent.subscribe(&json!({"room": 1}), 1);
    // Messages sent to it, and control frames, do not count.
    let until = Instant::now() + DEADLINE;
    let closed = loop {
        assert!(Instant::now() < until, "it is not closed");
        gateway.trigger(&json!({"rooms": [{"room": 1}], "data": 1}));
        let frame = silent.frame();
        match frame.opcode {
            frame::CLOSE => break frame,
            frame::TEXT => {}
            _ => panic!("{frame:?}"),
        }
        silent.send(&Frame::new(frame::PING, "x"));
        let frame = silent.frame();
        if frame.opcode == frame::CLOSE {
            break frame;
        }
    };
    assert_eq!(
        closed,
        Frame {
            masked: false,
            ..Frame::close(1000, "idle")
        }
    );
    // It may not answer: the connection is over anyway.
    backend.wait_for_moments(&["online", "offline"]);
    assert_eq!(Client::connect(&gateway).status()["open_connections"], 1);
    gateway.wait_for_metric("high_templar_idle_timeouts_total", 1);
}

#[test]
fn any_message_keeps_a_connection_even_an_invalid_one() {
    let backend = StubBackend::open();
    let gateway = Gateway::with(&backend)
        .set("HT_LIMITS__IDLE_TIMEOUT", "3s")
        .start();
    let mut talking = Client::connect(&gateway);
    let mut silent = Client::connect(&gateway);
    // Until a silent one, which connected later, is closed.
    let mut closed = false;
    while !closed {
        for text in ["ping", "rubbish", "[]"] {
            talking.send_text(text);
            talking.expect_text();
            talking.send(&Frame::new(frame::BINARY, "x"));
            talking.expect_text();
        }
        closed = !silent.is_silent(Duration::from_millis(100));
    }
    talking.fence();
}

#[test]
fn zero_disables_the_timeout() {
    let backend = StubBackend::open();
    let gateway = Gateway::with(&backend)
        .set("HT_LIMITS__IDLE_TIMEOUT", "0s")
        .start();
    let mut client = Client::connect(&gateway);
    assert!(client.is_silent(Duration::from_millis(200)));
    client.fence();
}
