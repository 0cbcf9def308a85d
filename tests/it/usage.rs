//! Usage records: they agree with what was done, also over `kill -9`, and reach their receiver.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};

use crate::support::http::{read_head, read_up_to};
use crate::support::{Client, Gateway, StubBackend, eventually};

/// All records in a folder, by their ids. No id may be there twice.
fn records(folder: &Path) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path
            .extension()
            .is_none_or(|extension| extension != "jsonl")
        {
            continue;
        }
        // A file may get another name in between.
        for line in fs::read_to_string(&path).unwrap_or_default().lines() {
            let record: Value = serde_json::from_str(line).expect(line);
            let id = record["id"].as_str().expect("an id").to_owned();
            assert_eq!(all.insert(id.clone(), record), None, "{id} twice");
        }
    }
    all
}

/// The sum of a member over all records.
fn sum(folder: &Path, member: &str) -> u64 {
    let records = records(folder);
    records
        .values()
        .map(|record| record[member].as_u64().expect(member))
        .sum()
}

fn start(backend: &StubBackend, folder: &Path) -> Gateway {
    Gateway::with(backend)
        .set("HT_USAGE__FILE", folder.join("usage.jsonl").display())
        .set("HT_USAGE__INTERVAL", "1s")
        .set("HT_NODES__NAME", "a")
        .start()
}

/// Publishes so many messages of which each is delivered to one client.
fn deliver(gateway: &Gateway, client: &mut Client, count: usize) {
    for n in 0..count {
        gateway.trigger(&json!({"rooms": [{"room": 1}], "data": n}));
        assert_eq!(client.expect_publish().0, n);
    }
}

#[test]
fn records_agree_with_what_was_done_over_a_crash_and_nothing_is_counted_twice() {
    let (backend, folder) = (StubBackend::open(), tempfile::tempdir().expect("a folder"));
    let folder = folder.path();
    let gateway = start(&backend, folder);
    let mut client = Client::connect(&gateway);
    client.subscribe(&json!({"room": 1}), 1);
    deliver(&gateway, &mut client, 7);
    eventually("a checkpoint with all of it", || {
        (sum(folder, "deliveries") == 7).then_some(())
    });
    // Whatever of this is in no checkpoint is lost, and nothing else.
    deliver(&gateway, &mut client, 3);
    drop(gateway);
    let before = sum(folder, "deliveries");
    assert!((7..=10).contains(&before), "{before}");
    let of_crash = records(folder);

    let mut gateway = start(&backend, folder);
    let mut client = Client::connect(&gateway);
    client.subscribe(&json!({"room": 1}), 1);
    deliver(&gateway, &mut client, 5);
    client.call(&json!({"type": "status", "requestId": 2}));
    client.leave();
    gateway.signal("TERM");
    assert_eq!(gateway.wait_for_end(), Some(0), "{}", gateway.log());
    let all = records(folder);
    for (id, record) in &of_crash {
        assert_eq!(
            &all[id], record,
            "what a dead run has written never changes"
        );
    }
    let own: Vec<_> = all
        .iter()
        .filter(|(id, _)| !of_crash.contains_key(*id))
        .collect();
    let of = |member: &str| -> u64 {
        own.iter()
            .map(|(_, record)| record[member].as_u64().expect(member))
            .sum()
    };
    assert_eq!(
        (of("deliveries"), of("publications"), of("triggers")),
        (5, 5, 5)
    );
    assert_eq!((of("messages_in"), of("bootstrap_calls")), (2, 1));
    assert!(of("bytes_out") > 5 * 60, "{own:?}");
    for (_, record) in own {
        assert_eq!(
            (&record["tenant"], &record["node"]),
            (&json!("main"), &json!("a"))
        );
        assert_eq!(record["complete"], true);
    }
    let names = fs::read_dir(folder).expect("a folder");
    let names: Vec<_> = names
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    let open = names
        .iter()
        .filter(|name| name.to_string_lossy().contains(".open."));
    assert_eq!(open.count(), 0, "{names:?}");
}

/// What a receiver was sent: keys and records.
type Requests = Arc<Mutex<Vec<(String, Value)>>>;

