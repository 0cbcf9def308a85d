//! Memory limit: new clients and triggers are rejected first, and existing connections continue.

use serde_json::{Value, json};

use crate::in_flight::ask_first;
use crate::support::{Client, Gate, Gateway, Handshake, Reply, StubBackend};

/// Memory limit of the process: more than it uses at startup, less than the backlog to come.
const LIMIT: u64 = 64 << 20;

#[test]
fn short_of_memory_newcomers_are_turned_away_and_who_is_here_goes_on() {
    let gate = Gate::default();
    let behind = gate.clone();
    let backend = StubBackend::new(move |request| {
        let reply = Reply::rooms(&json!([{"room": "*"}]));
        if request.header("cookie").is_some() {
            Reply::Behind(behind.clone(), reply.into())
        } else {
            reply
        }
    });
    let gateway = Gateway::with(&backend)
        .set("HT_LIMITS__MEMORY_BYTES", LIMIT)
        .set("HT_BACKEND__TIMEOUT", "60s")
        .set("HT_LIMITS__OUTBOX_BYTES", 0)
        .set("HT_LIMITS__OUTBOX_TOTAL_BYTES", 0)
        .set("HT_TCP__SEND_BUFFER", "64KiB")
        // Memory is returned to the system at once, not after ten seconds.
        .set("_RJEM_MALLOC_CONF", "dirty_decay_ms:0,muzzy_decay_ms:0")
        .start();
    let mut healthy = Client::connect(&gateway);
    healthy.subscribe(&json!({"room": 1}), "1");
    let mut stalled = Client::connect(&gateway);
    stalled.subscribe(&json!({"room": 2}), "1");
    let waiting = Handshake::new(&gateway).header("Cookie", "a=b").send();
    backend.wait_for(3);
    assert_eq!(gateway.get("/ready").status, 200);
    assert_eq!(gateway.metric("high_templar_memory_short"), 0);

    let large = json!({"rooms": [{"room": 2}], "data": "x".repeat(4 << 20)});
    let mut sent = 0;
    let shed = loop {
        let answer = gateway.post(large.to_string());
        if answer.status != 200 {
            break answer;
        }
        sent += 1;
        assert!(sent < 200, "it takes all");
    };
    assert_eq!(shed.status, 503, "{shed:?}");
    assert_eq!(shed.header("retry-after"), Some("1"));
    assert!(shed.text().contains("short of memory"), "{shed:?}");
    // A client with `Expect: 100-continue` gets no 100.
    let shed = ask_first(&gateway, "Content-Length: 65536");
    assert!(shed.starts_with("HTTP/1.1 503 "), "{shed}");
    assert!(shed.contains("connection: close"), "{shed}");
    let ready = gateway.get("/ready");
    assert_eq!(ready.status, 503);
    assert!(ready.text().contains("memory: "), "{ready:?}");
    let refused = Handshake::new(&gateway).refused();
    assert_eq!(refused.status, 503);
    assert_eq!(refused.header("retry-after"), Some("5"));
    assert!(gateway.metric("high_templar_triggers_shed_total") >= 1);
    gateway.wait_for_line("memory is short");

    // A client that the API admits only now is asked to reconnect; existing ones are served.
    gate.open();
    let mut late = waiting.open();
    assert_eq!(late.expect_json(), json!({"is_authorized": false}));
    assert_eq!(late.expect_close(1013), "overloaded 20000");
    healthy.fence();
    let name = "high_templar_handshake_errors_total{reason=\"memory\"}";
    gateway.wait_for_metric(name, 2);

    drop(stalled);
    gateway.wait_for_line("memory is no longer short");
    assert_eq!(gateway.get("/ready").status, 200);
    let data: Value = json!("again");
    gateway.trigger(&json!({"rooms": [{"room": 1}], "data": data}));
    assert_eq!(healthy.expect_publish(), (data, json!("1")));
    Client::connect(&gateway).fence();
}
