//! `/ready` reports whether triggers are delivered, also if no socket reports an error.

use std::thread;

use ht_testkit::rabbitmq::RabbitMq;
use serde_json::{Value, json};

use crate::rabbitmq::{wait_for_not_ready, wait_for_ready};
use crate::support::proxy::Proxy;
use crate::support::rabbit::Rabbit;
use crate::support::{Client, Gateway, StubBackend};

/// Triggers before, and as many during, an outage.
const TRIGGERS: usize = 50;

fn start(backend: &StubBackend, url: &str) -> Gateway {
    Gateway::with(backend)
        .set("HT_RABBITMQ__URL", url)
        .set("HT_READINESS__PROBE_INTERVAL", "200ms")
        .set("HT_READINESS__PROBE_TIMEOUT", "500ms")
        .start()
}

fn triggers(from: usize) -> impl Iterator<Item = String> {
    (from..from + TRIGGERS).map(|n| json!({"rooms": [{"room": 1}], "data": n}).to_string())
}

#[track_caller]
fn expect_triggers(client: &mut Client, from: usize) {
    for n in from..from + TRIGGERS {
        assert_eq!(client.expect_publish(), (json!(n), json!("x")));
    }
    client.fence();
}

/// Every trigger was counted once, and probes are not counted.
#[track_caller]
fn expect_counts(gateway: &Gateway) {
    let all = 2 * TRIGGERS as u64;
    for (name, value) in [
        ("high_templar_broker_messages_total", all),
        ("high_templar_broker_rejected_total", 0),
        ("high_templar_broker_failures_total", 0),
        ("high_templar_triggers_total", all),
    ] {
        assert_eq!(gateway.metric(name), value, "{name}");
    }
    // On a busy machine a further probe may be late.
    gateway.wait_for_metric("high_templar_ready", 1);
    let late = gateway.metric("high_templar_probe_failures_total{reason=\"late\"}");
    assert!(late >= 1, "{late}");
    let next = gateway.trigger(&json!({"rooms": [{"room": 2}], "data": 1}));
    assert_eq!(next["position"], all + 1);
}

#[test]
fn a_broker_that_hangs_turns_ready_red_and_loses_nothing() {
    let server = RabbitMq::start();
    let backend = StubBackend::open();
    let gateway = start(&backend, server.url());
    wait_for_ready(&gateway);
    let mut client = Client::connect(&gateway);
    client.subscribe(&json!({"room": 1}), "x");
    let rabbit = Rabbit::connect(server.url());
    rabbit.publish_all(triggers(0));
    expect_triggers(&mut client, 0);

    server.pause();
    let reason = wait_for_not_ready(&gateway);
    assert!(reason.contains("a probe was not delivered"), "{reason}");
    assert_eq!(gateway.metric("high_templar_ready"), 0);
    // Sent while nothing responds, confirmed when it does.
    let publishing = thread::spawn(move || rabbit.publish_all(triggers(TRIGGERS)));
    client.fence();
    server.resume();

    wait_for_ready(&gateway);
    publishing.join().expect("confirmed");
    expect_triggers(&mut client, TRIGGERS);
    expect_counts(&gateway);
    gateway.wait_for_line("not ready: triggers are not delivered");
    gateway.wait_for_line("ready: the end-to-end probe was delivered");
}

#[test]
fn a_black_hole_on_the_way_to_the_broker_turns_ready_red_and_loses_nothing() {
    let server = RabbitMq::shared();
    let vhost = server.vhost();
    let proxy = Proxy::to(server.port());
    let ports = [server.port(), proxy.port()].map(|port| format!(":{port}/"));
    let backend = StubBackend::open();
    let gateway = start(&backend, &vhost.url().replace(&ports[0], &ports[1]));
    wait_for_ready(&gateway);
    let mut client = Client::connect(&gateway);
    client.subscribe(&json!({"room": 1}), "x");
    let rabbit = Rabbit::connect(vhost.url());
    rabbit.publish_all(triggers(0));
    expect_triggers(&mut client, 0);

    proxy.pause();
    let reason = wait_for_not_ready(&gateway);
    assert!(reason.contains("a probe was not delivered"), "{reason}");
    // The broker noticed nothing: it accepts triggers and holds them for the node.
    rabbit.publish_all(triggers(TRIGGERS));
    client.fence();
    proxy.resume();

    wait_for_ready(&gateway);
    expect_triggers(&mut client, TRIGGERS);
    expect_counts(&gateway);
}

#[test]
fn without_probes_ready_reports_the_connection_state() {
    let backend = StubBackend::open();
    let gateway = Gateway::with(&backend)
        .set("HT_READINESS__PROBE_INTERVAL", 0)
        .start();
    let ready = gateway.get("/ready");
    assert_eq!(
        ready.json(),
        json!({"ready": true, "reasons": Value::Array(vec![])})
    );
    assert_eq!(gateway.metric("high_templar_probe_seconds_count"), 0);
    // With probes, the first one is through before any request is accepted.
    let gateway = Gateway::start(&backend);
    assert_eq!(gateway.get("/ready").status, 200);
    assert!(gateway.metric("high_templar_probe_seconds_count") >= 1);
}
