//! The backend guard before a real HTTP backend: an outage, and one visitor in many tabs. The
//! stampede has a file of its own.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use serde_json::json;

use crate::support::Client;
use crate::support::Gate;
use crate::support::Gateway;
use crate::support::Handshake;
use crate::support::Reply;
use crate::support::StubBackend;
use crate::support::eventually;

/// Asks to come in; the reason of the close frame where that fails.
fn visit(gateway: &Gateway) -> Result<Client, String> {
    let mut client = Handshake::new(gateway).open();
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
fn a_backend_that_fails_is_left_alone_until_it_answers_again() {
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
    gateway.wait_for_line("the backend fails again and again");
    gateway.wait_for_metric("high_templar_backend_circuit_open", 1);
    // Far more come than a probe every 150 to 300 ms; the node itself works.
    let before = backend.requests().len();
    let mut sent_away = 0;
    while backend.requests().len() < before + 3 {
        sent_away += u32::from(visit(&gateway).is_err());
    }
    assert!(sent_away >= 3);
    let ready = gateway.get("/ready");
    assert_eq!(ready.status, 200);
    let notes = ready.json()["notes"].to_string();
    assert!(notes.contains("backend: "), "{notes}");

    up.store(true, Ordering::Relaxed);
    eventually("a visitor is let in", || visit(&gateway).ok());
    gateway.wait_for_line("the backend answers again");
    gateway.wait_for_metric("high_templar_backend_circuit_open", 0);
    assert_eq!(
        gateway.metric("high_templar_backend_circuit_opened_total"),
        1
    );
    assert!(gateway.get("/ready").json().get("notes").is_none());
    let log = gateway.log();
    assert_eq!(log.matches("fails again and again").count(), 1, "{log}");
    assert!(visit(&gateway).is_ok());
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
