//! The backend as a peer: its address, its redirects, the limit on concurrent calls.

use serde_json::json;

use crate::bootstrap::{expect_refusal, expect_refusal_of_v1, picky};
use crate::support::{Client, Gate, Gateway, Handshake, NEVER, Reply, Seen, StubBackend, tls};

#[test]
fn redirects_are_followed_within_the_backend() {
    let backend = StubBackend::new(|seen| match &*seen.target {
        "/api/bootstrap/" => Reply::http("301 Moved", &[("Location", "/api/v2/?x=1")], "moved"),
        "/api/v2/?x=1" => Reply::http("307 Moved", &[("Location", "../v3/bootstrap/")], ""),
        "/v3/bootstrap/" | "/api/v3/bootstrap/" => Reply::rooms(&json!([{"room": "*"}])),
        _ => Reply::forbidden(),
    });
    let gateway = Gateway::start(&backend);
    Handshake::new(&gateway).header("Cookie", "a=1").connect();
    let requests = backend.wait_for(3);
    assert_eq!(requests.len(), 3);
    for seen in requests {
        assert_eq!(seen.method, "GET");
        assert_eq!(seen.header("cookie"), Some("a=1"));
    }
}

#[test]
fn redirects_elsewhere_are_not_followed_and_named_in_the_log() {
    let other = StubBackend::open();
    let location = format!("{}login/?next=secret", other.url);
    let backend = picky(Reply::http("302 Found", &[("Location", &location)], ""));
    let gateway = Gateway::start(&backend);
    expect_refusal(&gateway, 1000);
    expect_refusal_of_v1(&gateway, 4300);
    let line = gateway.wait_for_line("refused a client");
    assert!(line.contains(&format!("{}login/", other.url)), "{line}");
    assert!(!gateway.log().contains("secret"));
    assert!(other.requests().is_empty());

    let around = picky(Reply::http(
        "302 Found",
        &[("Location", "/api/bootstrap/")],
        "",
    ));
    let gateway = Gateway::start(&around);
    expect_refusal(&gateway, 1000);
    expect_refusal_of_v1(&gateway, 4300);
    gateway.wait_for_line("redirects the call again and again");
    assert!(around.requests().len() < 20);
}

#[test]
fn a_redirect_to_a_login_page_is_a_refusal_that_the_log_names() {
    let backend = StubBackend::new(|seen| match (&*seen.target, seen.header("cookie")) {
        ("/login/?next=secret", _) => {
            Reply::http("200 OK", &[("Content-Type", "text/html")], "<form>")
        }
        (_, Some("no")) => Reply::http("302 Found", &[("Location", "/login/?next=secret")], ""),
        _ => Reply::rooms(&json!([])),
    });
    let gateway = Gateway::start(&backend);
    expect_refusal(&gateway, 1000);
    expect_refusal_of_v1(&gateway, 4300);
    let line = gateway.wait_for_line("refused a client");
    assert!(line.contains("/login/"), "{line}");
    assert!(!gateway.log().contains("secret"), "{line}");
    Client::connect(&gateway);
}

#[test]
fn a_backend_on_a_unix_socket_gets_path_and_host_of_its_url() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("api.sock");
    let backend = StubBackend::unix(&path, |_| Reply::rooms(&json!([{"room": "*"}])));
    let gateway = Gateway::with(&backend)
        .set("HT_BACKEND__SOCKET", path.display())
        .start();
    Handshake::new(&gateway).header("Cookie", "a=1").connect();
    let seen = backend.wait_for(1).remove(0);
    assert_eq!(seen.target, "/api/bootstrap/");
    assert_eq!(seen.header("host"), Some("backend.test"));
    assert_eq!(seen.header("cookie"), Some("a=1"));
}

