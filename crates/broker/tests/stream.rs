//! A stream of RabbitMQ that is killed, deleted, trimmed and unbound.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use ht_broker::config::{Reading, StreamConfig};
use ht_broker::log::{From, Kind, Log, NewEntry, Record, Tail, TailError};
use ht_broker::rabbitmq::RabbitMqStream;
use ht_broker::{Broker, MissedReason};
use ht_proto::entry::{Epoch, Position};
use ht_testkit::eventually;
use ht_testkit::rabbitmq::{RabbitMq as Server, Vhost};
use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;
use lapin::{Connection, ConnectionProperties};

use crate::support::{EXCHANGE, Node, SOON, body, config, parse, stream_config, trigger};

mod support;

/// How long a publish may take.
const PUBLISH: Duration = Duration::from_secs(5);

fn log(url: &str, stream: StreamConfig) -> Arc<dyn Log> {
    Arc::new(RabbitMqStream::new(&config(url), stream).unwrap())
}

/// A node that has not connected yet.
fn start(url: &str) -> Node {
    let reading = Reading {
        positions: 10_000,
        silence: Some(Duration::from_secs(10)),
        ..Reading::default()
    };
    let broker = Broker::new(log(url, stream_config()), parse(), PUBLISH);
    Node::run(broker.reading(reading))
}

async fn ready(url: &str) -> Node {
    let node = start(url);
    node.becomes_ready().await;
    node
}

fn epoch(node: &Node) -> Option<Epoch> {
    node.broker.epoch().map(|name| name.epoch)
}

#[tokio::test]
async fn a_deleted_stream_is_made_anew_with_another_epoch_on_every_node() {
    let vhost = Server::shared().vhost();
    let nodes = [ready(vhost.url()).await, ready(vhost.url()).await];
    let stream = stream_config().name;
    for published in [50, 0] {
        let triggers = (0..published).map(|n: u32| trigger(&n.to_string()));
        nodes[0].broker.publish(triggers.collect()).await.unwrap();
        let before = epoch(&nodes[0]).unwrap();
        vhost.delete_queue(&stream);
        for node in &nodes {
            let has_another = || node.is_ready() && epoch(node).is_some_and(|it| it != before);
            eventually(2 * SOON, has_another).await;
        }
        eventually(SOON, || epoch(&nodes[0]) == epoch(&nodes[1])).await;
        let name = format!("\"after {published}\"");
        nodes[1].broker.publish(vec![trigger(&name)]).await.unwrap();
        for node in &nodes {
            node.sees(&name).await;
            assert!(node.recorder.gaps().contains(&MissedReason::Rewound));
        }
    }
    for node in nodes {
        assert_eq!(node.recorder.interruptions(), [true, true]);
        node.end().await;
    }
}

#[tokio::test]
async fn a_node_that_starts_reads_back_what_was_there() {
    let vhost = Server::shared().vhost();
    let first = ready(vhost.url()).await;
    let triggers = (0..100).map(|n: u32| trigger(&n.to_string()));
    first.broker.publish(triggers.collect()).await.unwrap();
    let second = ready(vhost.url()).await;
    assert_eq!(epoch(&second), epoch(&first));
    assert_eq!(second.recorder.back(), first.recorder.seen());
    assert_eq!(second.recorder.seen(), [""; 0]);
    first.end().await;
    second.end().await;
}

