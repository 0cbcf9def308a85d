//! PostgreSQL as the log: how late a publication arrives at another node, and how many fit through.
//! Starts a server of its own, with fsync. `cargo bench -p ht-broker --bench postgres`.

#![allow(clippy::unwrap_used, reason = "a bench fails by panicking")]
#![allow(missing_docs, reason = "not a library")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use ht_broker::log::Log;
use ht_broker::postgres::Postgres;
use ht_testkit::postgres::{Database, Postgres as Server};
use tokio_postgres::Client;

#[path = "../tests/support/mod.rs"]
mod support;

use support::{Node, body, trigger};

/// Publications of a quiet site.
const QUIET: usize = 100;

/// Publications of a site under load.
const MANY: usize = 20_000;

const INSERT: &str = "INSERT INTO high_templar.ht_outbox (body) VALUES ($1)";

#[tokio::main(worker_threads = 2)]
async fn main() {
    // Called by `cargo test --benches`, too: then it only has to build.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let server = Server::start(&["fsync = on"]);
    let database = server.database().with_log().await;
    let (first, second) = (node(&database).await, node(&database).await);
    let client = database.connect().await;

    let mut quiet = Vec::new();
    for number in 0..QUIET {
        let data = format!("\"quiet {number}\"");
        tokio::time::sleep(Duration::from_millis(150)).await;
        client.execute(INSERT, &[&body(&data)]).await.unwrap();
        quiet.push(late(&second, &data).await);
    }
    report(
        "a quiet site: commit of an outbox row to the other node",
        quiet,
    );

    let mut posted = Vec::new();
    for number in 0..QUIET {
        let data = format!("\"posted {number}\"");
        tokio::time::sleep(Duration::from_millis(20)).await;
        let begun = Instant::now();
        first.broker.publish(vec![trigger(&data)]).await.unwrap();
        posted.push(begun.elapsed());
    }
    report(
        "a publish through a node, until it is durable and read back",
        posted,
    );

    beside_an_open_transaction(&client, &database, &second).await;
    outbox_under_load(&client, &database, &second).await;
    first.end().await;
    second.end().await;
}

async fn node(database: &Database) -> Node {
    let log: Arc<dyn Log> = Arc::new(Postgres::new(&database.config()).unwrap());
    let node = Node::start(log, Duration::from_secs(5));
    node.becomes_ready().await;
    node
}

/// How long after now the node has it.
async fn late(node: &Node, data: &str) -> Duration {
    let begun = Instant::now();
    while !node.recorder.has(data) {
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
    begun.elapsed()
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |share: usize| times[(times.len() - 1) * share / 100].as_secs_f64() * 1e3;
    println!(
        "{what}: p50 {:.1} ms, p90 {:.1} ms, p99 {:.1} ms",
        at(50),
        at(90),
        at(99)
    );
}

/// A transaction that has published, too, is open for a minute.
async fn beside_an_open_transaction(client: &Client, database: &Database, node: &Node) {
    const MINUTE: Duration = Duration::from_secs(60);
    let open = database.connect().await;
    open.batch_execute("BEGIN").await.unwrap();
    open.execute(INSERT, &[&body("\"open\"")]).await.unwrap();
    let begun = Instant::now();
    let mut times = Vec::new();
    for number in 0.. {
        if begun.elapsed() >= MINUTE {
            break;
        }
        // Nine that nobody waits for make dead rows, which the open transaction keeps.
        let nine = (0..9).map(|_| body("\"many\"")).collect::<Vec<_>>();
        let insert = "INSERT INTO high_templar.ht_outbox (body) SELECT * FROM unnest($1::text[])";
        client.execute(insert, &[&nine]).await.unwrap();
        let data = format!("\"beside {number}\"");
        client.execute(INSERT, &[&body(&data)]).await.unwrap();
        times.push(late(node, &data).await);
    }
    let count = times.len();
    report(
        &format!("beside a transaction open for a minute, {count} times with 10 rows"),
        times,
    );
    open.batch_execute("COMMIT").await.unwrap();
    let after = late(node, "\"open\"").await;
    println!(
        "  its own row {:.1} ms after its commit",
        after.as_secs_f64() * 1e3
    );
}

/// Eight publishers, one transaction for each row.
async fn outbox_under_load(client: &Client, database: &Database, node: &Node) {
    const PUBLISHERS: usize = 8;
    let before = node.recorder.count();
    let begun = Instant::now();
    let mut publishing = Vec::new();
    for publisher in 0..PUBLISHERS {
        let connection = database.connect().await;
        publishing.push(tokio::spawn(async move {
            for number in 0..MANY / PUBLISHERS {
                let text = body(&format!("\"{publisher} {number}\""));
                connection.execute(INSERT, &[&text]).await.unwrap();
            }
        }));
    }
    for task in publishing {
        task.await.unwrap();
    }
    let committed = begun.elapsed();
    while node.recorder.count() < before + MANY {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let delivered = begun.elapsed();
    let left: i64 = client
        .query_one("SELECT count(*) FROM high_templar.ht_outbox", &[])
        .await
        .unwrap()
        .get(0);
    println!(
        "{MANY} outbox rows of {PUBLISHERS} publishers: {:.0} commits/s, the last one delivered {:.0} ms after its commit, {left} left",
        MANY as f64 / committed.as_secs_f64(),
        (delivered - committed).as_secs_f64() * 1e3
    );
}
