//! Faults around the gateways, one after the other.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use ht_testkit::rabbitmq::RabbitMq;

use crate::moods::{Mood, MoodyBackend};
use crate::node::Node;
use crate::support::{DEADLINE, Gateway, eventually};

/// How long a disturbance lasts at most, in milliseconds.
const DISTURBANCE_MS: u64 = 4_000;

/// One fault.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    Calm,
    Backend(Mood),
    PauseBroker,
    KillBroker,
    StopBroker,
    KillNode,
    LeaveNode,
}

impl Event {
    /// Everything there is, each once, in an order of chance.
    pub(crate) fn shuffled(random: &mut Rng) -> Vec<Self> {
        let mut events = vec![
            Self::Calm,
            Self::PauseBroker,
            Self::KillBroker,
            Self::StopBroker,
            Self::KillNode,
            Self::LeaveNode,
        ];
        events.extend(Mood::BAD.map(Self::Backend));
        random.shuffle(&mut events);
        events
    }
}

/// Everything that can be disturbed.
pub(crate) struct World {
    pub(crate) backend: MoodyBackend,
    pub(crate) broker: RabbitMq,
    /// Never restarted, so that its memory can be compared.
    pub(crate) steady: Gateway,
    /// Killed and restarted; `None` while it is down.
    pub(crate) restless: Option<Gateway>,
    pub(crate) nodes: [Arc<Node>; 2],
}

impl World {
    /// Starts everything.
    pub(crate) fn start() -> Self {
        let backend = MoodyBackend::start();
        let broker = RabbitMq::start();
        let steady = gateway(&backend, &broker);
        let restless = gateway(&backend, &broker);
        let nodes = [
            Arc::new(Node::new("steady")),
            Arc::new(Node::new("restless")),
        ];
        nodes[0].up(&steady);
        nodes[1].up(&restless);
        let world = Self {
            backend,
            broker,
            steady,
            restless: Some(restless),
            nodes,
        };
        world.wait_for_ready();
        world
    }

    /// Causes a fault for a while, and ends it.
    pub(crate) fn suffer(&mut self, event: Event, random: &mut Rng) {
        let mut hold =
            || std::thread::sleep(Duration::from_millis(random.u64(500..DISTURBANCE_MS)));
        match event {
            Event::Calm => hold(),
            Event::Backend(mood) => {
                self.backend.set(mood);
                hold();
                self.backend.set(Mood::Well);
            }
            Event::PauseBroker => {
                self.broker.pause();
                hold();
                self.broker.resume();
            }
            Event::KillBroker => {
                self.broker.kill();
                hold();
                self.broker.start_again();
            }
            Event::StopBroker => {
                self.broker.stop();
                hold();
                self.broker.start_again();
            }
            Event::KillNode => {
                self.nodes[1].kill();
                // Dropping it kills it.
                self.restless = None;
                hold();
                self.bring_back();
            }
            Event::LeaveNode => {
                self.nodes[1].leave();
                let mut gateway = self.restless.take().expect("a running node");
                gateway.signal("TERM");
                assert_eq!(gateway.wait_for_end(), Some(0), "{}", gateway.log());
                self.bring_back();
            }
        }
        self.wait_for_ready();
    }

    fn bring_back(&mut self) {
        let gateway = gateway(&self.backend, &self.broker);
        self.nodes[1].up(&gateway);
        self.restless = Some(gateway);
    }

    /// Both nodes, of which none may be down.
    pub(crate) fn gateways(&self) -> [&Gateway; 2] {
        let restless = self.restless.as_ref().expect("a running node");
        [&self.steady, restless]
    }

    pub(crate) fn wait_for_ready(&self) {
        for gateway in [&self.steady].into_iter().chain(&self.restless) {
            eventually("a ready node", || {
                (gateway.get("/ready").status == 200).then_some(())
            });
        }
    }
}

fn gateway(backend: &MoodyBackend, broker: &RabbitMq) -> Gateway {
    assert!(DEADLINE > Duration::from_millis(DISTURBANCE_MS));
    Gateway::with(&backend.stub)
        .hooks()
        .set("HT_RABBITMQ__URL", broker.url())
        .set("HT_RABBITMQ__PUBLISH_TIMEOUT", "2s")
        .set("HT_BACKEND__TIMEOUT", "1s")
        .set("HT_HOOKS__TIMEOUT", "1s")
        .set("HT_LIMITS__HEAD_TIMEOUT", "1s")
        // It is full soon, and not what grows.
        .set("HT_WINDOW__BYTES", "4MiB")
        .set("HT_LIMITS__OUTBOX_BYTES", "1MiB")
        .set("HT_DRAIN__TIMEOUT", "10s")
        .start()
}
