//! Graceful shutdown: takes the steps of [`Drain`].

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
    /// Shuts down within `drain.delay` and `drain.timeout`; then what is left is let go.
    ///
    /// For `drain.delay` the node only says that it is not ready any more and serves as ever, so
    /// that load balancers can send newcomers elsewhere.
    /// Nobody new is let in. The open connections are closed in waves over `drain.period`, each
    /// after all that was published before its wave, and hear and publish as ever until then.
    /// Once all are closed no trigger is taken any more, those under way get their answer, the
    /// broker its acknowledgements and the API its hooks. `hurry` ends the waves at once and
    /// gives the rest one more second.
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
        let since = Instant::now();
        let mut drain = Drain::new(settings, Duration::ZERO);
        let mut parts = Parts::of(self);
        let mut is_hurried = false;
        while !parts.take_steps(&mut drain) {
            let due = drain.deadline().map(|due| since + due);
            tokio::select! {
                report = reported(&mut parts.waiting) => {
                    parts.waiting = None;
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
    }
}

/// What a step came to.
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

/// What has to happen before the next step.
type Waiting = Option<BoxFuture<'static, Report>>;

/// The parts of a gateway that shuts down.
struct Parts {
    node: Arc<Node>,
    broker: Option<Arc<Broker>>,
    /// None once they were told to close everything.
    shards: Option<Shards>,
    triggers: TaskTracker,
    services: Arc<Services>,
    waiting: Waiting,
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
        }
    }

    /// Takes the steps that are due. Returns whether all is done.
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
            // Its address is free as soon as it is over.
            services.end(ShutdownStage::Clients).await;
            let open = node.totals.connections();
            Report::EntranceClosed { open }
        })
    }

    /// Waits until what was published before is placed here. It has no more time than the drain
    /// gives it.
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
        // From here on nobody is there to hear a trigger.
        self.node.lifecycle.desert();
        let shards = self.shards.take();
        if let Some(shards) = &shards {
            shards.send(|_| Input::Drain(close));
        }
        Box::pin(async move {
            if let Some(shards) = shards {
                shards.ended().await;
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

/// Waits for what has to happen; for ever if it is nothing.
async fn reported(waiting: &mut Waiting) -> Report {
    match waiting {
        Some(waiting) => waiting.await,
        None => std::future::pending().await,
    }
}

/// Waits until a moment; for ever if there is none.
async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// A time for the log: a number that every format writes as one.
fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
