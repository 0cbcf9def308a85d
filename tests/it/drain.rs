//! Graceful shutdown: close waves, triggers meanwhile, a forced shutdown.

use std::time::{Duration, Instant};

use ht_testkit::rabbitmq::RabbitMq;
use serde_json::json;

use crate::rabbitmq::wait_for_ready;
use crate::support::{Client, Gate, Gateway, NEVER, StubBackend, frame};

/// So many need three seconds to reconnect at a rate without noticeable load.
const MANY: usize = 300;

/// Time between SIGTERM and SIGKILL of `docker stop`.
const SUPERVISOR_PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn many_connections_are_closed_in_waves_and_receive_all_before_theirs() {
    let backend = StubBackend::open();
    leaves_in_waves(Gateway::start(&backend));
}

#[test]
fn triggers_are_consumed_until_the_last_connection_is_closed() {
    let vhost = RabbitMq::shared().vhost();
    let backend = StubBackend::open();
    let gateway = Gateway::with(&backend).set("HT_RABBITMQ__URL", vhost.url());
    let gateway = gateway.start();
    wait_for_ready(&gateway);
    leaves_in_waves(gateway);
}

#[track_caller]
fn leaves_in_waves(mut gateway: Gateway) {
    let mut clients: Vec<_> = (0..MANY).map(|_| Client::connect(&gateway)).collect();
    for client in &mut clients {
        client.subscribe(&json!({"room": 1}), 1);
    }
    gateway.trigger(&json!({"rooms": [{"room": 1}], "data": "all"}));
    gateway.signal("TERM");
    gateway.wait_for_line("draining: closing all connections");
    assert_eq!(gateway.get("/ready").status, 503);
    assert!(gateway.public().connect().is_err(), "nobody new is let in");
    // The longest idle are closed first; the last ones still receive triggers.
    let mut last = clients.split_off(MANY - 2);
    let mut first = clients.remove(0);
    assert_eq!(first.expect_publish().0, "all");
    assert_eq!(first.expect_close(1012), "restart 3000");
    gateway.trigger(&json!({"rooms": [{"room": 1}], "data": "late"}));
    for client in &mut last {
        assert_eq!(client.expect_publish().0, "all");
        assert_eq!(client.expect_publish().0, "late");
        client.fence();
    }
    for client in &mut clients {
        assert_eq!(client.expect_publish().0, "all");
    }
    for client in clients.into_iter().chain(last) {
        assert_eq!(closed(client), "restart 3000");
    }
    assert_eq!(gateway.wait_for_end(), Some(0));
}

/// Reads further publications until the connection is closed; the reason.
fn closed(mut client: Client) -> String {
    loop {
        let frame = client.frame();
        if frame.opcode == frame::CLOSE {
            let (code, reason) = frame.payload.split_first_chunk().expect("a close code");
            assert_eq!(u16::from_be_bytes(*code), 1012);
            return String::from_utf8_lossy(reason).into_owned();
        }
    }
}

#[test]
fn a_second_signal_closes_all_at_once_and_does_not_wait_for_hooks() {
    let gate = Gate::default();
    let backend = StubBackend::hooks_behind(&gate);
    let mut gateway = Gateway::with(&backend)
        .hooks()
        .set("HT_DRAIN__TIMEOUT", NEVER)
        .start();
    let mut client = Client::connect(&gateway);
    gateway.signal("TERM");
    client.expect_close(1012);
    gateway.wait_for_line("SIGTERM: shutting down gracefully");
    gateway.signal("TERM");
    gateway.wait_for_line("second signal (SIGTERM): closing all connections now");
    assert_eq!(gateway.wait_for_end(), Some(0));
    gate.open();
}

#[test]
fn during_the_delay_the_node_is_not_ready_and_serves_as_before() {
    let gate = Gate::default();
    let backend = StubBackend::hooks_behind(&gate);
    let mut gateway = Gateway::with(&backend)
        .hooks()
        .set("HT_DRAIN__DELAY", NEVER)
        .start();
    let mut early = Client::connect(&gateway);
    early.subscribe(&json!({"room": 1}), 1);
    gateway.signal("TERM");
    gateway.wait_for_line("traffic is served for drain.delay");
    let ready = gateway.get("/ready");
    assert_eq!(ready.status, 503, "{ready:?}");
    assert_eq!(gateway.get("/live").status, 200);
    let mut late = Client::connect(&gateway);
    late.subscribe(&json!({"room": 1}), 1);
    gateway.trigger(&json!({"rooms": [{"room": 1}], "data": "meanwhile"}));
    for client in [&mut early, &mut late] {
        assert_eq!(client.expect_publish().0, "meanwhile");
        client.fence();
    }
    // A second signal ends the delay, and does not wait for hooks.
    gateway.signal("TERM");
    for mut client in [early, late] {
        client.expect_close(1012);
    }
    assert_eq!(gateway.wait_for_end(), Some(0));
    gate.open();
}

#[test]
fn after_the_delay_the_node_shuts_down_by_itself() {
    let backend = StubBackend::open();
    let mut gateway = Gateway::with(&backend)
        .set("HT_DRAIN__DELAY", "200ms")
        .start();
    let mut client = Client::connect(&gateway);
    gateway.signal("TERM");
    gateway.wait_for_line("traffic is served for drain.delay");
    client.expect_close(1012);
    assert!(gateway.public().connect().is_err(), "nobody new is let in");
    drop(client);
    assert_eq!(gateway.wait_for_end(), Some(0));
}

#[test]
fn hooks_that_hang_do_not_outlast_the_timeout() {
    shuts_down_while_hooks_hang(Some("500ms"));
}

/// As with `docker stop` and no setting of drain.
#[test]
fn hooks_that_hang_do_not_outlast_the_supervisor_by_default() {
    shuts_down_while_hooks_hang(None);
}

#[track_caller]
fn shuts_down_while_hooks_hang(timeout: Option<&str>) {
    let gate = Gate::default();
    let backend = StubBackend::hooks_behind(&gate);
    let mut gateway = Gateway::with(&backend)
        .hooks()
        .set("HT_HOOKS__TIMEOUT", NEVER);
    if let Some(timeout) = timeout {
        gateway = gateway.set("HT_DRAIN__TIMEOUT", timeout);
    }
    let mut gateway = gateway.start();
    let clients: Vec<_> = (0..50).map(|_| Client::connect(&gateway)).collect();
    let signalled = Instant::now();
    gateway.signal("TERM");
    for mut client in clients {
        client.expect_close(1012);
    }
    gateway.wait_for_line("drain.timeout exceeded");
    assert_eq!(gateway.wait_for_end(), Some(0));
    let elapsed = signalled.elapsed();
    assert!(elapsed < SUPERVISOR_PATIENCE, "{elapsed:?}");
    gate.open();
}
