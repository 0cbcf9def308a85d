//! Several nodes on one broker: their leases, and commands that every one of them confirms.

use std::process::Command;
use std::time::{Duration, Instant};

use ht_testkit::rabbitmq::{RabbitMq, Vhost};
use serde_json::{Value, json};

use crate::rabbitmq::wait_for_ready;
use crate::support::rabbit::Rabbit;
use crate::support::stream::Address;
use crate::support::{Client, Gateway, Handshake, Reply, StubBackend, eventually, http};

fn api() -> StubBackend {
    StubBackend::new(|seen| {
        let token = seen.header("authorization").unwrap_or("Token nobody");
        let user = token.trim_start_matches("Token ");
        let body = json!({"allowed_rooms": [{"n": "*"}], "user": {"id": user}});
        Reply::json("200 OK", body.to_string())
    })
}

/// Nodes with these names on one broker, ready and known to each other, each of which knows that
/// there are no more.
fn nodes<const N: usize>(
    backend: &StubBackend,
    vhost: &Vhost,
    names: [&str; N],
    settings: &[(&str, &str)],
) -> [Gateway; N] {
    let nodes = names.map(|name| {
        let node = Gateway::with(backend)
            .set("HT_RABBITMQ__URL", vhost.url())
            .set("HT_NODES__NAME", name)
            .set("HT_NODES__BEACON", "200ms")
            .set("HT_NODES__LEASE", "2s");
        let set = settings.iter();
        set.fold(node, |node, (name, value)| node.set(name, value))
            .start()
    });
    nodes.iter().for_each(wait_for_ready);
    for node in &nodes {
        node.wait_for_metric("high_templar_nodes", N as u64);
        eventually("a confirmation of all", || {
            let (status, answer) = everywhere(node, "nobody", "hello");
            (status == 200)
                .then(|| assert_eq!(answer["nodes"].as_object().map(|all| all.len()), Some(N)))
        });
    }
    nodes
}

fn listener(node: &Gateway, user: &str) -> Client {
    let mut client = Handshake::new(node)
        .path(&format!("/ws/?token={user}"))
        .connect();
    client.subscribe(&json!({"n": 1}), "x");
    client
}

/// Sends a command that every node is to confirm; returns the status and the answer.
fn everywhere(node: &Gateway, user: &str, id: &str) -> (u16, Value) {
    let command = json!({
        "command": "disconnect", "user": user, "come_back": "soon", "confirm": "everywhere", "id": id,
    });
    let answer = node.post(command.to_string());
    (answer.status, answer.json())
}

/// The same by the command line; returns its exit status and what it prints.
fn by_hand(node: &Gateway, user: &str) -> (Option<i32>, String) {
    let Address::Tcp(address) = node.internal() else {
        panic!("the internal listener has a port");
    };
    let output = Command::new(env!("CARGO_BIN_EXE_high-templar"))
        .args(["disconnect", "--user", user, "--confirm", "everywhere"])
        .args(["--come-back", "soon", "--url", &format!("http://{address}")])
        .env_clear()
        .output()
        .expect("it runs");
    let line = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code(), line)
}

/// The names in `GET /nodes/`.
fn names(node: &Gateway) -> Vec<String> {
    let answer = node.get("/nodes/").json();
    let nodes = answer["nodes"].as_array().expect("nodes").iter();
    let mut names: Vec<_> = nodes
        .map(|node| node["node"].as_str().expect("a name").to_owned())
        .collect();
    names[1..].sort();
    names
}

