//! The share that a tenant has of a node.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{EVENTS, client};
use crate::support::{Handshake, Reply, StubBackend, eventually, http};
use crate::tenants::kit::{ADMIN, Tenant, answering, expect_refused, gateway, named, publish};

#[test]
fn a_tenant_has_so_many_connections_and_others_have_theirs() {
    let tenants = [
        Tenant::new("acme").line("limits = {connections = 2}"),
        Tenant::new("globex"),
    ];
    let gateway = gateway(&tenants).start();
    let first = client(&gateway, &tenants[0]);
    let _second = client(&gateway, &tenants[0]);
    let answer = tenants[0].handshake(&gateway).refused();
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.header("retry-after").is_some());
    let _others: Vec<_> = (0..3).map(|_| client(&gateway, &tenants[1])).collect();
    first.leave();
    client(&gateway, &tenants[0]);
}

#[test]
fn the_same_user_of_another_tenant_is_another_one() {
    let tenants = [
        Tenant::new("acme").line("limits = {connections_per_user = 1}"),
        Tenant::new("globex").line("limits = {connections_per_user = 2}"),
    ];
    let gateway = gateway(&tenants).start();
    let _first = client(&gateway, &tenants[0]);
    let mut second = tenants[0].handshake(&gateway).open();
    assert_eq!(expect_refused(&mut second, 4100), "connections-per-user");
    let _others = [client(&gateway, &tenants[1]), client(&gateway, &tenants[1])];
    let mut third = tenants[1].handshake(&gateway).open();
    assert_eq!(expect_refused(&mut third, 4100), "connections-per-user");
}

#[test]
fn a_tenant_that_connects_too_often_waits() {
    let tenants = [
        Tenant::new("acme").line("limits = {handshakes_per_second = 1}"),
        Tenant::new("globex"),
    ];
    let gateway = gateway(&tenants).start();
    let status = |tenant: &Tenant| tenant.handshake(&gateway).send().answer().0.status;
    let statuses: Vec<_> = (0..30).map(|_| status(&tenants[0])).collect();
    // A burst of ten seconds, and what was added meanwhile.
    let admitted = statuses.iter().filter(|status| **status == 101).count();
    assert!((10..30).contains(&admitted), "{statuses:?}");
    assert!(
        statuses.iter().all(|status| matches!(status, 101 | 429)),
        "{statuses:?}"
    );
    assert!((0..20).all(|_| status(&tenants[1]) == 101));
    let anywhere = Handshake::new(&gateway).refused();
    assert_eq!(anywhere.status, 404);
}

#[test]
fn deliveries_of_a_tenant_beyond_its_limit_wait_in_their_order_and_those_of_others_do_not() {
    const LIMIT: u32 = 20;
    let limits = format!("limits = {{messages_per_second = {LIMIT}}}");
    let tenants = [Tenant::new("acme").line(&limits), Tenant::new("globex")];
    let gateway = gateway(&tenants).start();
    let mut clients = tenants.each_ref().map(|tenant| client(&gateway, tenant));
    let begun = Instant::now();
    let all: Vec<_> = (0..3 * LIMIT).map(|number| number.to_string()).collect();
    for data in &all {
        let post = |tenant: &Tenant| tenant.post(&gateway, &publish(data, data)).status;
        assert_eq!(tenants.each_ref().map(post), [200, 200]);
        // The other's comes although the first one's wait.
        assert_eq!(clients[1].expect_publish().0, json!(data));
    }
    for data in &all {
        assert_eq!(clients[0].expect_publish().0, json!(data));
    }
    // A second's worth at once, and what comes in a second afterwards.
    let least = Duration::from_millis(1_900);
    assert!(begun.elapsed() >= least, "{:?}", begun.elapsed());
    clients.iter_mut().for_each(|client| client.fence());
}

#[test]
fn a_tenant_that_publishes_much_shortens_its_own_recovery_alone() {
    let tenants = [
        Tenant::new("acme").line("limits = {window_bytes = \"64KiB\"}"),
        Tenant::new("globex"),
    ];
    let gateway = gateway(&tenants).start();
    let cursors = tenants.each_ref().map(|tenant| {
        let mut client = named(tenant.handshake(&gateway), EVENTS).open();
        client.expect_whole()["cursor"].clone()
    });
    let long = "x".repeat(4_000);
    for number in 0..40 {
        for tenant in &tenants {
            let record = publish(&long, &number.to_string());
            assert_eq!(tenant.post(&gateway, &record).status, 200);
        }
    }
    for (tenant, cursor) in tenants.iter().zip(&cursors) {
        let mut client = named(tenant.handshake(&gateway), EVENTS).open();
        client.expect_whole();
        client.send_json(&json!({
            "type": "subscribe", "room": {"n": 1}, "requestId": "x", "since": cursor,
        }));
        let answer = client.expect_whole();
        match tenant.name {
            "acme" => assert_eq!(answer["reason"], "trimmed", "{answer}"),
            _ => assert_eq!(answer["replayed"], 40, "{answer}"),
        }
    }
}

#[test]
fn large_answers_of_one_api_leave_memory_to_those_of_others() {
    let rooms = |bytes: usize| json!([{ "n": "x".repeat(bytes) }]);
    let slow = |bytes: usize| {
        let head =
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 900000\r\n\r\n";
        Reply::Hang([head.as_bytes(), &vec![b' '; bytes]].concat())
    };
    let acme = Tenant {
        backend: StubBackend::new(move |seen| match seen.header("authorization") {
            Some("Token slow") => slow(100_000),
            Some("Token large") => Reply::rooms(&rooms(700_000)),
            _ => answering(seen),
        }),
        ..Tenant::new("acme")
    };
    let tenants = [acme, Tenant::new("globex")];
    let gateway = gateway(&tenants)
        .set("HT_LIMITS__ANSWER_TOTAL_BYTES", "1MiB")
        .start();
    let metric = |name: &str| {
        let bearer = format!("Bearer {ADMIN}");
        let headers = [("Authorization", &*bearer)];
        let page = http::request(gateway.internal(), "GET", "/metrics", &headers, b"");
        let start = format!("high_templar_{name} ");
        let found = page
            .text()
            .lines()
            .find_map(|line| line.strip_prefix(&start));
        found.map_or(0, |value| value.parse::<u64>().expect("a number"))
    };
    let waiting = tenants[0].handshake_of(&gateway, "slow").send();
    eventually("a part of an answer", || {
        (metric("answer_bytes") > 0).then_some(())
    });
    let mut large = tenants[0].handshake_of(&gateway, "large").open();
    expect_refused(&mut large, 1013);
    assert_eq!(metric("tenant_answers_refused_total"), 1);
    gateway.wait_for_line("limits.answer_total_bytes");
    for tenant in &tenants {
        client(&gateway, tenant).fence();
    }
    drop(waiting);
    eventually("it is given back", || {
        (metric("answer_bytes") == 0).then_some(())
    });
}
