//! Environment variables that a deployment platform sets.

use crate::support::{Client, Gateway, StubBackend, http};

#[test]
fn a_kubernetes_service_with_our_prefix_does_not_prevent_startup() {
    let backend = StubBackend::open();
    let gateway = Gateway::with(&backend)
        .set("HT_PORT", "tcp://10.96.7.1:5000")
        .set("HT_SERVICE_HOST", "10.96.7.1")
        .set("HT_SERVICE_PORT", "5000")
        .set("HT_SERVICE_PORT_WEB", "5000")
        .set("HT_PORT_5000_TCP", "tcp://10.96.7.1:5000")
        .set("HT_PORT_5000_TCP_ADDR", "10.96.7.1")
        .set("HT_PORT_5000_TCP_PORT", "5000")
        .set("HT_PORT_5000_TCP_PROTO", "tcp")
        .set("HT_WEB_SERVICE_HOST", "10.96.7.2")
        .start();
    Client::connect(&gateway).fence();
    let line = gateway.wait_for_line("not settings but service links");
    assert!(line.ends_with(
        ": HT_PORT, HT_PORT_5000_TCP, HT_PORT_5000_TCP_ADDR, HT_PORT_5000_TCP_PORT, \
         HT_PORT_5000_TCP_PROTO, HT_SERVICE_HOST, HT_SERVICE_PORT, HT_SERVICE_PORT_WEB, \
         HT_WEB_SERVICE_HOST"
    ));

    let (code, log) = Gateway::with(&backend)
        .set("HT_PORT", "tcp://10.96.7.1:5000")
        .set("HT_BAKEND__URL", "http://api/")
        .start_and_fail();
    assert_eq!(code, Some(78), "{log}");
    assert!(
        log.contains("HT_BAKEND__URL: there is no such variable; did you mean HT_BACKEND__URL?")
    );
    assert!(!log.contains("HT_PORT: "), "{log}");
}

#[test]
fn a_dotenv_of_another_program_enables_nothing() {
    let backend = StubBackend::open();
    let builder = Gateway::with(&backend);
    let dotenv = "APP_NAME=Laravel\nAPP_URL=https://shop.example\nRABBITMQ_HOST=127.0.0.1:1\n";
    std::fs::write(builder.folder().join(".env"), dotenv).expect("a file");
    let gateway = builder.start();
    let mut client = Client::connect(&gateway);
    client.fence();
    client.leave();
    let seen = backend.wait_for(1).remove(0);
    assert_eq!(seen.header("referer"), None);
    gateway.wait_for_line("names of the Python version are not used");
    gateway.wait_for_line("no broker configured: this node delivers");
    assert_eq!(gateway.get("/ready").status, 200);
    // With hooks there would have been more than this one.
    Client::connect(&gateway).fence();
    assert!(
        backend
            .wait_for(2)
            .iter()
            .all(|seen| seen.target.ends_with("bootstrap/"))
    );
}

#[test]
fn secrets_stand_in_files_and_are_read_again_at_a_reload() {
    let backend = StubBackend::open();
    let builder = Gateway::with(&backend);
    let file = builder.folder().join("key");
    std::fs::write(&file, "geheim-one\n").expect("a file");
    let gateway = builder
        .set("HT_INTERNAL__API_KEY_FILE", file.display())
        .set("HT_LOG__LEVEL", "trace")
        .start();
    let status = |key: &str| {
        let headers = [("Authorization", &*format!("Bearer {key}"))];
        http::request(gateway.internal(), "GET", "/metrics", &headers, b"").status
    };
    assert_eq!((status("geheim-one"), status("geheim-two")), (200, 401));
    std::fs::write(&file, "geheim-two\r\n").expect("a file");
    let said = gateway.reload("");
    assert!(said.contains("in effect now: internal.api_key"), "{said}");
    assert_eq!((status("geheim-one"), status("geheim-two")), (401, 200));
    // An unreadable one changes nothing.
    std::fs::remove_file(&file).expect("a file");
    gateway.signal("HUP");
    gateway.wait_for_line("HT_INTERNAL__API_KEY_FILE: cannot read the secret in ");
    gateway.wait_for_line("settings not reloaded, nothing changes");
    assert_eq!((status("geheim-one"), status("geheim-two")), (401, 200));
    assert!(!gateway.log().contains("geheim"), "{}", gateway.log());

    let (code, log) = Gateway::with(&backend)
        .set("HT_INTERNAL__API_KEY_FILE", file.display())
        .start_and_fail();
    assert_eq!(code, Some(78), "{log}");
    let line = format!(
        "cannot read the secret in {}: there is no such file",
        file.display()
    );
    assert!(log.contains(&line), "{log}");
}
