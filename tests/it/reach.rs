//! A backend that is down, moved or refusing: the log lines and how often they are repeated. And
//! which process uses an address that the gateway needs.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::thread;

use crate::binary::{folder, run};
use crate::bootstrap::expect_refusal;
use crate::support::stream::Address;
use crate::support::{Client, Gateway, Handshake, Reply, StubBackend};

/// A port on which nothing listens, until the test does.
fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address")
}

/// Responds to every request with an admission.
fn serve(listener: TcpListener) {
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let body = r#"{"allowed_rooms": []}"#;
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\
                 Content-Length: {}\r\n\r\n{body}",
                body.len()
            );
            // A connection without a request shows only that the backend can be reached.
            if stream.read(&mut [0; 4_096]).is_ok_and(|read| read > 0) {
                let _ = stream.write_all(answer.as_bytes());
            }
        }
    });
}

#[test]
fn a_backend_down_at_startup_is_one_warning_and_one_recovery_line() {
    let address = free_address();
    let gateway = Gateway::with(&StubBackend::open())
        .set("HT_BACKEND__URL", format!("http://{address}/api/"))
        .set("HT_BACKEND__CIRCUIT_FAILURES", 2)
        .set("HT_BACKEND__CIRCUIT_BACKOFF", "50ms")
        .set("HT_BACKEND__CIRCUIT_BACKOFF_MAX", "100ms")
        // No warning that there are too few files for more.
        .set("HT_LIMITS__CONNECTIONS", 100)
        .start();
    // Before anybody connects.
    let line = gateway.wait_for_line(" WARN ");
    for part in [
        "the backend cannot be reached",
        "Connection refused",
        "advice=\"check that the API runs",
    ] {
        assert!(line.contains(part), "{part:?} in {line}");
    }
    for _ in 0..5 {
        expect_refusal(&gateway, 1013);
    }
    gateway.wait_for_line("backend circuit breaker opened");
    serve(TcpListener::bind(address).expect("the same port"));
    gateway.wait_for_line("the backend can be reached again");
    gateway.wait_for_line("backend circuit breaker closed");
    Client::connect(&gateway).leave();
    let log = gateway.log();
    assert_eq!(log.matches(" WARN ").count(), 1, "{log}");
    assert_eq!(log.matches("can be reached again").count(), 1, "{log}");
}

#[test]
fn a_reachable_backend_logs_nothing_and_gets_no_request() {
    let backend = StubBackend::open();
    let gateway = Gateway::start(&backend);
    Client::connect(&gateway).leave();
    let requests = backend.requests();
    assert_eq!(requests.len(), 1, "{requests:?}");
    let log = gateway.log();
    assert!(!log.contains("reached"), "{log}");
}

#[test]
fn a_host_name_without_an_address_is_named_as_such() {
    let gateway = Gateway::with(&StubBackend::open())
        .set("HT_BACKEND__URL", "http://there-is-no-such-host.invalid/")
        .start();
    let line = gateway.wait_for_line("the backend cannot be reached");
    assert!(line.contains("host name in backend.url"), "{line}");
}

#[test]
fn refusals_are_logged_at_intervals_with_what_to_check() {
    let backend = StubBackend::new(|_| Reply::forbidden());
    let gateway = Gateway::start(&backend);
    for _ in 0..20 {
        Handshake::new(&gateway).open().expect_json();
    }
    let line = gateway.wait_for_line(" INFO ht_node::verdict: the backend refused");
    for part in [
        "cause=the backend answered with status 403",
        "backend.headers",
        "suppressed=0",
    ] {
        assert!(line.contains(part), "{part:?} in {line}");
    }
    // One in ten seconds; more only where twenty refusals take longer than that.
    let lines = gateway.log().matches("refused a client").count();
    assert!((1..=3).contains(&lines), "{}", gateway.log());
}

#[test]
fn check_names_where_the_backend_redirects_to() {
    for (location, cause, advice) in [
        (
            "https://sso.test/login/?next=secret",
            "redirects the call to https://sso.test/login/, which is not followed",
            "login page",
        ),
        (
            "https://127.0.0.1/api/bootstrap/",
            "redirects the call to https://127.0.0.1/api/bootstrap/",
            "begin backend.url with https://",
        ),
        (
            "http://www.api.test/api/bootstrap/",
            "redirects the call to http://www.api.test/api/bootstrap/",
            "set backend.url to the address",
        ),
    ] {
        let backend =
            StubBackend::new(move |_| Reply::http("302 Found", &[("Location", location)], ""));
        let variables = [
            ("HT_BACKEND__URL", &*backend.url),
            ("HT_LISTEN", "127.0.0.1:0"),
            ("HT_INTERNAL__LISTEN", "127.0.0.1:0"),
        ];
        let found = run(folder().path(), &["check"], &variables);
        assert_eq!(found.code, Some(1), "{found:?}");
        for part in ["FIX  backend: ", cause, advice] {
            assert!(found.stdout.contains(part), "{part:?} in {}", found.stdout);
        }
        assert!(!found.stdout.contains("secret"), "{}", found.stdout);
    }
}

