//! A sequencer that only records, and a broker at work with it.

// Each test binary uses its own part of this.
#![allow(dead_code)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use ht_broker::config::{BINDING_CHECK, RabbitMqConfig, StreamConfig};
use ht_broker::encoding::Message;
use ht_broker::log::Log;
use ht_broker::order::Order;
use ht_broker::rabbitmq::RabbitMq;
use ht_broker::{Broker, Health, Missed, MissedReason, Parse, Parsing, Placed, Sequencer, Taken};
use ht_proto::cursor::Check;
use ht_proto::entry::{Body, Entry, Epoch, Position};
use ht_proto::note::EpochName;
use ht_proto::record::Record;
use ht_proto::tenant::Scoped;
use ht_proto::trigger::{Trigger, TriggerLimits};
use ht_testkit::eventually;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The exchange of the wire contract.
pub(crate) const EXCHANGE: &str = "hightemplar";

/// Longer than any step here takes, even on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// So many ids of triggers are remembered.
const IDS: usize = 10_000;

/// Records the `data` of each trigger in order.
pub(crate) struct Recorder {
    order: Mutex<Order>,
    seen: Mutex<Vec<String>>,
    /// For each probe, the number of triggers before it.
    probes: Mutex<Vec<usize>>,
    /// Gaps, and the number of triggers before each.
    missed: Mutex<Vec<(MissedReason, usize)>>,
    /// The `data` of triggers that were read back.
    back: Mutex<Vec<String>>,
    /// What was before them, each time that something was read back.
    before: Mutex<Vec<(Position, Option<Check>)>>,
    /// The epochs that began, and the number of triggers before each.
    epochs: Mutex<Vec<(Epoch, usize)>>,
    /// For each interruption, whether the log began anew.
    interruptions: Mutex<Vec<bool>>,
    /// Closed gates keep `place` waiting, as full inboxes do.
    gate: Semaphore,
}

impl Recorder {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            order: Mutex::new(Order::new(Epoch::from_random(0), IDS)),
            seen: Mutex::default(),
            probes: Mutex::default(),
            missed: Mutex::default(),
            back: Mutex::default(),
            before: Mutex::default(),
            epochs: Mutex::default(),
            interruptions: Mutex::default(),
            gate: Semaphore::new(1),
        })
    }

    /// Makes `place` wait until the returned guard is dropped.
    pub(crate) async fn hold(&self) -> tokio::sync::SemaphorePermit<'_> {
        self.gate.acquire().await.unwrap()
    }

    pub(crate) fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    /// What was read back.
    pub(crate) fn back(&self) -> Vec<String> {
        self.back.lock().unwrap().clone()
    }

    /// What was before that, each time that something was read back.
    pub(crate) fn before(&self) -> Vec<(Position, Option<Check>)> {
        self.before.lock().unwrap().clone()
    }

    /// The epochs that began, and the number of triggers before each.
    pub(crate) fn epochs(&self) -> Vec<(Epoch, usize)> {
        self.epochs.lock().unwrap().clone()
    }

    /// For each interruption, whether the log began anew.
    pub(crate) fn interruptions(&self) -> Vec<bool> {
        self.interruptions.lock().unwrap().clone()
    }

    /// For each probe, the number of triggers before it.
    pub(crate) fn probes(&self) -> Vec<usize> {
        self.probes.lock().unwrap().clone()
    }

    /// Reasons of the gaps so far.
    pub(crate) fn gaps(&self) -> Vec<MissedReason> {
        let missed = self.missed.lock().unwrap();
        missed.iter().map(|(reason, _)| *reason).collect()
    }

    /// For each gap, the number of triggers before it.
    pub(crate) fn gap_positions(&self) -> Vec<usize> {
        let missed = self.missed.lock().unwrap();
        missed.iter().map(|(_, before)| *before).collect()
    }

    pub(crate) fn has(&self, data: &str) -> bool {
        self.seen.lock().unwrap().iter().any(|seen| seen == data)
    }
}

impl Sequencer for Recorder {
    fn epoch(&self) -> Epoch {
        self.order.lock().unwrap().epoch()
    }

    fn place(&self, batch: Vec<Entry>) -> BoxFuture<'_, Vec<Placed>> {
        async move {
            let _open = self.gate.acquire().await.unwrap();
            let mut order = self.order.lock().unwrap();
            let mut seen = self.seen.lock().unwrap();
            let mut place = |entry: Entry| {
                let (position, text, id) = parts(entry);
                let placed = order.place(position, id);
                if !placed.duplicate {
                    seen.push(text);
                }
                placed
            };
            batch.into_iter().map(&mut place).collect()
        }
        .boxed()
    }

    fn probe(&self) -> BoxFuture<'_, Taken> {
        async move {
            let _open = self.gate.acquire().await.unwrap();
            self.probes.lock().unwrap().push(self.count());
            Taken(async {}.boxed())
        }
        .boxed()
    }

    fn begins_after(&self, before: Position, check: Option<Check>) -> BoxFuture<'_, ()> {
        self.before.lock().unwrap().push((before, check));
        async {}.boxed()
    }

    fn read_back(&self, batch: Vec<Entry>) -> BoxFuture<'_, ()> {
        async move {
            let mut order = self.order.lock().unwrap();
            for entry in batch {
                let (position, text, id) = parts(entry);
                if !order.place(position, id).duplicate {
                    self.back.lock().unwrap().push(text);
                }
            }
        }
        .boxed()
    }

    fn interrupted(&self, anew: bool) -> BoxFuture<'_, ()> {
        self.interruptions.lock().unwrap().push(anew);
        if anew {
            self.order.lock().unwrap().restart(Epoch::from_random(0));
        }
        async {}.boxed()
    }

    fn caught_up(&self, missed: Missed) {
        self.missed(missed);
    }

    fn begin_epoch(&self, epoch: Epoch, _ends_another: bool) -> BoxFuture<'_, ()> {
        self.order.lock().unwrap().rename(epoch);
        self.epochs.lock().unwrap().push((epoch, self.count()));
        async {}.boxed()
    }

    fn missed(&self, missed: Missed) {
        assert!(!missed.cause.is_empty());
        let before = self.count();
        self.missed.lock().unwrap().push((missed.reason, before));
    }
}

