//! PostgreSQL as the log: outbox, retention, rights, and what goes wrong. Servers of their own are
//! in `postgres_outages.rs`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use ht_broker::MissedReason;
use ht_broker::config::PostgresConfig;
use ht_broker::log::{From, Kind, Log, NewEntry, TailError};
use ht_broker::postgres::{Postgres, ProbeError, Schema, probe};
use ht_testkit::eventually;
use ht_testkit::postgres::{Database, Postgres as Server};
use tokio::time::Instant;

#[path = "support/mod.rs"]
mod support;

use support::{Node, SOON, another_epoch, body, trigger};

const PUBLISH: Duration = Duration::from_secs(5);

async fn database() -> Database {
    Server::shared().database().with_log().await
}

fn log(config: &PostgresConfig) -> Arc<dyn Log> {
    Arc::new(Postgres::new(config).unwrap())
}

async fn node(config: &PostgresConfig) -> Node {
    let node = Node::start(log(config), PUBLISH);
    node.becomes_ready().await;
    node
}

/// The statement that publishes this data.
fn insert(data: &str) -> String {
    format!(
        "INSERT INTO high_templar.ht_outbox (body) VALUES ('{}')",
        body(data)
    )
}

#[tokio::test]
async fn a_schema_that_is_applied_again_changes_nothing() {
    let database = database().await;
    let sql = Schema::new("high_templar").unwrap().sql();
    let node = node(&database.config()).await;
    node.broker.publish(vec![trigger("1")]).await.unwrap();
    let epoch = "SELECT epoch::bigint FROM high_templar.ht_head";
    let before = database.number(epoch).await;
    database.execute(&sql).await;
    assert_eq!(database.number(epoch).await, before);
    let places = node.broker.publish(vec![trigger("2")]).await.unwrap();
    assert!(places[0].position.get() > 1);
    assert_eq!(node.recorder.seen(), ["1", "2"]);
    node.end().await;
}

/// The one that inserts first commits last.
#[tokio::test]
async fn transactions_are_delivered_in_the_order_of_their_commits() {
    let database = database().await;
    let nodes = [
        node(&database.config()).await,
        node(&database.config()).await,
    ];
    let slow = database.connect().await;
    slow.batch_execute(&format!("BEGIN; {}", insert("\"slow\"")))
        .await
        .unwrap();
    let quick = database.connect().await;
    for round in 0..50 {
        let statement = insert(&round.to_string());
        quick.batch_execute(&statement).await.unwrap();
    }
    // It delays nobody as long as it is open.
    for node in &nodes {
        node.sees("49").await;
        assert_eq!(node.recorder.count(), 50);
    }
    slow.batch_execute(&format!("{}; COMMIT", insert("\"slow too\"")))
        .await
        .unwrap();
    let rounds = (0..50).map(|round: u32| round.to_string());
    let expected: Vec<_> = rounds
        .chain(["\"slow\"".into(), "\"slow too\"".into()])
        .collect();
    for node in nodes {
        node.sees("\"slow too\"").await;
        assert_eq!(node.recorder.seen(), expected);
        node.end().await;
    }
}

#[tokio::test]
async fn what_is_rolled_back_is_not_published() {
    let database = database().await;
    let node = node(&database.config()).await;
    let client = database.connect().await;
    let statements = [
        "BEGIN",
        &insert("1"),
        "SAVEPOINT a",
        &insert("2"),
        "ROLLBACK TO SAVEPOINT a",
        &insert("3"),
        "COMMIT; BEGIN",
        &insert("4"),
        "ROLLBACK",
        &insert("5"),
    ];
    client.batch_execute(&statements.join(";")).await.unwrap();
    node.sees("5").await;
    assert_eq!(node.recorder.seen(), ["1", "3", "5"]);
    node.end().await;
}