/// Segments leave offsets out, and only whole ones are dropped.
#[tokio::test]
async fn dropped_records_are_reported_and_holes_are_not() {
    let vhost = Server::shared().vhost();
    let stream = StreamConfig {
        bytes: 300_000,
        segment_bytes: 100_000,
        ..stream_config()
    };
    let log = log(vhost.url(), stream);
    let mut tail = Arc::clone(&log).tail(From::Head).await.unwrap();
    let mut positions = Vec::new();
    while positions.is_empty() || log.bounds().await.unwrap().first <= positions.first().copied() {
        let entries = (0..50).map(|_| NewEntry {
            tenant: None,
            kind: Kind::Trigger,
            key: "a key".into(),
            body: vec![b'x'; 2_000].into(),
        });
        log.append(entries.collect(), PUBLISH).await.unwrap();
        positions.extend(
            read(&mut *tail, 50)
                .await
                .iter()
                .map(|it| it.position.unwrap()),
        );
        assert!(positions.len() < 5_000, "the server drops nothing");
    }
    tail.close(PUBLISH).await;
    assert!(positions.is_sorted_by(|one, next| one < next));
    let gone = positions[0];
    let refused = Arc::clone(&log).tail(From::At(gone)).await.err();
    assert_eq!(refused, Some(TailError::Trimmed(gone)));
    let read = log.read(gone..=Position::MAX, usize::MAX).await.err();
    assert_eq!(read, Some(TailError::Trimmed(gone)));
    // From each record that is left the next ones follow, over every hole.
    let first = log.bounds().await.unwrap().first.unwrap();
    let left: Vec<_> = positions.into_iter().filter(|at| *at >= first).collect();
    assert!(left.len() > 20);
    for (index, from) in left.iter().enumerate().step_by(10) {
        let mut again = Arc::clone(&log).tail(From::At(*from)).await.unwrap();
        let expected = &left[index..];
        let found = self::read(&mut *again, expected.len()).await;
        let found = found.iter().map(|record| record.position.unwrap());
        assert!(found.eq(expected.iter().copied()), "from {from}");
        again.close(PUBLISH).await;
    }
}

async fn read(tail: &mut dyn Tail, count: usize) -> Vec<Record> {
    let mut records = Vec::new();
    while records.len() < count {
        let batch = tokio::time::timeout(SOON, tail.next()).await.unwrap();
        records.extend(batch.unwrap().records);
    }
    assert_eq!(records.len(), count);
    records
}

#[tokio::test]
async fn a_lost_binding_is_found_restored_and_a_gap() {
    let vhost = Server::shared().vhost();
    let nodes = [ready(vhost.url()).await, ready(vhost.url()).await];
    vhost.delete_exchange(EXCHANGE);
    for node in &nodes {
        // Whichever finds it.
        let gaps = || node.recorder.gaps().contains(&MissedReason::BindingLost);
        eventually(SOON, gaps).await;
    }
    assert_eq!(vhost.bound_to(EXCHANGE).len(), 2, "with both keys");
    nodes[0].broker.publish(vec![trigger("1")]).await.unwrap();
    for node in nodes {
        node.sees("1").await;
        node.end().await;
    }
}

#[tokio::test]
async fn a_publisher_that_changes_nothing_reaches_the_stream_and_old_nodes() {
    let vhost = Server::shared().vhost();
    let old = Node::ready(vhost.url()).await;
    let new = ready(vhost.url()).await;
    let publisher = ht_testkit::publisher::Publisher::connect(vhost.url(), EXCHANGE).await;
    let bodies = (0..100).map(|n| body(&n.to_string()));
    publisher.publish_all(bodies).await;
    new.broker.publish(vec![trigger("\"new\"")]).await.unwrap();
    old.broker.publish(vec![trigger("\"old\"")]).await.unwrap();
    for node in [&old, &new] {
        node.sees("\"old\"").await;
        assert_eq!(node.recorder.count(), 102);
        // What concerns nodes alone reaches no queue.
        assert_eq!(
            (node.broker.counts().received, node.broker.counts().rejected),
            (102, 0)
        );
        assert_eq!(node.recorder.gaps(), [MissedReason::Start]);
    }
    old.end().await;
    new.end().await;
}

#[tokio::test]
async fn a_queue_that_is_no_stream_is_named_with_the_remedy() {
    let vhost: Vhost = Server::shared().vhost();
    let properties = ConnectionProperties::default();
    let connection = Connection::connect(vhost.url(), properties).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let name = stream_config().name;
    let options = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    let queue = channel.queue_declare(name.into(), options, FieldTable::default());
    queue.await.unwrap();
    let node = start(vhost.url());
    eventually(SOON, || node.trouble().contains("is not a stream")).await;
    node.end().await;
}
