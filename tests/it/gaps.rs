//! Two nodes and one broker: possible losses of a node are counted, logged and reported to its
//! clients, and to no others.

use ht_testkit::rabbitmq::{RabbitMq, Vhost};
use serde_json::{Value, json};

use crate::rabbitmq::wait_for_ready;
use crate::support::gateway::Builder;
use crate::support::rabbit::{EXCHANGE, Rabbit};
use crate::support::{Client, Gateway, Handshake, StubBackend, eventually, frame};

/// The only warning that a gap causes.
const WARNING: &str = "gap: this node may have missed publications";

/// A node, and the name of its queue.
struct Node {
    gateway: Gateway,
    queue: String,
}

fn with(backend: &StubBackend, vhost: &Vhost) -> Builder {
    Gateway::with(backend).set("HT_RABBITMQ__URL", vhost.url())
}

fn start(builder: Builder, vhost: &Vhost) -> Node {
    let before = vhost.queues();
    let gateway = builder.start();
    wait_for_ready(&gateway);
    let queues = vhost.queues();
    let mut new = queues.into_iter().filter(|name| !before.contains(name));
    let queue = new.next().expect("a queue of its own");
    Node { gateway, queue }
}

impl Node {
    /// A client that subscribed to the room 1.
    #[track_caller]
    fn client(&self) -> Client {
        let mut client = Client::connect(&self.gateway);
        client.subscribe(&json!({"room": 1}), 1);
        client
    }

    fn gaps(&self, reason: &str) -> u64 {
        let name = format!("high_templar_gaps_total{{reason=\"{reason}\"}}");
        self.gateway.metric(&name)
    }

    fn all_gaps(&self) -> u64 {
        let reasons = [
            "start",
            "reconnect",
            "queue-deleted",
            "binding-lost",
            "skipped",
        ];
        reasons.iter().map(|reason| self.gaps(reason)).sum()
    }

    fn warnings(&self) -> usize {
        self.gateway.log().matches(WARNING).count()
    }

    /// Publishes until it is answered 200.
    fn publish(&self, data: impl Into<Value>) {
        let trigger = json!({"rooms": [{"room": 1}], "data": data.into(), "id": "once"});
        eventually("a 200", || {
            let answer = self.gateway.post(trigger.to_string());
            (answer.status == 200).then_some(())
        });
    }
}

/// Reads until the close frame, which must report a gap. Returns the publications before it.
#[track_caller]
fn until_gap(client: &mut Client) -> Vec<Value> {
    let mut received = Vec::new();
    loop {
        let frame = client.frame();
        if frame.opcode == frame::CLOSE {
            let (code, reason) = frame.payload.split_first_chunk().expect("a close code");
            let reason = String::from_utf8_lossy(reason);
            assert_eq!(u16::from_be_bytes(*code), 1012, "{reason}");
            let span = reason.strip_prefix("gap ").expect(&reason);
            assert!((1..=5_000).contains(&span.parse::<u32>().expect(span)));
            return received;
        }
        let message: Value = serde_json::from_slice(&frame.payload).expect("JSON");
        received.push(message["data"].clone());
    }
}

/// The client receives new publications, and no gap.
#[track_caller]
fn hears(client: &mut Client, publisher: &Node, data: &str) {
    publisher
        .gateway
        .trigger(&json!({"rooms": [{"room": 1}], "data": data}));
    assert_eq!(client.expect_publish().0, data);
    client.fence();
}

#[test]
fn clients_connected_before_the_broker_wait_for_it() {
    let server = RabbitMq::shared();
    let vhost = server.vhost();
    let backend = StubBackend::open();
    for _ in 0..3 {
        // Not waited for: a client of a rolling restart connects as soon as the port is open.
        let gateway = with(&backend, &vhost).start();
        let mut client = Client::connect(&gateway);
        client.subscribe(&json!({"room": 1}), 1);
        wait_for_ready(&gateway);
        gateway.trigger(&json!({"rooms": [{"room": 1}], "data": "received"}));
        assert_eq!(client.expect_publish().0, "received");
        assert_eq!(
            gateway.metric("high_templar_gaps_total{reason=\"start\"}"),
            0
        );
    }
}