/// Position, data and id of an entry.
fn parts(entry: Entry) -> (Option<Position>, String, Option<Scoped<Box<str>>>) {
    let (text, id) = match entry.body {
        Body::Publication(trigger) => (trigger.data, trigger.id),
        Body::Command(command) => (command.text, command.id),
    };
    let text = String::from_utf8(text.to_vec()).unwrap();
    let id = id.map(|id| entry.tenant.scope(id));
    (entry.position, text, id)
}

pub(crate) fn parse() -> Parse {
    let limits = TriggerLimits {
        bytes: 16 << 20,
        triggers: 10_000,
        rooms: 10_000,
    };
    Arc::new(move |message: Message| {
        let text = message.body;
        let parsed = Record::parse(&text, &limits).map_err(|error| error.to_string());
        // Some are offloaded, as long ones are by a gateway.
        if text.len().is_multiple_of(2) {
            Parsing::Done(parsed)
        } else {
            Parsing::Offloaded(async { parsed }.boxed())
        }
    })
}

pub(crate) fn config(url: &str) -> RabbitMqConfig {
    RabbitMqConfig {
        url: url.to_owned(),
        exchange: EXCHANGE.to_owned(),
        durable: false,
        stream: None,
        prefetch: 500,
        publish_timeout: Duration::from_secs(5),
        binding_check: BINDING_CHECK,
    }
}

pub(crate) fn stream_config() -> StreamConfig {
    StreamConfig {
        name: format!("{EXCHANGE}.log"),
        age: Duration::from_secs(3_600),
        bytes: 1 << 30,
        segment_bytes: 1 << 20,
    }
}

/// A message as a backend sends it, with this JSON text as its data.
pub(crate) fn body(data: &str) -> String {
    format!(r#"{{"rooms": [{{"target": "a"}}], "data": {data}}}"#)
}

pub(crate) fn trigger(data: &str) -> Trigger {
    let limits = TriggerLimits {
        bytes: 16 << 20,
        triggers: 1,
        rooms: 1,
    };
    Trigger::parse(&Bytes::from(body(data)), &limits).unwrap()
}

/// Threads of this process with this name.
pub(crate) fn threads(name: &str) -> usize {
    std::fs::read_dir("/proc/self/task")
        .unwrap()
        .filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).ok())
        .filter(|comm| comm.trim() == name)
        .count()
}

/// The epoch that all of them take in the place of this one, when they have read the log back.
pub(crate) async fn another_epoch(nodes: &[Node; 2], known: EpochName) -> EpochName {
    let epochs = || nodes.each_ref().map(|node| node.broker.epoch());
    eventually(SOON, || {
        let [first, second] = epochs();
        let is_another = first.is_some_and(|first| first != known) && first == second;
        is_another && nodes.iter().all(Node::is_ready)
    })
    .await;
    epochs()[0].unwrap()
}

/// A broker at work.
pub(crate) struct Node {
    pub(crate) broker: Arc<Broker>,
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) task: JoinHandle<()>,
}

impl Node {
    /// Starts a broker for this log without waiting until it is connected.
    pub(crate) fn start(log: Arc<dyn Log>, publish_timeout: Duration) -> Self {
        Self::run(Broker::new(log, parse(), publish_timeout))
    }

    /// Starts this broker.
    pub(crate) fn run(broker: Broker) -> Self {
        // Shown where a test fails. One that reads the log has set its own before.
        let _ = tracing_subscriber::fmt()
            .with_env_filter("info,lapin=off,async_nats=off")
            .with_test_writer()
            .try_init();
        let recorder = Recorder::new();
        let shutdown = CancellationToken::new();
        let broker = Arc::new(broker);
        let sequencer = Arc::clone(&recorder) as Arc<dyn Sequencer>;
        let task = tokio::spawn(Arc::clone(&broker).run(sequencer, shutdown.clone()));
        Self {
            broker,
            recorder,
            shutdown,
            task,
        }
    }

    pub(crate) fn rabbitmq(config: RabbitMqConfig) -> Self {
        let log = RabbitMq::new(&config).unwrap();
        Self::start(Arc::new(log), config.publish_timeout)
    }

    /// Starts it and waits until it consumes.
    pub(crate) async fn ready(url: &str) -> Self {
        let node = Self::rabbitmq(config(url));
        node.becomes_ready().await;
        node
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.broker.health() == Health::Ready
    }

    /// Why it is not ready.
    pub(crate) fn trouble(&self) -> String {
        match self.broker.health() {
            Health::Ready => String::new(),
            Health::NotReady(why) => why,
        }
    }

    pub(crate) async fn becomes_ready(&self) {
        eventually(SOON, || self.is_ready()).await;
    }

    pub(crate) async fn becomes_not_ready(&self) {
        eventually(SOON, || !self.is_ready()).await;
    }

    pub(crate) async fn sees(&self, data: &str) {
        eventually(SOON, || self.recorder.has(data)).await;
    }

    /// Ends it and makes sure that it does not take long.
    pub(crate) async fn end(self) {
        self.shutdown.cancel();
        tokio::time::timeout(Duration::from_secs(4), self.task)
            .await
            .expect("it ends soon after the shutdown")
            .expect("it does not panic");
    }
}
