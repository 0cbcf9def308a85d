//! Gateways whose log is a stream of Redis, and publishers that append by themselves.

use std::process::Command;

use ht_broker::redis::APPEND;
use ht_testkit::redis::{Redis as Server, free_port};
use serde_json::{Value, json};

use crate::rabbitmq::wait_for_ready;
use crate::streams::{epoch, gaps, next, publication};
use crate::subprotocol::{V1, offer};
use crate::support::{Client, Gateway, StubBackend, eventually};

pub(crate) fn api() -> StubBackend {
    StubBackend::admitting(json!([{"n": "*"}]))
}

pub(crate) fn node(backend: &StubBackend, server: &Server) -> Gateway {
    let node = Gateway::with(backend)
        .set("HT_REDIS__URL", server.url())
        .start();
    wait_for_ready(&node);
    node
}

pub(crate) fn listener(node: &Gateway) -> Client {
    let mut client = Client::connect(node);
    client.subscribe(&json!({"n": 1}), "x");
    client
}

/// Appends it, as a publisher of any language does.
pub(crate) fn append(server: &Server, publication: &Value) {
    append_to(server, "high-templar.log", publication);
}

/// The same to a stream with this key.
pub(crate) fn append_to(server: &Server, stream: &str, publication: &Value) {
    let arguments = ["EVAL", APPEND, "1", stream, "250000", "trigger", ""];
    let id = server.command_with(&arguments, &publication.to_string());
    assert!(id.contains('-'), "{id}");
}

#[test]
fn every_node_delivers_what_was_posted_and_what_was_appended() {
    let (server, backend) = (Server::start(), api());
    let nodes = [node(&backend, &server), node(&backend, &server)];
    let mut clients = [listener(&nodes[0]), listener(&nodes[1])];
    for number in 0..10 {
        let (posted, appended) = (json!({"posted": number}), json!({"appended": number}));
        nodes[number % 2].trigger(&publication(posted.clone()));
        append(&server, &publication(appended.clone()));
        for client in &mut clients {
            assert_eq!(client.expect_publish().0, posted);
            assert_eq!(client.expect_publish().0, appended);
        }
    }
    // A trigger that is sent again, through another node or beside all of them.
    let again = json!({"rooms": [{"n": 1}], "data": "once", "id": "the same"});
    let first = nodes[0].trigger(&again);
    append(&server, &again);
    let second = nodes[1].trigger(&again);
    assert_eq!(first["position"], second["position"], "one log");
    assert_eq!(second["duplicate"], true);
    let late = node(&backend, &server);
    let third = late.trigger(&again);
    assert_eq!(third["duplicate"], true, "it has read the log back");
    assert_eq!(epoch(&late), epoch(&nodes[0]));
    for client in &mut clients {
        assert_eq!(client.expect_publish().0, "once");
        client.fence();
    }
}

/// Commands have their place among publications.
#[test]
fn a_command_that_was_appended_is_carried_out_in_order() {
    let (server, backend) = (Server::start(), api());
    let node = node(&backend, &server);
    let mut client = listener(&node);
    append(&server, &publication("before"));
    append(
        &server,
        &json!({"command": "disconnect", "everyone": true, "come_back": "soon"}),
    );
    append(&server, &publication("after"));
    assert_eq!(client.expect_publish().0, "before");
    client.expect_close(4003);
}

