//! Redis that is killed, stopped, paused, loading or replaced by a replica, and one with TLS.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ht_broker::config::RedisConfig;
use ht_broker::log::Log;
use ht_broker::redis::{APPEND, Redis, probe};
use ht_broker::{AppendError, MissedReason};
use ht_proto::trigger::{Trigger, TriggerLimits};
use ht_testkit::eventually;
use ht_testkit::redis::{Redis as Server, free_port, tls_arguments};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

#[path = "support/mod.rs"]
mod support;

use support::{Node, SOON, another_epoch, body, trigger};

const PUBLISH: Duration = Duration::from_secs(3);

const STREAM: &str = "high-templar.log";

async fn node(config: &RedisConfig) -> Node {
    let node = start(config);
    node.becomes_ready().await;
    node
}

fn start(config: &RedisConfig) -> Node {
    let log: Arc<dyn Log> = Arc::new(Redis::new(config).unwrap());
    Node::start(log, PUBLISH)
}

/// A trigger that may be sent again, and its data.
fn with_id(number: u32) -> (String, Trigger) {
    let data = format!("\"p{number:06}\"");
    let text = body(&data).replacen('{', &format!(r#"{{"id": "{number}", "#), 1);
    let limits = TriggerLimits {
        bytes: 1 << 20,
        triggers: 1,
        rooms: 1,
    };
    let trigger = Trigger::parse(&text.into(), &limits).unwrap();
    (data, trigger)
}

/// Publishes until it is accepted, or the time is over.
async fn publish_again(node: &Node, data: &str) {
    let begun = Instant::now();
    while let Err(error) = node.broker.publish(vec![trigger(data)]).await {
        assert!(begun.elapsed() < SOON, "{error}");
        sleep(Duration::from_millis(50)).await;
    }
}

/// What was accepted through a node and from a publisher that appends by itself, under load.
struct Load {
    stop: Arc<AtomicBool>,
    tasks: [JoinHandle<Vec<String>>; 2],
}

impl Load {
    fn start(node: &Node, server: &Server) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (broker, stopped) = (Arc::clone(&node.broker), Arc::clone(&stop));
        let through_a_node = tokio::spawn(async move {
            let mut accepted = Vec::new();
            for number in 0.. {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                let data = format!("\"p{number:06}\"");
                match broker.publish(vec![trigger(&data)]).await {
                    Ok(_) => accepted.push(data),
                    Err(_) => sleep(Duration::from_millis(20)).await,
                }
            }
            accepted
        });
        let (client, stopped) = (
            redis::Client::open(server.url()).unwrap(),
            Arc::clone(&stop),
        );
        let by_itself = tokio::spawn(async move {
            let (mut accepted, mut connection) = (Vec::new(), None);
            for number in 0.. {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                if connection.is_none() {
                    connection = client.get_multiplexed_async_connection().await.ok();
                }
                let Some(connected) = &mut connection else {
                    sleep(Duration::from_millis(20)).await;
                    continue;
                };
                let data = format!("\"c{number:06}\"");
                let mut append = redis::cmd("EVAL");
                append.arg(APPEND).arg(1).arg(STREAM).arg(250_000);
                append.arg("trigger").arg("").arg(body(&data));
                match append.query_async::<String>(connected).await {
                    Ok(_) => accepted.push(data),
                    Err(_) => connection = None,
                }
            }
            accepted
        });
        Self {
            stop,
            tasks: [through_a_node, by_itself],
        }
    }

    async fn end(self) -> [Vec<String>; 2] {
        self.stop.store(true, Ordering::Relaxed);
        let [one, other] = self.tasks;
        [one.await.unwrap(), other.await.unwrap()]
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_kills_under_load_lose_and_double_nothing() {
    let mut server = Server::start();
    let nodes = [node(&server.config()).await, node(&server.config()).await];
    let load = Load::start(&nodes[0], &server);
    for round in 0..5 {
        let before = nodes[1].recorder.count();
        eventually(SOON, || nodes[1].recorder.count() > before + 50).await;
        server.kill();
        eventually(SOON, || nodes.iter().all(|node| !node.is_ready())).await;
        server.start_again();
        for node in &nodes {
            node.becomes_ready().await;
        }
        let before = nodes[1].recorder.count();
        eventually(SOON, || nodes[1].recorder.count() > before + 50).await;
        eprintln!("round {round}: {} read", nodes[1].recorder.count());
    }
    let accepted = load.end().await;
    assert!(accepted.iter().all(|accepted| !accepted.is_empty()));
    for node in &nodes {
        let all_last = || {
            accepted
                .iter()
                .all(|it| node.recorder.has(it.last().unwrap()))
        };
        eventually(SOON, all_last).await;
    }
    let [first, second] = nodes.each_ref().map(|node| node.recorder.seen());
    assert_eq!(first, second, "in one order on both");
    let heard: HashSet<_> = first.iter().collect();
    assert_eq!(heard.len(), first.len(), "nothing is doubled");
    let lost = accepted.iter().flatten();
    let lost: Vec<_> = lost.filter(|data| !heard.contains(data)).collect();
    assert!(lost.is_empty(), "{lost:?}");
    for kind in ["\"p", "\"c"] {
        let of = first.iter().filter(|data| data.starts_with(kind));
        assert!(of.is_sorted(), "in the order of their publisher");
    }
    for node in nodes {
        assert_eq!(node.recorder.gaps().len(), 1, "the start alone");
        node.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stops_in_order_loses_nothing() {
    let mut server = Server::start();
    let node = node(&server.config()).await;
    node.broker.publish(vec![trigger("1")]).await.unwrap();
    server.stop();
    node.becomes_not_ready().await;
    assert!(node.broker.publish(vec![trigger("2")]).await.is_err());
    server.start_again();
    node.becomes_ready().await;
    publish_again(&node, "3").await;
    assert_eq!(node.recorder.seen(), ["1", "3"]);
    assert_eq!(node.recorder.gaps().len(), 1, "the start alone");
    node.end().await;
}

/// It is there, and its log is not yet: no node takes that for an empty log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_loads_its_data_is_waited_for() {
    let mut server = Server::start();
    let node = node(&server.config()).await;
    let bodies: Vec<_> = (0..5_000)
        .map(|number: u32| body(&number.to_string()))
        .collect();
    for bodies in bodies.chunks(100) {
        let mut arguments = vec!["EVAL", APPEND, "1", STREAM, "250000"];
        arguments.extend(bodies.iter().flat_map(|body| ["trigger", "", body]));
        server.command(&arguments);
    }
    node.sees("4999").await;
    let known = node.broker.epoch();
    server.kill();
    // Microseconds for each command of its file; it answers after each 1,024 of them.
    server.start_again_with(&["--key-load-delay", "1000"]);
    let starts = || node.trouble().starts_with("the server is starting");
    eventually(SOON, starts).await;
    let refused = node.broker.publish(vec![trigger("1")]).await;
    assert!(matches!(refused, Err(AppendError::Unavailable(_))));
    let found = probe(&server.config()).await.unwrap_err().to_string();
    assert!(found.contains("the server is starting"), "{found}");
    node.becomes_ready().await;
    publish_again(&node, "5000").await;
    assert_eq!(node.recorder.count(), 5_001);
    assert_eq!(node.broker.epoch(), known);
    assert_eq!(node.recorder.gaps().len(), 1, "the start alone");
    node.end().await;
}

/// What was under way is unknown to its publisher, who sends it again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_for_long_doubles_nothing() {
    let server = Server::start();
    let nodes = [node(&server.config()).await, node(&server.config()).await];
    let mut expected = Vec::new();
    let (data, first) = with_id(0);
    nodes[0].broker.publish(vec![first]).await.unwrap();
    expected.push(data);
    server.pause();
    let paused = Instant::now();
    let (mut number, mut unknown, mut refused) = (1, Vec::new(), 0);
    while paused.elapsed() < Duration::from_secs(20) {
        let begun = Instant::now();
        let (data, trigger) = with_id(number);
        match nodes[0].broker.publish(vec![trigger]).await {
            Err(AppendError::Unconfirmed { .. }) => unknown.push(number),
            Err(AppendError::Unavailable(_)) => {
                refused += 1;
                sleep(Duration::from_millis(100)).await;
            }
            other => panic!("{data}: {other:?}"),
        }
        assert!(begun.elapsed() < PUBLISH + Duration::from_secs(1));
        number += 1;
    }
    assert!(
        !unknown.is_empty() && refused > 10,
        "{unknown:?}, {refused}"
    );
    assert!(nodes.iter().all(|node| !node.is_ready()));
    server.resume();
    for node in &nodes {
        node.becomes_ready().await;
    }
    // Each of them again, and at the other node.
    for number in unknown {
        let (data, trigger) = with_id(number);
        nodes[1].broker.publish(vec![trigger]).await.unwrap();
        expected.push(data);
    }
    publish_again(&nodes[0], "\"last\"").await;
    expected.push("\"last\"".into());
    for node in nodes {
        node.sees("\"last\"").await;
        let mut seen = node.recorder.seen();
        assert_eq!(seen.last(), expected.last());
        seen.sort();
        expected.sort();
        assert_eq!(seen, expected);
        expected.sort_by_key(|data| data == "\"last\"");
        assert_eq!(node.recorder.gaps().len(), 1, "the start alone");
        node.end().await;
    }
}

/// The replica was behind: the positions of what it lacks are given again, in another epoch.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_that_loses_records_is_another_epoch_for_all() {
    let mut primary = Server::start();
    let replica = Server::start();
    let nodes = [node(&primary.config()).await, node(&primary.config()).await];
    let follow = |port: &str| replica.command(&["REPLICAOF", "127.0.0.1", port]);
    follow(&primary.port().to_string());
    let publish = async |numbers: std::ops::Range<u32>| {
        for number in numbers {
            let data = number.to_string();
            nodes[0].broker.publish(vec![trigger(&data)]).await.unwrap();
        }
    };
    publish(0..50).await;
    let length = |server: &Server| server.command(&["XLEN", STREAM]);
    eventually(SOON, || length(&replica) == length(&primary)).await;
    // It stays a replica, and gets nothing more.
    follow("1");
    publish(50..100).await;
    for node in &nodes {
        node.sees("99").await;
    }
    let before = nodes[0].broker.epoch().unwrap();
    primary.kill();
    replica.command(&["REPLICAOF", "NO", "ONE"]);
    let port = primary.port().to_string();
    assert_eq!(replica.command(&["CONFIG", "SET", "port", &port]), "OK");
    let after = another_epoch(&nodes, before).await;
    assert_ne!(before.epoch, after.epoch);
    for node in &nodes {
        node.becomes_ready().await;
        let gaps = [MissedReason::Start, MissedReason::Rewound];
        assert_eq!(node.recorder.gaps(), gaps);
    }
    publish_again(&nodes[1], "\"after\"").await;
    for node in nodes {
        node.sees("\"after\"").await;
        let (_, begun) = *node.recorder.epochs().last().unwrap();
        assert_eq!(begun, 100, "nothing more was placed in the old epoch");
        node.end().await;
    }
}

/// With `appendfsync everysec` a server whose disk is slow holds back what it has confirmed. When it is
/// killed then, the positions of that are given again: here to as many records, which say the same,
/// before any node is back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_that_a_kill_loses_is_found_behind_records_that_look_like_it() {
    let mut server = Server::start();
    let nodes = [node(&server.config()).await, node(&server.config()).await];
    let append = |server: &Server, count: usize| {
        let body = body("\"changed\"");
        let mut arguments = vec!["EVAL", APPEND, "1", STREAM, "250000"];
        arguments.extend(["trigger", "", &body].repeat(count));
        server.command(&arguments);
    };
    append(&server, 100);
    append(&server, 200);
    for node in &nodes {
        eventually(SOON, || node.recorder.count() == 300).await;
    }
    let before = nodes[0].broker.epoch().unwrap();
    server.kill();
    for node in &nodes {
        node.becomes_not_ready().await;
    }
    let (port, other) = (server.port(), free_port());
    server.lose_end(10_000);
    server.move_to(other);
    server.start_again();
    let length = || server.command(&["XLEN", STREAM]).parse::<usize>().unwrap();
    eventually(SOON, || length() > 0).await;
    let left = length();
    assert!((100..300).contains(&left), "{left} of 300");
    append(&server, 300);
    server.stop();
    server.move_to(port);
    server.start_again();
    let after = another_epoch(&nodes, before).await;
    assert_ne!(before.epoch, after.epoch);
    for node in &nodes {
        node.becomes_ready().await;
        let gaps = [MissedReason::Start, MissedReason::Rewound];
        assert_eq!(node.recorder.gaps(), gaps);
    }
    publish_again(&nodes[1], "\"after\"").await;
    for node in nodes {
        node.sees("\"after\"").await;
        node.end().await;
    }
}

/// What was accepted before is lost with it; nobody is deaf, and nothing comes twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_deleted_under_load_leaves_no_node_deaf() {
    let server = Server::start();
    let nodes = [node(&server.config()).await, node(&server.config()).await];
    let load = Load::start(&nodes[0], &server);
    for _ in 0..5 {
        let before = nodes.each_ref().map(|node| node.recorder.count());
        let goes_on = || {
            let counts = nodes.each_ref().map(|node| node.recorder.count());
            counts
                .iter()
                .zip(before)
                .all(|(count, before)| *count > before + 50)
        };
        eventually(SOON, goes_on).await;
        let known = nodes[0].broker.epoch().unwrap();
        server.command(&["DEL", STREAM]);
        another_epoch(&nodes, known).await;
    }
    load.end().await;
    publish_again(&nodes[1], "\"last\"").await;
    let mut after = Vec::new();
    for node in nodes {
        node.sees("\"last\"").await;
        let seen = node.recorder.seen();
        let unique: HashSet<_> = seen.iter().collect();
        assert_eq!(unique.len(), seen.len(), "nothing is doubled");
        // From there on both were there. They began to read the last one at different moments.
        let (_, begun) = *node.recorder.epochs().last().unwrap();
        after.push(seen[begun..].to_vec());
        node.end().await;
    }
    let common = after[0].len().min(after[1].len());
    let ends = after.iter().map(|seen| &seen[seen.len() - common..]);
    assert!(
        common > 0
            && ends
                .clone()
                .all(|end| end == &after[0][after[0].len() - common..])
    );
}