/// A receiver that answers with these statuses, then with 200; `None`: not at all.
fn receiver(answers: &'static [Option<u16>]) -> (String, Requests) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!(
        "http://{}/usage",
        listener.local_addr().expect("an address")
    );
    let seen = Arc::new(Mutex::new(Vec::new()));
    let requests = Arc::clone(&seen);
    thread::spawn(move || {
        let mut held = Vec::new();
        let mut answers = answers.iter();
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let (_, headers, mut body) = read_head(&mut stream).expect("a request");
            let header = |wanted: &str| {
                let found = headers.iter().find(|(name, _)| name == wanted);
                let (_, value) = found.unwrap_or_else(|| panic!("no {wanted}"));
                String::from_utf8(value.clone()).expect("a text")
            };
            let length = header("content-length").parse().expect("a number");
            read_up_to(&mut stream, &mut body, length).expect("a body");
            let records = serde_json::from_slice(&body).expect("JSON");
            let key = header("authorization");
            requests.lock().expect("the requests").push((key, records));
            match answers.next() {
                Some(None) => held.push(stream),
                status => {
                    let status = status.copied().flatten().unwrap_or(200);
                    let head = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n");
                    let _ = stream.write_all(head.as_bytes());
                }
            }
        }
    });
    (url, seen)
}

/// An hour as the names of files have it.
fn hour(ago: &str) -> String {
    let date = Command::new("date")
        .args(["-u", "-d", ago, "+%Y-%m-%dT%H"])
        .output();
    let text = String::from_utf8(date.expect("the command date").stdout);
    text.expect("a text").trim().to_owned()
}

#[test]
fn complete_hours_are_posted_until_they_are_accepted() {
    let (backend, folder) = (StubBackend::open(), tempfile::tempdir().expect("a folder"));
    // Two files that an earlier process left, the first more than one request long.
    let lines = |hour: u32, count: u32| -> String {
        let line = |n| json!({"id": format!("t{n}/{hour}"), "deliveries": n}).to_string() + "\n";
        (0..count).map(line).collect()
    };
    let path = |name: &str| folder.path().join(name);
    let [first, second] =
        ["3 hours ago", "2 hours ago"].map(|ago| format!("usage.{}.dead", hour(ago)));
    fs::write(path(&format!("{first}.open.jsonl")), lines(8, 501)).expect("a file");
    fs::write(path(&format!("{second}.jsonl")), lines(9, 1)).expect("a file");
    // An error, a refusal of what it contains, and an answer that does not arrive in time.
    let (url, seen) = receiver(&[Some(500), Some(200), Some(422), Some(200), None]);
    let mut gateway = Gateway::with(&backend)
        .set("HT_USAGE__FILE", path("usage.jsonl").display())
        .set("HT_USAGE__URL", &url)
        .set("HT_USAGE__RECEIVER_KEY", "s3cret")
        .set("HT_USAGE__TIMEOUT", "300ms")
        .start();
    for name in [first, second] {
        let sent = format!("{name}.sent.jsonl");
        eventually(&sent, || path(&sent).exists().then_some(()));
    }
    let seen = seen.lock().expect("the requests").clone();
    let of = |hour: &str| {
        let of_hour = seen.iter().filter(|(_, records)| {
            let id = records[0]["id"].as_str().expect("an id");
            id.ends_with(hour)
        });
        of_hour
            .map(|(_, records)| records.as_array().expect("a list").len())
            .collect::<Vec<_>>()
    };
    // Again with the same ids, from the begin of the file.
    assert_eq!(of("/8"), [500, 500, 1, 500, 500, 1]);
    assert_eq!(of("/9"), [1]);
    assert!(seen.iter().all(|(key, _)| key == "Bearer s3cret"));
    let log = gateway.log();
    assert!(
        log.contains("records were not accepted by usage.url"),
        "{log}"
    );
    assert!(
        log.contains("the receiver answered with status 500"),
        "{log}"
    );
    assert!(!log.contains("s3cret"), "{log}");
    gateway.signal("TERM");
    assert_eq!(gateway.wait_for_end(), Some(0), "{}", gateway.log());
}

#[test]
fn a_folder_that_cannot_be_written_is_logged_and_does_not_stop_the_node() {
    let (backend, folder) = (StubBackend::open(), tempfile::tempdir().expect("a folder"));
    let missing = folder.path().join("missing");
    let gateway = start(&backend, &missing);
    gateway.wait_for_line("usage: the records of tenants cannot be written");
    let mut client = Client::connect(&gateway);
    client.subscribe(&json!({"room": 1}), 1);
    deliver(&gateway, &mut client, 2);
    fs::create_dir(&missing).expect("a folder");
    eventually("a checkpoint", || {
        (sum(&missing, "deliveries") == 2).then_some(())
    });
}

#[test]
fn usage_that_is_posted_needs_files() {
    let backend = StubBackend::open();
    let gateway = Gateway::with(&backend).set("HT_USAGE__URL", "http://127.0.0.1:1/usage");
    let (code, log) = gateway.start_and_fail();
    assert_eq!(code, Some(78), "{log}");
    assert!(log.contains("usage.file is missing"), "{log}");
}