/// Its node is killed, and it goes to one that was there and to one that starts after it left.
#[test]
fn a_client_of_a_killed_node_hears_everything_at_any_other() {
    let (server, backend) = (Server::start(), api());
    let (mut killed, other) = (node(&backend, &server), node(&backend, &server));
    let mut client = offer(&killed, V1).open();
    next(&mut client);
    client.send_json(&json!({"type": "subscribe", "room": {"n": 1}, "requestId": 1}));
    next(&mut client);
    killed.trigger(&publication("heard"));
    let (cursor, heard) = next(&mut client);
    assert_eq!(heard["data"], "heard");
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

/// Neither deaf and ready, nor with positions of the old one.
#[test]
fn a_stream_that_is_deleted_is_a_gap_and_another_epoch() {
    let (server, backend) = (Server::start(), api());
    let nodes = [node(&backend, &server), node(&backend, &server)];
    let mut clients = [listener(&nodes[0]), listener(&nodes[1])];
    nodes[0].trigger(&publication("before"));
    let before = epoch(&nodes[0]);
    server.command(&["DEL", "high-templar.log"]);
    for (node, client) in nodes.iter().zip(&mut clients) {
        assert_eq!(client.expect_publish().0, "before");
        let reason = client.expect_close(1012);
        assert!(reason.starts_with("gap "), "{reason}");
        node.wait_for_line("reason=\"rewound\"");
        wait_for_ready(node);
        *client = listener(node);
    }
    eventually("one new epoch", || {
        let [first, second] = nodes.each_ref().map(epoch);
        (first == second && first != before).then_some(())
    });
    nodes[1].trigger(&publication("after"));
    for client in &mut clients {
        assert_eq!(client.expect_publish().0, "after");
    }
}

#[test]
fn a_lost_connection_is_no_gap() {
    let (server, backend) = (Server::start(), api());
    let node = node(&backend, &server);
    let mut client = listener(&node);
    node.trigger(&publication("before"));
    server.command(&["CLIENT", "KILL", "TYPE", "normal"]);
    for number in 0..20 {
        append(&server, &publication(number));
    }
    assert_eq!(client.expect_publish().0, "before");
    for number in 0..20 {
        assert_eq!(client.expect_publish().0, number);
    }
    wait_for_ready(&node);
    assert_eq!(gaps(&node), 0);
}

#[test]
fn a_server_that_is_not_there_yet_is_named_and_waited_for() {
    let backend = api();
    let port = free_port();
    let node = Gateway::with(&backend)
        .set("HT_REDIS__URL", format!("redis://127.0.0.1:{port}"))
        .set("HT_REDIS__PASSWORD", "geheim")
        .start();
    let line = node.wait_for_line("Redis is unavailable");
    assert!(line.contains("cannot connect"), "{line}");
    assert!(line.contains("host and port in redis.url"), "{line}");
    let ready = node.get("/ready");
    assert_eq!(ready.status, 503);
    assert!(ready.text().contains("cannot connect"), "{}", ready.text());
    assert_eq!(node.post(publication(1).to_string()).status, 503);
    let _server = Server::start_on(port, &["--requirepass", "geheim"]);
    wait_for_ready(&node);
    node.trigger(&publication(2));
    assert!(!node.log().contains("geheim"), "no password");
}

#[test]
fn check_says_what_is_missing_and_what_works() {
    let backend = api();
    let folder = tempfile::tempdir().unwrap();
    let check = |url: &str| {
        let command = Command::new(env!("CARGO_BIN_EXE_high-templar"))
            .arg("check")
            .current_dir(folder.path())
            .env_clear()
            .env("HT_BACKEND__URL", &backend.url)
            .env("HT_LISTEN", "127.0.0.1:0")
            .env("HT_INTERNAL__LISTEN", "127.0.0.1:0")
            .env("HT_REDIS__URL", url)
            .output()
            .unwrap();
        String::from_utf8(command.stdout).unwrap()
    };
    let server = Server::start_with(&["--requirepass", "geheim"]);
    let found = check(&server.url());
    assert!(
        found.contains("FIX  broker: Redis at 127.0.0.1:"),
        "{found}"
    );
    assert!(found.contains("redis.password"), "{found}");
    let url = format!("redis://:geheim@127.0.0.1:{}", server.port());
    let found = check(&url);
    assert!(
        found.contains("ok   broker: Redis at 127.0.0.1:"),
        "{found}"
    );
    assert!(
        found.contains("the stream high-templar.log is at position 0"),
        "{found}"
    );
    assert!(!found.contains("appendonly"), "{found}");
    let set = |name: &str, value: &str| {
        let login = ["-a", "geheim", "--no-auth-warning"];
        let set = ["CONFIG", "SET", name, value];
        assert_eq!(server.command(&[&login[..], &set].concat()), "OK");
    };
    set("appendonly", "no");
    set("maxmemory-policy", "allkeys-lru");
    let found = check(&url);
    assert!(found.contains("appendonly is off"), "{found}");
    assert!(found.contains("maxmemory-policy is allkeys-lru"), "{found}");
    assert!(!found.contains("geheim"), "no password: {found}");
}
