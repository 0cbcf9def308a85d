//! Readiness: whether the node may receive traffic. Delivery is proven by an end-to-end probe, not
//! inferred from the connection state: the node periodically sends itself a probe along the path of
//! triggers.
//!
//! With a broker the probe is published and received as a trigger is; without one it starts at the
//! sequencer. Either way it is ordered like a trigger, and every shard must take it.

use std::sync::Arc;
use std::time::Duration;

use ht_broker::{AppendError, Broker, Health, Sequencer};
use ht_edge::descriptors::Descriptors;
use ht_proto::entry::TenantId;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::administration::Administration;
use crate::config::ReadinessConfig;
use crate::counters::{Counters, ProbeFailure};
use crate::delivery::Delivery;
use crate::lifecycle::Lifecycle;
use crate::memory::Memory;
use crate::node::Node;
use crate::peers::Peers;
use crate::tenants::Tenants;
use crate::tickets::Tickets;
use crate::window::NodeWindow;

/// Whether a node may receive traffic.
pub(crate) struct Readiness {
    pub(crate) lifecycle: Arc<Lifecycle>,
    pub(crate) memory: Arc<Memory>,
    pub(crate) descriptors: Arc<Descriptors>,
    pub(crate) delivery: Arc<Delivery>,
    pub(crate) peers: Arc<Peers>,
    pub(crate) broker: Option<Arc<Broker>>,
    pub(crate) tenants: Arc<Tenants>,
    pub(crate) administration: Arc<Administration>,
    pub(crate) window: Arc<NodeWindow>,
    pub(crate) tickets: Arc<Tickets>,
    /// How many tenants have a log of their own that delivers nothing.
    pub(crate) own_logs_down: Box<dyn Fn() -> usize + Send + Sync>,
}

impl Readiness {
    /// Why the node may not receive traffic, a sentence each; empty if it may.
    pub(crate) fn reasons(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.lifecycle.is_draining() {
            reasons.push("the node is shutting down".to_owned());
        }
        if self.lifecycle.is_broken() {
            reasons.push("a shard thread panicked".to_owned());
        }
        reasons.extend(self.memory.reason());
        reasons.extend(self.descriptors.trouble());
        reasons.extend(self.no_tenants().map(str::to_owned));
        match broker_trouble(self.broker.as_deref()) {
            Some(trouble) => reasons.push(trouble),
            // A probe would only repeat that the broker is disconnected.
            None => {
                reasons.extend(self.delivery.trouble());
                if !self.peers.is_announced() {
                    reasons.push(UNANNOUNCED.to_owned());
                }
            }
        }
        reasons
    }

