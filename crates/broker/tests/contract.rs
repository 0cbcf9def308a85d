//! What every implementation of `Broker` owes, whatever carries it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use ht_broker::Broker;
use ht_broker::PublishError;
use ht_broker::rabbitmq::RabbitMq;
use ht_testkit::eventually;
use ht_testkit::publisher::Publisher;

use crate::support::EXCHANGE;
use crate::support::Node;
use crate::support::SOON;
use crate::support::body;
use crate::support::config;
use crate::support::parse;
use crate::support::trigger;

/// One kind of broker, with an empty place on a server.
trait Kind {
    /// An adapter that does not run yet.
    fn adapter(&self) -> Arc<dyn Broker>;

    /// Publishes these bodies as a backend does, in order.
    async fn publish(&self, bodies: Vec<Vec<u8>>);
}

/// The suite. Each section leaves the nodes as it found them.
async fn keeps_the_contract(kind: impl Kind) {
    let adapter = kind.adapter();
    assert!(!adapter.name().is_empty());
    assert_ne!(
        adapter.health(),
        ht_broker::Health::Ready,
        "it does not run"
    );
    assert!(unavailable(&*adapter).await, "it does not run");

    let first = Node::start(adapter);
    let second = Node::start(kind.adapter());
    first.becomes_ready().await;
    second.becomes_ready().await;

    brings_triggers_in_order(&kind, &first, &second).await;
    drops_what_is_no_trigger(&kind, &first).await;
    publishes_to_every_node(&first, &second).await;
    survives_a_publisher_that_goes_away(&first).await;
    probes_this_node_alone(&kind, &first, &second).await;

    let adapter = Arc::clone(&first.broker);
    first.end().await;
    assert_ne!(adapter.health(), ht_broker::Health::Ready, "it has ended");
    assert!(unavailable(&*adapter).await, "it has ended");
    second.end().await;
}

async fn brings_triggers_in_order(kind: &impl Kind, first: &Node, second: &Node) {
    let numbers: Vec<String> = (0..1_000).map(|n: u32| n.to_string()).collect();
    let bodies = numbers.iter().map(|n| body(n).into_bytes()).collect();
    kind.publish(bodies).await;
    for node in [first, second] {
        eventually(SOON, || node.recorder.count() == numbers.len()).await;
        assert_eq!(node.recorder.seen(), numbers);
        assert_eq!(node.broker.counts().received, 1_000);
    }
}

async fn drops_what_is_no_trigger(kind: &impl Kind, node: &Node) {
    let before = node.broker.counts();
    let count = node.recorder.count();
    let good = body("\"good\"").into_bytes();
    kind.publish(vec![b"bad".to_vec(), vec![0xff], good]).await;
    node.sees("\"good\"").await;
    let after = node.broker.counts();
    assert_eq!(after.received - before.received, 3);
    assert_eq!(after.rejected - before.rejected, 2);
    assert_eq!(node.recorder.count(), count + 1);
}

async fn publishes_to_every_node(first: &Node, second: &Node) {
    let before = first.recorder.count() as u64;
    let triggers = (0..100).map(|n: u32| trigger(&format!("\"own {n}\"")));
    let places = first.broker.publish(triggers.collect()).await.unwrap();
    let positions: Vec<u64> = places.iter().map(|place| place.position).collect();
    assert_eq!(positions, (before + 1..=before + 100).collect::<Vec<u64>>());
    eventually(SOON, || second.recorder.count() == first.recorder.count()).await;
    assert_eq!(second.recorder.seen(), first.recorder.seen());
    assert_eq!(first.broker.publish(Vec::new()).await, Ok(Vec::new()));
}

async fn survives_a_publisher_that_goes_away(node: &Node) {
    let held = node.recorder.hold().await;
    let publish = node.broker.publish(vec![trigger("\"given up\"")]);
    assert!(
        tokio::time::timeout(Duration::from_millis(50), publish)
            .await
            .is_err()
    );
    drop(held);
    let places = node
        .broker
        .publish(vec![trigger("\"next\"")])
        .await
        .unwrap();
    assert_eq!(places.len(), 1);
    node.sees("\"next\"").await;
}

async fn probes_this_node_alone(kind: &impl Kind, first: &Node, second: &Node) {
    first.broker.probe().await.unwrap();
    let before = first.recorder.probes();
    let (count, counts) = (first.recorder.count(), first.broker.counts());
    let bodies = (0..500).map(|n: u32| body(&format!("\"before {n}\"")).into_bytes());
    kind.publish(bodies.collect()).await;
    first.broker.probe().await.unwrap();
    // In its turn: behind what the broker had taken.
    assert_eq!(
        first.recorder.probes(),
        [before, vec![count + 500]].concat()
    );
    eventually(SOON, || second.recorder.count() == first.recorder.count()).await;
    assert!(second.recorder.probes().is_empty());
    for node in [first, second] {
        let after = node.broker.counts();
        assert_eq!(after.received, counts.received + 500);
        assert_eq!(after.rejected, counts.rejected);
    }
}

async fn unavailable(broker: &dyn Broker) -> bool {
    let outcome = broker.publish(vec![trigger("0")]).await;
    matches!(outcome, Err(PublishError::Unavailable(_)))
}

struct OnRabbitMq(ht_testkit::rabbitmq::Vhost);

impl Kind for OnRabbitMq {
    fn adapter(&self) -> Arc<dyn Broker> {
        Arc::new(RabbitMq::new(config(self.0.url()), parse()).unwrap())
    }

    async fn publish(&self, bodies: Vec<Vec<u8>>) {
        let publisher = Publisher::connect(self.0.url(), EXCHANGE).await;
        publisher.publish_all(bodies).await;
    }
}

/// On one thread: nothing may block it.
#[tokio::test]
async fn rabbitmq_keeps_the_contract() {
    let server = ht_testkit::rabbitmq::RabbitMq::shared();
    keeps_the_contract(OnRabbitMq(server.vhost())).await;
}
