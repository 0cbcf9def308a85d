//! `window.file`: a graceful restart continues the order, with its window and the ids of triggers.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ht_testkit::rabbitmq::RabbitMq;
use serde_json::{Value, json};

use crate::rabbitmq::wait_for_ready;
use crate::support::{Client, Gateway, Reply, StubBackend, places};

/// A file for windows, in a folder of its own.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("window")
    }

    fn start(&self, backend: &StubBackend) -> Gateway {
        let file = self.file();
        let gateway = Gateway::with(backend).set("HT_WINDOW__FILE", file.display());
        gateway.start()
    }

    /// The names of what is in the folder.
    fn names(&self) -> Vec<String> {
        let names = fs::read_dir(self.0.path()).expect("a folder");
        let names = names.map(|entry| entry.expect("an entry").file_name());
        names.map(|name| name.to_string_lossy().into()).collect()
    }
}

fn stop(mut gateway: Gateway) -> String {
    gateway.signal("TERM");
    assert_eq!(gateway.wait_for_end(), Some(0), "{}", gateway.log());
    gateway.log()
}

/// The epoch of a gateway, and its last position.
fn order(gateway: &Gateway) -> (Value, u64) {
    let command = json!({"command": "invalidate", "everyone": true, "dry_run": true});
    let answer = gateway.trigger(&command);
    let position = answer["position"].as_u64().expect("a position");
    (answer["epoch"].clone(), position)
}

fn with_id(id: &str) -> Value {
    json!({"rooms": [{"room": 1}, {"room": "*"}], "data": {"id": id}, "id": id})
}

fn mode(path: &Path) -> u32 {
    let metadata = fs::metadata(path).expect("a file");
    metadata.permissions().mode() & 0o777
}

#[test]
fn a_graceful_restart_continues_the_order() {
    let (backend, place) = (StubBackend::open(), Place::new());
    let gateway = place.start(&backend);
    for id in ["a", "b"] {
        gateway.trigger(&with_id(id));
    }
    let before = order(&gateway);
    assert_eq!(before.1, 2);
    let log = stop(gateway);
    assert!(
        log.contains("window.file: saved for the next process"),
        "{log}"
    );
    assert_eq!(place.names(), ["window"]);
    assert_eq!(mode(&place.file()), 0o600);

    let gateway = place.start(&backend);
    assert!(place.names().is_empty(), "it is used once");
    assert_eq!(order(&gateway), before);
    assert_eq!(gateway.metric("high_templar_window_entries"), 2);
    let answer = places(gateway.trigger(&with_id("a")));
    assert_eq!(answer, json!({"position": 1, "duplicate": true}));
    let answer = places(gateway.trigger(&with_id("c")));
    assert_eq!(answer, json!({"position": 3}));
    // And once more, with what both processes placed.
    stop(gateway);
    let gateway = place.start(&backend);
    assert_eq!(order(&gateway), (before.0, 3));
    assert_eq!(gateway.metric("high_templar_window_entries"), 3);
    for (id, position) in [("b", 2), ("c", 3)] {
        let answer = places(gateway.trigger(&with_id(id)));
        assert_eq!(answer, json!({"position": position, "duplicate": true}));
    }
}

#[test]
fn a_process_that_is_killed_leaves_no_file_and_a_new_epoch_begins() {
    let (backend, place) = (StubBackend::open(), Place::new());
    let gateway = place.start(&backend);
    gateway.trigger(&with_id("a"));
    let before = order(&gateway);
    stop(gateway);
    let mut gateway = place.start(&backend);
    gateway.trigger(&with_id("b"));
    gateway.signal("KILL");
    gateway.wait_for_end();
    assert!(place.names().is_empty());
    let gateway = place.start(&backend);
    let (epoch, position) = order(&gateway);
    assert_ne!(epoch, before.0);
    assert_eq!(position, 0);
    assert!(!gateway.log().contains("window.file"), "{}", gateway.log());
}

#[test]
fn a_damaged_file_is_ignored_with_a_line() {
    let (backend, place) = (StubBackend::open(), Place::new());
    let gateway = place.start(&backend);
    gateway.trigger(&with_id("a"));
    let before = order(&gateway);
    stop(gateway);
    let mut bytes = fs::read(place.file()).expect("a file");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(place.file(), bytes).expect("a file");
    let gateway = place.start(&backend);
    gateway.wait_for_line("window.file is ignored");
    assert!(place.names().is_empty());
    let (epoch, position) = order(&gateway);
    assert_ne!(epoch, before.0);
    assert_eq!(position, 0);
}

#[test]
fn a_folder_that_cannot_be_written_to_is_logged_at_the_start() {
    let (backend, place) = (StubBackend::open(), Place::new());
    let file = place.0.path().join("nowhere/window");
    let gateway = Gateway::with(&backend).set("HT_WINDOW__FILE", file.display());
    let gateway = gateway.start();
    gateway.wait_for_line("window.file cannot be written");
    let log = stop(gateway);
    assert!(log.contains("window.file could not be written"), "{log}");
}

#[test]
fn a_client_of_the_second_process_catches_up_from_where_that_began() {
    let answer = json!({"allowed_rooms": [{"room": "*"}], "user": {"id": 1}}).to_string();
    let backend = StubBackend::new(move |_| Reply::json("200 OK", answer.clone()));
    let place = Place::new();
    let gateway = place.start(&backend);
    for number in 0..1_000 {
        gateway.trigger(&json!({"rooms": [{"room": 1}], "data": number}));
    }
    stop(gateway);
    let gateway = place.start(&backend);
    let mut client = Client::connect(&gateway);
    client.subscribe(&json!({"room": 1}), 1);
    // Held, and sent what it missed: nothing of the first process.
    gateway.trigger(&json!({"command": "invalidate", "user": 1}));
    gateway.trigger(&json!({"rooms": [{"room": 1}], "data": "after"}));
    assert_eq!(client.expect_publish().0, "after");
    assert_eq!(gateway.metric("high_templar_window_gaps_total"), 0);
}

#[test]
fn with_rabbitmq_ids_and_epoch_survive() {
    let vhost = RabbitMq::shared().vhost();
    let (backend, place) = (StubBackend::open(), Place::new());
    let start = || {
        let file = place.file();
        let gateway = Gateway::with(&backend).set("HT_WINDOW__FILE", file.display());
        let gateway = gateway.set("HT_RABBITMQ__URL", vhost.url()).start();
        wait_for_ready(&gateway);
        gateway
    };
    let gateway = start();
    gateway.trigger(&with_id("a"));
    let before = order(&gateway);
    stop(gateway);
    let gateway = start();
    // What was published meanwhile is a hole, which has a position of its own.
    assert_eq!(order(&gateway), (before.0, before.1 + 1));
    assert_eq!(gateway.trigger(&with_id("a"))["duplicate"], true);
    assert_eq!(gateway.trigger(&with_id("b"))["position"], before.1 + 2);
}