/// Without a file of its own it comes back empty.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_keeps_nothing_is_another_log_after_a_crash() {
    let mut server = Server::start_with(&["--appendonly", "no"]);
    let nodes = [node(&server.config()).await, node(&server.config()).await];
    nodes[0].broker.publish(vec![trigger("1")]).await.unwrap();
    for node in &nodes {
        node.sees("1").await;
    }
    let before = nodes[0].broker.epoch().unwrap();
    server.kill();
    server.start_again();
    another_epoch(&nodes, before).await;
    publish_again(&nodes[1], "2").await;
    for node in nodes {
        node.sees("2").await;
        assert_eq!(node.recorder.seen(), ["1", "2"]);
        let gaps = [MissedReason::Start, MissedReason::Rewound];
        assert_eq!(node.recorder.gaps(), gaps);
        node.end().await;
    }
}

/// Its connections stay open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_becomes_a_replica_is_left() {
    let (server, other) = (Server::start(), Server::start());
    let node = node(&server.config()).await;
    node.broker.publish(vec![trigger("1")]).await.unwrap();
    // One that cannot be reached: its data stay as they are.
    server.command(&["REPLICAOF", "127.0.0.1", "1"]);
    node.becomes_not_ready().await;
    let says = || node.trouble().contains("the server is a replica");
    eventually(SOON, says).await;
    server.command(&["REPLICAOF", "NO", "ONE"]);
    node.becomes_ready().await;
    publish_again(&node, "2").await;
    assert_eq!(node.recorder.gaps().len(), 1, "nothing was lost");
    let known = node.broker.epoch().unwrap();

    // One with other data, which take the place of its own.
    let port = other.port().to_string();
    server.command(&["REPLICAOF", "127.0.0.1", &port]);
    eventually(SOON, || server.command(&["EXISTS", STREAM]) == "0").await;
    server.command(&["REPLICAOF", "NO", "ONE"]);
    let anew = || node.broker.epoch().is_some_and(|epoch| epoch != known);
    eventually(SOON, anew).await;
    publish_again(&node, "3").await;
    assert_eq!(node.recorder.seen(), ["1", "2", "3"]);
    node.end().await;
}