#[test]
fn a_deleted_exchange_is_a_gap_at_every_node() {
    let vhost = RabbitMq::shared().vhost();
    let backend = StubBackend::open();
    let nodes = [(); 2].map(|()| start(with(&backend, &vhost), &vhost));
    let mut clients = nodes.each_ref().map(Node::client);
    vhost.delete_exchange(EXCHANGE);
    // The called node binds again at once, the other one does not know yet.
    nodes[0].publish("in between");
    for (node, client) in nodes.iter().zip(&mut clients) {
        let received = until_gap(client);
        assert!(
            received.is_empty() || received == ["in between"],
            "{received:?}"
        );
        // Whichever way it was noticed.
        assert!(node.gaps("binding-lost") + node.gaps("skipped") >= 1);
        assert!(node.warnings() >= 1, "{}", node.gateway.log());
        node.gateway
            .wait_for_metric("high_templar_gap_closes_total", 1);
    }
    let mut clients = nodes.each_ref().map(Node::client);
    for node in &nodes {
        node.gateway
            .trigger(&json!({"rooms": [{"room": 1}], "data": "after"}));
        for client in &mut clients {
            assert_eq!(client.expect_publish().0, "after");
            client.fence();
        }
    }
}

#[test]
fn a_deleted_queue_is_a_gap_at_its_node_alone() {
    let vhost = RabbitMq::shared().vhost();
    let backend = StubBackend::open();
    let nodes = [(); 2].map(|()| start(with(&backend, &vhost), &vhost));
    let [mut healthy, mut losing] = nodes.each_ref().map(Node::client);
    let mut modern = Handshake::new(&nodes[1].gateway)
        .header("Sec-WebSocket-Protocol", "high-templar.v1")
        .connect();
    vhost.delete_queue(&nodes[1].queue);
    nodes[0].publish("in between");
    assert_eq!(healthy.expect_publish().0, "in between");
    until_gap(&mut losing);
    until_gap(&mut modern);
    assert_eq!(nodes[1].gaps("queue-deleted"), 1);
    assert_eq!((nodes[1].all_gaps(), nodes[1].warnings()), (1, 1));
    assert_eq!((nodes[0].all_gaps(), nodes[0].warnings()), (0, 0));
    // A client that reconnected receives again, and is not closed again.
    let mut back = nodes[1].client();
    hears(&mut back, &nodes[0], "after");
    assert_eq!(healthy.expect_publish().0, "after");
    healthy.fence();
    assert_eq!(nodes[1].all_gaps(), 1);
}

#[test]
fn a_client_with_events_is_told_of_a_gap_asked_about_and_stays() {
    let vhost = RabbitMq::shared().vhost();
    for policy in ["reconnect", "ignore"] {
        let backend = StubBackend::open();
        let builder = with(&backend, &vhost).set("HT_RECOVERY__GAP_OLD", policy);
        let node = start(builder, &vhost);
        let mut client = Handshake::new(&node.gateway)
            .header(
                "Sec-WebSocket-Protocol",
                "high-templar.v1, high-templar.events",
            )
            .connect();
        let subscribe = json!({"type": "subscribe", "room": {"room": 1}, "requestId": 1});
        assert_eq!(client.call(&subscribe)["code"], "success");
        node.publish("before");
        assert_eq!(client.expect_publish().0, "before");
        let calls = backend.requests().len();
        vhost.close_connections();
        let gap = client.expect_whole();
        assert_eq!(
            (&gap["type"], &gap["reason"]),
            (&json!("gap"), &json!("broker"))
        );
        assert!(gap["cursor"].is_string(), "{gap}");
        wait_for_ready(&node.gateway);
        hears(&mut client, &node, "after");
        // The API was asked again: a command may have been lost as well.
        assert_eq!(backend.wait_for(calls + 1).len(), calls + 1);
        assert_eq!(node.gateway.metric("high_templar_gap_closes_total"), 0);
        assert_eq!(node.gateway.metric("high_templar_gaps_told_total"), 1);
    }
}

