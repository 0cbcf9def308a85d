//! The backend guard before a real HTTP backend: an outage, and one client in many tabs. The
//! stampede has a file of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use crate::support::{Client, Gate, Gateway, Handshake, Reply, StubBackend, eventually};

/// Tries to connect; the reason of the close frame on failure.
fn visit(gateway: &Gateway) -> Result<Client, String> {
    let mut client = Handshake::new(gateway).header("Cookie", "a=1").open();
    match client.expect_json()["is_authorized"].as_bool() {
        Some(true) => Ok(client),
        _ => Err(client.expect_close(1013)),
    }
}

/// The span in a reason such as `backend 1500`.
fn span(reason: &str) -> u64 {
    let span = reason.strip_prefix("backend ").expect(reason);
    span.parse().expect(reason)
}

#[test]
fn the_circuit_breaker_opens_for_an_outage_and_is_probed_without_visitors() {
    let up = Arc::new(AtomicBool::new(false));
    let answers = Arc::clone(&up);
    let backend = StubBackend::new(move |_| match answers.load(Ordering::Relaxed) {
        true => Reply::rooms(&json!([{"room": "*"}])),
        false => Reply::Reset,
    });
    let gateway = Gateway::with(&backend)
        .set("HT_BACKEND__CIRCUIT_FAILURES", 3)
        .set("HT_BACKEND__CIRCUIT_BACKOFF", "300ms")
        .set("HT_BACKEND__CIRCUIT_BACKOFF_MAX", "300ms")
        .start();
    for _ in 0..3 {
        let reason = visit(&gateway).err().expect("nobody gets in");
        assert!((1_000..10_000).contains(&span(&reason)), "{reason}");
    }
    gateway.wait_for_line("backend circuit breaker opened");
    gateway.wait_for_metric("high_templar_backend_circuit_open", 1);
    // No client gets through; the gateway probes by itself. The node itself works.
    let before = backend.requests().len();
    let mut sent_away = 0;
    while backend.requests().len() < before + 3 {
        sent_away += u32::from(visit(&gateway).is_err());
    }
    assert!(sent_away >= 1);
    for probe in &backend.requests()[before..] {
        assert_eq!(probe.header("cookie"), None);
        assert!(probe.is_bootstrap());
    }
    let ready = gateway.get("/ready");
    assert_eq!(ready.status, 200);
    let notes = ready.json()["notes"].to_string();
    assert!(notes.contains("backend: "), "{notes}");

    up.store(true, Ordering::Relaxed);
    eventually("a visitor is let in", || visit(&gateway).ok());
    gateway.wait_for_line("backend circuit breaker closed");
    gateway.wait_for_metric("high_templar_backend_circuit_open", 0);
    gateway.wait_for_metric("high_templar_backend_circuit_opened_total", 1);
    assert!(gateway.get("/ready").json().get("notes").is_none());
    let log = gateway.log();
    assert_eq!(log.matches("circuit breaker opened").count(), 1, "{log}");
    assert!(visit(&gateway).is_ok());
}

/// A circuit that is probed every few milliseconds may close at any moment. The hint is the span of a
/// random delay, so a shorter one would only make clients retry in step.
#[test]
fn the_reconnect_delay_is_at_least_a_second_however_short_the_backoff() {
    let backend = StubBackend::new(|_| Reply::Reset);
    let gateway = Gateway::with(&backend)
        .set("HT_BACKEND__CIRCUIT_FAILURES", 1)
        .set("HT_BACKEND__CIRCUIT_BACKOFF", "10ms")
        .set("HT_BACKEND__CIRCUIT_BACKOFF_MAX", "10ms")
        .start();
    let reason = visit(&gateway).err().expect("a failure");
    assert_eq!(reason, "backend 1000", "while the circuit is closed");
    gateway.wait_for_metric("high_templar_backend_circuit_open", 1);
    let reason = visit(&gateway).err().expect("a failure");
    assert_eq!(reason, "backend 1000", "while it is open");
}

#[test]
fn ready_reports_whether_the_api_fails_or_is_unreachable() {
    let failing = StubBackend::new(|_| Reply::json("503 Service Unavailable", "{}"));
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr());
    let nobody = format!("http://{}/api/", free.expect("an address"));
    for (url, why) in [
        (&*failing.url, "because the API fails (status 502, 503"),
        (&*nobody, "because the API cannot be reached"),
    ] {
        let gateway = Gateway::with(&failing)
            .set("HT_BACKEND__URL", url)
            .set("HT_BACKEND__CIRCUIT_FAILURES", 1)
            .start();
        eventually("the circuit opens", || {
            // The 101 follows the backend's response.
            Handshake::new(&gateway).open();
            (gateway.metric("high_templar_backend_circuit_open") == 1).then_some(())
        });
        let notes = gateway.get("/ready").json()["notes"].to_string();
        assert!(notes.contains(why), "{notes}");
    }
}

/// Reaction of uWSGI to a head that is longer than its buffer.
fn reset_at_long_cookies() -> StubBackend {
    StubBackend::new(|seen| match seen.header("cookie") {
        Some(cookie) if cookie.len() > 4_000 => Reply::Reset,
        _ => Reply::rooms(&json!([{"room": "*"}])),
    })
}

