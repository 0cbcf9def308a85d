//! Whether the node may get traffic. That triggers are delivered is not believed but tried: the
//! node sends itself a probe the way triggers go, again and again.
//!
//! With a broker the probe goes out and comes back as a trigger does; without one it begins at the
//! dispatcher. Either way it takes its turn in the order, and every shard has to take it.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ht_broker::Dispatch;
use ht_broker::Health;
use ht_broker::PublishError;
use prometheus_client::metrics::histogram::Histogram;
use tokio::time::Instant;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::config::ReadinessConfig;
use crate::node::Node;

/// Upper bounds of the histogram of lags, in seconds.
const LAGS: [f64; 12] = [
    0.000_1, 0.000_5, 0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
];

/// Why the node may not get traffic, a sentence each; none: it may.
pub(crate) fn reasons(node: &Node) -> Vec<String> {
    let mut reasons = Vec::new();
    if node.draining.load(Ordering::Relaxed) {
        reasons.push("the node is about to leave".to_owned());
    }
    if node.broken.load(Ordering::Relaxed) {
        reasons.push("a shard ended by a bug".to_owned());
    }
    reasons.extend(node.memory.reason());
    reasons.extend(node.descriptors.trouble());
    match broker_trouble(node) {
        Some(trouble) => reasons.push(trouble),
        // What a probe says of a broker that is away would only repeat it.
        None => reasons.extend(node.delivery.trouble()),
    }
    reasons
}

/// What somebody should know although another node would do no better.
pub(crate) fn notes(node: &Node) -> Vec<&'static str> {
    let away =
        "backend: the circuit breaker is open, because the API does not answer; nobody new gets in";
    let is_away = node.guard().circuit_open;
    is_away.then_some(away).into_iter().collect()
}

fn broker_trouble(node: &Node) -> Option<String> {
    let broker = node.broker.as_ref()?;
    match broker.health() {
        Health::Ready => None,
        Health::NotReady(why) => Some(format!("{}: {why}", broker.name())),
    }
}

/// What the probes found.
#[derive(Debug)]
pub(crate) struct Delivery {
    /// Why the last probe did not come through.
    trouble: Mutex<Option<String>>,
    /// The probe under way has had its turn at the dispatcher.
    arrived: AtomicBool,
    /// Nanoseconds that the last probe took which came through.
    lag: AtomicU64,
    lags: Histogram,
}

impl Default for Delivery {
    fn default() -> Self {
        Self {
            trouble: Mutex::default(),
            arrived: AtomicBool::new(false),
            lag: AtomicU64::new(0),
            lags: Histogram::new(LAGS),
        }
    }
}

impl Delivery {
    /// A probe has had its turn.
    pub(crate) fn arrived(&self) {
        self.arrived.store(true, Ordering::Relaxed);
    }

    /// Seconds that the last probe took which came through.
    pub(crate) fn lag(&self) -> f64 {
        Duration::from_nanos(self.lag.load(Ordering::Relaxed)).as_secs_f64()
    }

    /// The same of all probes.
    pub(crate) fn lags(&self) -> &Histogram {
        &self.lags
    }

    fn trouble(&self) -> Option<String> {
        let trouble = self.trouble.lock();
        trouble.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes what is the matter now; what was before.
    fn note(&self, trouble: Option<String>) -> Option<String> {
        let mut known = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut known, trouble)
    }

    fn took(&self, lag: Duration) {
        let nanos = u64::try_from(lag.as_nanos()).unwrap_or(u64::MAX);
        self.lag.store(nanos, Ordering::Relaxed);
        self.lags.observe(lag.as_secs_f64());
    }
}

/// Sends the probes.
pub(crate) struct Prober {
    node: Arc<Node>,
    dispatcher: Arc<dyn Dispatch>,
    config: ReadinessConfig,
}

/// Why a probe did not come through: a word for the counter, a sentence for the operator.
struct Lost(&'static str, String);

impl Prober {
    /// A prober; none where no probes are wanted. Until the first one came through the node is not
    /// ready.
    pub(crate) fn new(
        node: &Arc<Node>,
        dispatcher: &Arc<dyn Dispatch>,
        config: ReadinessConfig,
    ) -> Option<Self> {
        if config.probe_interval.is_zero() {
            return None;
        }
        let reason = "no probe has come through yet".to_owned();
        node.delivery.note(Some(reason));
        Some(Self {
            node: Arc::clone(node),
            dispatcher: Arc::clone(dispatcher),
            config,
        })
    }

    /// Sends a probe per interval until `shutdown`.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let probing = async {
            loop {
                let next = Instant::now() + self.config.probe_interval;
                self.probe().await;
                tokio::time::sleep_until(next).await;
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = probing => {}
        }
    }

    /// Sends one probe and notes what becomes of it.
    pub(crate) async fn probe(&self) {
        let delivery = &self.node.delivery;
        delivery.arrived.store(false, Ordering::Relaxed);
        match self.outcome().await {
            Ok(lag) => {
                delivery.took(lag);
                if delivery.note(None).is_some() {
                    let lag_seconds = lag.as_secs_f64();
                    tracing::info!(lag_seconds, "ready: a probe came through as triggers do");
                }
            }
            Err(Lost(word, reason)) => {
                self.node.counters.probe_failures.add(word);
                let before = delivery.note(Some(reason.clone()));
                // A broker that is away is told of by itself.
                if word != "broker" && before.as_ref() != Some(&reason) {
                    tracing::warn!(reason, "not ready: triggers do not come through");
                }
            }
        }
    }

    async fn outcome(&self) -> Result<Duration, Lost> {
        match timeout(self.config.probe_timeout, self.send()).await {
            Ok(Ok(lag)) => Ok(lag),
            Ok(Err(error)) => Err(Lost("broker", format!("{}: {error}", self.whence()))),
            Err(_elapsed) => Err(self.late()),
        }
    }

    async fn send(&self) -> Result<Duration, PublishError> {
        if let Some(broker) = &self.node.broker {
            return broker.probe().await;
        }
        let sent = Instant::now();
        self.dispatcher.probe().await.0.await;
        Ok(sent.elapsed())
    }

    /// How far a probe got within its time.
    fn late(&self) -> Lost {
        let within = self.config.probe_timeout;
        if let Some(trouble) = broker_trouble(&self.node) {
            Lost("broker", trouble)
        } else if self.node.delivery.arrived.load(Ordering::Relaxed) {
            let reason = format!("a shard did not take a probe within {within:?}");
            Lost("shard", reason)
        } else {
            let whence = self.whence();
            let reason = format!("{whence}: a probe did not come back within {within:?}");
            Lost("late", reason)
        }
    }

    /// Where a probe comes back from.
    fn whence(&self) -> &'static str {
        let broker = self.node.broker.as_ref();
        broker.map_or("dispatcher", |broker| broker.name())
    }
}

#[cfg(test)]
mod tests;
