//! The service manager protocol (sd_listen_fds(3), sd_notify(3)), with the test as the manager.

use std::net::TcpListener;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;

use serde_json::json;

use crate::support::stream::Address;
use crate::support::{Client, DEADLINE, Gateway, Handshake, StubBackend};

/// The manager's notification socket.
struct Manager(UnixDatagram);

impl Manager {
    fn listen(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).expect("a socket");
        socket.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        Self(socket)
    }

    /// The lines of the next message.
    #[track_caller]
    fn hears(&self) -> Vec<String> {
        let mut buffer = [0; 4_096];
        let read = self.0.recv(&mut buffer).expect("a message");
        let text = std::str::from_utf8(&buffer[..read]).expect("UTF-8");
        text.lines().map(str::to_owned).collect()
    }
}

fn local() -> (TcpListener, Address) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = Address::Tcp(listener.local_addr().expect("an address"));
    (listener, address)
}

#[test]
fn the_manager_is_notified_of_readiness_and_shutdown() {
    let backend = StubBackend::open();
    let builder = Gateway::with(&backend);
    let path = builder.folder().join("notify");
    let manager = Manager::listen(&path);
    let mut gateway = builder.set("NOTIFY_SOCKET", path.display()).start();
    let ready = manager.hears();
    assert_eq!(ready[0], "READY=1");
    assert!(ready[1].starts_with("STATUS=browsers connect to 127.0.0.1:"));
    let mut client = Client::connect(&gateway);
    gateway.signal("TERM");
    assert_eq!(
        manager.hears(),
        ["STOPPING=1", "STATUS=shutting down gracefully"]
    );
    client.expect_close(1012);
    drop(client);
    assert_eq!(gateway.wait_for_end(), Some(0));
}

#[test]
fn signs_of_life_come_where_they_are_wanted_and_go_on_while_it_leaves() {
    let backend = StubBackend::open();
    let builder = Gateway::with(&backend);
    let path = builder.folder().join("notify");
    let manager = Manager::listen(&path);
    let mut gateway = builder
        .set("NOTIFY_SOCKET", path.display())
        .set("WATCHDOG_USEC", 100_000)
        .start();
    assert_eq!(manager.hears()[0], "READY=1");
    for _ in 0..3 {
        assert_eq!(manager.hears(), ["WATCHDOG=1"]);
    }
    // It does not reply to the close frame, so the drain waits for it.
    let _mute = Client::connect(&gateway);
    gateway.signal("TERM");
    while manager.hears()[0] != "STOPPING=1" {}
    assert_eq!(manager.hears(), ["WATCHDOG=1"]);
    // Nor does a manager that has stopped listening hold it.
    assert_eq!(gateway.wait_for_end(), Some(0));
}

#[test]
fn passed_sockets_are_matched_by_name_and_outlive_the_process() {
    let backend = StubBackend::open();
    let (public, address) = local();
    let (internal, internal_address) = local();
    let start = || {
        Gateway::with(&backend)
            .pass("internal", internal.try_clone().unwrap())
            .pass("public", public.try_clone().unwrap())
            .start()
    };
    let mut gateway = start();
    assert_eq!(gateway.public(), &address);
    assert_eq!(gateway.internal(), &internal_address);
    let mut client = Client::connect(&gateway);
    client.subscribe(&json!({"room": 1}), 1);
    gateway.trigger(&json!({"rooms": [{"room": 1}], "data": 1}));
    client.expect_publish();
    gateway.signal("TERM");
    client.expect_close(1012);
    drop(client);
    assert_eq!(gateway.wait_for_end(), Some(0));
    // No client is refused during the restart: new connections wait for the next process.
    let waiting = Handshake::at(&address).send();
    let _gateway = start();
    waiting.open().expect_json();
}

#[test]
fn a_passed_unix_socket_keeps_its_file() {
    let backend = StubBackend::open();
    let builder = Gateway::with(&backend);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("public.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let mut gateway = builder.pass("public", listener).start();
    assert_eq!(gateway.public(), &Address::Unix(path.clone()));
    Client::connect(&gateway).leave();
    gateway.signal("TERM");
    assert_eq!(gateway.wait_for_end(), Some(0));
    assert!(path.exists());
}

#[test]
fn an_unusable_passed_socket_is_a_startup_error() {
    let backend = StubBackend::open();
    let (code, log) = Gateway::with(&backend)
        .pass("http", local().0)
        .start_and_fail();
    assert_eq!(code, Some(78), "{log}");
    assert!(log.contains("must be public or internal"), "{log}");
    let (code, log) = Gateway::with(&backend)
        .pass("public", local().0)
        .pass("public", local().0)
        .start_and_fail();
    assert_eq!(code, Some(78), "{log}");
    assert!(
        log.contains("two of the passed sockets are named public: each listener has one address"),
        "{log}"
    );
    // The configured address is a local one; the actual listening address is what counts.
    let open = TcpListener::bind("0.0.0.0:0").unwrap();
    let (code, log) = Gateway::with(&backend)
        .pass("internal", open)
        .start_and_fail();
    assert_eq!(code, Some(78), "{log}");
    assert!(log.contains("internal.api_key is not set"), "{log}");
}
