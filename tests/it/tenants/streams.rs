//! Event streams and long polls of tenants.

use serde_json::{Value, json};

use crate::support::source::{Asking, Source};
use crate::support::{Gateway, http};
use crate::tenants::kit::{Tenant, gateway, publish};

fn start(tenants: &[Tenant]) -> Gateway {
    gateway(tenants)
        .set("HT_SSE__ENABLED", true)
        .set("HT_POLL__ENABLED", true)
        .start()
}

fn open(gateway: &Gateway, host: &str, path: &str) -> Source {
    let path = format!(
        "{path}{}room=%7B%22n%22:1%7D",
        if path.contains('?') { "&" } else { "?" }
    );
    let asking = Asking::event_source(&path).header("Host", Some(host));
    asking.open(gateway.public())
}

#[test]
fn host_path_and_key_name_the_tenant_of_a_stream() {
    let tenants = [Tenant::new("acme"), Tenant::new("globex")];
    let gateway = start(&tenants);
    let calls = || tenants.each_ref().map(|it| it.backend.requests().len());
    for (host, path, tenant) in [
        ("acme.test", "/sse/", 0),
        ("ACME.Test:8443", "/sse", 0),
        ("gateway.test", "/t/globex/sse/", 1),
        ("globex.test", "/t/globex/sse/", 1),
        ("gateway.test", "/sse/?key=pk_globex", 1),
    ] {
        let before = calls();
        let mut source = open(&gateway, host, path);
        assert_eq!(source.status, 200, "{host} {path}");
        source.expect("open");
        let mut expected = before;
        expected[tenant] += 1;
        assert_eq!(calls(), expected, "{host} {path}");
        let answer = tenants[1 - tenant].post(&gateway, &publish("theirs", "1"));
        assert_eq!(answer.status, 200);
        let own = publish("own", &format!("{host}{path}"));
        assert_eq!(tenants[tenant].post(&gateway, &own).status, 200);
        assert_eq!(source.publication(), (json!(1), json!("own")));
    }
    for (host, path, status) in [
        ("gateway.test", "/sse/", 404),
        ("gateway.test", "/t/nobody/sse/", 404),
        ("acme.test", "/t/globex/sse/", 400),
        ("acme.test", "/sse/?key=pk_globex", 400),
    ] {
        assert_eq!(open(&gateway, host, path).status, status, "{host} {path}");
    }
}

#[test]
fn a_cursor_and_a_ticket_of_one_tenant_mean_nothing_to_another() {
    let tenants = [Tenant::new("acme"), Tenant::new("globex")];
    let gateway = start(&tenants);
    let poll = |tenant: usize, body: &Value| {
        let host = format!("{}.test", tenants[tenant].name);
        let headers = [("Host", &*host)];
        let body = body.to_string();
        let answer = http::request(
            gateway.public(),
            "POST",
            "/poll/",
            &headers,
            body.as_bytes(),
        );
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    };
    let rooms = json!([{"requestId": 1, "room": {"n": 1}}]);
    let first = poll(0, &json!({"subscriptions": rooms, "wait": 0}));
    let kept = |name: &str| first[name].as_str().expect(name).to_owned();
    assert_eq!(
        tenants[0].post(&gateway, &publish("of acme", "1")).status,
        200
    );
    let offer = format!("{}.{}.{}", kept("ticket"), kept("cursor"), kept("proof"));
    let body = json!({
        "subscriptions": rooms, "cursor": kept("cursor"), "resume": offer, "wait": 0,
    });
    let theirs = poll(1, &body);
    assert_eq!(theirs["messages"], json!([]));
    assert_eq!(
        tenants[1].backend.requests().len(),
        1,
        "the ticket is another tenant's"
    );
    let own = poll(0, &body);
    assert_eq!(own["messages"][0]["data"], "of acme");
    assert_eq!(tenants[0].backend.requests().len(), 1);
}

#[test]
fn streams_of_a_suspended_tenant_are_told_to_come_later() {
    let tenants = [Tenant::new("acme").line("suspended = true")];
    let gateway = start(&tenants);
    let mut source = open(&gateway, "acme.test", "/sse/");
    assert_eq!(source.status, 200);
    let close = source.expect("close");
    assert_eq!(
        (&close["code"], &close["reason"]),
        (&json!(4102), &json!("suspended"))
    );
    assert!(source.retry.expect("a time to reconnect") <= 600_000);
    assert!(tenants[0].backend.requests().is_empty());
}
