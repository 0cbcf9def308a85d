//! Settings that are read again while the gateway runs.

use std::os::unix::net::UnixDatagram;

use serde_json::{Value, json};

use crate::support::{Client, DEADLINE, Gateway, Handshake, StubBackend, http};

fn subscribe(client: &mut Client, room: u64) -> Value {
    client.call(&json!({"type": "subscribe", "room": {"room": room}, "requestId": room}))
}

#[test]
fn limits_hold_for_open_connections_for_new_ones_and_for_triggers() {
    let backend = StubBackend::open();
    let gateway = Gateway::start(&backend);
    let mut client = Client::connect(&gateway);
    assert_eq!(subscribe(&mut client, 1), json!({"code": "success"}));
    let two_rooms = json!({"rooms": [{"room": 1}, {"room": 2}], "data": 1});
    gateway.trigger(&two_rooms);
    client.expect_publish();
    let said = gateway.reload(
        "[limits]\nsubscriptions = 1\nconnections = 1\nrooms_per_trigger = 1\n\
         [status]\nclients = false\n",
    );
    let live = "in effect now: status.clients, limits.connections, limits.subscriptions, \
                limits.rooms_per_trigger";
    assert!(said.contains(live), "{said}");
    let refused = subscribe(&mut client, 2);
    assert_eq!(refused["message"], "too-many-subscriptions");
    assert_eq!(client.status()["message"], "message-type-not-allowed");
    assert_eq!(Handshake::new(&gateway).refused().status, 503);
    assert_eq!(gateway.post(two_rooms.to_string()).status, 400);
    gateway.trigger(&json!({"rooms": [{"room": 1}], "data": 2}));
    assert_eq!(client.expect_publish().0, 2);
    // And back again.
    let said = gateway.reload("");
    assert!(said.contains(live), "{said}");
    assert_eq!(subscribe(&mut client, 2), json!({"code": "success"}));
    Client::connect(&gateway).leave();
    gateway.trigger(&two_rooms);
}

#[test]
fn the_key_changes_for_the_next_request() {
    let backend = StubBackend::open();
    let gateway = Gateway::start(&backend);
    let trigger = json!({"rooms": [{"room": 1}], "data": 1}).to_string();
    let with = |key: &str| {
        let headers = [("Authorization", &*format!("Bearer {key}"))];
        let to = gateway.internal();
        http::request(to, "POST", "/trigger/", &headers, trigger.as_bytes()).status
    };
    assert_eq!(gateway.post(&trigger).status, 200);
    let mut log = gateway.reload("[internal]\napi_key = \"first-key-of-the-test\"\n");
    assert_eq!(gateway.post(&trigger).status, 401);
    assert_eq!(with("first-key-of-the-test"), 200);
    log += &gateway.reload("[internal]\napi_key = \"second-key-of-the-test\"\n");
    assert_eq!(with("first-key-of-the-test"), 401);
    assert_eq!(with("second-key-of-the-test"), 200);
    assert!(!log.contains("-key-of-the-test"), "{log}");
}

#[test]
fn headers_origins_and_trusted_proxies_change_for_the_next_client() {
    let backend = StubBackend::open();
    let gateway = Gateway::start(&backend);
    let foreign = || {
        Handshake::new(&gateway)
            .header("Origin", "https://elsewhere.test")
            .header("X-Real-IP", "192.0.2.7")
    };
    assert_eq!(foreign().refused().status, 403);
    let said = gateway.reload(
        "origins = [\"*\"]\ntrusted_proxies = []\n\
         [backend.headers]\nX-Color = { fixed = \"blue\" }\n",
    );
    let live = "in effect now: trusted_proxies, origins.allow, backend.headers";
    assert!(said.contains(live), "{said}");
    foreign().connect().leave();
    let seen = &backend.wait_for(1)[0];
    assert_eq!(seen.header("x-color"), Some("blue"));
    assert_eq!(
        seen.header("x-real-ip"),
        Some("127.0.0.1"),
        "not believed any more"
    );
}

