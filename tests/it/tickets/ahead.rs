//! A client that comes to a node which has read less of the log than the one that it left: the node
//! waits a moment for what it lacks, and then goes on without.

use std::time::{Duration, Instant};

use ht_testkit::redis::Redis;
use serde_json::{Value, json};

use crate::rabbitmq::wait_for_ready;
use crate::support::client::Asked;
use crate::support::proxy::Proxy;
use crate::support::{Client, Gateway, StubBackend};
use crate::tickets::{EVENTS, Page, api, connect, expect_outcome, gateway, handshake, named, ping};

/// How long a node waits.
const PATIENCE: Duration = Duration::from_secs(2);

/// Long enough for an answer that is not waited for.
const MOMENT: Duration = Duration::from_millis(300);

/// Two nodes on one log. What the second reads of it can be held back.
struct Nodes {
    ahead: Gateway,
    behind: Gateway,
    proxy: Proxy,
    _server: Redis,
}

impl Nodes {
    fn start(backend: &StubBackend) -> Self {
        let server = Redis::start();
        let proxy = Proxy::to(server.port());
        let node = |port: u16| {
            let url = format!("redis://127.0.0.1:{port}");
            let node = gateway(backend).set("HT_REDIS__URL", url).start();
            wait_for_ready(&node);
            node
        };
        let (ahead, behind) = (node(server.port()), node(proxy.port()));
        let nodes = Self {
            ahead,
            behind,
            proxy,
            _server: server,
        };
        // A log without any entry has no cursor that is good on every node.
        nodes.publish("before");
        nodes
            .behind
            .wait_for_metric("high_templar_window_entries", 1);
        nodes
    }

    fn publish(&self, data: &str) {
        self.ahead
            .trigger(&json!({"rooms": [{"n": 1}], "data": data}));
    }

    /// A client of the first node that has received what the second one has not.
    fn client_of_both(&self) -> Page {
        let (mut client, mut page, _) = connect(&self.ahead, "7", EVENTS);
        self.proxy.pause();
        self.publish("held back");
        ping(&mut client, &mut page);
        page
    }
}

/// The handshake of a client with a ticket, not yet answered.
fn offers(nodes: &Nodes, page: &Page) -> Asked {
    handshake(&nodes.behind, "7", &named(&page.offered())).send()
}

fn send_resume(client: &mut Client, page: &Page) {
    client.send_json(&json!({
        "type": "resume", "requestId": 0, "cursor": page.cursor,
        "subscriptions": [{"requestId": 1, "room": {"n": 1}}],
    }));
}

#[test]
fn a_node_that_has_read_less_than_its_client_waits_for_the_log() {
    let backend = api();
    let nodes = Nodes::start(&backend);
    let (mut there, ..) = connect(&nodes.behind, "7", EVENTS);
    let page = nodes.client_of_both();
    let calls = backend.requests().len();
    let mut asked = offers(&nodes, &page);
    send_resume(&mut there, &page);
    assert!(
        asked.is_silent(MOMENT) && there.is_silent(MOMENT),
        "they wait"
    );
    nodes.proxy.resume();
    let mut client = asked.open();
    let first = client.expect_whole();
    assert_eq!(first["resumed"], true, "{first}");
    assert_eq!(backend.requests().len(), calls, "no call");
    expect_outcome(&nodes.behind, "resumed", 1);
    send_resume(&mut client, &page);
    for client in [&mut client, &mut there] {
        let answer = client.expect_whole();
        assert_eq!(answer["recovered"], true, "{answer}");
        assert_eq!(answer["replayed"], 0, "{answer}");
    }
    nodes.publish("live");
    for client in [&mut client, &mut there] {
        assert_eq!(client.expect_publish(), (json!("live"), json!(1)));
    }
}

#[test]
fn a_node_whose_log_does_not_come_goes_on_without() {
    let backend = api();
    let nodes = Nodes::start(&backend);
    let (mut there, ..) = connect(&nodes.behind, "7", EVENTS);
    let page = nodes.client_of_both();
    let calls = backend.requests().len();
    let begun = Instant::now();
    let asked = offers(&nodes, &page);
    send_resume(&mut there, &page);
    let answer = there.expect_whole();
    assert_eq!(answer["recovered"], false, "{answer}");
    assert_eq!(answer["reason"], "ahead", "{answer}");
    let mut client = asked.open();
    let first = client.expect_whole();
    assert_eq!(first["resumed"], Value::Null, "{first}");
    assert!(begun.elapsed() >= PATIENCE, "{:?}", begun.elapsed());
    assert_eq!(backend.requests().len(), calls + 1, "the API decides");
    expect_outcome(&nodes.behind, "ahead", 1);
    // Both are subscribed, or may be, and hear what the node lacked when it comes.
    client.send_json(&json!({"type": "subscribe", "room": {"n": 1}, "requestId": 1}));
    assert_eq!(client.expect_whole()["code"], "success");
    nodes.proxy.resume();
    for client in [&mut client, &mut there] {
        assert_eq!(client.expect_publish(), (json!("held back"), json!(1)));
    }
}