/// The output of `check` for these addresses.
fn check(backend: &StubBackend, listen: &str, internal: &str) -> String {
    let variables = [
        ("HT_BACKEND__URL", &*backend.url),
        ("HT_LISTEN", listen),
        ("HT_INTERNAL__LISTEN", internal),
    ];
    let found = run(folder().path(), &["check"], &variables);
    assert_eq!(
        found.code == Some(0),
        !found.stdout.contains("FIX"),
        "{found:?}"
    );
    found.stdout
}

fn text(address: &Address) -> String {
    match address {
        Address::Tcp(address) => address.to_string(),
        Address::Unix(path) => format!("unix:{}", path.display()),
    }
}

#[test]
fn check_distinguishes_this_gateway_from_another_program() {
    let backend = StubBackend::open();
    let gateway = Gateway::with(&backend);
    let socket = gateway.folder().join("internal.sock");
    let over_socket = gateway
        .set("HT_INTERNAL__LISTEN", format!("unix:{}", socket.display()))
        .start();
    for gateway in [Gateway::start(&backend), over_socket] {
        let (public, internal) = (text(gateway.public()), text(gateway.internal()));
        let version = env!("CARGO_PKG_VERSION");
        let runs = format!("high-templar {version} (this configuration) already runs here");
        let printed = check(&backend, &public, &internal);
        for listener in ["listen", "internal.listen"] {
            let line = format!("ok   {listener}: {runs}: not an error");
            assert!(printed.contains(&line), "{line:?} in {printed}");
        }
        // Its internal address, and another public one.
        let printed = check(&backend, "127.0.0.1:0", &internal);
        assert!(
            printed.contains(&format!("FIX  internal.listen: a high-templar ({version})")),
            "{printed}"
        );
        for part in [&*public, "listen has changed since it started: restart it"] {
            assert!(printed.contains(part), "{part:?} in {printed}");
        }
        // The port of this gateway, whose internal address was changed since it started.
        let printed = check(&backend, &public, "127.0.0.1:0");
        let owner = format!("FIX  listen: a high-templar (process {})", gateway.pid());
        for part in [&*owner, "internal.listen has changed since it started"] {
            assert!(printed.contains(part), "{part:?} in {printed}");
        }
    }

    let gateway = Gateway::start(&backend);
    let (public, internal) = (text(gateway.public()), text(gateway.internal()));
    let other = StubBackend::new(|_| Reply::http("200 OK", &[], "ok"));
    let other = other.url.trim_start_matches("http://");
    let other = other.split('/').next().unwrap();
    let port = other.rsplit(':').next().unwrap();
    // Another program, which responds like the gateway but does not identify itself as one.
    let printed = check(&backend, other, other.replace(port, "0").as_str());
    assert!(
        printed.contains("FIX  listen: another program listens on"),
        "{printed}"
    );
    let own = format!(", process {})", std::process::id());
    assert!(
        printed.contains(&own) && printed.contains("Stop it"),
        "{printed}"
    );
    let printed = check(&backend, "127.0.0.1:0", other);
    assert!(
        printed.contains("FIX  internal.listen: another program listens on"),
        "{printed}"
    );
    let printed = check(&backend, other, &internal);
    assert!(
        printed.contains(&format!("serves browsers on {public}")),
        "{printed}"
    );
    // A program that listens and never responds.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let printed = check(&backend, "127.0.0.1:0", &address);
    assert!(printed.contains("does not answer"), "{printed}");
}

#[test]
fn only_the_internal_listener_identifies_the_gateway() {
    let gateway = Gateway::start(&StubBackend::open());
    let live = gateway.get("/live");
    let product = format!("high-templar/{}", env!("CARGO_PKG_VERSION"));
    assert_eq!(live.header("server"), Some(&*product));
    assert_eq!(
        live.header("high-templar-listen"),
        Some(&*text(gateway.public()))
    );
    let health = crate::support::http::request(gateway.public(), "GET", "/health", &[], b"");
    assert_eq!(health.status, 200);
    assert_eq!(health.header("server"), None);
}