#[test]
fn a_confirmed_command_was_executed_on_every_node() {
    let (vhost, backend) = (RabbitMq::shared().vhost(), api());
    let nodes = nodes(&backend, &vhost, ["a", "b", "c"], &[]);
    let [a, b, c] = &nodes;
    let mut clients = [listener(a, "7"), listener(b, "7"), listener(b, "7")];
    let mut other = listener(c, "8");
    let (status, answer) = everywhere(a, "7", "first");
    assert_eq!((status, &answer["done"]), (200, &json!(true)), "{answer}");
    assert_eq!(answer["nodes"], json!({"a": 1, "b": 2, "c": 0}));
    assert_eq!(answer["matched"], 1, "on this node");
    assert_eq!(answer["position"], 2, "beacons take no position");
    assert!(answer.get("missing").is_none(), "{answer}");
    for client in &mut clients {
        assert_eq!(client.expect_close(4003), "ended");
    }
    other.fence();
    // Sent again, with the same id: it is what it was.
    let (status, answer) = everywhere(a, "7", "first");
    assert_eq!(
        (status, &answer["duplicate"]),
        (200, &json!(true)),
        "{answer}"
    );
    assert_eq!(answer["nodes"], json!({"a": 1, "b": 2, "c": 0}));
    assert_eq!(names(c), ["c", "a", "b"]);
    let listed = a.get("/nodes/").json();
    assert_eq!(listed["nodes"][0]["self"], true);
    let beacons = eventually("a beacon of c with its connection", || {
        let listed = a.get("/nodes/").json();
        let nodes = listed["nodes"].as_array().unwrap().clone();
        nodes
            .into_iter()
            .find(|node| node["node"] == "c" && node["connections"] == 1)
    });
    assert_eq!(beacons["position"], 2);
    assert_eq!(beacons["epoch"].as_str().map(str::len), Some(6));
}

#[test]
fn a_node_that_does_not_answer_is_missing_and_never_confirmed() {
    let (vhost, backend) = (RabbitMq::shared().vhost(), api());
    let settings = [
        ("HT_PERMISSIONS__CONFIRM_TIMEOUT", "1s"),
        ("HT_NODES__LEASE", "3s"),
    ];
    let nodes = nodes(&backend, &vhost, ["a", "b", "c"], &settings);
    let [a, b, c] = &nodes;
    let mut clients = [listener(a, "7"), listener(b, "7"), listener(c, "7")];
    // It holds its lease, and takes nothing.
    c.stop();
    let begun = Instant::now();
    let (status, answer) = everywhere(a, "7", "once");
    assert_eq!((status, &answer["done"]), (202, &json!(false)), "{answer}");
    assert_eq!(answer["missing"], json!(["c"]));
    assert_eq!(answer["nodes"], json!({"a": 1, "b": 1}));
    assert!(begun.elapsed() >= Duration::from_secs(1));
    c.signal("CONT");
    // It does what it was told, and the sender may ask again.
    let answer = eventually("the confirmation of all", || {
        let (status, answer) = everywhere(a, "7", "once");
        (status == 200).then_some(answer)
    });
    assert_eq!(answer["nodes"], json!({"a": 1, "b": 1, "c": 1}));
    for client in &mut clients {
        assert_eq!(client.expect_close(4003), "ended");
    }
}

#[test]
fn a_killed_node_is_missing_until_its_lease_ends_and_one_that_shuts_down_is_not() {
    let (vhost, backend) = (RabbitMq::shared().vhost(), api());
    let settings = [
        ("HT_PERMISSIONS__CONFIRM_TIMEOUT", "500ms"),
        ("HT_NODES__LEASE", "2s"),
    ];
    let [a, mut b, c] = nodes(&backend, &vhost, ["a", "b", "c"], &settings);
    c.signal("KILL");
    let (status, answer) = everywhere(&a, "7", "first");
    assert_eq!(status, 202, "{answer}");
    assert_eq!(answer["missing"], json!(["c"]));
    a.wait_for_metric("high_templar_nodes", 2);
    a.wait_for_line("another node has sent no beacon for nodes.lease");
    let (status, answer) = everywhere(&a, "7", "second");
    assert_eq!(
        (status, &answer["nodes"]),
        (200, &json!({"a": 0, "b": 0})),
        "{answer}"
    );
    b.signal("TERM");
    assert_eq!(b.wait_for_end(), Some(0));
    a.wait_for_line("another node has shut down");
    assert_eq!(names(&a), ["a"]);
    assert_eq!(everywhere(&a, "7", "third").1["nodes"], json!({"a": 0}));
}

/// Clients of the killed node and of another, and what became of a command around the kill.
struct Round {
    killed: Gateway,
    clients: [Client; 2],
}

