//! The internal listener: its endpoints, and who may use them.

use std::io::Write as _;
use std::process::Command;

use serde_json::json;

use crate::support::stream::Address;
use crate::support::{Answer, Gateway, StubBackend, http};
use crate::triggers::{expect_nothing, gateway, listener};

#[test]
fn other_requests_of_the_internal_listener_get_the_list_of_endpoints() {
    let gateway = gateway();
    for (method, path, status) in [
        ("GET", "/trigger/", 405),
        ("PUT", "/trigger/", 405),
        ("POST", "/metrics", 405),
        ("POST", "/ready", 405),
        ("GET", "/", 404),
        ("GET", "/ws/", 404),
        ("GET", "/live", 200),
        ("GET", "/ready", 200),
        ("GET", "/metrics", 200),
    ] {
        let answer = http::request(gateway.internal(), method, path, &[], b"");
        assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
    }
    assert_eq!(
        gateway.get("/ready").json(),
        json!({"ready": true, "reasons": []})
    );
    assert_eq!(gateway.metric("high_templar_connections"), 0);
}

#[test]
fn browsers_are_refused() {
    let gateway = gateway();
    let mut client = listener(&gateway);
    let body = br#"{"rooms": [{"room": 1}], "data": 1}"#;
    for header in [
        ("Origin", "http://localhost:8000"),
        ("Origin", "null"),
        ("Sec-Fetch-Site", "cross-site"),
    ] {
        let headers = [header, ("Content-Type", "text/plain")];
        let answer = http::request(gateway.internal(), "POST", "/trigger/", &headers, body);
        assert_eq!(answer.status, 403, "{header:?}: {answer:?}");
        let answer = http::request(gateway.internal(), "GET", "/metrics", &[header], b"");
        assert_eq!(answer.status, 403, "{header:?}: {answer:?}");
    }
    expect_nothing(&gateway, &mut client);
}

/// Every address of the listener, with its method.
const DOORS: [(&str, &str); 4] = [
    ("POST", "/trigger/"),
    ("GET", "/metrics"),
    ("GET", "/ready"),
    ("GET", "/live"),
];

const BODY: &[u8] = br#"{"rooms": [{"room": 1}], "data": 1}"#;

