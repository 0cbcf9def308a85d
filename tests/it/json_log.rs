//! The log as JSON: every value has its type, in every situation that is logged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ht_testkit::rabbitmq::RabbitMq;
use serde_json::{Value, json};

use crate::rabbitmq::wait_for_ready;
use crate::support::gateway::Builder;
use crate::support::rabbit::Rabbit;
use crate::support::{Client, Gateway, Handshake, Reply, StubBackend, frame, http};

fn start(backend: &StubBackend, more: impl Fn(Builder) -> Builder) -> Gateway {
    let builder = Gateway::with(backend)
        .set("HT_LOG__FORMAT", "json")
        .set("HT_LOG__LEVEL", "debug")
        .set("HT_BACKEND__USER_ID_PATH", "[\"id\"]");
    more(builder).start()
}

/// Fields whose text may look like a number: ids of the API, names of shards,
/// names made by chance.
const TEXTS: [&str; 4] = ["user", "threads", "thread", "epoch"];

/// The lines, each an object whose values have the expected types.
fn lines(gateway: &Gateway) -> Vec<Value> {
    let log = gateway.log();
    let lines = log.lines().map(|line| {
        let parsed: Value = serde_json::from_str(line).expect(line);
        for (name, value) in parsed.as_object().expect(line) {
            assert_value(name, value, line);
        }
        parsed
    });
    lines.collect()
}

#[track_caller]
fn assert_value(name: &str, value: &Value, line: &str) {
    let text = match value {
        Value::Number(_) | Value::Bool(_) => return,
        Value::String(text) => text,
        // Absent is absent.
        Value::Null | Value::Array(_) | Value::Object(_) => panic!("{name} in {line}"),
    };
    for debugged in ["Some(", "None", "Ok(", "Err("] {
        assert!(!text.contains(debugged), "{name} in {line}");
    }
    assert!(
        !text.is_empty() && !text.starts_with('"'),
        "{name} in {line}"
    );
    let is_text = TEXTS.contains(&name);
    assert!(is_text || text.parse::<f64>().is_err(), "{name} in {line}");
    assert!(text.parse::<bool>().is_err(), "{name} in {line}");
    // A time as Rust writes it, such as 1.5s or 300ms.
    let number = text.trim_end_matches(|c: char| c.is_alphabetic() || c == 'µ');
    let unit = &text[number.len()..];
    let is_time = ["s", "ms", "µs", "ns"].contains(&unit) && number.parse::<f64>().is_ok();
    assert!(is_text || !is_time, "{name} in {line}");
}

/// The line with this text in its message.
#[track_caller]
fn line<'a>(lines: &'a [Value], message: &str) -> &'a Value {
    let mut all = lines.iter();
    let found = all.find(|line| {
        line["message"]
            .as_str()
            .is_some_and(|it| it.contains(message))
    });
    found.unwrap_or_else(|| panic!("no line with {message:?} in {lines:#?}"))
}

#[test]
fn values_of_clients_and_publishers_have_their_types() {
    let backend = StubBackend::new(|seen| {
        if seen.is_bootstrap() {
            let rooms = json!([{"room": "*"}, {"id": 7.0}]);
            let rooms = rooms.to_string().replace("]", ", {\"id\": 1e-400}]");
            Reply::json(
                "200 OK",
                format!("{{\"allowed_rooms\": {rooms}, \"id\": 7}}"),
            )
        } else {
            Reply::Reset
        }
    });
    let mut gateway = start(&backend, |builder| {
        builder
            .hooks()
            .set("HT_INTERNAL__API_KEY", "key")
            .set("HT_LIMITS__MESSAGES_PER_SECOND", 1)
            .set("HT_LIMITS__CONNECTIONS_PER_USER", 2)
            .set("HT_DRAIN__DELAY", "1ms")
    });
    let mut client = Client::connect(&gateway);
    for _ in 0..30 {
        client.send_text("ping");
    }
    // The replies to the first of them, then the end.
    while client.frame().opcode != frame::CLOSE {}
    gateway.wait_for_line("connection closed");
    let held = [Client::connect(&gateway), Client::connect(&gateway)];
    Handshake::new(&gateway).open().expect_json();
    gateway.wait_for_line("limits.connections_per_user is reached");
    Handshake::new(&gateway)
        .header("Origin", "https://elsewhere.example")
        .refused();
    let to = gateway.internal();
    for headers in [
        &[("Host", "elsewhere.example")][..],
        &[("Authorization", "Bearer other")],
        &[("Authorization", "Bearer key")],
    ] {
        http::request(to, "POST", "/trigger/", headers, b"{\"rooms\": 1}");
    }
    gateway.wait_for_line("a hook failed");
    gateway.reload("[limits]\nmessage_bytes = \"none\"\n");
    gateway.reload("[limits]\nsubscriptions = 7\n");
    gateway.signal("TERM");
    assert_eq!(gateway.wait_for_end(), Some(0));
    drop(held);

    let lines = lines(&gateway);
    let opened = line(&lines, "connection opened");
    assert_eq!(
        (&opened["user"], &opened["address"]),
        (&json!("7"), &json!("unknown client behind 127.0.0.1"))
    );
    let evicted = line(&lines, "evicted a connection");
    assert_eq!(evicted["reason"], "messages_per_second");
    assert_eq!(evicted["suppressed"], 0);
    let crowded = line(&lines, "limits.connections_per_user is reached");
    assert_eq!(
        (&crowded["user"], &crowded["limit"]),
        (&json!("7"), &json!(2))
    );
    let refused = line(&lines, "refused a websocket with the Origin");
    assert_eq!(refused["host"], "gateway.test");
    assert_eq!(refused["client"], "unknown client behind 127.0.0.1");
    assert_eq!(
        line(&lines, "for a host that is not served")["host"],
        "elsewhere.example"
    );
    assert_eq!(line(&lines, "no web page can ask")["room"], "{\"id\":7.0}");
    assert_eq!(line(&lines, "permits nothing")["room"], "{\"id\": 1e-400}");
    assert_eq!(line(&lines, "a hook failed")["hook"], "connect");
    assert_eq!(line(&lines, "for drain.delay")["delay_ms"], 1);
    let closing = line(&lines, "draining: closing all connections");
    assert!(
        closing["over_ms"].is_u64() && closing["connections"].is_u64(),
        "{closing}"
    );
}

