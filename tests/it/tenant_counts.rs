//! What is counted for each tenant: `/metrics`, `/tenants/<name>/metrics`, the limit of what it
//! publishes, and its usage.

use std::fs;
use std::io::Write as _;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::client::Handshake;
use crate::support::{Answer, Client, Gateway, StubBackend, eventually, http};

const PAGE: &str = include_str!("../../docs/metrics.md");

const ADMIN: &str = "key-of-the-operator";

/// The SHA-256 digest of a key, as the configuration has it.
fn digest(key: &str) -> String {
    let script = format!("printf %s {key} | sha256sum");
    let output = Command::new("sh").args(["-c", &script]).output();
    let text = String::from_utf8(output.expect("the command sha256sum").stdout);
    let text = text.expect("a text");
    format!("sha256:{}", text.split(' ').next().expect("a digest"))
}

fn key_of(tenant: &str) -> String {
    format!("key-of-{tenant}")
}

/// A gateway with these tenants, the limits of each as TOML.
fn start(backend: &StubBackend, tenants: &[(&str, &str)], settings: &[(&str, &str)]) -> Gateway {
    let mut file = String::from("[tenants]\nsource = \"file\"\n");
    for (name, limits) in tenants {
        let (url, hash) = (&backend.url, digest(&key_of(name)));
        file += &format!(
            "[[tenant]]\nname = \"{name}\"\nbackend = {{url = \"{url}\"}}\nlimits = {{{limits}}}\n\
             publish_keys = [{{hash = \"{hash}\", may = [\"publish\", \"command\", \"read\"]}}]\n"
        );
    }
    let builder = Gateway::with(backend).set("HT_INTERNAL__API_KEY", ADMIN);
    let builder = settings
        .iter()
        .fold(builder, |it, (name, value)| it.set(name, value));
    builder.file(&file).start()
}

fn get(gateway: &Gateway, path: &str, key: &str) -> Answer {
    let bearer = format!("Bearer {key}");
    http::request(
        gateway.internal(),
        "GET",
        path,
        &[("Authorization", &bearer)],
        b"",
    )
}

fn publish(gateway: &Gateway, tenant: &str, body: &Value) -> Answer {
    let bearer = format!("Bearer {}", key_of(tenant));
    let headers = [("Authorization", &*bearer)];
    let body = body.to_string();
    http::request(
        gateway.internal(),
        "POST",
        "/trigger/",
        &headers,
        body.as_bytes(),
    )
}

fn client(gateway: &Gateway, tenant: &str) -> Client {
    let mut client = Handshake::new(gateway)
        .path(&format!("/t/{tenant}/ws/"))
        .connect();
    client.subscribe(&json!({"room": 1}), 1);
    client
}

/// The sample of a metric of tenants with these labels; none if it is not shown.
fn sample(page: &Answer, name: &str, labels: &str) -> Option<u64> {
    assert_eq!(page.status, 200, "{page:?}");
    let start = format!("high_templar_tenant_{name}{{{labels}}} ");
    let mut lines = page.text().lines();
    lines.find_map(|line| line.strip_prefix(&start)?.parse().ok())
}

/// The metrics of tenants in docs/metrics.md.
fn documented() -> Vec<&'static str> {
    let mut sections = PAGE.split("\n## ");
    let section = sections.find(|text| text.contains("Only on a node with tenants."));
    let metrics = section.expect("a section").split("\n### `").skip(1);
    metrics
        .map(|text| text.split('`').next().expect("a name"))
        .collect()
}

#[test]
fn each_tenant_has_a_label_up_to_a_number_of_them_and_sees_its_own_alone() {
    let backend = StubBackend::open();
    let settings = [("HT_METRICS__TENANTS_MAX", "1")];
    let gateway = start(&backend, &[("acme", ""), ("beta", "")], &settings);
    let mut acme = [client(&gateway, "acme"), client(&gateway, "acme")];
    let mut beta = client(&gateway, "beta");
    let trigger = json!({"rooms": [{"room": 1}], "data": 1});
    for (tenant, count) in [("acme", 3), ("beta", 5)] {
        for _ in 0..count {
            assert_eq!(publish(&gateway, tenant, &trigger).status, 200);
        }
    }
    for client in &mut acme {
        (0..3).for_each(|_| drop(client.expect_publish()));
    }
    (0..5).for_each(|_| drop(beta.expect_publish()));
    eventually("all deliveries are counted", || {
        let page = get(&gateway, "/metrics", ADMIN);
        let own = sample(&page, "deliveries_total", "tenant=\"acme\"")?;
        let other = sample(&page, "deliveries_total", "tenant=\"other\"")?;
        ((own, other) == (6, 5)).then_some(())
    });
    let page = get(&gateway, "/metrics", ADMIN);
    let own = |name: &str| sample(&page, name, "tenant=\"acme\"");
    assert_eq!(
        (own("connections"), own("messages_total")),
        (Some(2), Some(2))
    );
    assert_eq!(
        (own("publications_total"), own("triggers_total")),
        (Some(3), Some(3))
    );
    let admitted = "tenant=\"acme\",outcome=\"admitted\"";
    assert_eq!(sample(&page, "bootstraps_total", admitted), Some(2));
    assert!(!page.text().contains("tenant=\"beta\""), "{page:?}");
    for name in documented() {
        assert!(page.text().contains(&format!("# TYPE {name} ")), "{name}");
    }

    let page = get(&gateway, "/tenants/beta/metrics", &key_of("beta"));
    assert_eq!(
        sample(&page, "deliveries_total", "tenant=\"beta\""),
        Some(5)
    );
    assert_eq!(sample(&page, "connections", "tenant=\"beta\""), Some(1));
    assert!(
        !page.text().contains("acme") && !page.text().contains("process_"),
        "{page:?}"
    );
    assert_eq!(get(&gateway, "/tenants/beta/metrics", ADMIN).status, 200);
    for (path, key, status) in [
        ("/tenants/beta/metrics", key_of("acme"), 403),
        ("/tenants/nobody/metrics", key_of("acme"), 403),
        ("/tenants/nobody/metrics", ADMIN.to_owned(), 404),
        ("/tenants/beta/metrics", "unknown".to_owned(), 401),
        ("/metrics", key_of("acme"), 403),
    ] {
        assert_eq!(get(&gateway, path, &key).status, status, "{path} {key}");
    }
}

