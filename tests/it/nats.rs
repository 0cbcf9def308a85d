//! Gateways whose log is a stream of NATS.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ht_testkit::nats::Nats;
use serde_json::{Value, json};

use crate::rabbitmq::{wait_for_not_ready, wait_for_ready};
use crate::subprotocol::{V1, offer};
use crate::support::{Client, Gateway, StubBackend, eventually};

/// Runs something on the server.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(future)
}

fn api() -> StubBackend {
    StubBackend::admitting(json!([{"n": "*"}]))
}

fn node(backend: &StubBackend, server: &Nats) -> Gateway {
    let node = Gateway::with(backend)
        .set("HT_NATS__URL", server.url())
        .start();
    wait_for_ready(&node);
    node
}

fn listener(node: &Gateway) -> Client {
    let mut client = Client::connect(node);
    client.subscribe(&json!({"n": 1}), "x");
    client
}

fn publication(data: impl Into<Value>) -> Value {
    json!({"rooms": [{"n": 1}], "data": data.into()})
}

/// Another program publishes.
fn publish(server: &Nats, data: impl Into<Value>) {
    let body = publication(data).to_string().into_bytes();
    block_on(server.publish(vec![body]));
}

/// The epoch of the log as this node knows it.
fn epoch(node: &Gateway) -> Value {
    let answer = node.get("/nodes/").json();
    let epoch = &answer["nodes"][0]["epoch"];
    assert!(epoch.is_string(), "{answer}");
    epoch.clone()
}

fn gaps(node: &Gateway) -> u64 {
    let reasons = ["start", "reconnect", "trimmed", "rewound"];
    let metric = |reason| format!("high_templar_gaps_total{{reason=\"{reason}\"}}");
    reasons
        .map(|reason| node.metric(&metric(reason)))
        .iter()
        .sum()
}

#[test]
fn nodes_share_positions_and_ids_with_one_that_starts_later() {
    let (server, backend) = (Nats::start(), api());
    let nodes = [node(&backend, &server), node(&backend, &server)];
    let mut clients = [listener(&nodes[0]), listener(&nodes[1])];
    for number in 0..10 {
        let (posted, sent) = (json!({"posted": number}), json!({"sent": number}));
        nodes[number % 2].trigger(&publication(posted.clone()));
        publish(&server, sent.clone());
        for client in &mut clients {
            assert_eq!(client.expect_publish().0, posted);
            assert_eq!(client.expect_publish().0, sent);
        }
    }
    let again = json!({"rooms": [{"n": 1}], "data": "once", "id": "the same"});
    let [first, second] = nodes.each_ref().map(|node| node.trigger(&again));
    assert_eq!(second["duplicate"], true);
    let late = node(&backend, &server);
    let mut late_client = listener(&late);
    let third = late.trigger(&again);
    assert_eq!(third["duplicate"], true, "it has read the log back");
    for answer in [&second, &third] {
        assert_eq!(answer["position"], first["position"], "one log");
    }
    for other in [&nodes[1], &late] {
        assert_eq!(epoch(other), epoch(&nodes[0]));
    }
    nodes[0].trigger(&publication("last"));
    for client in &mut clients {
        assert_eq!(client.expect_publish().0, "once");
        assert_eq!(client.expect_publish().0, "last");
    }
    assert_eq!(late_client.expect_publish().0, "last");
}