#[test]
fn a_backend_with_tls_is_checked() {
    let admit = |_: &Seen| Reply::rooms(&json!([{"room": "*"}]));
    let (config, certificate) = tls::localhost();
    let backend = StubBackend::tls(config, admit);
    let folder = tempfile::tempdir().unwrap();
    let trusted = folder.path().join("ca.pem");
    std::fs::write(&trusted, certificate).unwrap();
    let unrelated = folder.path().join("other.pem");
    std::fs::write(&unrelated, tls::localhost().1).unwrap();

    let gateway = Gateway::with(&backend)
        .set("HT_BACKEND__TLS_CA_FILE", trusted.display())
        .start();
    Client::connect(&gateway).fence();
    let gateway = Gateway::with(&backend)
        .set("HT_BACKEND__TLS_CA_FILE", unrelated.display())
        .start();
    expect_refusal(&gateway, 1013);
    gateway.wait_for_line("TLS with the backend failed");
    let gateway = Gateway::with(&backend)
        .set("HT_BACKEND__TLS_CA_FILE", unrelated.display())
        .set("HT_BACKEND__TLS_VERIFY", false)
        .start();
    Client::connect(&gateway).fence();
    let plain = StubBackend::new(admit);
    let gateway = Gateway::with(&backend)
        .set("HT_BACKEND__URL", plain.url.replace("http:", "https:"))
        .set("HT_BACKEND__TLS_VERIFY", false)
        .set("HT_BACKEND__TIMEOUT", "300ms")
        .start();
    expect_refusal(&gateway, 1013);
}

#[test]
fn a_client_that_disconnects_meanwhile_leaves_nothing_behind() {
    let backend = StubBackend::new(|seen| match seen.header("cookie") {
        Some("slow") => Reply::Hang(Vec::new()),
        _ => Reply::rooms(&json!([])),
    });
    let gateway = Gateway::with(&backend)
        .hooks()
        .set("HT_BACKEND__MAX_IN_FLIGHT", 1)
        .start();
    for reset in [false, true] {
        let slow = Handshake::new(&gateway).header("Cookie", "slow").send();
        let before = usize::from(reset);
        backend.wait("call under way", |history| {
            (history.in_flight == 1).then_some(())
        });
        if reset {
            slow.0.reset_on_drop();
        }
        drop(slow);
        backend.wait("abandoned call", |history| {
            (history.abandoned > before).then_some(())
        });
    }
    // The only slot is free again, long before the call would have timed out.
    let mut client = Client::connect(&gateway);
    assert_eq!(client.status()["open_connections"], 1);
    client.leave();
    backend.wait_for_moments(&["online", "offline"]);
}

#[test]
fn calls_in_flight_are_limited_and_the_others_queue() {
    let gate = Gate::default();
    let backend = StubBackend::behind(&gate);
    let gateway = Gateway::with(&backend)
        .set("HT_BACKEND__MAX_IN_FLIGHT", 2)
        .start();
    let ask = |number| Handshake::new(&gateway).header("Cookie", format!("a={number}"));
    let asked: Vec<_> = (0..6).map(|number| ask(number).send()).collect();
    backend.wait_for(2);
    gate.open();
    for asked in asked {
        assert_eq!(asked.open().expect_json()["is_authorized"], true);
    }
    backend.wait("end of all calls", |history| {
        (history.requests.len() == 6).then(|| assert_eq!(history.in_flight_max, 2))
    });
}

#[test]
fn a_backend_that_hangs_for_one_client_does_not_delay_the_others() {
    let backend = StubBackend::new(|seen| match seen.header("cookie") {
        Some("slow") => Reply::Hang(Vec::new()),
        _ => Reply::rooms(&json!([{"room": "*"}])),
    });
    let gateway = Gateway::with(&backend)
        .set("HT_BACKEND__TIMEOUT", NEVER)
        .start();
    let mut early = Client::connect(&gateway);
    early.subscribe(&json!({"room": 1}), "early");
    let _slow: Vec<_> = (0..8)
        .map(|_| Handshake::new(&gateway).header("Cookie", "slow").send())
        .collect();
    backend.wait("calls that hang", |history| {
        (history.in_flight >= 8).then_some(())
    });
    let mut late = Client::connect(&gateway);
    late.subscribe(&json!({"room": 1}), "late");
    gateway.trigger(&json!({"rooms": [{"room": 1}], "data": 7}));
    assert_eq!(early.expect_publish(), (json!(7), json!("early")));
    assert_eq!(late.expect_publish(), (json!(7), json!("late")));
}