/// What was committed before something else was inserted comes before that, although its
/// transaction was open for so long that others have moved on.
#[tokio::test]
async fn a_long_transaction_is_in_order_with_what_follows_it() {
    let database = database().await;
    let node = node(&database.config()).await;
    let open = database.connect().await;
    for round in 0..20 {
        let begin = format!("BEGIN; {}", insert(&format!("\"{round} long\"")));
        open.batch_execute(&begin).await.unwrap();
        let skip = "SELECT setval(pg_get_serial_sequence('high_templar.ht_outbox', 'n'),
            nextval(pg_get_serial_sequence('high_templar.ht_outbox', 'n')) + 100000)";
        open.batch_execute(skip).await.unwrap();
        open.batch_execute("COMMIT").await.unwrap();
        let after = insert(&format!("\"{round} after\""));
        open.batch_execute(&after).await.unwrap();
    }
    node.sees("\"19 after\"").await;
    let rounds =
        (0..20).flat_map(|round: u32| ["long", "after"].map(|when| format!("\"{round} {when}\"")));
    assert_eq!(node.recorder.seen(), rounds.collect::<Vec<_>>());
    node.end().await;
}

/// A transaction that writes in another database of the cluster holds nobody either.
#[tokio::test]
async fn an_open_transaction_elsewhere_delays_nobody() {
    let (database, other) = (database().await, Server::shared().database());
    let open = other.connect().await;
    open.batch_execute("CREATE TABLE t (n int); BEGIN; INSERT INTO t VALUES (1)")
        .await
        .unwrap();
    let node = node(&database.config()).await;
    database.execute(&insert("1")).await;
    node.sees("1").await;
    node.broker.publish(vec![trigger("2")]).await.unwrap();
    assert_eq!(node.recorder.seen(), ["1", "2"]);
    open.batch_execute("COMMIT").await.unwrap();
    node.end().await;
}

#[tokio::test]
async fn many_publishers_at_once_lose_and_double_nothing() {
    const PUBLISHERS: usize = 8;
    const EACH: usize = 250;
    let database = Arc::new(database().await);
    let nodes = [
        node(&database.config()).await,
        node(&database.config()).await,
    ];
    let publishing = (0..PUBLISHERS).map(|publisher| {
        let database = Arc::clone(&database);
        tokio::spawn(async move {
            let client = database.connect().await;
            for number in 0..EACH {
                let statement = insert(&(publisher * 10_000 + number).to_string());
                client.batch_execute(&statement).await.unwrap();
            }
        })
    });
    let publishing: Vec<_> = publishing.collect();
    // Beside them, through the nodes.
    for number in 0..100 {
        let own = trigger(&(1_000_000 + number).to_string());
        nodes[number % 2].broker.publish(vec![own]).await.unwrap();
    }
    for task in publishing {
        task.await.unwrap();
    }
    let expected = PUBLISHERS * EACH + 100;
    for node in &nodes {
        eventually(SOON, || node.recorder.count() >= expected).await;
    }
    let [first, second] = nodes.each_ref().map(|node| node.recorder.seen());
    assert_eq!(first, second, "in one order");
    let mut numbers: Vec<usize> = first.iter().map(|text| text.parse().unwrap()).collect();
    for publisher in (0..PUBLISHERS).chain([100]) {
        let range = publisher * 10_000..(publisher + 1) * 10_000;
        let of = numbers.iter().filter(|number| range.contains(number));
        assert!(of.is_sorted(), "each publisher's own order");
    }
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), expected);
    let left = "SELECT count(*) FROM high_templar.ht_outbox";
    assert_eq!(database.number(left).await, 0);
    for node in nodes {
        node.end().await;
    }
}