impl Round {
    fn new(backend: &StubBackend, vhost: &Vhost, a: &Gateway, name: &str) -> Self {
        let killed = Gateway::with(backend)
            .set("HT_RABBITMQ__URL", vhost.url())
            .set("HT_NODES__NAME", name)
            .start();
        wait_for_ready(&killed);
        let clients = [listener(a, "7"), listener(&killed, "7")];
        Self { killed, clients }
    }

    /// What is published from now on is lost to the user.
    fn revoke(a: &Gateway, id: &str) -> (u16, Value) {
        let command = json!({
            "command": "permit", "user": "7", "allowed_rooms": [], "confirm": "everywhere", "id": id,
        });
        let answer = a.post(command.to_string());
        (answer.status, answer.json())
    }

    /// Publishes behind the command. Neither client hears it: one is live, the other's node is
    /// dead.
    fn check(self, a: &Gateway) {
        a.trigger(&json!({"rooms": [{"n": 1}], "data": "behind"}));
        let [mut live, mut cut] = self.clients;
        let mut heard = Vec::new();
        while let Ok(frame) = cut.try_frame() {
            heard.push(frame.payload);
        }
        assert!(
            heard.iter().all(|bytes| !bytes.ends_with(b"behind")),
            "{heard:?}"
        );
        live.fence();
    }
}

#[test]
fn a_node_that_is_killed_around_a_command_never_delivers_behind_it() {
    let (vhost, backend) = (RabbitMq::shared().vhost(), api());
    let settings = [
        ("HT_PERMISSIONS__CONFIRM_TIMEOUT", "1s"),
        ("HT_NODES__LEASE", "2s"),
    ];
    let [a] = nodes(&backend, &vhost, ["a"], &settings);
    // After the 200: it had executed the command.
    let round = Round::new(&backend, &vhost, &a, "after");
    let (status, answer) = Round::revoke(&a, "after");
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["nodes"], json!({"a": 1, "after": 1}));
    round.killed.signal("KILL");
    round.check(&a);
    a.wait_for_metric("high_templar_nodes", 1);
    // Before it could execute it: never a 200.
    let round = Round::new(&backend, &vhost, &a, "before");
    round.killed.signal("STOP");
    let (status, answer) = std::thread::scope(|scope| {
        let revoking = scope.spawn(|| Round::revoke(&a, "before"));
        a.wait_for_metric("high_templar_subscriptions_lost_total", 2);
        round.killed.signal("KILL");
        revoking.join().expect("an answer")
    });
    assert_eq!((status, &answer["missing"]), (202, &json!(["before"])));
    assert_eq!(answer["done"], false);
    round.check(&a);
    a.wait_for_metric("high_templar_nodes", 1);
    // At the same time: a 200 says that it was done.
    for name in ["one", "two", "three"] {
        let round = Round::new(&backend, &vhost, &a, name);
        let (status, answer) = std::thread::scope(|scope| {
            let revoking = scope.spawn(|| Round::revoke(&a, name));
            round.killed.signal("KILL");
            revoking.join().expect("an answer")
        });
        match status {
            200 => assert_eq!(answer["nodes"][name], 1, "{answer}"),
            202 => assert_eq!(answer["missing"], json!([name]), "{answer}"),
            _ => panic!("{status} {answer}"),
        }
        round.check(&a);
        a.wait_for_metric("high_templar_nodes", 1);
    }
}

