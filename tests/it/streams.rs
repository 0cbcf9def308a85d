//! Gateways whose log is a stream of RabbitMQ.

use ht_testkit::rabbitmq::{RabbitMq, Vhost};
use serde_json::{Value, json};

use crate::rabbitmq::wait_for_ready;
use crate::subprotocol::{V1, offer};
use crate::support::rabbit::Rabbit;
use crate::support::{Client, Gateway, StubBackend, eventually};

fn api() -> StubBackend {
    StubBackend::admitting(json!([{"n": "*"}]))
}

fn node(backend: &StubBackend, vhost: &Vhost) -> Gateway {
    let node = Gateway::with(backend)
        .set("HT_RABBITMQ__URL", vhost.url())
        .set("HT_RABBITMQ__LOG", "stream")
        .start();
    wait_for_ready(&node);
    node
}

fn listener(node: &Gateway) -> Client {
    let mut client = Client::connect(node);
    client.subscribe(&json!({"n": 1}), "x");
    client
}

pub(crate) fn publication(data: impl Into<Value>) -> Value {
    json!({"rooms": [{"n": 1}], "data": data.into()})
}

/// The epoch of the log as this node knows it.
pub(crate) fn epoch(node: &Gateway) -> Value {
    let answer = node.get("/nodes/").json();
    let epoch = &answer["nodes"][0]["epoch"];
    assert!(epoch.is_string(), "{answer}");
    epoch.clone()
}

pub(crate) fn gaps(node: &Gateway) -> u64 {
    let reasons = ["start", "reconnect", "binding-lost", "trimmed", "rewound"];
    let metric = |reason| format!("high_templar_gaps_total{{reason=\"{reason}\"}}");
    reasons
        .map(|reason| node.metric(&metric(reason)))
        .iter()
        .sum()
}

#[test]
fn nodes_share_positions_and_ids_with_one_that_starts_later() {
    let (vhost, backend) = (RabbitMq::shared().vhost(), api());
    let nodes = [node(&backend, &vhost), node(&backend, &vhost)];
    let mut clients = [listener(&nodes[0]), listener(&nodes[1])];
    // Publishers over AMQP change nothing.
    let rabbit = Rabbit::connect(vhost.url());
    for number in 0..10 {
        let (posted, sent) = (json!({"posted": number}), json!({"sent": number}));
        nodes[number % 2].trigger(&publication(posted.clone()));
        rabbit.publish(publication(sent.clone()).to_string());
        for client in &mut clients {
            assert_eq!(client.expect_publish().0, posted);
            assert_eq!(client.expect_publish().0, sent);
        }
    }
    let again = json!({"rooms": [{"n": 1}], "data": "once", "id": "the same"});
    let [first, second] = nodes.each_ref().map(|node| node.trigger(&again));
    assert_eq!(second["duplicate"], true);
    let late = node(&backend, &vhost);
    let mut late_client = listener(&late);
    let third = late.trigger(&again);
    assert_eq!(third["duplicate"], true, "it has read the log back");
    for answer in [&second, &third] {
        assert_eq!(answer["position"], first["position"], "one log");
    }
    assert!(
        [&nodes[1], &late]
            .map(epoch)
            .iter()
            .all(|it| *it == epoch(&nodes[0]))
    );
    nodes[0].trigger(&publication("last"));
    for client in &mut clients {
        assert_eq!(client.expect_publish().0, "once");
        assert_eq!(client.expect_publish().0, "last");
    }
    assert_eq!(late_client.expect_publish().0, "last");
}

#[test]
fn a_lost_connection_is_no_gap() {
    let (vhost, backend) = (RabbitMq::shared().vhost(), api());
    let nodes = [node(&backend, &vhost), node(&backend, &vhost)];
    let mut clients = [listener(&nodes[0]), listener(&nodes[1])];
    nodes[0].trigger(&publication("before"));
    vhost.close_connections();
    let rabbit = Rabbit::connect(vhost.url());
    for number in 0..20 {
        rabbit.publish(publication(number).to_string());
    }
    for (node, client) in nodes.iter().zip(&mut clients) {
        assert_eq!(client.expect_publish().0, "before");
        for number in 0..20 {
            assert_eq!(client.expect_publish().0, number);
        }
        wait_for_ready(node);
        assert_eq!(gaps(node), 0);
    }
}

/// Neither deaf and ready, nor with positions of the old one.
#[test]
fn a_stream_that_is_deleted_is_a_gap_and_another_epoch() {
    let (vhost, backend) = (RabbitMq::shared().vhost(), api());
    let nodes = [node(&backend, &vhost), node(&backend, &vhost)];
    let mut clients = [listener(&nodes[0]), listener(&nodes[1])];
    nodes[0].trigger(&publication("before"));
    let before = epoch(&nodes[0]);
    vhost.delete_queue("hightemplar.log");
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
pub(crate) fn next(client: &mut Client) -> (Value, Value) {
    let message = client.expect_whole();
    assert!(message["cursor"].is_string(), "{message}");
    (message["cursor"].clone(), message)
}

#[test]
fn a_cursor_is_the_same_on_every_node() {
    let (vhost, backend) = (RabbitMq::shared().vhost(), api());
    let nodes = [node(&backend, &vhost), node(&backend, &vhost)];
    let subscribe = json!({"type": "subscribe", "room": {"n": 1}, "requestId": 1});
    let mut clients = nodes.each_ref().map(|node| {
        let mut client = offer(node, V1).open();
        next(&mut client);
        client.send_json(&subscribe);
        assert_eq!(next(&mut client).1["code"], "success");
        client
    });
    for number in 0..10 {
        nodes[number % 2].trigger(&publication(number));
        let [first, second] = clients.each_mut().map(next);
        assert_eq!(
            (&first.1["data"], &second.1["data"]),
            (&json!(number), &json!(number))
        );
        assert_eq!(first.0, second.0);
        // A node that starts later tells it, too: it has read the log back.
        if number == 9 {
            let late = node(&backend, &vhost);
            let mut client = offer(&late, V1).open();
            assert_eq!(next(&mut client).0, first.0);
        }
    }
}

/// Its node is killed, and it goes to one that was there and to one that starts after it left.
#[test]
fn a_client_of_a_killed_node_hears_everything_at_any_other() {
    let (vhost, backend) = (RabbitMq::shared().vhost(), api());
    let (mut killed, other) = (node(&backend, &vhost), node(&backend, &vhost));
    let mut client = offer(&killed, V1).open();
    let (_, first) = next(&mut client);
    assert_eq!(first["is_authorized"], true);
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
    let late = node(&backend, &vhost);
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