#[test]
fn a_cursor_from_before_a_gap_recovers_nothing_and_one_from_after_it_does() {
    let vhost = RabbitMq::shared().vhost();
    let backend = StubBackend::open();
    let node = start(with(&backend, &vhost), &vhost);
    let connect = || {
        let handshake = Handshake::new(&node.gateway);
        handshake
            .header("Sec-WebSocket-Protocol", "high-templar.v1")
            .open()
    };
    let first = |client: &mut Client| client.expect_whole()["cursor"].clone();
    let resume = |client: &mut Client, cursor: &Value| {
        client.call(&json!({
            "type": "resume", "requestId": 0, "cursor": cursor,
            "subscriptions": [{"requestId": 1, "room": {"room": 1}}],
        }))
    };
    let mut client = connect();
    let before = first(&mut client);
    drop(client);
    vhost.close_connections();
    eventually("the gap", || (node.gaps("reconnect") == 1).then_some(()));
    wait_for_ready(&node.gateway);
    node.publish(1);
    let mut client = connect();
    let after = first(&mut client);
    let answer = resume(&mut client, &before);
    assert_eq!(answer["recovered"], false, "{answer}");
    assert_eq!(answer["reason"], "age");
    drop(client);
    let trigger = json!({"rooms": [{"room": 1}], "data": 2});
    node.gateway.trigger(&trigger);
    let mut client = connect();
    first(&mut client);
    let answer = resume(&mut client, &after);
    assert_eq!(answer["recovered"], true, "{answer}");
    // The first one may have been placed before or after that cursor was given, never in between.
    let replayed = answer["replayed"].as_u64().expect("a number");
    assert!((1..=2).contains(&replayed), "{answer}");
    let heard = (0..replayed).map(|_| client.expect_publish().0);
    assert_eq!(heard.last(), Some(json!(2)));
}

#[test]
fn closed_connections_to_the_broker_are_a_gap() {
    let vhost = RabbitMq::shared().vhost();
    let backend = StubBackend::open();
    let node = start(with(&backend, &vhost), &vhost);
    let mut client = node.client();
    vhost.close_connections();
    until_gap(&mut client);
    assert_eq!((node.gaps("reconnect"), node.all_gaps()), (1, 1));
    assert_eq!(node.warnings(), 1);
    hears(&mut node.client(), &node, "after");
}

/// Only the node's own heartbeats detect it: there is neither an error nor a new connection.
#[test]
fn a_binding_that_was_removed_is_noticed_without_any_traffic_behind_it() {
    let vhost = RabbitMq::shared().vhost();
    let backend = StubBackend::open();
    let nodes = [(); 2].map(|()| start(with(&backend, &vhost), &vhost));
    let [mut healthy, mut losing] = nodes.each_ref().map(Node::client);
    let resource =
        |kind: &str, name: &str| format!("rabbit_misc:r(<<\"VHOST\">>, {kind}, <<\"{name}\">>)");
    let (exchange, queue) = (
        resource("exchange", EXCHANGE),
        resource("queue", &nodes[1].queue),
    );
    let _ = vhost.eval(&format!(
        "ok = rabbit_binding:remove({{binding, {exchange}, <<\"*\">>, {queue}, []}}, <<\"test\">>)"
    ));
    // The last message before a silence: only the other node receives it.
    nodes[0].publish("lost");
    assert_eq!(healthy.expect_publish().0, "lost");
    assert!(until_gap(&mut losing).is_empty());
    assert!(nodes[1].gaps("binding-lost") + nodes[1].gaps("skipped") >= 1);
    assert_eq!(nodes[0].all_gaps(), 0);
    hears(&mut nodes[1].client(), &nodes[0], "after");
}

