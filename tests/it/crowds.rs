//! Limits on connections and their rate: by address, by user, over time.

use std::io::{Read, Write};
use std::time::Duration;

use serde_json::json;

use crate::support::{Client, Gate, Gateway, Handshake, Reply, Seen, StubBackend, eventually};

fn from_address(gateway: &Gateway, address: &str) -> Handshake {
    Handshake::new(gateway).header("X-Real-IP", address)
}

fn refusals(gateway: &Gateway, reason: &str) -> u64 {
    gateway.metric(&format!(
        "high_templar_handshake_errors_total{{reason=\"{reason}\"}}"
    ))
}

/// A backend that uses the cookie as the user's id.
fn by_cookie(seen: &Seen) -> Reply {
    let id = seen.header("cookie").unwrap_or_default();
    let body = json!({"allowed_rooms": [{"room": "*"}], "user": {"id": id}});
    Reply::json("200 OK", body.to_string())
}

#[test]
fn an_address_has_as_many_connections_as_it_may_have() {
    let backend = StubBackend::open();
    let gateway = Gateway::with(&backend)
        .set("HT_LIMITS__CONNECTIONS_PER_ADDRESS", 2)
        .start();
    let one = from_address(&gateway, "192.0.2.7").connect();
    let mut two = from_address(&gateway, "192.0.2.7").connect();
    let answer = from_address(&gateway, "192.0.2.7").refused();
    assert_eq!(answer.status, 429, "{answer:?}");
    assert!(answer.header("retry-after").is_some(), "{answer:?}");
    assert_eq!(refusals(&gateway, "connections-per-address"), 1);
    let line = gateway.wait_for_line("limits.connections_per_address is reached");
    assert!(line.contains("192.0.2.7"), "{line}");
    assert_eq!(backend.requests().len(), 2);

    from_address(&gateway, "192.0.2.8").connect().fence();
    one.leave();
    from_address(&gateway, "192.0.2.7").connect().fence();
    two.fence();

    // An IPv6 client has the whole of its network.
    let _six = [1, 2].map(|host| from_address(&gateway, &format!("2001:db8::{host}")).connect());
    let answer = from_address(&gateway, "2001:db8::ffff:3").refused();
    assert_eq!(answer.status, 429);
    from_address(&gateway, "2001:db8:0:1::1").connect();
}

#[test]
fn clients_behind_a_proxy_without_their_addresses_are_not_one_address() {
    let backend = StubBackend::open();
    let gateway = Gateway::with(&backend)
        .set("HT_LIMITS__CONNECTIONS_PER_ADDRESS", 1)
        .set("HT_LIMITS__HANDSHAKES_PER_SECOND", 1)
        .start();
    let mut clients: Vec<_> = (0..100).map(|_| Client::connect(&gateway)).collect();
    gateway.wait_for_line("a trusted proxy does not say for whom it asks");
    for client in &mut clients {
        client.fence();
    }
}

#[test]
fn an_untrusted_proxy_is_one_address_and_is_logged() {
    let backend = StubBackend::open();
    let gateway = Gateway::with(&backend)
        .file("trusted_proxies = []\n")
        .set("HT_LIMITS__CONNECTIONS_PER_ADDRESS", 9)
        .start();
    let visitor = |host: usize| from_address(&gateway, &format!("192.0.2.{host}"));
    let _clients: Vec<_> = (0..9).map(|host| visitor(host).connect()).collect();
    let line = gateway.wait_for_line("this looks like a proxy that is not in trusted_proxies");
    assert!(line.contains("127.0.0.1"), "{line}");
    assert_eq!(visitor(99).refused().status, 429);
}

#[test]
fn a_user_has_as_many_connections_as_it_may_have() {
    let backend = StubBackend::new(by_cookie);
    let gateway = Gateway::with(&backend)
        .file("[backend]\nuser_id_path = [\"user\", \"id\"]\n")
        .set("HT_LIMITS__CONNECTIONS_PER_USER", 2)
        .start();
    let user = |name: &str| Handshake::new(&gateway).header("Cookie", name);
    let one = user("ann").connect();
    let mut two = user("ann").connect();
    let mut third = user("ann").open();
    assert_eq!(third.expect_json(), json!({"is_authorized": false}));
    assert_eq!(third.expect_close(4100), "connections-per-user");
    assert_eq!(refusals(&gateway, "connections-per-user"), 1);
    gateway.wait_for_line("limits.connections_per_user is reached");
    user("bob").connect().fence();
    gateway.wait_for_open(&mut two, 2);
    one.leave();
    // A client that sent its close frame is not counted any more.
    user("ann").connect().fence();
    two.fence();
}

