//! A node whose shards do or do not take their inputs.

use std::ops::Range;

use ht_core::index::Matching;
use ht_core::window::WindowLimits;

use super::*;
use crate::config::TenantsConfig;
use crate::inbox;
use crate::inbox::{Input, Receiver};
use crate::sequencer::NodeSequencer;

const BOUNDS: inbox::Bounds = inbox::Bounds {
    inputs: 8,
    bytes: 1 << 20,
};

/// A node without a broker, and the receivers of the inboxes that its shards would hold.
struct Setting {
    node: Node,
    readiness: Readiness,
    prober: Prober,
    senders: Vec<inbox::Sender>,
    receivers: Vec<Receiver>,
}

impl Setting {
    fn new(shards: usize) -> Self {
        let node = Node::new(shards, Matching::default(), WindowLimits::default());
        let (senders, receivers): (Vec<_>, _) = (0..shards)
            .map(|_| {
                let poll = mio::Poll::new().unwrap();
                let waker = inbox::waker(&poll, mio::Token(0)).unwrap();
                inbox::inbox(BOUNDS, waker)
            })
            .unzip();
        let sequencer: Arc<dyn Sequencer> = Arc::new(NodeSequencer::new(senders.clone(), 0, &node));
        node.peers.close();
        let config = ReadinessConfig {
            probe_interval: Duration::from_secs(1),
            probe_timeout: Duration::from_millis(100),
        };
        Self {
            readiness: readiness(&node),
            prober: Prober::new(&node, None, &sequencer, config).unwrap(),
            node,
            senders,
            receivers,
        }
    }

    fn reasons(&self) -> Vec<String> {
        self.readiness.reasons()
    }

    fn notes(&self) -> Vec<String> {
        self.readiness.notes(true)
    }

    fn failures(&self) -> Vec<u64> {
        self.node.counters.probe_failures.all()
    }

    /// Sends a probe, which these shards take.
    async fn probe(&mut self, taking: Range<usize>) {
        tokio::select! {
            () = self.prober.probe() => {}
            () = take(&mut self.receivers[taking]) => {}
        }
    }
}

fn readiness(node: &Node) -> Readiness {
    Readiness {
        administration: Arc::clone(&node.administration),
        window: Arc::clone(&node.window),
        tickets: Arc::clone(&node.tickets),
        lifecycle: Arc::clone(&node.lifecycle),
        memory: Arc::clone(&node.memory),
        descriptors: Arc::clone(&node.descriptors),
        delivery: Arc::clone(&node.delivery),
        peers: Arc::clone(&node.peers),
        broker: None,
        tenants: Arc::clone(&node.tenants),
        own_logs_down: Box::new(|| 0),
    }
}

/// Takes every probe until the stop.
async fn take(receivers: &mut [Receiver]) {
    loop {
        tokio::time::sleep(Duration::from_millis(1)).await;
        for receiver in &mut *receivers {
            while let Some(input) = receiver.next(|_| false, false) {
                if let Input::Probe(taken) = input {
                    let _ = taken.send(());
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_is_ready_when_every_shard_took_a_probe() {
    let mut node = Setting::new(2);
    assert_eq!(node.reasons(), ["no probe has been delivered yet"]);
    node.probe(0..2).await;
    assert!(node.reasons().is_empty());
    assert!(node.node.delivery.lag() > 0.0);

    // All are stuck.
    node.probe(0..0).await;
    assert_eq!(node.reasons(), ["no thread confirmed a probe within 100ms"]);
    assert_eq!(node.failures(), [0, 0, 1]);

    node.probe(0..2).await;
    assert!(node.reasons().is_empty());
}

#[test]
fn a_node_that_the_others_do_not_know_is_not_ready() {
    let node = Node::new(0, Matching::default(), WindowLimits::default());
    let readiness = readiness(&node);
    let reasons = || readiness.reasons().join("; ");
    assert!(
        reasons().contains("has not announced itself"),
        "{}",
        reasons()
    );
    node.peers.close();
    assert!(!reasons().contains("announced"), "{}", reasons());
}

#[test]
fn a_node_that_knows_no_tenant_is_not_ready() {
    let mut node = Node::new(0, Matching::default(), WindowLimits::default());
    let config = TenantsConfig {
        is_enabled: true,
        ..TenantsConfig::default()
    };
    let tenants = Tenants::new(&config, None, node.call_clock()).unwrap();
    let without = readiness(&node);
    assert!(!without.reasons().join("; ").contains("tenants"));
    node.tenants = Arc::new(tenants);
    let readiness = readiness(&node);
    let reasons = || readiness.reasons().join("; ");
    assert!(
        reasons().contains("tenants: there is none"),
        "{}",
        reasons()
    );
    node.administration.freshness().is_missing("a secret cause");
    assert!(
        reasons().contains("no list of them has been read"),
        "{}",
        reasons()
    );
    assert!(!reasons().contains("a secret cause"), "{}", reasons());
}

#[tokio::test(start_paused = true)]
async fn one_slow_shard_is_visible_and_takes_the_node_out_only_when_it_is_stuck() {
    let mut node = Setting::new(3);
    for round in 1..STUCK {
        node.probe(1..3).await;
        assert!(node.reasons().is_empty(), "{round}");
        let note = "1 of 3 threads did not confirm a probe within 100ms: their clients \
                    receive publications late";
        assert_eq!(node.notes(), [note]);
    }
    node.probe(0..3).await;
    assert!(node.reasons().is_empty() && node.notes().is_empty());
    for _ in 0..STUCK {
        assert!(node.reasons().is_empty());
        node.probe(1..3).await;
    }
    let stuck = "thread 0 is stuck: it confirmed none of the last 10 probes";
    assert_eq!(node.reasons(), [stuck]);
    assert_eq!(node.failures()[2], u64::from(2 * STUCK - 1));
    node.probe(0..3).await;
    assert!(node.reasons().is_empty() && node.notes().is_empty());
}

#[tokio::test(start_paused = true)]
async fn publications_in_a_full_inbox_do_not_keep_a_probe_from_its_turn() {
    let mut node = Setting::new(1);
    for _ in 0..100 {
        let _ = node.senders[0].send(Input::Close {
            count: 0,
            close: ht_proto::close::Close::RESTART,
        });
    }
    node.probe(0..0).await;
    assert_eq!(node.reasons(), ["no thread confirmed a probe within 100ms"]);
    node.probe(0..1).await;
    assert!(node.reasons().is_empty());
}

#[tokio::test]
async fn without_an_interval_nothing_is_probed() {
    let node = Node::new(1, Matching::default(), WindowLimits::default());
    node.peers.close();
    let sequencer: Arc<dyn Sequencer> = Arc::new(NodeSequencer::new(Vec::new(), 0, &node));
    let config = ReadinessConfig {
        probe_interval: Duration::ZERO,
        ..ReadinessConfig::default()
    };
    assert!(Prober::new(&node, None, &sequencer, config).is_none());
    assert!(readiness(&node).reasons().is_empty());
}