#[test]
fn the_log_level_changes_unless_rust_log_is_set() {
    let backend = StubBackend::open();
    for (rust_log, debug_is_logged) in [("", true), ("info", false)] {
        let gateway = Gateway::with(&backend).set("RUST_LOG", rust_log).start();
        let visit = || Handshake::new(&gateway).open().expect_json();
        visit();
        assert!(!gateway.log().contains("DEBUG"));
        gateway.reload("[log]\nlevel = \"debug\"\n");
        visit();
        if debug_is_logged {
            gateway.wait_for_line("connection opened");
        }
        gateway.reload("");
        let before = gateway.log().len();
        visit();
        gateway.reload("");
        assert!(!gateway.log()[before..].contains("DEBUG"));
        assert_eq!(gateway.log().contains("connection opened"), debug_is_logged);
    }
}

#[test]
fn settings_that_need_a_restart_are_named_until_reverted() {
    let backend = StubBackend::open();
    let gateway = Gateway::start(&backend);
    let fixed = "[rooms]\nmatching = \"exact\"\n[limits]\ninbox = 7\nconnections = 9\n";
    let said = gateway.reload(fixed);
    let named = "that need a restart: rooms.matching, limits.inbox";
    assert!(said.contains(named), "{said}");
    assert!(said.contains("in effect now: limits.connections"), "{said}");
    let said = gateway.reload(fixed);
    assert!(said.contains(named), "{said}");
    assert!(
        said.contains("settings reloaded, nothing else changed"),
        "{said}"
    );
    let said = gateway.reload("");
    assert!(!said.contains("restart"), "{said}");
    let said = gateway.reload("");
    assert!(
        said.contains(
            "settings reloaded, nothing changes: environment variables are read at start only"
        ),
        "{said}"
    );
    // The environment still overrides.
    let said = gateway.reload("threads = 1\n");
    assert!(!said.contains("threads"), "{said}");
}

#[test]
fn with_mistakes_nothing_changes_and_each_is_told() {
    let backend = StubBackend::open();
    let gateway = Gateway::with(&backend)
        .file("[limits]\nsubscriptions = 1\n")
        .start();
    let mut client = Client::connect(&gateway);
    subscribe(&mut client, 1);
    for (file, mistakes) in [
        (
            "[limits]\nsubscriptions = 2\nmessage_bytes = \"many\"\n[log]\nlevel = 3\n",
            &[
                "high-templar.toml:3: limits.message_bytes: ",
                "high-templar.toml:5: log.level: ",
            ][..],
        ),
        (
            "[limits\nsubscriptions = 2\n",
            &["high-templar.toml:1: this is not valid TOML"],
        ),
        (
            "[limits]\nsubscriptions = 2\n[backend.headers]\nConnection = { fixed = \"close\" }\n",
            &["onnection"],
        ),
    ] {
        let said = gateway.reload(file);
        for mistake in mistakes {
            assert!(said.contains(mistake), "{mistake}:\n{said}");
        }
        assert!(said.contains("nothing changes"), "{said}");
        let refused = subscribe(&mut client, 2);
        assert_eq!(refused["message"], "too-many-subscriptions");
    }
    gateway.reload("[limits]\nsubscriptions = 2\n");
    assert_eq!(subscribe(&mut client, 2), json!({"code": "success"}));
}

#[test]
fn the_service_manager_is_notified() {
    let backend = StubBackend::open();
    let builder = Gateway::with(&backend);
    let path = builder.folder().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(DEADLINE)).unwrap();
    let hears = || {
        let mut buffer = [0; 4_096];
        let read = manager.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..read]).into_owned()
    };
    let gateway = builder.set("NOTIFY_SOCKET", path.display()).start();
    assert!(hears().starts_with("READY=1\n"));
    for file in ["", "a mistake"] {
        gateway.reload(file);
        let reloading = hears();
        let since = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=");
        let since = since.and_then(|since| since.trim_end().parse::<u64>().ok());
        assert!(since.is_some_and(|since| since > 0), "{reloading}");
        assert!(hears().starts_with("READY=1\n"));
    }
}