/// Ends the publishers when it is dropped.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Clients of two nodes receive what was accepted, each once, in one order.
#[test]
fn five_kills_of_the_server_lose_and_double_nothing() {
    let (server, backend) = (Nats::start(), api());
    let nodes = [node(&backend, &server), node(&backend, &server)];
    let mut clients = [listener(&nodes[0]), listener(&nodes[1])];
    let stop = AtomicBool::new(false);
    let heard = thread::scope(|scope| {
        let (nodes, stop) = (&nodes, &stop);
        // Also where this thread panics: the others would publish for ever.
        let ending = Ending(stop);
        let publishers = [0, 1].map(|of: usize| {
            scope.spawn(move || {
                let mut accepted = Vec::new();
                for number in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let data = format!("{of} {number:06}");
                    let body = publication(data.clone()).to_string();
                    match nodes[of].post(body).status {
                        200 => accepted.push(data),
                        503 | 504 => thread::sleep(Duration::from_millis(20)),
                        status => panic!("{status}"),
                    }
                }
                accepted
            })
        });
        let listening = clients.each_mut().map(|client| {
            scope.spawn(move || {
                let mut heard = Vec::new();
                loop {
                    let (data, _) = client.expect_publish();
                    match data.as_str() {
                        Some("end") => return heard,
                        data => heard.push(data.expect("a text").to_owned()),
                    }
                }
            })
        });
        let received = |node: &Gateway| node.metric("high_templar_broker_messages_total");
        for _ in 0..5 {
            let before = received(&nodes[1]);
            eventually("load", || (received(&nodes[1]) > before + 50).then_some(()));
            server.kill();
            for node in nodes {
                wait_for_not_ready(node);
            }
            server.start_again();
            for node in nodes {
                wait_for_ready(node);
            }
        }
        let before = received(&nodes[1]);
        eventually("load", || (received(&nodes[1]) > before + 50).then_some(()));
        drop(ending);
        let accepted = publishers.map(|publisher| publisher.join().expect("a publisher"));
        nodes[0].trigger(&publication("end"));
        let heard = listening.map(|listener| listener.join().expect("a listener"));
        for of in &accepted {
            assert!(of.len() > 50, "{}", of.len());
            let lost: Vec<_> = of.iter().filter(|data| !heard[0].contains(data)).collect();
            assert!(lost.is_empty(), "{lost:?}");
        }
        heard
    });
    let [first, second] = heard;
    assert_eq!(first, second, "in one order");
    for of in ["0 ", "1 "] {
        let of: Vec<_> = first.iter().filter(|data| data.starts_with(of)).collect();
        assert!(
            of.is_sorted_by(|one, next| one < next),
            "each once, in order"
        );
    }
    for node in &nodes {
        assert_eq!(gaps(node), 0);
    }
}

#[test]
fn a_restart_of_the_server_is_no_gap_and_soon_over() {
    let (server, backend) = (Nats::start(), api());
    let node = node(&backend, &server);
    let mut client = listener(&node);
    for round in 0..3 {
        server.stop();
        let reason = wait_for_not_ready(&node);
        assert!(reason.contains("nats"), "{reason}");
        let refused = node.post(publication("lost").to_string());
        assert_eq!(refused.status, 503, "{refused:?}");
        server.start_again();
        let begun = Instant::now();
        publish(&server, round);
        assert_eq!(client.expect_publish().0, round);
        assert!(begun.elapsed() < Duration::from_secs(3), "{begun:?}");
    }
    wait_for_ready(&node);
    assert_eq!(gaps(&node), 0);
}

/// Neither deaf and ready, nor with positions of the old one.
#[test]
fn a_stream_that_is_deleted_is_a_gap_and_another_epoch() {
    let (server, backend) = (Nats::start(), api());
    let nodes = [node(&backend, &server), node(&backend, &server)];
    let mut clients = [listener(&nodes[0]), listener(&nodes[1])];
    nodes[0].trigger(&publication("before"));
    let before = epoch(&nodes[0]);
    block_on(server.delete_stream("hightemplar-triggers"));
    for (node, client) in nodes.iter().zip(&mut clients) {
        assert_eq!(client.expect_publish().0, "before");
        let reason = client.expect_close(1012);
        assert!(reason.starts_with("gap "), "{reason}");
        node.wait_for_line("reason=\"rewound\"");
        wait_for_ready(node);
        *client = listener(node);
    }
    let epochs = || {
        let [first, second] = nodes.each_ref().map(epoch);
        (first == second && first != before).then_some(())
    };
    eventually("one new epoch", epochs);
    nodes[1].trigger(&publication("after"));
    for client in &mut clients {
        assert_eq!(client.expect_publish().0, "after");
    }
}

/// The next message that a client of our subprotocol is sent, with its cursor.
fn next(client: &mut Client) -> (Value, Value) {
    let message = client.expect_whole();
    assert!(message["cursor"].is_string(), "{message}");
    (message["cursor"].clone(), message)
}

