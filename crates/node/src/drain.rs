//! Graceful shutdown: executes the steps of [`Drain`].

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use ht_broker::Broker;
use ht_control::drain::{Drain, DrainSettings, Step};
use ht_control::waves::DrainWaves;
use ht_proto::close::Close;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::gateway::Gateway;
use crate::inbox::Input;
use crate::node::Node;
use crate::services::{Services, ShutdownStage};
use crate::shards::Shards;

impl Gateway {
    /// Shuts down within `drain.delay` and `drain.timeout`; whatever is left then is aborted.
    ///
    /// For `drain.delay` the node only reports that it is not ready and serves as before, so that
    /// load balancers can route new connections elsewhere.
    /// No new connections are accepted. The open ones are closed in waves over `drain.period`, each
    /// after everything that was published before its wave, and receive and publish as before until
    /// then. Once all are closed no trigger is accepted any more; those in progress get their
    /// response, the broker its acknowledgements and the API its hooks. `hurry` ends the waves at
    /// once and leaves one more second for the rest.
    pub async fn drain(self, hurry: CancellationToken) {
        let settings = self.live.now().drain;
        let settings = DrainSettings {
            delay: settings.delay,
            period: settings.period,
            timeout: settings.timeout,
        };
        self.node.lifecycle.drain();
        if !settings.delay.is_zero() {
            tracing::info!(
                delay_ms = ms(settings.delay),
                "draining: /ready is 503, traffic is served for drain.delay"
            );
        }
        let (sequencer, window_file) = (Arc::clone(&self.sequencer), self.window_file.clone());
        let since = Instant::now();
        let mut drain = Drain::new(settings, Duration::ZERO);
        let mut parts = Parts::of(self);
        let mut is_hurried = false;
        while !parts.take_steps(&mut drain) {
            let due = drain.deadline().map(|due| since + due);
            tokio::select! {
                report = reported(&mut parts.waiting) => {
                    parts.waiting = None;
                    parts.is_settled |= matches!(report, Report::TriggersEnded);
                    report.tell(&mut drain, since.elapsed());
                }
                () = hurry.cancelled(), if !is_hurried => {
                    is_hurried = true;
                    drain.hurry(since.elapsed());
                }
                () = sleep_until(due) => drain.tick(since.elapsed()),
            }
        }
        parts.services.shutdown(ShutdownStage::Delivery).cancel();
        parts.services.end(ShutdownStage::Health).await;
        if let Some(file) = window_file
            && parts.is_settled
        {
            file.end(sequencer.snapshot().await).await;
        }
    }
}

/// Result of a step.
enum Report {
    EntranceClosed { open: u64 },
    CaughtUp,
    ShardsEnded,
    TriggersEnded,
    RestEnded,
}

impl Report {
    fn tell(self, drain: &mut Drain, now: Duration) {
        match self {
            Self::EntranceClosed { open } => {
                drain.entrance_closed(open, now);
                tracing::info!(
                    connections = open,
                    over_ms = ms(drain.waves().over),
                    "draining: closing all connections"
                );
            }
            Self::CaughtUp => drain.caught_up(now),
            Self::ShardsEnded => drain.shards_ended(),
            Self::TriggersEnded => drain.triggers_ended(),
            Self::RestEnded => drain.rest_ended(),
        }
    }
}

/// Condition for the next step.
type Waiting = Option<BoxFuture<'static, Report>>;

/// The parts of a gateway that shuts down.
struct Parts {
    node: Arc<Node>,
    broker: Option<Arc<Broker>>,
    /// None once they were instructed to close everything.
    shards: Option<Shards>,
    triggers: TaskTracker,
    services: Arc<Services>,
    waiting: Waiting,
    /// Nothing is published here any more.
    is_settled: bool,
}

impl Parts {
    fn of(gateway: Gateway) -> Self {
        Self {
            node: gateway.node,
            broker: gateway.broker,
            shards: Some(gateway.shards),
            triggers: gateway.triggers,
            services: Arc::new(gateway.services),
            waiting: None,
            is_settled: false,
        }
    }

    /// Executes the steps that are due. Returns whether all of them are done.
    fn take_steps(&mut self, drain: &mut Drain) -> bool {
        while let Some(step) = drain.poll_step() {
            self.waiting = match step {
                Step::CloseEntrance => Some(self.close_entrance()),
                Step::CatchUp => Some(self.catch_up()),
                Step::Close { left, close } => {
                    self.close(left, close);
                    None
                }
                Step::CloseAll(close) => Some(self.close_all(close)),
                Step::EndTriggers => Some(self.end_triggers()),
                Step::EndRest => Some(self.end_rest()),
                Step::End { is_late } => {
                    self.log_end(is_late);
                    return true;
                }
            };
        }
        false
    }

    fn close_entrance(&self) -> BoxFuture<'static, Report> {
        let (node, services) = (Arc::clone(&self.node), Arc::clone(&self.services));
        Box::pin(async move {
            // Its address is free as soon as it has ended.
            services.end(ShutdownStage::Clients).await;
            let open = node.totals.connections();
            Report::EntranceClosed { open }
        })
    }

    /// Waits until everything that was published before is ordered here, no longer than the
    /// deadline of the drain.
    fn catch_up(&self) -> BoxFuture<'static, Report> {
        let broker = self.broker.clone();
        Box::pin(async move {
            if let Some(broker) = broker {
                let _ = broker.probe().await;
            }
            Report::CaughtUp
        })
    }

    /// Closes the connections of one wave.
    fn close(&self, left: u64, close: Close) {
        let open = self.node.totals.connections_by_shard();
        if let Some(shards) = &self.shards {
            shards.send(|shard| Input::Close {
                count: DrainWaves::count(open[shard], left),
                close,
            });
        }
    }

    fn close_all(&mut self, close: Close) -> BoxFuture<'static, Report> {
        // From here on no client is left to receive a trigger.
        self.node.lifecycle.desert();
        let shards = self.shards.take();
        if let Some(shards) = &shards {
            shards.send(|_| Input::Drain(close));
        }
        let (peers, broker) = (Arc::clone(&self.node.peers), self.broker.clone());
        Box::pin(async move {
            if let Some(shards) = shards {
                shards.ended().await;
            }
            if let Some(broker) = broker {
                peers.leave(&broker).await;
            }
            Report::ShardsEnded
        })
    }

    fn end_triggers(&self) -> BoxFuture<'static, Report> {
        let triggers = self.triggers.clone();
        triggers.close();
        Box::pin(async move {
            triggers.wait().await;
            Report::TriggersEnded
        })
    }

    fn end_rest(&self) -> BoxFuture<'static, Report> {
        let services = Arc::clone(&self.services);
        Box::pin(async move {
            services.end(ShutdownStage::Delivery).await;
            Report::RestEnded
        })
    }

    fn log_end(&self, is_late: bool) {
        if is_late {
            let open = self.node.totals.connections();
            tracing::warn!(
                open,
                "drain.timeout exceeded: dropping the remaining connections"
            );
        } else {
            tracing::info!("shutdown complete: all connections are closed");
        }
    }
}

/// Waits for a condition; forever if there is none.
async fn reported(waiting: &mut Waiting) -> Report {
    match waiting {
        Some(waiting) => waiting.await,
        None => std::future::pending().await,
    }
}

/// Waits until a deadline; forever if there is none.
async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// A duration for the log: a number that every log format writes as a number.
fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
