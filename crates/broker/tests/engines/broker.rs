//! The contract of a broker, whatever log it uses.

use std::sync::Arc;
use std::time::Duration;

use ht_broker::config::Reading;
use ht_broker::{AppendError, Broker, Health};
use ht_proto::cursor::{Check, Cursor};
use ht_proto::note::{Beacon, LastEntry, Note, Report};
use ht_testkit::eventually;

use crate::Engine;
use crate::support::{Node, SOON, body, parse, trigger};

/// How long a publish may take.
const PUBLISH: Duration = Duration::from_secs(5);

/// The suite. Each section leaves the nodes as it found them.
pub(crate) async fn keeps_the_contract(engine: &impl Engine) {
    let idle = Broker::new(engine.log(), parse(), PUBLISH);
    assert_eq!(idle.name(), engine.log().name());
    assert_ne!(idle.health(), Health::Ready, "it does not run");
    assert!(is_unavailable(&idle).await, "it does not run");

    let first = Node::start(engine.log(), PUBLISH);
    let second = Node::start(engine.log(), PUBLISH);
    first.becomes_ready().await;
    second.becomes_ready().await;

    brings_triggers_in_order(engine, &first, &second).await;
    drops_what_is_not_a_trigger(engine, &first).await;
    publishes_to_every_node(engine, &first, &second).await;
    survives_a_publisher_that_goes_away(&first).await;
    probes_this_node_alone(engine, &first, &second).await;
    if engine.log().caps().retains {
        knows_what_was_before(engine, &first).await;
    }

    let broker = Arc::clone(&first.broker);
    first.end().await;
    assert_ne!(broker.health(), Health::Ready, "it has ended");
    assert!(is_unavailable(&broker).await, "it has ended");
    second.end().await;
}

async fn brings_triggers_in_order(engine: &impl Engine, first: &Node, second: &Node) {
    let numbers: Vec<String> = (0..1_000).map(|n: u32| n.to_string()).collect();
    let bodies = numbers.iter().map(|n| body(n).into_bytes()).collect();
    engine.publish(bodies).await;
    for node in [first, second] {
        eventually(SOON, || node.recorder.count() == numbers.len()).await;
        assert_eq!(node.recorder.seen(), numbers);
        assert_eq!(node.broker.counts().received, 1_000);
    }
}

async fn drops_what_is_not_a_trigger(engine: &impl Engine, node: &Node) {
    let before = node.broker.counts();
    let count = node.recorder.count();
    let good = body("\"good\"").into_bytes();
    engine
        .publish(vec![b"bad".to_vec(), vec![0xff], good])
        .await;
    node.sees("\"good\"").await;
    let after = node.broker.counts();
    assert_eq!(after.received - before.received, 3);
    assert_eq!(after.rejected - before.rejected, 2);
    assert_eq!(node.recorder.count(), count + 1);
}

async fn publishes_to_every_node(engine: &impl Engine, first: &Node, second: &Node) {
    let before = first.recorder.count() as u64;
    let triggers = (0..100).map(|n: u32| trigger(&format!("\"own {n}\"")));
    let places = first.broker.publish(triggers.collect()).await.unwrap();
    assert!(places.iter().all(|place| !place.duplicate));
    let positions: Vec<u64> = places.iter().map(|place| place.position.get()).collect();
    assert_eq!(positions.len(), 100);
    assert!(positions.is_sorted_by(|one, next| one < next));
    if !engine.log().caps().retains {
        // The node counts.
        assert_eq!(positions, (before + 1..=before + 100).collect::<Vec<u64>>());
    }
    eventually(SOON, || second.recorder.count() == first.recorder.count()).await;
    assert_eq!(second.recorder.seen(), first.recorder.seen());
    assert_eq!(
        first
            .broker
            .publish(Vec::<ht_proto::record::Record>::new())
            .await,
        Ok(Vec::new())
    );
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

async fn probes_this_node_alone(engine: &impl Engine, first: &Node, second: &Node) {
    first.broker.probe().await.unwrap();
    let before = first.recorder.probes();
    let (count, counts) = (first.recorder.count(), first.broker.counts());
    let bodies = (0..500).map(|n: u32| body(&format!("\"before {n}\"")).into_bytes());
    engine.publish(bodies.collect()).await;
    first.broker.probe().await.unwrap();
    // In its order: after the messages that the log had accepted.
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

/// The last entry of a log is known to a node that reads back later records alone, by what others
/// noted of it.
async fn knows_what_was_before(engine: &impl Engine, node: &Node) {
    let broker = &node.broker;
    let published = broker.publish(vec![trigger("\"the last\"")]).await.unwrap();
    let name = broker.epoch().unwrap();
    let last = Cursor {
        epoch: name.epoch,
        position: published[0].position,
        check: Check::of(b"the last"),
        part: None,
    };
    eventually(SOON, || broker.read_up_to() >= last.position).await;
    for _ in 0..8 {
        let read = broker.read_up_to();
        let beacon = Beacon {
            epoch: name.epoch.to_string().into(),
            made: Some(name.made),
            last: Some(LastEntry { cursor: last, read }),
            ..Beacon::default()
        };
        let note = Note {
            node: "first".into(),
            boot: "first".into(),
            report: Report::Beacon(beacon),
        };
        broker.note(&note, PUBLISH).await.unwrap();
        eventually(SOON, || broker.read_up_to() > read).await;
    }
    let reading = Reading {
        age: Duration::ZERO,
        positions: 4,
        ..Reading::default()
    };
    let late = Broker::new(engine.log(), parse(), PUBLISH).reading(reading);
    let late = Node::run(late);
    late.becomes_ready().await;
    let before = late.recorder.before();
    if late.recorder.back().is_empty() {
        assert_eq!(before, [(last.position, Some(last.check))]);
    } else {
        // It began earlier, and has that entry.
        assert!(
            before.len() == 1 && before[0].0 < last.position,
            "{before:?}"
        );
    }
    late.end().await;
}

async fn is_unavailable(broker: &Broker) -> bool {
    let outcome = broker.publish(vec![trigger("0")]).await;
    matches!(outcome, Err(AppendError::Unavailable(_)))
}