#[test]
fn a_node_that_has_just_started_is_waited_for_and_waits_for_all() {
    let (vhost, backend) = (RabbitMq::shared().vhost(), api());
    let settings = [("HT_NODES__BEACON", "2s"), ("HT_NODES__LEASE", "4s")];
    let [a, b] = nodes(&backend, &vhost, ["a", "b"], &settings);
    let (mut on_a, mut on_b) = (listener(&a, "7"), listener(&b, "7"));
    // Its own beacons, and those of the others, are a minute away.
    let c = Gateway::with(&backend)
        .set("HT_RABBITMQ__URL", vhost.url())
        .set("HT_NODES__NAME", "c")
        .set("HT_NODES__BEACON", "1m")
        .set("HT_NODES__LEASE", "2m")
        .start();
    // As soon as it has a client, the others know it.
    let mut on_c = listener(&c, "7");
    let (status, answer) = everywhere(&a, "7", "first");
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["nodes"], json!({"a": 1, "b": 1, "c": 1}));
    // And it knows them.
    let (status, answer) = everywhere(&c, "nobody", "second");
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["nodes"], json!({"a": 0, "b": 0, "c": 0}));
    for client in [&mut on_a, &mut on_b, &mut on_c] {
        assert_eq!(client.expect_close(4003), "ended");
    }
}

#[test]
fn a_node_that_does_not_know_the_others_confirms_nothing_for_them() {
    let (vhost, backend) = (RabbitMq::shared().vhost(), api());
    let node = Gateway::with(&backend)
        .set("HT_RABBITMQ__URL", vhost.url())
        .set("HT_NODES__NAME", "first")
        .set("HT_NODES__BEACON", "1m")
        .set("HT_NODES__LEASE", "2m")
        .set("HT_PERMISSIONS__CONFIRM_TIMEOUT", "300ms")
        .start();
    wait_for_ready(&node);
    let (status, answer) = everywhere(&node, "7", "early");
    assert_eq!((status, &answer["done"]), (202, &json!(false)), "{answer}");
    assert_eq!(
        (&answer["nodes"], &answer["missing"]),
        (&json!({"first": 0}), &json!([]))
    );
    let (status, line) = by_hand(&node, "7");
    assert_eq!(status, Some(1));
    assert!(
        line.contains("(first 0); this node has just started"),
        "{line}"
    );
}

#[test]
fn without_a_broker_there_is_one_node() {
    let backend = api();
    let node = Gateway::with(&backend)
        .set("HT_NODES__NAME", "solo")
        .start();
    let mut client = listener(&node, "7");
    let (status, answer) = everywhere(&node, "7", "first");
    assert_eq!(
        (status, &answer["nodes"]),
        (200, &json!({"solo": 1})),
        "{answer}"
    );
    assert_eq!(
        (&answer["done"], &answer["matched"]),
        (&json!(true), &json!(1))
    );
    assert_eq!(client.expect_close(4003), "ended");
    assert_eq!(names(&node), ["solo"]);
    let line = "disconnected 0 connections (solo 0): every node has confirmed it\n";
    assert_eq!(by_hand(&node, "7"), (Some(0), line.to_owned()));
    assert_eq!(node.metric("high_templar_nodes"), 1);
}

#[test]
fn publishers_cannot_speak_for_a_node() {
    let (vhost, backend) = (RabbitMq::shared().vhost(), api());
    let [a, b] = nodes(&backend, &vhost, ["a", "b"], &[]);
    let forged = json!({"rooms": [], "data": null, "note": {"node": "x", "boot": "x"}});
    a.trigger(&forged);
    Rabbit::connect(vhost.url()).publish(forged.to_string());
    // In one order with it: read when this is confirmed.
    assert_eq!(everywhere(&a, "7", "first").0, 200);
    assert_eq!(
        (names(&a), names(&b)),
        (vec!["a".into(), "b".into()], vec!["b".into(), "a".into()])
    );
}

#[test]
fn reading_the_nodes_needs_a_right() {
    let backend = api();
    let node = Gateway::with(&backend)
        .file(
            "[[internal.keys]]\nkey = \"geheim-news\"\nmay = [\"publish\", \"command\"]\n\
             [[internal.keys]]\nkey = \"geheim-scraper\"\nmay = [\"read\"]\n",
        )
        .start();
    let ask = |method: &str, key: &str| {
        let headers = [("Authorization", &*format!("Bearer geheim-{key}"))];
        http::request(node.internal(), method, "/nodes/", &headers, b"").status
    };
    let statuses = ["news", "scraper", "other"].map(|key| ask("GET", key));
    assert_eq!(statuses, [403, 200, 401]);
    assert_eq!(ask("POST", "scraper"), 405);
}
