//! Tenants that come, change, are suspended and go while the gateway runs.

use serde_json::{Value, json};

use super::client;
use crate::support::{Gate, Gateway, Handshake, Reply, StubBackend, eventually};
use crate::tenants::kit::{
    Tenant, answering, expect_recovered, expect_refused, gateway, named, publish, publish_of_each,
    replace,
};

/// Waits until clients of a tenant get this status.
#[track_caller]
fn wait_for_status(gateway: &Gateway, tenant: &Tenant, status: u16) {
    eventually(&format!("{}: {status}", tenant.name), || {
        let (answer, _) = tenant.handshake(gateway).send().answer();
        (answer.status == status).then_some(())
    });
}

#[test]
fn a_tenant_is_added_and_changed_without_a_restart() {
    let acme = Tenant::new("acme");
    let gateway = gateway(std::slice::from_ref(&acme)).start();
    let mut before = client(&gateway, &acme);
    let other = Tenant::new("globex");
    assert_eq!(other.handshake(&gateway).refused().status, 404);
    let changed = Tenant {
        backend: StubBackend::new(answering),
        ..Tenant::new("acme")
    };
    let tenants = [changed, other];
    replace(&gateway, &tenants);
    wait_for_status(&gateway, &tenants[1], 101);
    let calls = acme.backend.requests().len();
    client(&gateway, &tenants[0]);
    assert_eq!(
        acme.backend.requests().len(),
        calls,
        "its API is another one"
    );
    assert_eq!(tenants[0].backend.requests().len(), 1);
    assert_eq!(tenants[0].post(&gateway, &publish("news", "1")).status, 200);
    assert_eq!(before.expect_publish().0, "news");
}

#[test]
fn the_clients_of_a_removed_tenant_are_closed_and_its_api_is_not_called_again() {
    let tenants = [
        Tenant::new("acme").line("hooks = {disconnect = \"POST user/notify_offline/\"}"),
        Tenant::new("globex"),
    ];
    let gateway = gateway(&tenants)
        .set("HT_RESUME__SECRET", "a-secret-of-tickets-for-the-tests")
        .set("HT_DRAIN__PERIOD", "300ms")
        .start();
    let [acme, other] = &tenants;
    let mut leaving: Vec<_> = (0..5).map(|_| client(&gateway, acme)).collect();
    let mut staying = client(&gateway, other);
    let mut page = named(
        acme.handshake(&gateway),
        "high-templar.v1, high-templar.events",
    )
    .open();
    let first = page.expect_whole();
    page.send_json(&json!({"type": "ping", "requestId": "p"}));
    let pong = page.expect_whole();
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let offered = [&first["ticket"], &pong["cursor"], &pong["proof"]].map(text);
    let calls = acme.backend.requests().len();
    replace(&gateway, std::slice::from_ref(other));
    for client in &mut leaving {
        assert!(client.expect_close(1012).starts_with("restart "));
    }
    page.expect_close(1012);
    gateway.wait_for_line("a tenant was removed: closing its connections");
    // Also with a ticket, and nothing that they leave behind calls the API.
    let names = super::resume_names(&offered);
    let answer = named(acme.handshake(&gateway), &names).refused();
    assert_eq!(answer.status, 404);
    assert_eq!(acme.post(&gateway, &publish("late", "1")).status, 401);
    assert_eq!(other.post(&gateway, &publish("on", "1")).status, 200);
    assert_eq!(staying.expect_publish().0, "on");
    assert_eq!(acme.backend.requests().len(), calls);
}

#[test]
fn what_is_in_flight_ends_with_its_tenant() {
    let gate = Gate::default();
    let behind = gate.clone();
    let acme = Tenant {
        backend: StubBackend::new(move |seen| {
            // The first one is admitted; the API hangs from then on.
            if seen.header("authorization") == Some("Token first") {
                return answering(seen);
            }
            Reply::Behind(behind.clone(), Reply::rooms(&json!([])).into())
        }),
        ..Tenant::new("acme")
    };
    let tenants = [acme, Tenant::new("globex")];
    let [acme, other] = &tenants;
    let gateway = gateway(&tenants)
        .set("HT_AUTH__FIRST_FRAME", "true")
        .start();
    let waiting = acme.handshake(&gateway).send();
    let host = format!("{}.test", acme.name);
    let applying = Handshake::new(&gateway)
        .without("Host")
        .header("Host", &host);
    let mut applicant = applying.open();
    applicant.send_text(r#"{"type": "authenticate", "token": "second"}"#);
    let mut silent = applying.open();
    acme.backend.wait_for(2);
    replace(&gateway, std::slice::from_ref(other));
    // Nobody waits for the API, which has not answered.
    let (answer, _) = waiting.answer();
    assert_eq!(answer.status, 404);
    expect_refused(&mut applicant, 1012);
    silent.send_text(r#"{"type": "authenticate", "token": "third"}"#);
    silent.expect_end();
    assert_eq!(acme.backend.requests().len(), 2);
    gate.open();
}

#[test]
fn a_suspended_tenant_is_told_to_come_back_later() {
    let acme = Tenant::new("acme");
    let gateway = gateway(std::slice::from_ref(&acme)).start();
    let mut open = client(&gateway, &acme);
    let suspended = Tenant::new("acme").line("suspended = true");
    replace(&gateway, std::slice::from_ref(&suspended));
    assert_eq!(open.expect_close(4102), "suspended 600000");
    let mut late = acme.handshake(&gateway).open();
    assert_eq!(expect_refused(&mut late, 4102), "suspended 600000");
    let answer = acme.post(&gateway, &publish("late", "1"));
    assert_eq!(answer.status, 403);
    assert!(
        answer.text().contains("the tenant acme is suspended"),
        "{answer:?}"
    );
    assert!(suspended.backend.requests().is_empty());
    let again = Tenant::new("acme");
    replace(&gateway, std::slice::from_ref(&again));
    eventually("it is served again", || {
        let mut client = acme.handshake(&gateway).open();
        (client.expect_json()["is_authorized"] == true).then_some(())
    });
    assert_eq!(again.post(&gateway, &publish("on", "2")).status, 200);
}

#[test]
fn two_tenants_that_claim_one_host_change_nothing() {
    let acme = Tenant::new("acme");
    let gateway = gateway(std::slice::from_ref(&acme)).start();
    let tenants = [
        Tenant::new("acme"),
        Tenant::new("globex"),
        Tenant::new("thief").line("path = \"/t/globex/ws/\""),
    ];
    replace(&gateway, &tenants);
    gateway.wait_for_line("the tenants globex and thief both have the path /t/globex/ws/");
    client(&gateway, &acme).fence();
    assert_eq!(tenants[1].handshake(&gateway).refused().status, 404);
}

#[test]
fn a_window_of_two_tenants_survives_a_restart() {
    let tenants = [Tenant::new("acme"), Tenant::new("globex")];
    let folder = tempfile::tempdir().expect("a folder");
    let start = || {
        gateway(&tenants)
            .set("HT_WINDOW__FILE", folder.path().join("window").display())
            .start()
    };
    let mut first = start();
    let cursor = publish_of_each(&first, &tenants);
    first.signal("TERM");
    first.wait_for_end();
    let second = start();
    expect_recovered(&second, &tenants, &cursor);
}