#[test]
fn values_of_an_outage_have_their_types() {
    let is_up = Arc::new(AtomicBool::new(false));
    let seen_up = Arc::clone(&is_up);
    let backend = StubBackend::new(move |_| {
        if seen_up.load(Ordering::Relaxed) {
            Reply::rooms(&json!([{"room": "*"}]))
        } else {
            Reply::http("503 Away", &[("Retry-After", "1")], "")
        }
    });
    let gateway = start(&backend, |builder| {
        builder
            .set("HT_BACKEND__CIRCUIT_FAILURES", 1)
            .set("HT_BACKEND__CIRCUIT_BACKOFF", "100ms")
            .set("HT_BACKEND__CIRCUIT_BACKOFF_MAX", "100ms")
            .set("HT_RABBITMQ__URL", "amqp://127.0.0.1:1")
    });
    Handshake::new(&gateway).open().expect_json();
    gateway.wait_for_line("backend circuit breaker opened");
    is_up.store(true, Ordering::Relaxed);
    gateway.wait_for_line("backend circuit breaker closed");
    gateway.wait_for_line("RabbitMQ is unavailable");

    let lines = lines(&gateway);
    let opened = line(&lines, "circuit breaker opened");
    let wait = opened["retry_in_ms"].as_u64().expect("a number");
    assert!((1..=100).contains(&wait), "{opened}");
    assert!(opened["cause"].is_string(), "{opened}");
    assert!(line(&lines, "circuit breaker closed")["failed_probes"].is_u64());
    let failed = line(&lines, "no usable answer from the backend");
    assert_eq!(failed["kind"], "server-error");
    let lost = line(&lines, "RabbitMQ is unavailable");
    assert!(
        lost["cause"].is_string() && lost["advice"].is_string(),
        "{lost}"
    );
}

#[test]
fn values_of_a_lost_broker_have_their_types() {
    let backend = StubBackend::open();
    let vhost = RabbitMq::shared().vhost();
    let gateway = start(&backend, |builder| {
        builder.set("HT_RABBITMQ__URL", vhost.url())
    });
    wait_for_ready(&gateway);
    let mut client = Client::connect(&gateway);
    client.fence();
    Rabbit::connect(vhost.url()).publish("no trigger");
    gateway.wait_for_line("a message from the broker was dropped");
    vhost.close_connections();
    gateway.wait_for_line("reconnected to RabbitMQ");
    gateway.wait_for_line("gap: this node may have missed publications");

    let lines = lines(&gateway);
    assert!(line(&lines, "was dropped")["reason"].is_string());
    let back = line(&lines, "reconnected to RabbitMQ");
    assert!(back["outage_seconds"].is_f64(), "{back}");
    let gap = line(&lines, "gap: this node may");
    assert_eq!(gap["reason"], "reconnect", "{gap}");
    assert_eq!(gap["connections"], 1, "{gap}");
    assert!(
        gap["remedy"].is_string() && gap["cause"].is_string(),
        "{gap}"
    );
}