/// The consumer's queue loses messages one by one, as under a policy of the broker.
#[test]
fn missing_messages_of_another_node_are_a_gap() {
    let vhost = RabbitMq::shared().vhost();
    let backend = StubBackend::open();
    let nodes = [(); 2].map(|()| start(with(&backend, &vhost), &vhost));
    let [mut healthy, mut losing] = nodes.each_ref().map(Node::client);
    hears(&mut healthy, &nodes[0], "before");
    assert_eq!(losing.expect_publish().0, "before");
    // What a node that lost two messages would receive: the same publisher, two numbers later.
    let name = nodes[0].queue.clone();
    let resource =
        |kind: &str, name: &str| format!("rabbit_misc:r(<<\"VHOST\">>, {kind}, <<\"{name}\">>)");
    let (exchange, queue) = (
        resource("exchange", EXCHANGE),
        resource("queue", &nodes[1].queue),
    );
    let binding = format!("{{binding, {exchange}, <<\"*\">>, {queue}, []}}");
    assert_ne!(name, nodes[1].queue);
    let _ = vhost.eval(&format!(
        "ok = rabbit_binding:remove({binding}, <<\"test\">>)"
    ));
    nodes[0].publish("lost");
    assert_eq!(healthy.expect_publish().0, "lost");
    let _ = vhost.eval(&format!("ok = rabbit_binding:add({binding}, <<\"test\">>)"));
    nodes[0]
        .gateway
        .trigger(&json!({"rooms": [{"room": 1}], "data": "seen"}));
    assert_eq!(healthy.expect_publish().0, "seen");
    until_gap(&mut losing);
    assert!(nodes[1].all_gaps() >= 1);
    assert_eq!(nodes[0].all_gaps(), 0);
}

#[test]
fn many_clients_are_closed_in_waves_and_receive_all_before_theirs() {
    const MANY: usize = 200;
    let vhost = RabbitMq::shared().vhost();
    let backend = StubBackend::open();
    let node = start(with(&backend, &vhost), &vhost);
    let mut clients: Vec<_> = (0..MANY).map(|_| node.client()).collect();
    vhost.delete_queue(&node.queue);
    node.gateway.wait_for_line(WARNING);
    wait_for_ready(&node.gateway);
    node.gateway
        .trigger(&json!({"rooms": [{"room": 1}], "data": "late"}));
    let received = clients
        .iter_mut()
        .filter_map(|client| until_gap(client).pop())
        .count();
    // Two seconds of waves: some were closed before, and the others received it.
    assert!(received > 0, "all were closed at once");
    eventually("all of them counted", || {
        let closed = node.gateway.metric("high_templar_gap_closes_total");
        (closed == MANY as u64).then_some(())
    });
    assert_eq!((node.all_gaps(), node.warnings()), (1, 1));
}

#[test]
fn ignored_gaps_are_counted_and_close_no_client() {
    let vhost = RabbitMq::shared().vhost();
    let backend = StubBackend::open();
    let builder = with(&backend, &vhost).file("[recovery]\ngap_old = \"ignore\"\n");
    let node = start(builder, &vhost);
    let mut client = node.client();
    vhost.close_connections();
    node.gateway.wait_for_line(WARNING);
    wait_for_ready(&node.gateway);
    assert_eq!(node.gaps("reconnect"), 1);
    hears(&mut client, &node, "after");
    // Live: clients are notified from the next gap on. An ignored gap is not reported later.
    let said = node.gateway.reload("[recovery]\ngap_old = \"reconnect\"\n");
    assert!(said.contains("in effect now: recovery.gap_old"), "{said}");
    hears(&mut client, &node, "still there");
    vhost.close_connections();
    until_gap(&mut client);
    assert_eq!(node.gaps("reconnect"), 2);
}

/// Old gateways log anything but triggers, so a heartbeat is one, without rooms, and so is a note of
/// a node.
#[test]
fn heartbeats_are_harmless_to_every_other_consumer() {
    let vhost = RabbitMq::shared().vhost();
    let backend = StubBackend::open();
    let node = start(with(&backend, &vhost), &vhost);
    let rabbit = Rabbit::connect(vhost.url());
    for body in rabbit.next_messages(3) {
        let mut message: Value = serde_json::from_slice(&body).expect("JSON");
        let members = message.as_object_mut().expect("an object");
        if let Some(note) = members.remove("note") {
            assert!(note["node"].is_string(), "{note}");
        }
        assert_eq!(message, json!({"rooms": [], "data": null}));
    }
    let mut client = node.client();
    assert_eq!(client.status()["rabbitmq_messages_received"], 0);
    assert_eq!(node.gateway.metric("high_templar_broker_messages_total"), 0);
    assert_eq!(node.gateway.metric("high_templar_triggers_total"), 0);
}
