//! Gateways whose log is a PostgreSQL, with an outbox.

use std::process::Command;
use std::time::{Duration, Instant};

use ht_testkit::postgres::{Database, Postgres as Server};
use serde_json::{Value, json};

use crate::rabbitmq::wait_for_ready;
use crate::subprotocol::{V1, offer};
use crate::support::{Client, Gateway, StubBackend};

/// Runs something on the database.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(future)
}

fn api() -> StubBackend {
    StubBackend::admitting(json!([{"n": "*"}]))
}

fn database() -> Database {
    block_on(Server::shared().database().with_log())
}

fn node(backend: &StubBackend, database: &Database) -> Gateway {
    let node = Gateway::with(backend)
        .set("HT_POSTGRES__URL", database.url())
        .start();
    wait_for_ready(&node);
    node
}

fn listener(node: &Gateway) -> Client {
    let mut client = Client::connect(node);
    client.subscribe(&json!({"n": 1}), "x");
    client
}

/// Commits one publication, as a site does with its data.
fn commit(database: &Database, data: &Value) {
    let trigger = json!({"rooms": [{"n": 1}], "data": data}).to_string();
    let insert = format!("INSERT INTO high_templar.ht_outbox (body) VALUES ('{trigger}')");
    block_on(database.execute(&insert));
}

#[test]
fn every_node_delivers_what_was_posted_and_what_was_committed() {
    let (database, backend) = (database(), api());
    let nodes = [node(&backend, &database), node(&backend, &database)];
    let mut clients = [listener(&nodes[0]), listener(&nodes[1])];
    for number in 0..10 {
        let data = json!({"posted": number});
        nodes[number % 2].trigger(&json!({"rooms": [{"n": 1}], "data": data}));
        commit(&database, &json!({"committed": number}));
        for client in &mut clients {
            assert_eq!(client.expect_publish().0, data);
            assert_eq!(client.expect_publish().0, json!({"committed": number}));
        }
    }
    // A trigger that is sent again through another node is not delivered again.
    let again = json!({"rooms": [{"n": 1}], "data": "once", "id": "the same"});
    let [first, second] = nodes.each_ref().map(|node| node.trigger(&again));
    assert_eq!(
        first["position"], second["position"],
        "one log, one position"
    );
    assert_eq!(second["duplicate"], true);
    for client in &mut clients {
        assert_eq!(client.expect_publish().0, "once");
        client.fence();
    }
}

/// So a client can go on at any of them.
#[test]
fn a_cursor_is_the_same_on_every_node_also_on_one_that_starts_later() {
    let (database, backend) = (database(), api());
    let first = node(&backend, &database);
    let cursor = |client: &mut Client, data: &Value| loop {
        let message = client.expect_whole();
        if message["data"] == *data {
            return message["cursor"].as_str().expect("a cursor").to_owned();
        }
    };
    let listener = |node: &Gateway| {
        let mut client = offer(node, V1).open();
        let subscribe = json!({"type": "subscribe", "room": {"n": 1}, "requestId": "x"});
        client.send_json(&subscribe);
        while client.expect_whole()["requestId"] != "x" {}
        client
    };
    let mut one = listener(&first);
    commit(&database, &json!("early"));
    let early = cursor(&mut one, &json!("early"));
    let second = node(&backend, &database);
    let mut other = listener(&second);
    commit(&database, &json!("late"));
    let late = cursor(&mut one, &json!("late"));
    assert_eq!(cursor(&mut other, &json!("late")), late);
    let epoch = |cursor: &str| cursor.split('-').next().map(str::to_owned);
    assert_eq!(epoch(&early), epoch(&late));
}

/// Commands in the outbox have their place among its publications.
#[test]
fn a_command_that_was_committed_is_carried_out_in_order() {
    let (database, backend) = (database(), api());
    let node = node(&backend, &database);
    let mut client = listener(&node);
    let command = json!({"command": "disconnect", "everyone": true, "come_back": "soon"});
    let statements = [
        json!({"rooms": [{"n": 1}], "data": "before"}),
        command,
        json!({"rooms": [{"n": 1}], "data": "after"}),
    ]
    .map(|body| format!("INSERT INTO high_templar.ht_outbox (body) VALUES ('{body}')"));
    block_on(database.execute(&format!("BEGIN; {}; COMMIT", statements.join("; "))));
    assert_eq!(client.expect_publish().0, "before");
    client.expect_close(4003);
}

/// Whichever node moves the outbox: the other one goes on at once.
#[test]
fn a_killed_node_is_replaced() {
    let (database, backend) = (database(), api());
    let (mut first, second) = (node(&backend, &database), node(&backend, &database));
    let mut client = listener(&second);
    commit(&database, &json!(1));
    assert_eq!(client.expect_publish().0, 1);
    first.signal("KILL");
    first.wait_for_end();
    let begun = Instant::now();
    commit(&database, &json!(2));
    assert_eq!(client.expect_publish().0, 2);
    assert!(begun.elapsed() < Duration::from_secs(5), "{begun:?}");
    let posted = second.trigger(&json!({"rooms": [{"n": 1}], "data": 3}));
    assert!(posted["position"].is_u64());
    assert_eq!(client.expect_publish().0, 3);
}

#[test]
fn check_says_what_is_missing_and_what_works() {
    let (database, backend) = (Server::shared().database(), api());
    let folder = tempfile::tempdir().unwrap();
    let variables = [
        ("HT_BACKEND__URL", backend.url.clone()),
        ("HT_LISTEN", "127.0.0.1:0".to_owned()),
        ("HT_INTERNAL__LISTEN", "127.0.0.1:0".to_owned()),
        ("HT_POSTGRES__URL", database.url().to_owned()),
    ];
    let check = || {
        let command = Command::new(env!("CARGO_BIN_EXE_high-templar"))
            .arg("check")
            .current_dir(folder.path())
            .env_clear()
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .output()
            .unwrap();
        String::from_utf8(command.stdout).unwrap()
    };
    let found = check();
    assert!(
        found.contains("FIX  broker: PostgreSQL at 127.0.0.1:"),
        "{found}"
    );
    assert!(
        found.contains("high-templar postgres schema | psql"),
        "{found}"
    );
    let _database = block_on(database.with_log());
    let found = check();
    assert!(
        found.contains("ok   broker: PostgreSQL at 127.0.0.1:"),
        "{found}"
    );
    assert!(
        found.contains("the schema high_templar is at position 0"),
        "{found}"
    );
    assert!(!found.contains("postgres:postgres"), "no password: {found}");
}

#[test]
fn a_database_without_the_schema_is_named_and_waited_for() {
    let (database, backend) = (Server::shared().database(), api());
    let node = Gateway::with(&backend)
        .set("HT_POSTGRES__URL", database.url())
        .start();
    let line = node.wait_for_line("PostgreSQL is unavailable");
    assert!(line.contains("the schema of the log is missing"), "{line}");
    assert!(
        line.contains("high-templar postgres schema | psql"),
        "{line}"
    );
    assert!(!node.log().contains("postgres:postgres"), "no password");
    assert_eq!(node.get("/ready").status, 503);
    let refused = node.post(json!({"rooms": [{"n": 1}], "data": 1}).to_string());
    assert_eq!(refused.status, 503);
    let _database = block_on(database.with_log());
    wait_for_ready(&node);
}
