//! NATS that is killed, stopped or paused, one with TLS, and a cluster that loses its leader.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ht_broker::config::{NatsConfig, Reading};
use ht_broker::log::{From, Log, TailError};
use ht_broker::nats::{Nats, probe};
use ht_broker::{AppendError, Broker};
use ht_testkit::eventually;
use ht_testkit::nats::Nats as Server;
use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

#[path = "support/mod.rs"]
mod support;

use support::{Node, SOON, body, parse, trigger};

const PUBLISH: Duration = Duration::from_secs(3);

async fn node(config: &NatsConfig) -> Node {
    let log: Arc<dyn Log> = Arc::new(Nats::new(config).unwrap());
    let reading = Reading {
        positions: 10_000,
        silence: Some(Duration::from_secs(10)),
        ..Reading::default()
    };
    let node = Node::run(Broker::new(log, parse(), PUBLISH).reading(reading));
    node.becomes_ready().await;
    node
}

/// What was accepted through a node, and what the server acknowledged to another publisher, under
/// load.
struct Load {
    stop: Arc<AtomicBool>,
    tasks: [JoinHandle<Vec<String>>; 2],
}

impl Load {
    fn start(node: &Node, server: &Arc<Server>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (broker, stopped) = (Arc::clone(&node.broker), Arc::clone(&stop));
        let publisher = tokio::spawn(async move {
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
        let (server, stopped) = (Arc::clone(server), Arc::clone(&stop));
        let other = tokio::spawn(async move {
            let client = server.connect().await;
            let mut acknowledged = Vec::new();
            for number in 0.. {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                let data = format!("\"o{number:06}\"");
                let stored = client.request("hightemplar.triggers", body(&data).into());
                match timeout(Duration::from_secs(1), stored).await {
                    Ok(Ok(answer)) if answer.payload.starts_with(b"{\"stream\"") => {
                        acknowledged.push(data);
                    }
                    Ok(_) | Err(_) => sleep(Duration::from_millis(20)).await,
                }
            }
            acknowledged
        });
        Self {
            stop,
            tasks: [publisher, other],
        }
    }

    async fn end(self) -> [Vec<String>; 2] {
        self.stop.store(true, Ordering::Relaxed);
        let [publisher, other] = self.tasks;
        [publisher.await.unwrap(), other.await.unwrap()]
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_kills_under_load_lose_and_double_nothing() {
    let server = Arc::new(Server::start());
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
    let [accepted, acknowledged] = load.end().await;
    assert!(!accepted.is_empty() && !acknowledged.is_empty());
    for node in &nodes {
        let last = [accepted.last().unwrap(), acknowledged.last().unwrap()];
        eventually(SOON, || last.iter().all(|data| node.recorder.has(data))).await;
    }
    let [first, second] = nodes.each_ref().map(|node| node.recorder.seen());
    assert_eq!(first, second, "in one order on both");
    let heard: HashSet<_> = first.iter().collect();
    assert_eq!(heard.len(), first.len(), "nothing is doubled");
    let lost = accepted.iter().chain(&acknowledged);
    let lost: Vec<_> = lost.filter(|data| !heard.contains(data)).collect();
    assert!(lost.is_empty(), "{lost:?}");
    for kind in ["\"p", "\"o"] {
        let of = first.iter().filter(|data| data.starts_with(kind));
        assert!(of.is_sorted(), "in the order of their publisher");
    }
    for node in nodes {
        assert_eq!(node.recorder.gaps().len(), 1, "the start alone");
        node.end().await;
    }
}

/// A restarted server has forgotten the consumer: that must not go unnoticed for long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tail_is_back_within_three_seconds_of_a_restart() {
    let server = Server::start();
    let node = node(&server.config()).await;
    for (round, kill) in [true, false, true].into_iter().enumerate() {
        if kill {
            server.kill();
        } else {
            server.stop();
        }
        node.becomes_not_ready().await;
        assert!(node.broker.publish(vec![trigger("0")]).await.is_err());
        server.start_again();
        let begun = Instant::now();
        let data = format!("\"after {round}\"");
        server.publish(vec![body(&data).into()]).await;
        node.sees(&data).await;
        assert!(
            begun.elapsed() < Duration::from_secs(3),
            "{:?}",
            begun.elapsed()
        );
        node.becomes_ready().await;
    }
    assert_eq!(node.recorder.gaps().len(), 1, "the start alone");
    node.end().await;
}

/// Its connection lives on.
#[tokio::test]
async fn a_consumer_that_the_server_forgets_is_made_anew_without_a_gap() {
    let server = Server::start();
    let node = node(&server.config()).await;
    let stream = "hightemplar-triggers";
    for round in 0..3 {
        let listed = server
            .request(&format!("CONSUMER.NAMES.{stream}"), &json!({}))
            .await;
        let consumers = listed["consumers"].as_array().unwrap();
        assert_eq!(consumers.len(), 1, "{listed}");
        let name = consumers[0].as_str().unwrap();
        let verb = format!("CONSUMER.DELETE.{stream}.{name}");
        server.request(&verb, &json!({})).await;
        server.publish(vec![body(&round.to_string()).into()]).await;
        node.sees(&round.to_string()).await;
        node.becomes_ready().await;
    }
    assert_eq!(node.recorder.seen(), ["0", "1", "2"]);
    assert_eq!(node.recorder.gaps().len(), 1, "the start alone");
    node.end().await;
}

/// What was under way is unknown to its publisher, and is delivered once or not at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_server_ends_the_wait_of_publishers_and_doubles_nothing() {
    let server = Server::start();
    let nodes = [node(&server.config()).await, node(&server.config()).await];
    nodes[0].broker.publish(vec![trigger("1")]).await.unwrap();
    server.pause();
    let begun = Instant::now();
    let waited = nodes[0].broker.publish(vec![trigger("2")]).await;
    assert!(
        matches!(waited, Err(AppendError::Unconfirmed { .. })),
        "{waited:?}"
    );
    assert!(begun.elapsed() < PUBLISH + Duration::from_secs(2));
    for node in &nodes {
        node.becomes_not_ready().await;
    }
    let refused = nodes[0].broker.publish(vec![trigger("3")]).await;
    assert!(
        matches!(refused, Err(AppendError::Unavailable(_))),
        "{refused:?}"
    );
    sleep(Duration::from_secs(20).saturating_sub(begun.elapsed())).await;
    server.resume();
    for node in &nodes {
        node.becomes_ready().await;
    }
    let begun = Instant::now();
    while nodes[0].broker.publish(vec![trigger("4")]).await.is_err() {
        assert!(begun.elapsed() < SOON);
        sleep(Duration::from_millis(50)).await;
    }
    for node in nodes {
        node.sees("4").await;
        let seen = node.recorder.seen();
        assert!(seen == ["1", "2", "4"] || seen == ["1", "4"], "{seen:?}");
        assert_eq!(node.recorder.gaps().len(), 1, "the start alone");
        node.end().await;
    }
}

#[tokio::test]
async fn tls_is_used_as_the_settings_want_it() {
    let folder = tempfile::tempdir().unwrap();
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let file = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let certificate = file("server.crt", certified.cert.pem());
    let key = file("server.key", certified.signing_key.serialize_pem());
    let tls = |more: &str| {
        let (certificate, key) = (certificate.display(), key.display());
        format!(
            "jetstream {{ store_dir: \"STORE\" }}\n\
             tls {{ cert_file: \"{certificate}\", key_file: \"{key}\", {more} }}"
        )
    };
    let server = Server::start_with(&tls(""));
    let wants = Server::start_with(&tls(&format!(
        "verify: true, ca_file: \"{}\"",
        certificate.display()
    )));
    let plain = Server::start();
    let at = |server: &Server, scheme: &str, host: &str| NatsConfig {
        url: format!("{scheme}://{host}:{}", server.port()),
        ..NatsConfig::default()
    };
    let trusting = |config: NatsConfig| NatsConfig {
        tls_ca_file: Some(certificate.clone()),
        ..config
    };
    for (config, problem) in [
        (trusting(at(&server, "tls", "localhost")), None),
        // The server demands it, and is checked all the same.
        (trusting(at(&server, "nats", "localhost")), None),
        (at(&server, "tls", "localhost"), Some("TLS cannot be used")),
        (at(&server, "nats", "localhost"), Some("TLS cannot be used")),
        // It is that of another host.
        (
            trusting(at(&server, "tls", "127.0.0.1")),
            Some("TLS cannot be used"),
        ),
        // A server without it gets no login.
        (
            trusting(at(&plain, "tls", "localhost")),
            Some("TLS cannot be used"),
        ),
        (trusting(at(&wants, "tls", "localhost")), Some("TLS")),
        (
            NatsConfig {
                tls_certificate_file: Some(certificate.clone()),
                tls_key_file: Some(key.clone()),
                ..trusting(at(&wants, "tls", "localhost"))
            },
            None,
        ),
    ] {
        let found = probe(&config).await;
        match problem {
            None => drop(found.unwrap()),
            Some(problem) => {
                let text = found.unwrap_err().to_string();
                assert!(text.contains(problem), "{text}");
            }
        }
    }
    let node = node(&trusting(at(&server, "tls", "localhost"))).await;
    node.broker.publish(vec![trigger("1")]).await.unwrap();
    node.end().await;
}

/// Three servers with three copies: one may go. Without a majority the log is not there yet, which is
/// not the same as an empty one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_survives_one_server_and_waits_for_a_majority() {
    let servers = Server::cluster(3);
    let urls: Vec<_> = servers.iter().map(Server::url).collect();
    let config = NatsConfig {
        url: urls.join(","),
        replicas: 3,
        ..NatsConfig::default()
    };
    let node = node(&config).await;
    let mut accepted = vec![publishes(&node, 0).await];
    let known = node.broker.epoch();
    servers[0].kill();
    accepted.push(publishes(&node, 1).await);
    let survives = probe(&config).await.unwrap();
    assert_eq!(survives.notes, [""; 0], "three copies");
    servers[1].kill();
    let last = NatsConfig {
        url: urls[2].clone(),
        ..config.clone()
    };
    let log = Arc::new(Nats::new(&last).unwrap());
    let begun = Instant::now();
    loop {
        let refused = Arc::clone(&log).tail(From::Head).await.err();
        if matches!(refused, Some(TailError::NotYet(_))) {
            break;
        }
        assert!(begun.elapsed() < 2 * SOON, "{refused:?}");
        sleep(Duration::from_millis(200)).await;
    }
    let refused = node.broker.publish(vec![trigger("\"none\"")]).await;
    assert!(refused.is_err(), "{refused:?}");
    servers[0].start_again();
    servers[1].start_again();
    accepted.push(publishes(&node, 2).await);
    let seen = node.recorder.seen();
    let seen: Vec<_> = seen.iter().filter(|data| *data != "\"none\"").collect();
    assert!(seen.is_sorted_by(|one, next| one < next), "{seen:?}");
    assert!(accepted.iter().all(|data| seen.contains(&data)), "{seen:?}");
    assert_eq!(node.broker.epoch(), known, "the same log all the time");
    assert_eq!(node.recorder.gaps().len(), 1, "the start alone");
    node.end().await;
}

/// Publishes until it is accepted, with other data each time: what was not accepted may have been
/// stored. Returns the data of the one that was accepted.
async fn publishes(node: &Node, number: u32) -> String {
    let begun = Instant::now();
    for attempt in 0.. {
        let data = format!("\"{number} {attempt:05}\"");
        if node.broker.publish(vec![trigger(&data)]).await.is_ok() {
            node.sees(&data).await;
            return data;
        }
        assert!(begun.elapsed() < 2 * SOON, "{number}");
        sleep(Duration::from_millis(100)).await;
    }
    unreachable!("numbers end later");
}