/// Whoever moves the outbox is a session of the database, and another node's takes its place.
#[tokio::test]
async fn a_node_that_moves_the_outbox_is_replaced() {
    let database = database().await;
    let first = node(&database.config()).await;
    database.execute(&insert("1")).await;
    first.sees("1").await;
    let second = node(&database.config()).await;
    // As a killed process does: nothing is told to anybody.
    first.task.abort();
    database.execute(&insert("2")).await;
    second.sees("2").await;
    let begun = Instant::now();
    database.execute(&insert("3")).await;
    second.sees("3").await;
    assert!(begun.elapsed() < Duration::from_secs(2), "{begun:?}");
    second.end().await;
}

#[tokio::test]
async fn terminated_sessions_are_replaced_without_a_gap() {
    let database = database().await;
    let node = node(&database.config()).await;
    let terminate = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
        WHERE application_name = 'high-templar' AND datname = current_database()";
    for round in 0..3 {
        database.execute(&insert(&format!("{}", 2 * round))).await;
        if round == 0 {
            // A log of which nothing was read cannot be resumed.
            node.sees("0").await;
        }
        let terminated = database.number(terminate).await;
        assert!(terminated >= 1, "{terminated}");
        database
            .execute(&insert(&format!("{}", 2 * round + 1)))
            .await;
        node.sees(&format!("{}", 2 * round + 1)).await;
        node.becomes_ready().await;
    }
    let expected: Vec<_> = (0..6).map(|number| number.to_string()).collect();
    assert_eq!(node.recorder.seen(), expected);
    assert_eq!(node.recorder.gaps().len(), 1, "the start alone");
    eventually(SOON, || node.is_ready()).await;
    publishes_again(&node).await;
    node.end().await;
}

/// Its connection for publishing may take a moment longer to come back.
async fn publishes_again(node: &Node) {
    let begun = Instant::now();
    while node
        .broker
        .publish(vec![trigger("\"again\"")])
        .await
        .is_err()
    {
        assert!(begun.elapsed() < SOON);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    node.sees("\"again\"").await;
}

#[tokio::test]
async fn old_records_are_deleted_and_the_last_one_is_kept() {
    let database = database().await;
    let config = PostgresConfig {
        retention_rows: 100,
        ..database.config()
    };
    let fill = "SELECT high_templar.ht_append(array_fill(0::smallint, ARRAY[12000]),
        array_fill('k'::text, ARRAY[12000]), array_fill('{}'::bytea, ARRAY[12000]))";
    database.execute(fill).await;
    let node = node(&config).await;
    let count = "SELECT count(*) FROM high_templar.ht_log";
    eventually_number(&database, count, 100).await;
    let last = log(&config).bounds().await.unwrap().last.unwrap();
    assert!(last.get() > 12_000, "the node notes the epoch");
    node.end().await;

    // By age, all but the last one.
    database
        .execute("UPDATE high_templar.ht_log SET at = at - interval '2 hours'")
        .await;
    let trimmed = "SELECT trimmed FROM high_templar.ht_trim(0, '1 hour', 1000000, 5000)";
    assert_eq!(database.number(trimmed).await, 99);
    assert_eq!(database.number(trimmed).await, 0);
    let late = log(&config).tail(From::At(at(11_999))).await;
    assert_eq!(late.err(), Some(TailError::Trimmed(at(11_999))));
    let kept = log(&config).read(last..=last, 1_000).await.unwrap();
    assert_eq!(kept[0].position, Some(last));
    let old = log(&config).read(at(1)..=at(5), 1_000).await;
    assert_eq!(old.unwrap_err(), TailError::Trimmed(at(1)));
}

fn at(number: u64) -> ht_proto::entry::Position {
    ht_proto::entry::Position::new(number).unwrap()
}

