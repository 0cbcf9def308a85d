//! `high-templar bench` against a running gateway.

use serde_json::{Value, json};

use crate::binary::{Finished, Running, command, folder, run};
use crate::support::stream::Address;
use crate::support::{Client, Gateway, Reply, StubBackend};

const ROOM: &str = r#"{"room":1}"#;

fn tcp(address: &Address) -> String {
    match address {
        Address::Tcp(address) => address.to_string(),
        Address::Unix(path) => panic!("{path:?}"),
    }
}

/// The addresses of two listeners, a room, and further arguments.
fn arguments(public: &Gateway, internal: &Gateway, room: &str, more: &[&str]) -> Vec<String> {
    let url = format!("ws://{}/ws/", tcp(public.public()));
    let trigger = format!("http://{}/trigger/", tcp(internal.internal()));
    let fixed = [
        "bench",
        "--url",
        &url,
        "--trigger",
        &trigger,
        "--room",
        room,
    ];
    fixed
        .iter()
        .chain(more)
        .map(|text| (*text).into())
        .collect()
}

fn bench(gateway: &Gateway, room: &str, more: &[&str]) -> Finished {
    let args = arguments(gateway, gateway, room, more);
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    run(folder().path(), &args, &[])
}

/// The results, which must be those of a run without faults.
#[track_caller]
fn findings(found: &Finished) -> Value {
    assert_eq!(found.code, Some(0), "{found:?}");
    let findings: Value = serde_json::from_str(&found.stdout).expect("one line of JSON");
    for fault in ["lost", "doubled", "out_of_order", "ended"] {
        assert_eq!(findings[fault], 0, "{fault} in {findings}");
    }
    findings
}

#[test]
fn every_delivery_is_counted_and_timed() {
    let backend = StubBackend::open();
    let gateway = Gateway::start(&backend);
    let mut other = Client::connect(&gateway);
    other.subscribe(&json!({"room": 1}), "other");
    let size = ["--connections", "30", "--rate", "20", "--seconds", "1"];
    let pid = gateway.pid().to_string();
    let more = [
        "--cookie",
        "sessionid=x",
        "--data-bytes",
        "500",
        "--json",
        "--pid",
        &pid,
    ];
    let found = bench(&gateway, ROOM, &[&size[..], &more].concat());
    let findings = findings(&found);
    assert_eq!(findings["connections"], 30);
    assert_eq!(
        (&findings["triggers"], &findings["deliveries"]),
        (&json!(20), &json!(600))
    );
    for times in ["connect_ms", "latency_ms"] {
        let times = ["p50", "p99", "p999", "max"].map(|name| findings[times][name].as_f64());
        assert!(times[0] > Some(0.0) && times.is_sorted(), "{times:?}");
    }
    let usage = &findings["gateway"];
    assert!(usage["cpu_us_per_delivery"].as_f64() > Some(0.0), "{usage}");
    assert!(usage["bytes_per_connection"].is_f64(), "{usage}");
    assert!(
        found
            .stderr
            .contains("publishes 21 triggers to a real room"),
        "{found:?}"
    );
    // It is an ordinary client with its credentials, and others receive what it publishes.
    let requests = backend.requests();
    assert_eq!(requests.len(), 31);
    assert!(
        requests[1..]
            .iter()
            .all(|seen| seen.header("cookie") == Some("sessionid=x"))
    );
    for number in 0..21 {
        let (data, _) = other.expect_publish();
        assert_eq!(data["number"], number);
        assert_eq!(data.to_string().len(), 500);
    }
    gateway.wait_for_open(&mut other, 1);
}

#[test]
fn without_json_the_results_are_text() {
    let gateway = Gateway::start(&StubBackend::open());
    let size = ["--connections", "3", "--rate", "10", "--seconds", "1"];
    let found = bench(&gateway, ROOM, &size);
    assert_eq!(found.code, Some(0), "{found:?}");
    for part in [
        "connections  3 within ",
        "triggers     10 of 128 bytes, ",
        " a second (10 requested)",
        "deliveries   30, ",
        "0 lost, 0 doubled, 0 out of order, 0 connections ended",
        "latency      p50 ",
        "this program ",
    ] {
        assert!(found.stdout.contains(part), "{part:?} in {}", found.stdout);
    }
}