    /// Why nobody can be served: another node may know the tenants.
    fn no_tenants(&self) -> Option<&'static str> {
        if !self.tenants.are_enabled() {
            None
        } else if self.administration.freshness().has_none() {
            Some(
                "tenants: no list of them has been read since the start, and there is no copy of the \
                 last one; the log has the cause",
            )
        } else if self.tenants.count() == 0 {
            Some("tenants: there is none, so nobody can be served; add one")
        } else {
            None
        }
    }

    /// Warnings for the operator while another node would do no better, or most clients of this one
    /// are served.
    /// Some causes are shown to the operator alone.
    pub(crate) fn notes(&self, is_operator: bool) -> Vec<String> {
        let main = self.tenants.get(TenantId::MAIN);
        let guard = main.filter(|main| main.is_of_node());
        let guard = guard.and_then(|main| main.guard()).unwrap_or_default();
        let backend = guard.circuit_open.then(|| circuit_note(guard.unreachable));
        let backend = backend.map(str::to_owned);
        let notes = backend.into_iter().chain(self.tenants_note());
        let notes = notes.chain(self.own_logs_note());
        let notes = notes.chain(self.delivery.lagging());
        let source = self.administration.freshness().note(is_operator);
        notes.chain(self.window_note()).chain(source).collect()
    }

    /// How many tenants have an API that fails. Not which ones: every tenant may see this.
    fn tenants_note(&self) -> Option<String> {
        let open = self.tenants.open_circuits();
        (open > 0).then(|| {
            format!(
                "tenants: the circuit breakers of {open} are open, because their APIs fail or cannot \
                 be reached; no new client of theirs is admitted. The log names them"
            )
        })
    }

    /// How many tenants have a log of their own that delivers nothing. Another node would do no better,
    /// and other tenants are served.
    fn own_logs_note(&self) -> Option<String> {
        let down = (self.own_logs_down)();
        (down > 0).then(|| {
            format!(
                "tenants: the own logs of {down} cannot be used; what they publish is refused, and \
                 their clients hear nothing meanwhile. The log names them"
            )
        })
    }

    /// The window dropped what clients need that come back in time.
    fn window_note(&self) -> Option<String> {
        let max_age = self.tickets.max_age()?;
        let size = self.window.size();
        (size.is_cut && size.reach < max_age).then(|| {
            format!(
                "window: it reaches back {} s, and resume.max_age is {} s: clients that were away for \
                 longer fetch again, and the API is called for them. Raise window.entries or \
                 window.bytes",
                size.reach.as_secs(),
                max_age.as_secs()
            )
        })
    }
}

/// No beacon was sent: a command for every node would not wait for this one.
const UNANNOUNCED: &str = "the node has not announced itself to the other nodes yet; it needs \
                           permission to publish to the exchange";

/// Why the circuit breaker is open.
fn circuit_note(is_unreachable: bool) -> &'static str {
    if is_unreachable {
        "backend: the circuit breaker is open, because the API cannot be reached; no new client is \
         admitted"
    } else {
        "backend: the circuit breaker is open, because the API fails (status 502, 503 or 504, a \
         truncated response, or none in time); no new client is admitted"
    }
}

fn broker_trouble(broker: Option<&Broker>) -> Option<String> {
    let broker = broker?;
    match broker.health() {
        Health::Ready => None,
        Health::NotReady(why) => Some(format!("{}: {why}", broker.name())),
    }
}

/// Sends the probes.
pub(crate) struct Prober {
    delivery: Arc<Delivery>,
    counters: Arc<Counters>,
    broker: Option<Arc<Broker>>,
    sequencer: Arc<dyn Sequencer>,
    /// The node is ready or not by its probes.
    is_of_node: bool,
    config: ReadinessConfig,
}

/// How a probe failed.
enum Lost {
    /// Completely: why, and a sentence for the operator.
    Nothing(ProbeFailure, String),
    /// Some shards took it.
    Behind {
        /// Those that did not.
        late: Vec<usize>,
        /// A sentence for the operator.
        reason: String,
    },
}

/// A shard that misses this many consecutive probes is stuck: a bug, not load, keeps it from its
/// inbox for that long.
const STUCK: u32 = 10;