#[test]
fn a_tenant_that_publishes_too_much_is_told_when_to_go_on_and_no_other() {
    let backend = StubBackend::open();
    let gateway = start(
        &backend,
        &[("loud", "publish_per_second = 5"), ("calm", "")],
        &[],
    );
    let trigger = json!({"rooms": [{"room": 1}], "data": 1});
    let many = |count: usize| Value::from(vec![trigger.clone(); count]);
    let mut listener = client(&gateway, "loud");
    assert_eq!(publish(&gateway, "loud", &many(5)).status, 200);
    let refused = publish(&gateway, "loud", &many(3));
    assert_eq!(
        (refused.status, refused.header("retry-after")),
        (429, Some("1"))
    );
    let body = refused.json();
    assert_eq!(
        (&body["bucket"], &body["tenant"]),
        (&json!("publish_per_second"), &json!("loud"))
    );
    assert!(
        body["error"]
            .as_str()
            .expect("a sentence")
            .contains("publish_per_second")
    );
    for _ in 0..20 {
        assert_eq!(publish(&gateway, "calm", &trigger).status, 200);
    }
    eventually("the bucket fills again", || {
        (publish(&gateway, "loud", &trigger).status == 200).then_some(())
    });
    // All or nothing: none of the three came.
    (0..6).for_each(|_| drop(listener.expect_publish()));
    listener.fence();
    let page = get(&gateway, "/tenants/loud/metrics", ADMIN);
    let refusals = "tenant=\"loud\",limit=\"publish_per_second\"";
    assert!(
        sample(&page, "refusals_total", refusals) >= Some(1),
        "{page:?}"
    );
    assert_eq!(sample(&page, "triggers_total", "tenant=\"loud\""), Some(6));
    let log = gateway.log();
    assert!(
        log.contains("its tenant is at limits.publish_per_second"),
        "{log}"
    );
}

#[test]
fn an_empty_bucket_rejects_before_a_body_is_read_and_a_dry_run_costs_a_token() {
    let backend = StubBackend::open();
    let tenants = [
        ("loud", "publish_per_second = 1"),
        ("calm", "publish_per_second = 1"),
    ];
    let gateway = start(&backend, &tenants, &[]);
    let dry_run = json!({"command": "disconnect", "everyone": true, "dry_run": true});
    // A full bucket gives any number, and then none until that is made up for.
    let all = Value::from(vec![dry_run.clone(); 600]);
    assert_eq!(publish(&gateway, "loud", &all).status, 200);
    assert_eq!(publish(&gateway, "loud", &dry_run).status, 429);
    let key = key_of("loud");
    let head = format!(
        "POST /trigger/ HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n\
         Content-Length: 1000\r\nExpect: 100-continue\r\n\r\n"
    );
    let mut stream = gateway.internal().connect().expect("a connection");
    stream.write_all(head.as_bytes()).expect("a request");
    // No 100 before it: nothing of the body was waited for.
    let (answer, _) = http::read_answer(&mut stream).expect("a response");
    assert_eq!(answer.status, 429, "{answer:?}");
    assert_eq!(answer.json()["tenant"], "loud");
    assert_eq!(publish(&gateway, "calm", &dry_run).status, 200);
    // What was only counted is on no bill.
    let page = get(&gateway, "/tenants/loud/metrics", ADMIN);
    assert_eq!(
        sample(&page, "triggers_total", "tenant=\"loud\"").unwrap_or(0),
        0
    );
}

#[test]
fn usage_has_a_record_for_each_tenant() {
    let (backend, folder) = (StubBackend::open(), tempfile::tempdir().expect("a folder"));
    let file = folder.path().join("usage.jsonl").display().to_string();
    let settings = [("HT_USAGE__FILE", &*file)];
    let mut gateway = start(
        &backend,
        &[("acme", ""), ("beta", ""), ("idle", "")],
        &settings,
    );
    let (mut acme, mut beta) = (client(&gateway, "acme"), client(&gateway, "beta"));
    let trigger = json!({"rooms": [{"room": 1}], "data": 1});
    for (tenant, count, client) in [("acme", 2, &mut acme), ("beta", 1, &mut beta)] {
        for _ in 0..count {
            assert_eq!(publish(&gateway, tenant, &trigger).status, 200);
            client.expect_publish();
        }
    }
    gateway.signal("TERM");
    assert_eq!(gateway.wait_for_end(), Some(0), "{}", gateway.log());
    let mut used = Vec::new();
    for entry in fs::read_dir(folder.path()).expect("a folder") {
        let text = fs::read_to_string(entry.expect("an entry").path()).expect("a file");
        for line in text.lines() {
            let record: Value = serde_json::from_str(line).expect(line);
            let of = |name: &str| record[name].as_u64().expect(name);
            let tenant = record["tenant"].as_str().expect("a tenant").to_owned();
            used.push((
                tenant,
                of("deliveries"),
                of("triggers"),
                of("connections_peak"),
            ));
        }
    }
    used.sort();
    assert_eq!(
        used,
        [("acme".to_owned(), 2, 2, 1), ("beta".to_owned(), 1, 1, 1)]
    );
}