#[test]
fn a_rebound_name_reads_and_publishes_nothing() {
    let backend = StubBackend::open();
    let gateway = Gateway::with(&backend)
        .set("HT_INTERNAL__HOSTS", "gateway, *.svc.cluster.local")
        .start();
    let mut client = listener(&gateway);
    for (host, status) in [
        ("evil.example", 421),
        ("evil.example:8002", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("a b", 400),
        ("", 400),
    ] {
        for (method, path) in DOORS {
            let headers = [("Host", host)];
            let answer = http::request(gateway.internal(), method, path, &headers, BODY);
            assert_eq!(answer.status, status, "{method} {path} {host}: {answer:?}");
            if status == 421 {
                assert!(answer.text().contains("internal.hosts"), "{answer:?}");
            }
        }
        // A whole URL as target overrides the host.
        let target = format!("http://{host}/metrics");
        let answer = http::try_request(gateway.internal(), "GET", &target, &[], b"");
        assert!(
            !matches!(answer, Ok(answer) if answer.status == 200),
            "{target}"
        );
    }
    expect_nothing(&gateway, &mut client);
    let foreign = gateway.metric(r#"high_templar_internal_errors_total{status="421"}"#);
    assert_eq!(foreign, 20);
    gateway.wait_for_line("refused an internal request for a host that is not served");

    // A Kubernetes probe addresses the pod by its IP address.
    for host in [
        "10.244.1.17:8002",
        "[fd00::17]:8002",
        "localhost",
        "ht.localhost:8002",
        "Gateway:8002",
        "ht.svc.cluster.local.",
    ] {
        for (method, path) in DOORS {
            let answer = http::request(gateway.internal(), method, path, &[("Host", host)], BODY);
            assert_eq!(answer.status, 200, "{method} {path} {host}: {answer:?}");
        }
        assert_eq!(client.expect_publish(), (json!(1), json!("x")));
    }
}

#[test]
fn a_request_has_one_host_unless_it_is_of_http_1_0() {
    let gateway = gateway();
    for (request, status) in [
        ("GET /ready HTTP/1.1\r\n", 400),
        (
            "GET /ready HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n",
            400,
        ),
        (
            "GET /ready HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n",
            400,
        ),
        (
            "GET http://localhost/ready HTTP/1.1\r\nHost: evil.example\r\n",
            421,
        ),
        (
            "GET http://evil.example/ready HTTP/1.1\r\nHost: localhost\r\n",
            421,
        ),
        (
            "GET http://127.0.0.1/ready HTTP/1.1\r\nHost: localhost\r\n",
            200,
        ),
        // As HAProxy checks by default.
        ("GET /ready HTTP/1.0\r\n", 200),
        ("GET /ready HTTP/1.0\r\nHost: evil.example\r\n", 421),
    ] {
        let mut stream = gateway.internal().connect().expect("a connection");
        let head = format!("{request}Connection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).expect("a request");
        let (answer, _) = http::read_answer(&mut stream).expect("an answer");
        assert_eq!(answer.status, status, "{request}: {answer:?}");
    }
}

#[test]
fn whoever_knows_the_key_may_use_any_name() {
    let backend = StubBackend::open();
    let gateway = Gateway::with(&backend)
        .set("HT_INTERNAL__API_KEY", "key")
        .start();
    let mut client = listener(&gateway);
    for (method, path) in DOORS {
        let ask = |key: &str| {
            let headers = [("Host", "gateway:8002"), ("Authorization", key)];
            http::request(gateway.internal(), method, path, &headers, BODY)
        };
        assert_eq!(ask("Bearer other").status, 421, "{method} {path}");
        assert_eq!(ask("Bearer key").status, 200, "{method} {path}");
    }
    assert_eq!(client.expect_publish(), (json!(1), json!("x")));
    client.fence();
}

#[test]
fn a_key_is_asked_for_where_one_is_set() {
    let backend = StubBackend::open();
    let gateway = Gateway::with(&backend)
        .set("HT_INTERNAL__API_KEY", "geheim-key")
        .set("HT_LOG__LEVEL", "trace")
        .start();
    let mut client = listener(&gateway);
    let ask = |path: &str, method: &str, key: Option<&str>| {
        let headers: Vec<_> = key.map(|key| ("Authorization", key)).into_iter().collect();
        let body = br#"{"rooms": [{"room": 1}], "data": 1}"#;
        http::request(gateway.internal(), method, path, &headers, body)
    };
    for key in [
        None,
        Some(""),
        Some("Bearer"),
        Some("Bearer "),
        Some("Bearer geheim-ke"),
        Some("Bearer geheim-key2"),
        Some("Basic geheim-key"),
        Some("geheim-key"),
    ] {
        for (path, method) in [("/trigger/", "POST"), ("/metrics", "GET")] {
            let answer = ask(path, method, key);
            assert_eq!(answer.status, 401, "{path} {key:?}: {answer:?}");
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        }
    }
    assert_eq!(ask("/live", "GET", None).status, 200);
    assert_eq!(ask("/ready", "GET", None).status, 200);
    assert_eq!(
        ask("/metrics", "GET", Some("Bearer geheim-key")).status,
        200
    );
    assert_eq!(
        ask("/trigger/", "POST", Some("bearer geheim-key")).status,
        200
    );
    assert_eq!(client.expect_publish(), (json!(1), json!("x")));
    client.fence();
    assert!(!gateway.log().contains("geheim"), "{}", gateway.log());
}

#[test]
fn several_keys_are_accepted_while_one_is_replaced() {
    const USES: &str = "high_templar_api_key_uses_total";
    let backend = StubBackend::open();
    let builder = Gateway::with(&backend);
    let file = builder.folder().join("keys");
    std::fs::write(&file, "key-old\n").unwrap();
    let gateway = builder
        .set("HT_INTERNAL__API_KEY_FILE", file.display())
        .set("HT_LOG__LEVEL", "trace")
        .start();
    let post = |key: &str| {
        let headers = [("Authorization", &*format!("Bearer {key}"))];
        http::request(gateway.internal(), "POST", "/trigger/", &headers, BODY).status
    };
    let uses = |key: &str| {
        let headers = [("Authorization", &*format!("Bearer {key}"))];
        let answer = http::request(gateway.internal(), "GET", "/metrics", &headers, b"");
        let lines = answer.text().lines();
        let lines = lines.filter_map(|line| line.strip_prefix(USES)?.split_once(' '));
        let uses: Vec<u64> = lines.map(|(_, uses)| uses.parse().unwrap()).collect();
        (uses[0], uses[1], uses[2..].iter().sum::<u64>())
    };
    assert_eq!((post("key-old"), post("key-new")), (200, 401));
    assert_eq!(uses("key-old"), (2, 0, 0));
    // Both: the new one first, which the gateway's own programs send.
    std::fs::write(&file, "key-new\r\nkey-old\n").unwrap();
    let mut log = gateway.reload("");
    assert!(log.contains("in effect now: internal.api_key"), "{log}");
    assert_eq!((post("key-old"), post("key-new")), (200, 200));
    for wrong in ["key-newkey-old", "key-new,key-old", "key-", "2"] {
        assert_eq!(post(wrong), 401, "{wrong}");
    }
    assert_eq!(uses("key-new"), (4, 1, 0));
    // The old one is not used any more, and is removed.
    std::fs::write(&file, "[\"key-new\"]").unwrap();
    log += &gateway.reload("");
    assert_eq!((post("key-old"), post("key-new")), (401, 200));
    assert!(
        !log.contains("key-new") && !gateway.log().contains("key-old"),
        "{log}"
    );

    let list = "[\"key-new\", \"key-old\"]";
    let gateway = Gateway::with(&backend)
        .set("HT_INTERNAL__API_KEY", list)
        .start();
    for key in ["key-new", "key-old"] {
        let headers = [("Authorization", &*format!("Bearer {key}"))];
        let answer = http::request(gateway.internal(), "POST", "/trigger/", &headers, BODY);
        assert_eq!(answer.status, 200, "{key}: {answer:?}");
    }
    assert!(!gateway.log().contains("key-"), "{}", gateway.log());
    // The gateway's own programs read the same variables, and send the first key.
    let Address::Tcp(address) = gateway.internal() else {
        panic!("a TCP address");
    };
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "key-new\nkey-old\n").unwrap();
    let file = file.path().to_str().unwrap();
    for (name, value) in [
        ("HT_INTERNAL__API_KEY", list),
        ("HT_INTERNAL__API_KEY_FILE", file),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_high-templar"))
            .args(["publish", "--room", "{\"room\":1}", "--data", "1"])
            .args(["--url", &format!("http://{address}")])
            .env_clear()
            .env(name, value)
            .output()
            .unwrap();
        assert!(output.status.success(), "{name}: {output:?}");
    }
    let headers = [("Authorization", "Bearer key-old")];
    let answer = http::request(gateway.internal(), "GET", "/metrics", &headers, b"");
    let first = format!("{USES}{{position=\"1\"}} 3\n");
    assert!(answer.text().contains(&first), "{}", answer.text());
}

#[test]
fn without_a_key_others_cannot_reach_the_internal_listener() {
    let backend = StubBackend::open();
    let (code, log) = Gateway::with(&backend)
        .set("HT_INTERNAL__LISTEN", "0.0.0.0:0")
        .start_and_fail();
    assert!(matches!(code, Some(1 | 78)), "{code:?}: {log}");
    assert!(log.contains("internal.api_key"), "{log}");
    Gateway::with(&backend)
        .set("HT_INTERNAL__LISTEN", "0.0.0.0:0")
        .set("HT_INTERNAL__API_KEY", "key")
        .start();
}

#[test]
fn the_internal_listener_can_be_a_unix_socket() {
    let backend = StubBackend::open();
    let builder = Gateway::with(&backend);
    let path = builder.folder().join("internal.sock");
    let gateway = builder
        .set("HT_INTERNAL__LISTEN", format!("unix:{}", path.display()))
        .start();
    let mut client = listener(&gateway);
    gateway.trigger(&json!({"rooms": [{"room": 1}], "data": 1}));
    assert_eq!(client.expect_publish(), (json!(1), json!("x")));
    // No browser reaches it: clients put any name there.
    for host in ["unix", "whatever.example", "a_b:1"] {
        let answer = http::request(gateway.internal(), "GET", "/ready", &[("Host", host)], b"");
        assert_eq!(answer.status, 200, "{host}: {answer:?}");
    }
}

#[test]
fn a_publishers_address_may_end_in_the_path_already() {
    let gateway = gateway();
    let mut client = listener(&gateway);
    for path in [
        "/trigger",
        "//trigger/",
        "/trigger//",
        "/trigger/trigger/",
        "//trigger//trigger",
    ] {
        let answer = http::request(gateway.internal(), "POST", path, &[], BODY);
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        assert_eq!(client.expect_publish(), (json!(1), json!("x")), "{path}");
    }
    for (path, part) in [
        ("/api/trigger/", "leave out /api before /trigger/"),
        ("/trigger/room/", "leave out room behind /trigger/"),
        ("/ws/", "the address of `listen`"),
    ] {
        let answer = http::request(gateway.internal(), "POST", path, &[], BODY);
        assert_eq!(answer.status, 404, "{path}");
        assert!(answer.text().contains(part), "{path}: {answer:?}");
    }
}

/// Sends a head and up to `bytes` of a body as a blocking client does, which reads only after that.
fn answer_to(gateway: &Gateway, head: &str, bytes: usize) -> Answer {
    let mut stream = gateway.internal().connect().expect("a connection");
    stream.write_all(head.as_bytes()).expect("a head");
    let piece = vec![b' '; 64 << 10];
    for _ in 0..bytes / piece.len() {
        stream.write_all(&piece).expect("it is let send");
    }
    http::read_answer(&mut stream).expect("an answer").0
}

#[test]
fn a_body_that_is_too_long_is_refused_before_it_is_read() {
    const MIB: usize = 1 << 20;
    let gateway = gateway();
    let head =
        |headers: &str| format!("POST /trigger/ HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n\r\n");
    let length = format!("Content-Length: {}", 20 * MIB);
    // A client with `Expect: 100-continue` sends nothing of the body, and must not get a 100.
    for expect in ["100-continue", "100-Continue"] {
        let answer = answer_to(&gateway, &head(&format!("{length}\r\nExpect: {expect}")), 0);
        assert_eq!(answer.status, 413, "{answer:?}");
        assert!(answer.text().contains("16777216"), "{answer:?}");
        assert_eq!(answer.header("connection"), Some("close"));
    }
    // Nothing of the body has arrived at the time of the response, and all of it may still follow.
    assert_eq!(answer_to(&gateway, &head(&length), 0).status, 413);
    assert_eq!(answer_to(&gateway, &head(&length), 20 * MIB).status, 413);
    // The same for other refusals.
    let foreign = format!("{length}\r\nOrigin: https://evil.example");
    assert_eq!(answer_to(&gateway, &head(&foreign), 20 * MIB).status, 403);
    let missing = head(&length).replace("/trigger/", "/elsewhere/");
    assert_eq!(answer_to(&gateway, &missing, 20 * MIB).status, 404);

    // Within the limit a client with `Expect: 100-continue` gets a 100.
    let mut client = listener(&gateway);
    let mut stream = gateway.internal().connect().expect("a connection");
    let expect = format!("Content-Length: {}\r\nExpect: 100-continue", BODY.len());
    stream.write_all(head(&expect).as_bytes()).expect("a head");
    let (start, _, _) = http::read_head(&mut stream).expect("a head");
    assert_eq!(start, "HTTP/1.1 100 Continue");
    stream.write_all(BODY).expect("a body");
    let (answer, _) = http::read_answer(&mut stream).expect("an answer");
    assert_eq!(answer.status, 200, "{answer:?}");
    client.expect_publish();
}
