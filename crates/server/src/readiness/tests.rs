//! A node whose shards do or do not take what they are handed.

use ht_core::index::Matching;

use super::*;
use crate::dispatcher::Dispatcher;
use crate::inbox;
use crate::inbox::Input;
use crate::inbox::Receiver;

/// A node without a broker, its prober, and the ends that its shards would hold.
fn node(shards: usize, capacity: usize) -> (Arc<Node>, Prober, Vec<Receiver>) {
    let node = Arc::new(Node::new(shards, Matching::default(), None));
    let (senders, receivers) = (0..shards)
        .map(|_| {
            let poll = mio::Poll::new().unwrap();
            let waker = inbox::waker(&poll, mio::Token(0)).unwrap();
            inbox::inbox(capacity, waker)
        })
        .unzip();
    let dispatcher: Arc<dyn Dispatch> = Arc::new(Dispatcher::new(senders, 0, Arc::clone(&node)));
    let config = ReadinessConfig {
        probe_interval: Duration::from_secs(1),
        probe_timeout: Duration::from_millis(100),
    };
    let prober = Prober::new(&node, &dispatcher, config).unwrap();
    (node, prober, receivers)
}

/// Answers every probe until the stop.
async fn take(receivers: &mut [Receiver]) {
    loop {
        for receiver in &mut *receivers {
            while let Some(input) = receiver.next() {
                if let Input::Probe(taken) = input {
                    let _ = taken.send(());
                }
            }
        }
        tokio::task::yield_now().await;
    }
}

async fn probe(prober: &Prober, taking: &mut [Receiver]) {
    tokio::select! {
        () = prober.probe() => {}
        () = take(taking) => {}
    }
}

fn failures(node: &Node) -> Vec<u64> {
    node.counters.probe_failures.all()
}

#[tokio::test]
async fn a_node_is_ready_when_every_shard_took_a_probe() {
    let (node, prober, mut receivers) = node(2, 8);
    assert_eq!(reasons(&node), ["no probe has come through yet"]);
    probe(&prober, &mut receivers).await;
    assert!(reasons(&node).is_empty());
    assert!(node.delivery.lag() > 0.0);

    // One of the two goes on, the other one is stuck.
    probe(&prober, &mut receivers[1..]).await;
    assert_eq!(
        reasons(&node),
        ["a shard did not take a probe within 100ms"]
    );
    assert_eq!(failures(&node), [0, 0, 1]);

    probe(&prober, &mut receivers).await;
    assert!(reasons(&node).is_empty());
}

#[tokio::test]
async fn a_probe_that_finds_no_place_in_an_inbox_is_late() {
    let (node, prober, mut receivers) = node(1, 1);
    probe(&prober, &mut []).await;
    probe(&prober, &mut []).await;
    let reason = "dispatcher: a probe did not come back within 100ms";
    assert_eq!(reasons(&node), [reason]);
    assert_eq!(failures(&node), [0, 1, 1]);
    probe(&prober, &mut receivers).await;
    assert!(reasons(&node).is_empty());
}

#[tokio::test]
async fn without_an_interval_nothing_is_probed() {
    let node = Arc::new(Node::new(1, Matching::default(), None));
    let dispatcher: Arc<dyn Dispatch> = Arc::new(Dispatcher::new(Vec::new(), 0, Arc::clone(&node)));
    let config = ReadinessConfig {
        probe_interval: Duration::ZERO,
        ..ReadinessConfig::default()
    };
    assert!(Prober::new(&node, &dispatcher, config).is_none());
    assert!(reasons(&node).is_empty());
}
