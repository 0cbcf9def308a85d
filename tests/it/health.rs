//! `high-templar health`: exit code and output, against a running gateway and what is none.

use std::net::TcpListener;

use crate::binary::{answer, folder, run, stub_backend};
use crate::support::{Gateway, StubBackend, eventually};

#[test]
fn health_asks_the_gateway_of_its_configuration() {
    let backend = StubBackend::open();
    let gateway = Gateway::start(&backend);
    let folder = folder();
    let address = gateway.internal().to_string();
    let health = |args: &[&str], listen: &str| {
        let args = [&["health"], args].concat();
        let variables = [
            ("HT_BACKEND__URL", "http://127.0.0.1:9/"),
            ("HT_INTERNAL__LISTEN", listen),
        ];
        run(folder.path(), &args, &variables)
    };
    let found = health(&[], &address);
    assert_eq!((found.code, &*found.stdout), (Some(0), "ok\n"), "{found:?}");
    eventually("it is ready", || {
        (health(&["--ready"], &address).code == Some(0)).then_some(())
    });
    let found = health(&["--ready"], &address);
    assert!(found.stdout.contains("\"ready\":true"), "{found:?}");

    // The API is another server.
    let url = stub_backend(&answer("200 OK", "text/plain", "ok"));
    let other = url.trim_start_matches("http://").trim_end_matches("/api/");
    let found = health(&[], other);
    assert_eq!(found.code, Some(1), "{found:?}");
    assert!(found.stderr.contains("is no high-templar"), "{found:?}");

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = taken.local_addr().unwrap().to_string();
    let found = health(&["--timeout", "1"], &silent);
    assert_eq!(found.code, Some(1), "{found:?}");
    assert!(
        found.stderr.contains("did not answer within 1s"),
        "{found:?}"
    );
    drop(taken);
    let found = health(&[], &silent);
    assert_eq!(found.code, Some(1), "{found:?}");
    assert!(found.stderr.contains("no gateway answers"), "{found:?}");
}

#[test]
fn health_reports_why_a_node_is_not_ready_and_knows_two_exit_codes() {
    let backend = StubBackend::open();
    let gateway = Gateway::with(&backend)
        .set("HT_RABBITMQ__URL", "amqp://127.0.0.1:1")
        .start();
    let folder = folder();
    let address = gateway.internal().to_string();
    let variables = [
        ("HT_BACKEND__URL", "http://127.0.0.1:9/"),
        ("HT_INTERNAL__LISTEN", &*address),
    ];
    let found = run(folder.path(), &["health", "--ready"], &variables);
    assert_eq!(found.code, Some(1), "{found:?}");
    assert!(found.stdout.contains("rabbitmq"), "{found:?}");
    let found = run(folder.path(), &["health"], &variables);
    assert_eq!(found.code, Some(0), "{found:?}");
    let found = run(folder.path(), &["health"], &[("HT_THREADS", "many")]);
    assert_eq!(found.code, Some(1), "{found:?}");
    assert!(found.stderr.contains("HT_THREADS"), "{found:?}");
}
