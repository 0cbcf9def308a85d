//! Startup and shutdown.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};

use serde_json::json;

use crate::support::stream::Address;
use crate::support::{Client, Gate, Gateway, Handshake, NEVER, StubBackend};

#[test]
fn sigterm_notifies_clients_and_the_backend_and_exits_with_0() {
    let backend = StubBackend::open();
    let mut gateway = Gateway::with(&backend).hooks().start();
    let clients: Vec<_> = (0..6)
        .map(|n| {
            let handshake = Handshake::new(&gateway).header("Cookie", format!("n={n}"));
            let mut client = handshake.connect();
            client.subscribe(&json!({"room": 1}), 1);
            client
        })
        .collect();
    backend.wait_for_moments(&["online"; 6]);
    gateway.trigger(&json!({"rooms": [{"room": 1}], "data": "last"}));
    gateway.signal("TERM");
    for mut client in clients {
        // Earlier publications are delivered before.
        assert_eq!(client.expect_publish().0, "last");
        client.expect_close(1012);
    }
    assert_eq!(gateway.wait_for_end(), Some(0));
    let moments = backend.moments();
    assert_eq!(moments[..6], ["online"; 6]);
    assert_eq!(moments[6..], ["offline"; 6]);
}

#[test]
fn an_unresponsive_client_does_not_delay_shutdown_for_long() {
    let backend = StubBackend::open();
    let mut gateway = Gateway::with(&backend)
        .hooks()
        .set("HT_DRAIN__TIMEOUT", "1s")
        .start();
    let _mute = Client::connect(&gateway);
    backend.wait_for_moments(&["online"]);
    gateway.signal("TERM");
    assert_eq!(gateway.wait_for_end(), Some(0));
    backend.wait_for_moments(&["online", "offline"]);
}

#[test]
fn a_handshake_under_way_does_not_hold_the_end() {
    let gate = Gate::default();
    let backend = StubBackend::behind(&gate);
    let mut gateway = Gateway::with(&backend)
        .set("HT_AUTH__FIRST_FRAME", "true")
        .set("HT_AUTH__FIRST_FRAME_TIMEOUT", NEVER)
        .start();
    // The shutdown waits neither for a silent connection nor for one without its token.
    let _silent = gateway.public().connect().unwrap();
    let with_cookie = || Handshake::new(&gateway).header("Cookie", "a=b");
    let asked = with_cookie().send();
    let mut waits = Handshake::new(&gateway).open();
    let mut told = Handshake::new(&gateway).open();
    told.send_text(r#"{"type": "authenticate", "token": "a"}"#);
    backend.wait_for(2);
    gateway.signal("INT");
    let (answer, _) = asked.answer();
    assert_eq!(answer.status, 503, "{answer:?}");
    assert_eq!(answer.header("retry-after"), Some("1"));
    for client in [&mut waits, &mut told] {
        assert_eq!(client.expect_close(1012), "restart");
    }
    assert_eq!(gateway.wait_for_end(), Some(0));
}

#[test]
fn a_port_in_use_exits_with_1_and_a_message() {
    let backend = StubBackend::open();
    let running = Gateway::start(&backend);
    let (Address::Tcp(public), Address::Tcp(internal)) = (running.public(), running.internal())
    else {
        unreachable!("listening on TCP");
    };
    for (variable, setting, address) in [
        ("HT_LISTEN", "listen", public),
        ("HT_INTERNAL__LISTEN", "internal.listen", internal),
    ] {
        let (code, log) = Gateway::with(&backend)
            .set(variable, address)
            .start_and_fail();
        assert_eq!(code, Some(1), "{log}");
        let last = log.lines().last().unwrap_or_default();
        assert!(
            last.contains(&format!("cannot listen on {address} ({setting})")),
            "{last}"
        );
    }
    Client::connect(&running).fence();
}

#[test]
fn a_unix_socket_has_its_mode_and_is_removed_with_the_process() {
    let backend = StubBackend::open();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("public.sock");
    let start = |mode: &str| {
        Gateway::with(&backend)
            .set("HT_LISTEN", format!("unix:{}", path.display()))
            .set("HT_LISTEN_MODE", mode)
            .start()
    };
    for mode in ["0660", "0600", "0666"] {
        let mut gateway = start(mode);
        let meta = std::fs::metadata(&path).unwrap();
        assert!(meta.file_type().is_socket());
        assert_eq!(
            meta.permissions().mode() & 0o777,
            u32::from_str_radix(mode, 8).unwrap()
        );
        let mut client = Client::connect(&gateway);
        client.subscribe(&json!({"room": 1}), 1);
        gateway.trigger(&json!({"rooms": [{"room": 1}], "data": 1}));
        client.expect_publish();
        gateway.signal("TERM");
        client.expect_close(1012);
        drop(client);
        assert_eq!(gateway.wait_for_end(), Some(0));
        assert!(!path.exists());
    }
    // A leftover socket is replaced; one in use is not.
    let killed = start("0660");
    drop(killed);
    assert!(path.exists());
    let running = start("0660");
    let (code, log) = Gateway::with(&backend)
        .set("HT_LISTEN", format!("unix:{}", path.display()))
        .start_and_fail();
    assert_eq!(code, Some(1), "{log}");
    Client::connect(&running).fence();
}

#[test]
fn during_shutdown_it_is_not_ready_and_accepts_nothing_new() {
    let gate = Gate::default();
    let backend = StubBackend::hooks_behind(&gate);
    let mut gateway = Gateway::with(&backend).hooks().start();
    let mut client = Client::connect(&gateway);
    assert_eq!(gateway.get("/ready").status, 200);
    gateway.signal("TERM");
    client.expect_close(1012);
    drop(client);
    // The hooks are still under way.
    let ready = gateway.get("/ready");
    assert_eq!(ready.status, 503);
    assert_eq!(ready.json()["ready"], false);
    assert_eq!(gateway.get("/live").status, 200);
    let answer = gateway.post(json!({"rooms": [{"room": 1}], "data": 1}).to_string());
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.header("retry-after").is_some(), "{answer:?}");
    assert!(
        gateway.public().connect().is_err(),
        "its address is free again"
    );
    gate.open();
    assert_eq!(gateway.wait_for_end(), Some(0));
    assert_eq!(backend.moments(), ["online", "offline"]);
}
