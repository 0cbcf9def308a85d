//! The adapter against a real RabbitMQ that stays up: deliveries and declarations.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use ht_broker::log::Log;
use ht_broker::rabbitmq::RabbitMq;
use ht_broker::{AppendError, Broker, MissedReason};
use ht_proto::record::Record;
use ht_testkit::eventually;
use ht_testkit::publisher::Publisher;
use lapin::options::{
    BasicConsumeOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Connection, ConnectionProperties, ExchangeKind};

use crate::support::{EXCHANGE, Node, SOON, body, config, parse, threads, trigger};

type Server = ht_testkit::rabbitmq::RabbitMq;

/// For tests that must not end by a timeout.
const NEVER: Duration = Duration::from_secs(3_600);

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_messages_arrive_in_order() {
    let vhost = Server::shared().vhost();
    let node = Node::ready(vhost.url()).await;
    let publisher = Publisher::connect(vhost.url(), EXCHANGE).await;
    let numbers: Vec<String> = (0..10_000).map(|n: u32| n.to_string()).collect();
    publisher.publish_all(numbers.iter().map(|n| body(n))).await;
    eventually(SOON, || node.recorder.count() == numbers.len()).await;
    assert_eq!(node.recorder.seen(), numbers);
    let counts = node.broker.counts();
    assert_eq!(
        (counts.received, counts.rejected, counts.failures),
        (10_000, 0, 0)
    );
    // Everything is acknowledged, not only handed on.
    let unacked = "rabbit_amqqueue:info(Q, [messages]) || Q <- rabbit_amqqueue:list(<<\"VHOST\">>)";
    eventually(SOON, || {
        vhost.eval(&format!("[{unacked}]")) == "[[{messages,0}]]"
    })
    .await;
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_messages_are_dropped_and_the_next_is_delivered() {
    let vhost = Server::shared().vhost();
    let node = Node::ready(vhost.url()).await;
    let publisher = Publisher::connect(vhost.url(), EXCHANGE).await;
    let bad: [&[u8]; 8] = [
        b"",
        b"not json",
        b"{\"rooms\": [], \"data\": \"\xff\"}",
        b"[]",
        b"{\"rooms\": []}",
        b"{\"data\": 1}",
        b"{\"rooms\": [1], \"data\": 1}",
        b"{\"rooms\": [], \"data\": NaN}",
    ];
    publisher.publish_all(bad).await;
    publisher.publish(body("\"good\"")).await;
    node.sees("\"good\"").await;
    assert_eq!(node.recorder.count(), 1);
    let counts = node.broker.counts();
    assert_eq!((counts.received, counts.rejected), (9, 8));
    assert!(node.is_ready());
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_routing_key_is_not_ours() {
    let vhost = Server::shared().vhost();
    let node = Node::ready(vhost.url()).await;
    let publisher = Publisher::connect(vhost.url(), EXCHANGE).await;
    for key in ["", "#", "a", "**"] {
        publisher.publish_to(key, body("1")).await;
    }
    publisher.publish(body("2")).await;
    node.sees("2").await;
    assert_eq!(node.recorder.seen(), ["2"]);
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_node_hears_every_message_and_leaves_nothing_behind() {
    let vhost = Server::shared().vhost();
    let first = Node::ready(vhost.url()).await;
    let second = Node::ready(vhost.url()).await;
    assert!(
        vhost
            .queues()
            .iter()
            .all(|name| name.starts_with("hightemplar_"))
    );
    assert_eq!(vhost.queues().len(), 2);
    let publisher = Publisher::connect(vhost.url(), EXCHANGE).await;
    publisher.publish(body("1")).await;
    first.sees("1").await;
    second.sees("1").await;
    first.end().await;
    second.end().await;
    eventually(SOON, || vhost.queues().is_empty()).await;
    assert!(vhost.has_exchange(EXCHANGE), "publishers need it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_queue_is_declared_again() {
    let vhost = Server::shared().vhost();
    let node = Node::ready(vhost.url()).await;
    let queue = vhost.queues().remove(0);
    vhost.delete_queue(&queue);
    eventually(SOON, || {
        vhost.bound_to(EXCHANGE).iter().any(|name| *name != queue)
    })
    .await;
    node.becomes_ready().await;
    Publisher::connect(vhost.url(), EXCHANGE)
        .await
        .publish(body("1"))
        .await;
    node.sees("1").await;
    assert_eq!(node.broker.counts().failures, 1);
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_exchange_is_declared_and_bound_again() {
    let vhost = Server::shared().vhost();
    let node = Node::ready(vhost.url()).await;
    vhost.delete_exchange(EXCHANGE);
    assert!(vhost.bound_to(EXCHANGE).is_empty());
    eventually(SOON, || !vhost.bound_to(EXCHANGE).is_empty()).await;
    Publisher::connect(vhost.url(), EXCHANGE)
        .await
        .publish(body("1"))
        .await;
    node.sees("1").await;
    assert_eq!(node.broker.counts().failures, 0, "the connection lives on");
    node.end().await;
}

/// Another node may be quicker: then the exchange is there, but not our binding.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_binding_is_made_again() {
    let vhost = Server::shared().vhost();
    let node = Node::ready(vhost.url()).await;
    vhost.delete_exchange(EXCHANGE);
    declare(vhost.url(), ExchangeKind::Direct, false).await;
    eventually(SOON, || !vhost.bound_to(EXCHANGE).is_empty()).await;
    Publisher::connect(vhost.url(), EXCHANGE)
        .await
        .publish(body("1"))
        .await;
    node.sees("1").await;
    node.end().await;
}

/// The heartbeat that is published before the binding was restored, and the one after it, need not take
/// the same connection: after a doubt the next one is new.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_binding_is_a_gap_whatever_connection_shows_it() {
    let vhost = Server::shared().vhost();
    // Keeps the exchange bound, so that nothing is returned.
    let other = Node::ready(vhost.url()).await;
    let others = vhost.queues();
    let log = Arc::new(RabbitMq::new(&config(vhost.url())).unwrap());
    let node = Node::run(Broker::new(log.clone(), parse(), SOON));
    node.becomes_ready().await;
    node.broker.publish(vec![trigger("1")]).await.unwrap();
    let queues = vhost.queues();
    let own = queues.iter().find(|name| !others.contains(name)).unwrap();
    let _ = vhost.eval(&format!(
        "ok = rabbit_binding:remove({{binding, rabbit_misc:r(<<\"VHOST\">>, exchange, <<\"{EXCHANGE}\">>), \
         <<\"*\">>, rabbit_misc:r(<<\"VHOST\">>, queue, <<\"{own}\">>), []}}, <<\"test\">>)"
    ));
    let before = node.recorder.gaps().len();
    let is_told = async {
        // Each heartbeat takes another connection.
        let mut doubts = tokio::time::interval(Duration::from_millis(5));
        while node.recorder.gaps().len() == before {
            doubts.tick().await;
            log.doubt();
        }
    };
    tokio::time::timeout(SOON, is_told).await.expect("a gap");
    let found = node.recorder.gaps().split_off(before);
    assert_eq!(found, [MissedReason::BindingLost]);
    node.end().await;
    other.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exchange_with_other_arguments_is_used_as_it_is() {
    for (kind, durable) in [(ExchangeKind::Direct, true), (ExchangeKind::Fanout, false)] {
        let vhost = Server::shared().vhost();
        declare(vhost.url(), kind, durable).await;
        let node = Node::ready(vhost.url()).await;
        Publisher::connect(vhost.url(), EXCHANGE)
            .await
            .publish(body("1"))
            .await;
        node.sees("1").await;
        assert_eq!(node.broker.counts().failures, 0);
        // If one node's probe is routed to all nodes, only that node processes it.
        let other = Node::ready(vhost.url()).await;
        other.broker.probe().await.unwrap();
        node.broker.probe().await.unwrap();
        assert_eq!(node.recorder.probes(), [1]);
        assert_eq!(other.recorder.probes(), [0]);
        assert_eq!(node.broker.counts().rejected, 0);
        other.end().await;
        node.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn closed_connections_come_back_and_leave_no_threads() {
    let vhost = Server::shared().vhost();
    let node = Node::ready(vhost.url()).await;
    for round in 1..=4 {
        // The publishing connection was closed too.
        let places = node.broker.publish(vec![trigger("1")]).await.unwrap();
        assert_eq!(places[0].position.get(), round);
        vhost.close_connections();
        eventually(SOON, || node.broker.counts().failures == round).await;
        node.becomes_ready().await;
    }
    // One that consumes, and at most one that published.
    eventually(SOON, || threads("lapin-io-loop") <= 2).await;
    node.end().await;
    eventually(SOON, || threads("lapin-io-loop") == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_taken_away_do_not_end_what_works() {
    let vhost = Server::shared().vhost();
    let node = Node::ready(vhost.url()).await;
    let publisher = Publisher::connect(vhost.url(), EXCHANGE).await;
    vhost.permit("^$", ".*", "^$");
    // Longer than the binding check's interval: it must have met the refusal.
    tokio::time::sleep(Duration::from_secs(3)).await;
    publisher.publish(body("1")).await;
    node.sees("1").await;
    assert!(node.is_ready());
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trouble_names_its_cause_and_no_password() {
    let server = Server::shared();
    let vhost = server.vhost();
    let port = server.port();
    let forbidden = server.vhost();
    forbidden.permit("^$", "^$", "^$");
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = closed.local_addr().unwrap().port();
    drop(closed);
    for (url, expected) in [
        (
            vhost.url().replace(":rabbitmq@", ":s3cret@"),
            "wrong user or password",
        ),
        (
            format!("amqp://rabbitmq:rabbitmq@127.0.0.1:{port}/s3cret_not_there"),
            "no access to the virtual host",
        ),
        (forbidden.url().to_owned(), "lacks a permission"),
        (
            format!("amqp://rabbitmq:s3cret@127.0.0.1:{nobody}"),
            "connection refused",
        ),
        (
            "amqp://rabbitmq:s3cret@no.such.host.invalid".to_owned(),
            "cannot be resolved",
        ),
        (format!("amqps://rabbitmq:s3cret@127.0.0.1:{port}"), ""),
    ] {
        let node = Node::rabbitmq(config(&url));
        eventually(SOON, || node.broker.counts().failures > 0).await;
        let trouble = node.trouble();
        assert!(trouble.contains(expected), "{trouble}");
        assert!(!trouble.contains(":s3cret"), "{trouble}");
        assert!(!trouble.is_empty());
        node.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn publishing_returns_the_places() {
    let vhost = Server::shared().vhost();
    let node = Node::ready(vhost.url()).await;
    let other = Node::ready(vhost.url()).await;
    let publisher = Publisher::connect(vhost.url(), EXCHANGE).await;
    publisher.publish(body("\"theirs\"")).await;
    node.sees("\"theirs\"").await;
    let triggers = (0..500).map(|n: u32| trigger(&n.to_string())).collect();
    let places = node.broker.publish(triggers).await.unwrap();
    let positions: Vec<u64> = places.iter().map(|place| place.position.get()).collect();
    assert_eq!(positions, (2..=501).collect::<Vec<u64>>());
    eventually(SOON, || other.recorder.count() == 501).await;
    assert_eq!(other.recorder.seen(), node.recorder.seen());
    assert_eq!(
        node.broker.publish(Vec::<Record>::new()).await,
        Ok(Vec::new())
    );
    node.end().await;
    other.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_publishes_keep_the_order_of_calls() {
    let vhost = Server::shared().vhost();
    let node = Node::ready(vhost.url()).await;
    let calls = (0..300).map(|n: u32| node.broker.publish(vec![trigger(&n.to_string())]));
    let places = futures_util::future::join_all(calls).await;
    let positions: Vec<u64> = places
        .into_iter()
        .map(|places| places.unwrap()[0].position.get())
        .collect();
    assert_eq!(positions, (1..=300).collect::<Vec<u64>>());
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publish_that_does_not_come_back_is_unconfirmed() {
    let vhost = Server::shared().vhost();
    let mut config = config(vhost.url());
    config.publish_timeout = Duration::from_secs(2);
    let node = Node::rabbitmq(config);
    node.becomes_ready().await;
    let held = node.recorder.hold().await;
    let outcome = node.broker.publish(vec![trigger("1")]).await;
    assert!(
        matches!(outcome, Err(AppendError::Unconfirmed { seconds: 1.. })),
        "{outcome:?}"
    );
    // An abandoned call leaves nothing behind that blocks the next.
    drop(
        tokio::time::timeout(
            Duration::from_millis(50),
            node.broker.publish(vec![trigger("2")]),
        )
        .await,
    );
    drop(held);
    let places = node.broker.publish(vec![trigger("3")]).await.unwrap();
    assert_eq!(places[0].position.get(), node.recorder.count() as u64);
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publish_fails_at_once_where_nothing_is_bound() {
    let vhost = Server::shared().vhost();
    // Neither the timeout nor the periodic binding check may help: only the broker's return of the
    // unroutable message ends the wait, and only the failure restores the binding.
    let mut config = config(vhost.url());
    config.publish_timeout = NEVER;
    config.binding_check = NEVER;
    let node = Node::rabbitmq(config);
    node.becomes_ready().await;
    node.broker.publish(vec![trigger("1")]).await.unwrap();
    vhost.delete_exchange(EXCHANGE);
    declare(vhost.url(), ExchangeKind::Direct, false).await;
    let outcome = node.broker.publish(vec![trigger("2")]).await;
    assert!(
        matches!(outcome, Err(AppendError::Unconfirmed { .. })),
        "{outcome:?}"
    );
    eventually(SOON, || !vhost.bound_to(EXCHANGE).is_empty()).await;
    node.broker.publish(vec![trigger("3")]).await.unwrap();
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_message_passes_whole() {
    let vhost = Server::shared().vhost();
    let node = Node::ready(vhost.url()).await;
    let data = format!("\"{}\"", "x".repeat(3 << 20));
    node.broker.publish(vec![trigger(&data)]).await.unwrap();
    assert!(node.recorder.has(&data));
    node.end().await;
}

/// Nodes of other versions and Python gateways are on the same exchange.
#[tokio::test(flavor = "multi_thread")]
async fn messages_have_the_form_that_other_versions_read() {
    let vhost = Server::shared().vhost();
    let node = Node::ready(vhost.url()).await;
    let connection = Connection::connect(vhost.url(), ConnectionProperties::default())
        .await
        .unwrap();
    let channel = connection.create_channel().await.unwrap();
    let exclusive = QueueDeclareOptions {
        exclusive: true,
        ..QueueDeclareOptions::default()
    };
    let (queue, none) = (ShortString::from("other"), FieldTable::default);
    channel
        .queue_declare(queue.clone(), exclusive, none())
        .await
        .unwrap();
    let options = QueueBindOptions::default();
    channel
        .queue_bind(queue.clone(), EXCHANGE.into(), "*".into(), options, none())
        .await
        .unwrap();
    let options = BasicConsumeOptions::default();
    let mut consumer = channel
        .basic_consume(queue, "".into(), options, none())
        .await
        .unwrap();
    node.broker
        .publish(vec![trigger("1"), trigger("2")])
        .await
        .unwrap();
    node.broker.probe().await.unwrap();

    let (mut keys, mut nodes, mut last) = (Vec::new(), Vec::new(), 0);
    let (mut triggers, mut heartbeats) = (0, 0);
    while triggers < 2 || heartbeats < 1 {
        let delivery = consumer.next().await.unwrap().unwrap();
        let properties = &delivery.properties;
        assert_eq!(
            delivery.routing_key.as_str(),
            "*",
            "probes are for one node alone"
        );
        assert_eq!(
            properties.content_type().as_ref().unwrap().as_str(),
            "application/json"
        );
        let headers = properties.headers().as_ref().unwrap().inner();
        let AMQPValue::LongString(text) = &headers["high-templar-sequence"] else {
            panic!("{headers:?}");
        };
        let text = text.to_string();
        let words: Vec<_> = text.split(' ').collect();
        assert_eq!(words.len(), if words[2] == "1" { 5 } else { 3 }, "{text}");
        let number: u64 = words[2].parse().unwrap();
        assert!(last == 0 || number == last + 1, "{text} after {last}");
        last = number;
        nodes.push(words[0].to_owned());
        match properties.kind().as_ref().map(ShortString::as_str) {
            None => {
                triggers += 1;
                assert_eq!(delivery.data, body(&triggers.to_string()).into_bytes());
                keys.push(properties.message_id().clone().unwrap());
            }
            Some("high-templar.probe") => {
                heartbeats += 1;
                assert_eq!(delivery.data, br#"{"rooms": [], "data": null}"#);
            }
            Some(other) => panic!("{other}"),
        }
    }
    nodes.dedup();
    assert!(nodes.len() == 1 && nodes[0].len() == 32, "{nodes:?}");
    assert_ne!(keys[0], keys[1]);
    node.end().await;
}

/// A sequencer that is stuck holds the shutdown up for a moment only.
#[tokio::test(flavor = "multi_thread")]
async fn shutdown_waits_for_what_is_in_hand_but_not_for_ever() {
    let vhost = Server::shared().vhost();
    let publisher_needs = Node::ready(vhost.url()).await;
    let publisher = Publisher::connect(vhost.url(), EXCHANGE).await;
    let stuck = Node::ready(vhost.url()).await;
    let recorder = std::sync::Arc::clone(&stuck.recorder);
    let held = recorder.hold().await;
    publisher.publish(body("1")).await;
    eventually(SOON, || stuck.broker.counts().received == 1).await;
    stuck.end().await;
    drop(held);
    assert_eq!(recorder.count(), 0, "what was given up was not placed");
    publisher_needs.end().await;
}

#[tokio::test]
async fn a_wrong_configuration_is_refused() {
    for (url, exchange) in [
        ("http://host", EXCHANGE),
        ("amqp://host", ""),
        ("", EXCHANGE),
    ] {
        let mut config = config(url);
        config.exchange = exchange.to_owned();
        assert!(RabbitMq::new(&config).is_err());
    }
    let mut config = config("amqp://host");
    config.exchange = "x".repeat(128);
    assert!(RabbitMq::new(&config).is_err());
}

async fn declare(url: &str, kind: ExchangeKind, durable: bool) {
    let connection = Connection::connect(url, ConnectionProperties::default())
        .await
        .unwrap();
    let channel = connection.create_channel().await.unwrap();
    let options = ExchangeDeclareOptions {
        durable,
        ..ExchangeDeclareOptions::default()
    };
    channel
        .exchange_declare(EXCHANGE.into(), kind, options, FieldTable::default())
        .await
        .unwrap();
    connection.close(200, "OK".into()).await.unwrap();
}