#[test]
fn an_address_that_comes_too_often_waits() {
    let backend = StubBackend::open();
    let gateway = Gateway::with(&backend)
        .set("HT_LIMITS__HANDSHAKES_PER_SECOND", 1)
        .start();
    // Ten at once are accepted; a hundred are not within ninety seconds.
    let refused = (0..100).find_map(|count| {
        let (answer, _) = from_address(&gateway, "192.0.2.7").send().answer();
        (answer.status != 101).then_some((count, answer))
    });
    let (count, answer) = refused.expect("it is turned away");
    assert!(count >= 10, "{count}");
    assert_eq!(answer.status, 429);
    let again: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=10).contains(&again), "{again}");
    assert_eq!(refusals(&gateway, "handshakes-per-second"), 1);
    from_address(&gateway, "192.0.2.8").connect();
    eventually("it may come again", || {
        let (answer, _) = from_address(&gateway, "192.0.2.7").send().answer();
        (answer.status == 101).then_some(())
    });
}

#[test]
fn every_kind_of_disconnect_releases_the_slot() {
    let gate = Gate::default();
    let behind = gate.clone();
    let backend = StubBackend::new(move |seen| match seen.header("cookie") {
        Some("refused") => Reply::forbidden(),
        Some("waits") => Reply::Behind(behind.clone(), by_cookie(seen).into()),
        _ => by_cookie(seen),
    });
    let gateway = Gateway::with(&backend)
        .file("[backend]\nuser_id_path = [\"user\", \"id\"]\n")
        .set("HT_LIMITS__CONNECTIONS", 1)
        .set("HT_LIMITS__CONNECTIONS_PER_ADDRESS", 1)
        .set("HT_LIMITS__CONNECTIONS_PER_USER", 1)
        .start();
    let visitor = |cookie: &str| from_address(&gateway, "192.0.2.7").header("Cookie", cookie);
    let is_free = |what: &str| {
        eventually(what, || {
            let (answer, mut client) = visitor("ann").send().answer();
            if answer.status != 101 {
                return None;
            }
            let is_in = client.expect_json()["is_authorized"] == true;
            is_in.then(|| client.leave())
        });
    };
    is_free("from the start");
    visitor("refused").open().expect_json();
    is_free("after a visitor that the backend refuses");
    let answer = visitor("x")
        .header("Origin", "https://evil.example")
        .refused();
    assert_eq!(answer.status, 403);
    assert_eq!(visitor("a\0b").refused().status, 400);
    is_free("after requests that are refused");
    let seen = backend.requests().len();
    let waits = visitor("waits").send();
    backend.wait_for(seen + 1);
    drop(waits);
    gate.open();
    is_free("after one that went away while the backend was asked");
    let client = visitor("ann").connect();
    client.stream.reset_on_drop();
    drop(client);
    is_free("after one that was reset");
}

#[test]
fn a_handshake_does_not_wait_for_the_backend_indefinitely() {
    let backend = StubBackend::new(|_| Reply::Hang(Vec::new()));
    let gateway = Gateway::with(&backend)
        .set("HT_LIMITS__HANDSHAKE_TIMEOUT", "200ms")
        .set("HT_BACKEND__TIMEOUT", crate::support::NEVER)
        .start();
    let mut client = Handshake::new(&gateway).open();
    assert_eq!(client.expect_json(), json!({"is_authorized": false}));
    let reason = client.expect_close(1013);
    assert!(reason.starts_with("overloaded "), "{reason}");
    assert_eq!(refusals(&gateway, "handshake-timeout"), 1);
    gateway.wait_for_line("limits.handshake_timeout");
}

#[test]
fn a_full_node_sends_retry_after() {
    let backend = StubBackend::open();
    let gateway = Gateway::with(&backend)
        .set("HT_LIMITS__CONNECTIONS", 1)
        .start();
    let _one = Client::connect(&gateway);
    let answer = Handshake::new(&gateway).refused();
    assert_eq!(answer.status, 503);
    assert_eq!(answer.header("retry-after"), Some("5"));
}

#[test]
fn the_log_names_the_address_that_a_proxy_sent() {
    let backend = StubBackend::open();
    let gateway = Gateway::with(&backend)
        .set("HT_LIMITS__OUTBOX_BYTES", "64KiB")
        .start();
    let mut slow = from_address(&gateway, "192.0.2.7").connect();
    slow.subscribe(&json!({"room": 1}), "slow");
    slow.stream.set_timeouts(Duration::from_secs(1)).unwrap();
    let data = "x".repeat(1_000_000);
    eventually("the slow one is let go", || {
        gateway.trigger(&json!({"rooms": [{"room": 1}], "data": data}));
        gateway.log().contains("evicted a connection").then_some(())
    });
    let line = gateway.wait_for_line("evicted a connection");
    assert!(line.contains("192.0.2.7"), "{line}");
}