/// Its node is killed, and it goes to one that was there and to one that starts after it left.
#[test]
fn a_client_of_a_killed_node_receives_everything_at_any_other() {
    let (server, backend) = (Nats::start(), api());
    let (mut killed, other) = (node(&backend, &server), node(&backend, &server));
    let mut client = offer(&killed, V1).open();
    next(&mut client);
    client.send_json(&json!({"type": "subscribe", "room": {"n": 1}, "requestId": 1}));
    next(&mut client);
    killed.trigger(&publication("received"));
    let (cursor, received) = next(&mut client);
    assert_eq!(received["data"], "received");
    killed.signal("KILL");
    killed.wait_for_end();
    for number in 0..20 {
        other.trigger(&publication(number));
    }
    let late = node(&backend, &server);
    for node in [&other, &late] {
        let mut client = offer(node, V1).open();
        next(&mut client);
        let rooms = json!([{"requestId": 1, "room": {"n": 1}}]);
        let resume =
            json!({"type": "resume", "requestId": 0, "cursor": cursor, "subscriptions": rooms});
        client.send_json(&resume);
        let answer = client.expect_whole();
        assert_eq!(
            (&answer["recovered"], &answer["replayed"]),
            (&json!(true), &json!(20)),
            "{answer}"
        );
        for number in 0..20 {
            assert_eq!(next(&mut client).1["data"], number);
        }
    }
}

/// As servers of NATS with accounts and an operator want it.
#[test]
fn a_node_logs_in_with_a_credentials_file() {
    let (server, credentials) = Nats::start_with_operator();
    let (folder, backend) = (tempfile::tempdir().unwrap(), api());
    let file = folder.path().join("gateway.creds");
    std::fs::write(&file, &credentials).unwrap();
    let node = Gateway::with(&backend)
        .set("HT_NATS__URL", server.url())
        .set("HT_NATS__CREDENTIALS_FILE", file.display())
        .start();
    wait_for_ready(&node);
    let mut client = listener(&node);
    node.trigger(&publication("with a JWT"));
    assert_eq!(client.expect_publish().0, "with a JWT");
    let seed = credentials
        .lines()
        .find(|line| line.starts_with("SU"))
        .expect("a seed");
    assert!(!node.log().contains(seed));

    let without = Gateway::with(&backend)
        .set("HT_NATS__URL", server.url())
        .start();
    let line = without.wait_for_line("NATS is unavailable");
    assert!(line.contains("the login was refused"), "{line}");
}

#[test]
fn a_trigger_that_is_too_long_for_the_server_is_refused_for_good() {
    let (server, backend) = (Nats::start(), api());
    let node = node(&backend, &server);
    let mut client = listener(&node);
    let refused = node.post(publication("x".repeat(1 << 20)).to_string());
    assert_eq!(refused.status, 413, "{refused:?}");
    assert!(
        refused.text().contains("too long for the broker"),
        "{refused:?}"
    );
    assert!(refused.header("retry-after").is_none(), "{refused:?}");
    node.trigger(&publication("next"));
    assert_eq!(client.expect_publish().0, "next");
}

#[test]
fn check_says_what_is_missing_and_what_works() {
    let (server, backend) = (Nats::start_with(""), api());
    let folder = tempfile::tempdir().unwrap();
    let url = server.url().replace("nats://", "nats://u:geheim@");
    let variables = [
        ("HT_BACKEND__URL", backend.url.clone()),
        ("HT_LISTEN", "127.0.0.1:0".to_owned()),
        ("HT_INTERNAL__LISTEN", "127.0.0.1:0".to_owned()),
        ("HT_NATS__URL", url.clone()),
    ];
    let check = || {
        let command = Command::new(env!("CARGO_BIN_EXE_high-templar"))
            .arg("check")
            .current_dir(folder.path())
            .env_clear()
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .output()
            .unwrap();
        let found = String::from_utf8(command.stdout).unwrap();
        assert!(!found.contains("geheim"), "no password: {found}");
        found
    };
    let found = check();
    assert!(
        found.contains("FIX  broker: NATS at nats://127.0.0.1:"),
        "{found}"
    );
    assert!(found.contains("enable JetStream"), "{found}");
    server.stop();
    server.configure("jetstream { store_dir: \"STORE\" }");
    server.start_again();
    let found = check();
    assert!(
        found.contains("ok   broker: NATS at nats://127.0.0.1:"),
        "{found}"
    );
    let missing = "the stream hightemplar-triggers does not exist yet";
    assert!(found.contains(missing), "{found}");
    assert!(found.contains("raise its max_payload"), "{found}");
    let node = Gateway::with(&backend).set("HT_NATS__URL", &url).start();
    wait_for_ready(&node);
    assert!(check().contains("the stream hightemplar-triggers is at position "));
    assert!(!node.log().contains("geheim"), "no password");
}