#[test]
fn publications_of_other_programs_are_counted_separately() {
    let gateway = Gateway::start(&StubBackend::open());
    let args = arguments(&gateway, &gateway, ROOM, &["--seconds", "3", "--json"]);
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let mut running = Running::start(command(folder().path(), &args, &[]));
    running.line_with("to a real room");
    let mut client = Client::connect(&gateway);
    // All clients are connected before the first deliveries.
    crate::support::eventually("deliveries", || {
        let sent = client.status()["ws_messages_send"].as_u64();
        (sent > Some(200)).then_some(())
    });
    gateway.trigger(&json!({"rooms": [{"room": 1}], "data": "other"}));
    let (status, seen) = running.end();
    assert_eq!(status.code(), Some(0), "{seen}");
    assert!(seen.contains(r#""foreign":100,"#), "{seen}");
    assert!(seen.contains(r#""deliveries":3000,"#), "{seen}");
}

#[test]
fn refusals_are_reported_before_the_load_starts() {
    let size = ["--connections", "10", "--seconds", "1"];
    let open = Gateway::start(&StubBackend::open());
    let full = Gateway::with(&StubBackend::open())
        .set("HT_LIMITS__CONNECTIONS", 5)
        .start();
    let locked = Gateway::with(&StubBackend::open())
        .set("HT_INTERNAL__API_KEY", "geheim")
        .start();
    let strict = Gateway::start(&StubBackend::new(|_| Reply::forbidden()));
    let elsewhere = ["--pid", "1", "--url", "ws://192.0.2.1/ws/"];
    for (gateway, room, more, part) in [
        (
            &open,
            r#"{"other":1}"#,
            &[][..],
            "does not grant {\"other\":1} to this client",
        ),
        (&strict, ROOM, &[], "the API refused this client"),
        (&full, ROOM, &[], "it is full"),
        (&locked, ROOM, &[], "requires a key: give --api-key"),
        (
            &locked,
            ROOM,
            &["--api-key", "other"],
            "does not accept this key",
        ),
        (
            &open,
            ROOM,
            &["--pid", "4000000000"],
            "cannot read the CPU time of process",
        ),
        (&open, ROOM, &["--rate", "1001"], "1001 is not in 1..=1000"),
        (
            &open,
            ROOM,
            &["--connections", "19001"],
            "19001 is not in 1..=19000",
        ),
        (
            &open,
            ROOM,
            &["--connections", "5000", "--rate", "500"],
            "is 2500000 deliveries a second",
        ),
    ] {
        let size = if more.contains(&"--connections") {
            &[][..]
        } else {
            &size
        };
        let found = bench(gateway, room, &[size, more].concat());
        assert!(matches!(found.code, Some(1 | 2)), "{found:?}");
        assert!(found.stderr.contains(part), "{part:?} in {}", found.stderr);
        assert!(found.stdout.is_empty(), "{found:?}");
        assert!(!found.stderr.contains("geheim"), "{found:?}");
    }
    let more = [&elsewhere[..], &["--room", ROOM]].concat();
    let found = run(folder().path(), &[&["bench"], &more[..]].concat(), &[]);
    assert!(
        found.stderr.contains("192.0.2.1 is not on this machine"),
        "{found:?}"
    );
    let found = bench(
        &locked,
        ROOM,
        &[&size[..], &["--api-key", "geheim", "--json"]].concat(),
    );
    assert_eq!(findings(&found)["deliveries"], 100);
}

#[test]
fn a_trigger_url_of_another_gateway_is_reported() {
    let (one, other) = (StubBackend::open(), StubBackend::open());
    let (one, other) = (Gateway::start(&one), Gateway::start(&other));
    let args = arguments(&one, &other, ROOM, &["--connections", "10"]);
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let found = run(folder().path(), &args, &[]);
    assert_eq!(found.code, Some(1), "{found:?}");
    assert!(
        found
            .stderr
            .contains("0 of 1 connections received it: do --url and --trigger"),
        "{found:?}"
    );
}

#[test]
fn a_gateway_that_ends_during_the_run_is_reported() {
    let gateway = Gateway::start(&StubBackend::open());
    let args = arguments(
        &gateway,
        &gateway,
        ROOM,
        &["--connections", "5", "--seconds", "60"],
    );
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let mut running = Running::start(command(folder().path(), &args, &[]));
    running.line_with("to a real room");
    crate::support::eventually("deliveries", || {
        (gateway.metric("high_templar_deliveries_total") > 5).then_some(())
    });
    gateway.signal("KILL");
    let (status, seen) = running.end();
    assert_eq!(status.code(), Some(1), "{seen}");
    assert!(
        seen.contains("the gateway did not answer as it should"),
        "{seen}"
    );
}
