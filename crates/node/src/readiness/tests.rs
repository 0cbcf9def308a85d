//! A node whose shards do or do not take what they are handed.

use ht_core::index::Matching;

use super::*;
use crate::inbox;
use crate::inbox::{Input, Receiver};
use crate::sequencer::NodeSequencer;

const BOUNDS: inbox::Bounds = inbox::Bounds {
    inputs: 8,
    bytes: 1 << 20,
};

/// A node without a broker, its prober, and the ends that its shards would hold.
fn node(shards: usize) -> (Arc<Node>, Prober, Vec<Receiver>) {
    let node = Arc::new(Node::new(shards, Matching::default(), None));
    let (senders, receivers): (Vec<_>, _) = (0..shards)
        .map(|_| {
            let poll = mio::Poll::new().unwrap();
            let waker = inbox::waker(&poll, mio::Token(0)).unwrap();
            inbox::inbox(BOUNDS, waker)
        })
        .unzip();
    let senders = node.inboxes.get_or_init(|| senders).clone();
    let sequencer: Arc<dyn Sequencer> = Arc::new(NodeSequencer::new(senders, 0, Arc::clone(&node)));
    let config = ReadinessConfig {
        probe_interval: Duration::from_secs(1),
        probe_timeout: Duration::from_millis(100),
    };
    let prober = Prober::new(&node, &sequencer, config).unwrap();
    (node, prober, receivers)
}

/// Answers every probe until the stop.
async fn take(receivers: &mut [Receiver]) {
    loop {
        tokio::time::sleep(Duration::from_millis(1)).await;
        for receiver in &mut *receivers {
            while let Some(input) = receiver.next() {
                if let Input::Probe(taken) = input {
                    let _ = taken.send(());
                }
            }
        }
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

#[tokio::test(start_paused = true)]
async fn a_node_is_ready_when_every_shard_took_a_probe() {
    let (node, prober, mut receivers) = node(2);
    assert_eq!(reasons(&node), ["no probe has been delivered yet"]);
    probe(&prober, &mut receivers).await;
    assert!(reasons(&node).is_empty());
    assert!(node.delivery.lag() > 0.0);

    // All are stuck.
    probe(&prober, &mut []).await;
    assert_eq!(reasons(&node), ["no thread confirmed a probe within 100ms"]);
    assert_eq!(failures(&node), [0, 0, 1]);

    probe(&prober, &mut receivers).await;
    assert!(reasons(&node).is_empty());
}

#[tokio::test(start_paused = true)]
async fn one_slow_shard_is_visible_and_takes_the_node_out_only_when_it_is_stuck() {
    let (node, prober, mut receivers) = node(3);
    for round in 1..STUCK {
        probe(&prober, &mut receivers[1..]).await;
        assert!(reasons(&node).is_empty(), "{round}");
        let note = "1 of 3 threads did not confirm a probe within 100ms: their clients \
                    receive publications late";
        assert_eq!(notes(&node), [note]);
    }
    probe(&prober, &mut receivers).await;
    assert!(reasons(&node).is_empty() && notes(&node).is_empty());
    for _ in 0..STUCK {
        assert!(reasons(&node).is_empty());
        probe(&prober, &mut receivers[1..]).await;
    }
    let stuck = "thread 0 is stuck: it confirmed none of the last 10 probes";
    assert_eq!(reasons(&node), [stuck]);
    assert_eq!(failures(&node)[2], u64::from(2 * STUCK - 1));
    probe(&prober, &mut receivers).await;
    assert!(reasons(&node).is_empty() && notes(&node).is_empty());
}

#[tokio::test(start_paused = true)]
async fn publications_in_a_full_inbox_do_not_keep_a_probe_from_its_turn() {
    let (node, prober, mut receivers) = node(1);
    for _ in 0..100 {
        let _ = node.inboxes.get().unwrap()[0].send(Input::Close {
            count: 0,
            close: ht_proto::close::Close::RESTART,
        });
    }
    probe(&prober, &mut []).await;
    assert_eq!(reasons(&node), ["no thread confirmed a probe within 100ms"]);
    probe(&prober, &mut receivers).await;
    assert!(reasons(&node).is_empty());
}

#[tokio::test]
async fn without_an_interval_nothing_is_probed() {
    let node = Arc::new(Node::new(1, Matching::default(), None));
    let sequencer: Arc<dyn Sequencer> =
        Arc::new(NodeSequencer::new(Vec::new(), 0, Arc::clone(&node)));
    let config = ReadinessConfig {
        probe_interval: Duration::ZERO,
        ..ReadinessConfig::default()
    };
    assert!(Prober::new(&node, &sequencer, config).is_none());
    assert!(reasons(&node).is_empty());
}