impl Prober {
    /// A prober; `None` if probes are disabled. Until the first one succeeds the node is not ready.
    pub(crate) fn new(
        node: &Node,
        broker: Option<Arc<Broker>>,
        sequencer: &Arc<dyn Sequencer>,
        config: ReadinessConfig,
    ) -> Option<Self> {
        if config.probe_interval.is_zero() {
            return None;
        }
        let reason = "no probe has been delivered yet".to_owned();
        node.delivery.note(Some(reason));
        Some(Self {
            delivery: Arc::clone(&node.delivery),
            counters: match node.owner {
                None => Arc::clone(&node.counters),
                // The node's own count says that the node is not ready.
                Some(_) => Arc::default(),
            },
            broker,
            sequencer: Arc::clone(sequencer),
            is_of_node: node.owner.is_none(),
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

    /// Sends one probe and records its result.
    pub(crate) async fn probe(&self) {
        let delivery = &self.delivery;
        delivery.begin();
        match self.outcome().await {
            Ok(lag) => {
                delivery.took(lag);
                delivery.count_late(&[]);
                if delivery.set_lagging(None).is_some() {
                    tracing::info!("all threads confirm probes again");
                }
                if delivery.note(None).is_some() {
                    let lag_seconds = lag.as_secs_f64();
                    if self.is_of_node {
                        tracing::info!(lag_seconds, "ready: the end-to-end probe was delivered");
                    } else {
                        tracing::info!(lag_seconds, "the own log of a tenant delivers");
                    }
                }
            }
            Err(Lost::Behind { late, reason }) => {
                self.counters.probe_failures.add(ProbeFailure::Shard);
                // The others deliver, so the path works: a slow thread must not take the node out
                // of the load balancer.
                delivery.note(None);
                if delivery.set_lagging(Some(reason.clone())).as_ref() != Some(&reason) {
                    let threads: Vec<_> = late.iter().map(ToString::to_string).collect();
                    tracing::warn!(
                        reason,
                        threads = threads.join(", "),
                        "a thread is slow: its clients receive publications late, other threads are not affected"
                    );
                }
            }
            Err(Lost::Nothing(failure, reason)) => {
                self.counters.probe_failures.add(failure);
                let before = delivery.note(Some(reason.clone()));
                // A disconnected broker is reported separately.
                if failure != ProbeFailure::Broker && before.as_ref() != Some(&reason) {
                    if self.is_of_node {
                        tracing::warn!(reason, "not ready: triggers are not delivered");
                    } else {
                        tracing::warn!(reason, "the own log of a tenant does not deliver");
                    }
                }
            }
        }
    }

    async fn outcome(&self) -> Result<Duration, Lost> {
        match timeout(self.config.probe_timeout, self.send()).await {
            Ok(Ok(lag)) => Ok(lag),
            Ok(Err(error)) => Err(Lost::Nothing(
                ProbeFailure::Broker,
                format!("{}: {error}", self.whence()),
            )),
            Err(_elapsed) => Err(self.late()),
        }
    }

    async fn send(&self) -> Result<Duration, AppendError> {
        if let Some(broker) = &self.broker {
            return broker.probe().await;
        }
        let sent = Instant::now();
        self.sequencer.probe().await.0.await;
        Ok(sent.elapsed())
    }

    /// How far a probe got within its timeout.
    fn late(&self) -> Lost {
        let within = self.config.probe_timeout;
        let delivery = &self.delivery;
        if let Some(trouble) = broker_trouble(self.broker.as_deref()) {
            return Lost::Nothing(ProbeFailure::Broker, trouble);
        }
        if !delivery.has_arrived() {
            let whence = self.whence();
            let reason = format!("{whence}: a probe was not delivered within {within:?}");
            return Lost::Nothing(ProbeFailure::Late, reason);
        }
        let late = delivery.late();
        let shards = delivery.shards();
        let (behind, worst) = (late.len(), delivery.count_late(&late));
        if behind == shards {
            let reason = format!("no thread confirmed a probe within {within:?}");
            Lost::Nothing(ProbeFailure::Shard, reason)
        } else if worst >= STUCK {
            let late: Vec<_> = late.iter().map(ToString::to_string).collect();
            let late = late.join(", ");
            let reason =
                format!("thread {late} is stuck: it confirmed none of the last {STUCK} probes");
            Lost::Nothing(ProbeFailure::Shard, reason)
        } else {
            let reason = format!(
                "{behind} of {shards} threads did not confirm a probe within {within:?}: their \
                 clients receive publications late"
            );
            Lost::Behind { late, reason }
        }
    }

    /// Where a probe is received.
    fn whence(&self) -> &'static str {
        let broker = self.broker.as_ref();
        broker.map_or("sequencer", |broker| broker.name())
    }
}

#[cfg(test)]
mod tests;