#[test]
fn a_visitor_whose_credentials_fail_the_backend_is_alone_with_it() {
    let long = "x".repeat(6_000);
    // Addresses and cookies of clients that make calls fail, fewer than the threshold and more.
    type Crowd = fn(usize) -> (String, usize);
    let crowds: [Crowd; 5] = [
        |_| ("192.0.2.1".into(), 0),
        |number| ("192.0.2.1".into(), number),
        // An IPv6 network is one address.
        |number| (format!("2001:db8::{number:x}"), number),
        |number| (format!("192.0.2.{}", number % 5), number),
        |number| (format!("198.51.100.{}", number % 40), number),
    ];
    let backend = reset_at_long_cookies();
    for crowd in crowds {
        let gateway = Gateway::with(&backend)
            .set("HT_BACKEND__CIRCUIT_FAILURES", 10)
            .set("HT_BACKEND__CIRCUIT_BACKOFF", "50ms")
            .start();
        for number in 0..40 {
            let (address, cookie) = crowd(number);
            let mut refused = Handshake::new(&gateway)
                .header("X-Real-IP", &address)
                .header("Cookie", format!("a={cookie}{long}"))
                .open();
            assert_eq!(refused.expect_json()["is_authorized"], false);
            if number % 8 == 0 {
                let honest = Handshake::new(&gateway)
                    .header("X-Real-IP", "203.0.113.9")
                    .header("Cookie", "honest=1");
                assert_eq!(honest.open().expect_json()["is_authorized"], true);
            }
        }
        let opened = gateway.metric("high_templar_backend_circuit_opened_total");
        assert_eq!(opened, 0, "{}", gateway.log());
    }
}

#[test]
fn forwarded_headers_beyond_the_bound_are_431_before_the_backend_is_asked() {
    let backend = StubBackend::open();
    let gateway = Gateway::start(&backend);
    // As it is sent on: `cookie: <value>` and a line's end, and the address of a trusted proxy.
    let longest = 8 * 1_024 - "cookie: \r\n".len() - "x-real-ip: 192.0.2.1\r\n".len();
    let visit = |bytes: usize| {
        Handshake::new(&gateway)
            .header("X-Real-IP", "192.0.2.1")
            .header("Cookie", "c".repeat(bytes))
    };
    let answer = visit(longest + 1).refused();
    assert_eq!(answer.status, 431);
    assert!(answer.text().contains("8193 bytes"), "{}", answer.text());
    let line = gateway.wait_for_line("backend.forward_bytes_max");
    assert!(line.contains("8193"), "{line}");
    assert!(backend.requests().is_empty());
    let reason = r#"high_templar_handshake_errors_total{reason="forward-bytes"}"#;
    gateway.wait_for_metric(reason, 1);
    // Also if many short ones add up, and not headers that are not forwarded.
    let many = Handshake::new(&gateway)
        .header("User-Agent", "u".repeat(4_000))
        .header("Cookie", "c".repeat(4_200));
    assert_eq!(many.refused().status, 431);
    let other = Handshake::new(&gateway).header("X-Other", "o".repeat(12_000));
    assert_eq!(other.open().expect_json()["is_authorized"], true);
    assert_eq!(visit(longest).open().expect_json()["is_authorized"], true);
    assert_eq!(backend.requests().len(), 2);
}

#[test]
fn the_tabs_of_one_browser_share_a_call_that_waits() {
    let gate = Gate::default();
    let backend = StubBackend::behind(&gate);
    let gateway = Gateway::with(&backend)
        .set("HT_BACKEND__MAX_IN_FLIGHT", 1)
        .start();
    let ask = |cookie| Handshake::new(&gateway).header("Cookie", cookie).send();
    let first = ask("session=1");
    backend.wait_for(1);
    let tabs: Vec<_> = (0..20).map(|_| ask("session=2")).collect();
    let other = ask("session=3");
    gateway.wait_for_metric("high_templar_backend_shared_total", 19);
    gateway.wait_for_metric("high_templar_backend_waiting", 2);
    gate.open();
    for asked in tabs.into_iter().chain([first, other]) {
        assert_eq!(asked.open().expect_json()["is_authorized"], true);
    }
    let requests = backend.requests();
    let mut cookies: Vec<_> = requests.iter().map(|seen| seen.header("cookie")).collect();
    cookies.sort_unstable();
    assert_eq!(cookies, ["session=1", "session=2", "session=3"].map(Some));
}

#[test]
fn one_address_with_many_visitors_does_not_hold_up_another() {
    let gate = Gate::default();
    let backend = StubBackend::behind(&gate);
    let gateway = Gateway::with(&backend)
        .set("HT_BACKEND__MAX_IN_FLIGHT", 1)
        .set("HT_BACKEND__MAX_WAITING", 50)
        .start();
    let ask = |address: &str, cookie: &str| {
        Handshake::new(&gateway)
            .header("X-Real-IP", address)
            .header("Cookie", cookie)
            .send()
    };
    let mut crowd: Vec<_> = (0..51)
        .map(|number| ask("192.0.2.1", &format!("crowd={number}")))
        .collect();
    gateway.wait_for_metric("high_templar_backend_waiting", 50);
    // The line is full, of one address.
    let other = ask("192.0.2.2", "other=1");
    let away = r#"high_templar_bootstraps_total{outcome="line-full"}"#;
    gateway.wait_for_metric(away, 1);
    gate.open();
    assert_eq!(other.open().expect_json()["is_authorized"], true);
    let mut refused = 0;
    for asked in crowd.drain(..) {
        let mut client = asked.open();
        if client.expect_json()["is_authorized"] == false {
            refused += 1;
            assert!(span(&client.expect_close(1013)) >= 1_000);
        }
    }
    assert_eq!(refused, 1);
    let requests = backend.requests();
    let place = requests
        .iter()
        .position(|seen| seen.header("cookie") == Some("other=1"));
    assert!(place.is_some_and(|place| place <= 2), "{place:?}");
    assert_eq!(requests.len(), 51);
}