#[tokio::test]
async fn tls_is_used_as_the_settings_want_it() {
    let folder = tempfile::tempdir().unwrap();
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (folder.path().join("c.pem"), folder.path().join("k.pem"));
    std::fs::write(&certificate, certified.cert.pem()).unwrap();
    std::fs::write(&key, certified.signing_key.serialize_pem()).unwrap();
    let port = ht_testkit::redis::free_port();
    let mut arguments = tls_arguments(&certificate, &key);
    arguments.extend(["--tls-port".to_owned(), port.to_string()]);
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let _server = Server::start_with(&arguments);
    let config = |host: &str, tls_verify, tls_ca_file| RedisConfig {
        url: format!("rediss://{host}:{port}"),
        tls_verify,
        tls_ca_file,
        ..RedisConfig::default()
    };
    for (config, problem) in [
        (config("localhost", true, Some(certificate.clone())), None),
        (config("127.0.0.1", false, None), None),
        // Nobody has signed it.
        (config("localhost", true, None), Some("TLS cannot be used")),
        // It is that of another host.
        (
            config("127.0.0.1", true, Some(certificate.clone())),
            Some("TLS cannot be used"),
        ),
        (
            config("localhost", true, Some("/nowhere".into())),
            Some("/nowhere"),
        ),
    ] {
        let found = probe(&config).await;
        match problem {
            None => {
                let report = found.unwrap_or_else(|error| panic!("{error}"));
                let unchecked = report.notes.iter().any(|note| note.contains("tls_verify"));
                assert_eq!(unchecked, !config.tls_verify);
            }
            Some(problem) => {
                let text = found.unwrap_err().to_string();
                assert!(text.contains(problem), "{text}");
            }
        }
    }
    let node = node(&config("localhost", true, Some(certificate))).await;
    node.broker.publish(vec![trigger("1")]).await.unwrap();
    node.sees("1").await;
    node.end().await;
}

/// A unix socket is as good.
#[tokio::test]
async fn a_unix_socket_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("redis.sock").display().to_string();
    let server = Server::start_with(&["--unixsocket", &socket]);
    let config = RedisConfig {
        url: format!("unix://{socket}?db=3"),
        ..server.config()
    };
    let node = node(&config).await;
    node.broker.publish(vec![trigger("1")]).await.unwrap();
    assert_eq!(server.command(&["-n", "3", "EXISTS", STREAM]), "1");
    node.end().await;
}
