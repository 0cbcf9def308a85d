//! PostgreSQL that is killed, stopped or paused, and one with TLS.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ht_broker::config::PostgresConfig;
use ht_broker::log::Log;
use ht_broker::postgres::{Postgres, probe};
use ht_testkit::eventually;
use ht_testkit::postgres::{Database, Postgres as Server};
use tokio::time::{Instant, sleep};

#[path = "support/mod.rs"]
mod support;

use support::{Node, SOON, body, trigger};

const PUBLISH: Duration = Duration::from_secs(3);

async fn node(database: &Database) -> Node {
    let log: Arc<dyn Log> = Arc::new(Postgres::new(&database.config()).unwrap());
    let node = Node::start(log, PUBLISH);
    node.becomes_ready().await;
    node
}

/// What was accepted through a node and what was committed in the outbox, under load.
struct Load {
    stop: Arc<AtomicBool>,
    publisher: tokio::task::JoinHandle<Vec<String>>,
    committer: tokio::task::JoinHandle<Vec<String>>,
}

impl Load {
    fn start(node: &Node, database: &Arc<Database>) -> Self {
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
        let (database, stopped) = (Arc::clone(database), Arc::clone(&stop));
        let committer = tokio::spawn(async move {
            let mut committed = Vec::new();
            let mut client = None;
            for number in 0.. {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                if client.is_none() {
                    let connecting = tokio_postgres::connect(database.url(), tokio_postgres::NoTls);
                    let Ok((connected, connection)) = connecting.await else {
                        sleep(Duration::from_millis(50)).await;
                        continue;
                    };
                    tokio::spawn(connection);
                    client = Some(connected);
                }
                let data = format!("\"c{number:06}\"");
                let insert = "INSERT INTO high_templar.ht_outbox (body) VALUES ($1)";
                let text = body(&data);
                let inserted = client.as_ref().unwrap().execute(insert, &[&text]).await;
                match inserted {
                    Ok(_) => committed.push(data),
                    Err(_) => client = None,
                }
            }
            committed
        });
        Self {
            stop,
            publisher,
            committer,
        }
    }

    async fn end(self) -> [Vec<String>; 2] {
        self.stop.store(true, Ordering::Relaxed);
        [self.publisher.await.unwrap(), self.committer.await.unwrap()]
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_kills_under_load_lose_and_double_nothing() {
    let server = Server::start(&[]);
    let database = Arc::new(server.database().with_log().await);
    let nodes = [node(&database).await, node(&database).await];
    let load = Load::start(&nodes[0], &database);
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
    let [accepted, committed] = load.end().await;
    assert!(!accepted.is_empty() && !committed.is_empty());
    for node in &nodes {
        let last = [accepted.last().unwrap(), committed.last().unwrap()];
        eventually(SOON, || last.iter().all(|data| node.recorder.has(data))).await;
    }
    let [first, second] = nodes.each_ref().map(|node| node.recorder.seen());
    assert_eq!(first, second, "in one order on both");
    let heard: HashSet<_> = first.iter().collect();
    assert_eq!(heard.len(), first.len(), "nothing is doubled");
    let lost = accepted.iter().chain(&committed);
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
    let server = Server::start(&[]);
    let database = Arc::new(server.database().with_log().await);
    let node = node(&database).await;
    node.broker.publish(vec![trigger("1")]).await.unwrap();
    server.stop();
    node.becomes_not_ready().await;
    assert!(node.broker.publish(vec![trigger("2")]).await.is_err());
    server.start_again();
    node.becomes_ready().await;
    let begun = Instant::now();
    while node.broker.publish(vec![trigger("3")]).await.is_err() {
        assert!(begun.elapsed() < SOON);
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(node.recorder.seen(), ["1", "3"]);
    assert_eq!(node.recorder.gaps().len(), 1, "the start alone");
    node.end().await;
}

/// `sslmode` means what it does for libpq.
#[tokio::test]
async fn tls_is_used_as_the_url_wants_it() {
    let folder = tempfile::tempdir().unwrap();
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let pem = certified.cert.pem();
    for (name, text) in [
        ("server.crt", &pem),
        ("server.key", &certified.signing_key.serialize_pem()),
    ] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let root = folder.path().join("server.crt").display().to_string();
    let root = root.replace('/', "%2F");
    let server = Server::start_with_tls(folder.path());
    let database = server.database().with_log().await;
    for (host, query, problem) in [
        ("127.0.0.1", "", None),
        ("127.0.0.1", "?sslmode=require", None),
        ("127.0.0.1", "?sslmode=disable", None),
        (
            "localhost",
            &*format!("?sslmode=verify-full&sslrootcert={root}"),
            None,
        ),
        // Nobody has signed it.
        (
            "localhost",
            "?sslmode=verify-full",
            Some("TLS cannot be used"),
        ),
        // It is that of another host.
        (
            "127.0.0.1",
            &*format!("?sslmode=verify-full&sslrootcert={root}"),
            Some("TLS cannot be used"),
        ),
        (
            "localhost",
            "?sslmode=verify-full&sslrootcert=%2Fnowhere",
            Some("sslrootcert /nowhere"),
        ),
    ] {
        let url = database.url().replace("127.0.0.1", host);
        let config = PostgresConfig {
            url: format!("{url}{query}"),
            ..database.config()
        };
        let found = probe(&config).await;
        match problem {
            None => {
                let report = found.unwrap_or_else(|error| panic!("{query}: {error}"));
                let unchecked = report.notes.iter().any(|note| note.contains("verify-full"));
                assert_eq!(unchecked, query == "?sslmode=require");
            }
            Some(problem) => {
                let text = found.unwrap_err().to_string();
                assert!(text.contains(problem), "{text}");
            }
        }
    }
    let session = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
        WHERE ssl AND application_name = 'high-templar'";
    let config = PostgresConfig {
        url: format!("{}?sslmode=require", database.url()),
        ..database.config()
    };
    let node = Node::start(Arc::new(Postgres::new(&config).unwrap()), PUBLISH);
    node.becomes_ready().await;
    node.broker.publish(vec![trigger("1")]).await.unwrap();
    assert!(database.number(session).await >= 2);
    node.end().await;
}

/// What was under way is unknown to its publisher, and is delivered once or not at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_server_ends_the_wait_of_publishers() {
    let server = Server::start(&[]);
    let database = Arc::new(server.database().with_log().await);
    let node = node(&database).await;
    node.broker.publish(vec![trigger("1")]).await.unwrap();
    server.pause();
    let begun = Instant::now();
    let waited = node.broker.publish(vec![trigger("2")]).await;
    assert!(waited.is_err());
    assert!(begun.elapsed() < SOON);
    server.resume();
    let begun = Instant::now();
    while node.broker.publish(vec![trigger("3")]).await.is_err() {
        assert!(begun.elapsed() < SOON);
        sleep(Duration::from_millis(50)).await;
    }
    node.sees("3").await;
    let seen = node.recorder.seen();
    assert!(seen == ["1", "2", "3"] || seen == ["1", "3"], "{seen:?}");
    node.end().await;
}