/// The same with a balancer that sends the address by the PROXY protocol: its own connections have
/// no limit, those of each address behind it do.
#[test]
fn one_address_behind_a_balancer_does_not_take_all_places_for_those_who_come() {
    let backend = StubBackend::open();
    for (header, part, other) in [
        (
            "PROXY TCP4 192.0.2.7 10.0.0.1 5 80\r\n",
            257,
            "PROXY TCP4 192.0.2.8 10.0.0.1 5 80\r\n",
        ),
        // An IPv6 network is one address.
        (
            "PROXY TCP6 2001:db8::7 ::1 5 80\r\n",
            257,
            "PROXY TCP6 2001:db8:0:1::7 ::1 5 80\r\n",
        ),
        // An address in a trusted network may be a proxy itself, and keeps a quarter free.
        (
            "PROXY TCP4 10.0.0.7 10.0.0.1 5 80\r\n",
            771,
            "PROXY TCP4 192.0.2.8 10.0.0.1 5 80\r\n",
        ),
    ] {
        let gateway = Gateway::with(&backend)
            .set("HT_PROXY_PROTOCOL", true)
            .set("HT_LIMITS__HANDSHAKES", 4)
            .set("HT_LIMITS__HEAD_TIMEOUT", crate::support::NEVER)
            .start();
        let open = |header: &str| {
            let mut stream = gateway.public().connect().unwrap();
            stream.write_all(header.as_bytes()).unwrap();
            stream
        };
        // One too many: whichever header is read last.
        let silent: Vec<_> = (0..=part).map(|_| open(header)).collect();
        gateway.wait_for_metric(
            "high_templar_handshake_errors_total{reason=\"unfinished-per-address\"}",
            1,
        );
        gateway.wait_for_line("connections that are not websockets yet");
        let mut stream = open(other);
        stream.write_all(&Handshake::new(&gateway).bytes()).unwrap();
        let (answer, _) = crate::support::http::read_answer(&mut stream).unwrap();
        assert_eq!(answer.status, 101);
        drop(silent);
    }
}

#[test]
fn waiting_to_accept_connections_is_counted_and_logged() {
    let gateway = Gateway::with(&StubBackend::open())
        .set("HT_LIMITS__HANDSHAKES", 1)
        .set("HT_LIMITS__HEAD_TIMEOUT", crate::support::NEVER)
        .start();
    // From a trusted proxy, which has no bound of its own.
    let silent: Vec<_> = (0..1_026)
        .map(|_| gateway.public().connect().unwrap())
        .collect();
    let line = gateway.wait_for_line("every slot for a connection that is not a websocket yet");
    assert!(line.contains("limits.handshakes"), "{line}");
    let waits = "high_templar_accept_waits_total{listener=\"public\"}";
    assert!(gateway.metric(waits) >= 1);
    drop(silent);
    Client::connect(&gateway);
}

#[test]
fn one_address_does_not_take_all_handshakes() {
    let gate = Gate::default();
    let backend = StubBackend::behind(&gate);
    let gateway = Gateway::with(&backend)
        .set("HT_LIMITS__HANDSHAKES", 8)
        .start();
    let ask = |address, cookie: usize| {
        from_address(&gateway, address)
            .header("Cookie", format!("a={cookie}"))
            .send()
    };
    let first: Vec<_> = (0..4).map(|cookie| ask("192.0.2.7", cookie)).collect();
    backend.wait_for(4);
    let (answer, _) = ask("192.0.2.7", 4).answer();
    assert_eq!(answer.status, 429);
    assert_eq!(answer.header("retry-after"), Some("5"));
    assert_eq!(refusals(&gateway, "handshakes-per-address"), 1);
    gateway.wait_for_line("half of limits.handshakes");
    let other = ask("192.0.2.8", 5);
    backend.wait_for(5);
    gate.open();
    for asked in first.into_iter().chain([other]) {
        assert_eq!(asked.open().expect_json()["is_authorized"], true);
    }
    // Released when they are over.
    assert_eq!(
        ask("192.0.2.7", 6).open().expect_json()["is_authorized"],
        true
    );
}

#[test]
fn one_address_does_not_take_all_places_for_those_who_come() {
    let backend = StubBackend::open();
    let gateway = Gateway::with(&backend)
        .file("trusted_proxies = [\"127.0.0.2\"]\n")
        .set("HT_LIMITS__HANDSHAKES", 4)
        .set("HT_LIMITS__HEAD_TIMEOUT", crate::support::NEVER)
        .start();
    // A quarter of 4 and 1,024, all of them silent.
    let silent: Vec<_> = (0..257)
        .map(|_| gateway.public().connect().unwrap())
        .collect();
    let mut further = gateway.public().connect().unwrap();
    let mut answer = Vec::new();
    let _ = further.read_to_end(&mut answer);
    assert_eq!(answer, b"");
    gateway.wait_for_metric(
        "high_templar_handshake_errors_total{reason=\"unfinished-per-address\"}",
        1,
    );
    drop(silent);
    eventually("there is room again", || {
        let mut stream = gateway.public().connect().ok()?;
        stream.write_all(&Handshake::new(&gateway).bytes()).ok()?;
        crate::support::http::read_answer(&mut stream).ok()
    });
}