async fn eventually_number(database: &Database, query: &str, expected: i64) {
    let begun = Instant::now();
    while database.number(query).await != expected {
        assert!(begun.elapsed() < SOON, "{query}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A tail that is connected finds out by itself, within a second or two.
#[tokio::test]
async fn a_log_made_anew_is_found() {
    let database = database().await;
    let log = log(&database.config());
    let append = "SELECT high_templar.ht_append('{0,0,0}', '{a,b,c}', '{x,y,z}')";
    database.execute(append).await;
    let mut tail = Arc::clone(&log).tail(From::At(at(1))).await.unwrap();
    assert_eq!(tail.next().await.unwrap().records.len(), 3);
    database
        .execute(&format!(
            "TRUNCATE high_templar.ht_log; DELETE FROM high_templar.ht_head;
             INSERT INTO high_templar.ht_head (version) VALUES (1); {append}"
        ))
        .await;
    let found = tokio::time::timeout(SOON, tail.next()).await.unwrap();
    assert_eq!(found.unwrap_err(), TailError::Rewound(at(3)));
    // Restored from a backup that was older than what was read.
    let restored = Arc::clone(&log).tail(From::At(at(4))).await;
    assert_eq!(restored.err(), Some(TailError::Rewound(at(4))));
}

/// Dropped and made again, or restored from a backup that has another record where the node was.
#[tokio::test]
async fn every_node_takes_the_new_epoch_of_a_log_that_was_made_anew() {
    let database = database().await;
    let nodes = [
        node(&database.config()).await,
        node(&database.config()).await,
    ];
    nodes[0].broker.publish(vec![trigger("1")]).await.unwrap();
    for node in &nodes {
        node.sees("1").await;
    }
    let known = nodes[0].broker.epoch().unwrap();
    assert_eq!(nodes[1].broker.epoch(), Some(known));
    let sql = Schema::new("high_templar").unwrap().sql();
    database
        .execute(&format!("DROP SCHEMA high_templar CASCADE; {sql}"))
        .await;
    let anew = another_epoch(&nodes, known).await;
    database.execute(&insert("2")).await;
    for node in &nodes {
        node.sees("2").await;
        assert_eq!(node.recorder.gaps().last(), Some(&MissedReason::Rewound));
    }

    // Nothing else than the record shows it.
    let replace = "UPDATE high_templar.ht_log SET body = '{}' WHERE pos =
        (SELECT max(pos) FROM high_templar.ht_log)";
    let terminate = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE application_name = 'high-templar' AND datname = current_database()";
    database.execute(&format!("{replace}; {terminate}")).await;
    another_epoch(&nodes, anew).await;
    database.execute(&insert("3")).await;
    for node in nodes {
        node.sees("3").await;
        assert_eq!(node.recorder.seen(), ["1", "2", "3"]);
        node.end().await;
    }
}

#[tokio::test]
async fn roles_need_no_more_than_is_stated() {
    let database = database().await;
    let schema = Schema::new("high_templar").unwrap();
    let [gateway, publisher] =
        ["gateway", "publisher"].map(|role| format!("{role}_{}", database.name()));
    let config = PostgresConfig {
        url: database.url_of(&gateway),
        ..database.config()
    };
    database
        .execute(&format!(
            "CREATE ROLE {gateway} LOGIN PASSWORD '{gateway}';
             CREATE ROLE {publisher} LOGIN PASSWORD '{publisher}';"
        ))
        .await;
    let refused = probe(&config).await.unwrap_err().to_string();
    assert!(refused.contains("the role lacks a right"), "{refused}");
    assert!(
        refused.contains("high-templar postgres schema --gateway"),
        "{refused}"
    );
    database.execute(&schema.grant_gateway(&gateway)).await;
    database.execute(&schema.grant_publisher(&publisher)).await;

    // Servers of tests do without fsync, and that is said.
    let notes = probe(&config).await.unwrap().notes;
    assert!(
        notes.len() == 1 && notes[0].starts_with("fsync is off"),
        "{notes:?}"
    );
    let node = node(&config).await;
    node.broker.publish(vec![trigger("1")]).await.unwrap();
    let url = database.url_of(&publisher);
    let connected = tokio_postgres::connect(&url, tokio_postgres::NoTls).await;
    let (client, connection) = connected.unwrap();
    tokio::spawn(connection);
    client.batch_execute(&insert("2")).await.unwrap();
    node.sees("2").await;
    for forbidden in [
        "SELECT * FROM high_templar.ht_log",
        "SELECT * FROM high_templar.ht_outbox",
        "SELECT high_templar.ht_move(1, 1)",
        "SELECT high_templar.ht_append('{0}', '{k}', '{x}')",
        "DELETE FROM high_templar.ht_outbox",
    ] {
        let refused = client.batch_execute(forbidden).await.unwrap_err();
        let code = refused.code().unwrap().code();
        assert_eq!(code, "42501", "{forbidden}");
    }
    node.end().await;
    database
        .execute(&format!(
            "DROP OWNED BY {gateway}; DROP OWNED BY {publisher};
             DROP ROLE {gateway}; DROP ROLE {publisher}"
        ))
        .await;
}

#[tokio::test]
async fn trouble_names_its_cause_and_no_password() {
    let (database, bare) = (database().await, Server::shared().database());
    let good = database.config();
    let port = good
        .url
        .rsplit_once(':')
        .unwrap()
        .1
        .split('/')
        .next()
        .unwrap();
    let at = |url: String| PostgresConfig {
        url,
        ..good.clone()
    };
    let host = format!("127.0.0.1:{port}");
    for (config, cause, advice) in [
        (
            at(format!("postgresql://postgres:geheim@{host}/postgres")),
            "the login was refused",
            "pg_hba.conf",
        ),
        (
            at(format!("postgresql://postgres:postgres@{host}/nowhere")),
            "no such database",
            "or create it",
        ),
        (
            at("postgresql://postgres:geheim@127.0.0.1:1/postgres".into()),
            "error connecting to server",
            "whether it runs",
        ),
        (
            bare.config(),
            "the schema of the log is missing",
            "high-templar postgres schema | psql",
        ),
        (
            at(format!("{}?sslmode=require", good.url)),
            "TLS",
            "check sslmode",
        ),
    ] {
        let found = probe(&config).await.unwrap_err();
        assert!(matches!(found, ProbeError::Unusable { .. }));
        let text = found.to_string();
        assert!(text.contains(cause) && text.contains(advice), "{text}");
        assert!(!text.contains("geheim") && !text.contains('\n'), "{text}");
        let node = Node::start(log(&config), PUBLISH);
        eventually(SOON, || node.broker.counts().failures >= 1).await;
        assert!(node.trouble().contains(cause), "{}", node.trouble());
        assert!(!node.trouble().contains("geheim"));
        node.end().await;
    }
    let debug = format!(
        "{:?}",
        Postgres::new(&at(format!("postgresql://u:geheim@{host}/v"))).unwrap()
    );
    assert!(!debug.contains("geheim"), "{debug}");
}

/// All of a call is appended together, and calls that wait share a transaction.
#[tokio::test]
async fn calls_that_wait_are_one_transaction() {
    let database = database().await;
    let log = log(&database.config());
    let entries = |call: usize| {
        let entry = move |number| NewEntry {
            tenant: None,
            kind: Kind::Trigger,
            key: format!("{call}.{number}").into(),
            body: "{}".into(),
        };
        (0..10).map(entry).collect::<Vec<_>>()
    };
    // Nothing is connected yet: all of them wait.
    let calls = (0..20).map(|call| log.append(entries(call), SOON));
    let calls = futures_util::future::join_all(calls);
    let appended = tokio::select! {
        appended = calls => appended,
        () = log.work() => unreachable!(),
    };
    let positions: Vec<u64> = appended
        .into_iter()
        .flat_map(Result::unwrap)
        .map(|appended| appended.unwrap().position.get())
        .collect();
    assert_eq!(positions, (1..=200).collect::<Vec<u64>>());
    let transactions = "SELECT count(DISTINCT xmin::text) FROM high_templar.ht_log";
    assert_eq!(database.number(transactions).await, 1);
}
