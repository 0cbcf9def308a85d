//! Graceful shutdown of a pipeline: executes the steps of [`Drain`].

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use ht_control::drain::{Drain, DrainSettings, Step};
use ht_control::waves::DrainWaves;
use ht_proto::close::Close;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::inbox::Input;
use crate::pipeline::Pipeline;
use crate::running::Running;
use crate::services::{Services, ShutdownStage};
use crate::shards::Shards;

/// What else is shut down with a pipeline: it begins when no client is accepted any more, has so much
/// time, and the rest of the pipeline waits for it.
pub(crate) type Others = Box<dyn FnOnce(DrainSettings) -> BoxFuture<'static, ()> + Send>;

/// Shuts a pipeline down within the delay and the timeout of these settings; whatever is left then is
/// aborted.
///
/// For the delay the node only reports that it is not ready and serves as before, so that load
/// balancers can route new connections elsewhere.
/// No new connections are accepted. The open ones are closed in waves, each after everything that
/// was published before its wave, and receive and publish as before until then. Once all are closed
/// no trigger is accepted any more; those in progress get their response, the broker its
/// acknowledgements and the API its hooks. `hurry` ends the waves at once and leaves one more second
/// for the rest. Returns whether every trigger had its place before the end.
pub(crate) async fn drain(
    running: Running,
    settings: DrainSettings,
    hurry: CancellationToken,
    others: Option<Others>,
) -> bool {
    running.pipeline.node.lifecycle.drain();
    if !settings.delay.is_zero() {
        tracing::info!(
            delay_ms = ms(settings.delay),
            "draining: /ready is 503, traffic is served for drain.delay"
        );
    }
    let since = Instant::now();
    let mut drain = Drain::new(settings, Duration::ZERO);
    let mut parts = Parts::of(running, others);
    let mut is_hurried = false;
    while !parts.take_steps(&mut drain) {
        let due = drain.deadline().map(|due| since + due);
        tokio::select! {
            report = reported(&mut parts.waiting) => {
                parts.waiting = None;
                parts.is_settled |= matches!(report, Report::TriggersEnded);
                if matches!(report, Report::EntranceClosed { .. }) {
                    parts.begin_others(settings, since.elapsed());
                }
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
    parts.is_settled
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

/// The parts of a pipeline that shuts down.
struct Parts {
    pipeline: Arc<Pipeline>,
    /// None once they were instructed to close everything.
    shards: Option<Shards>,
    services: Arc<Services>,
    waiting: Waiting,
    /// None once they are being shut down.
    others: Option<Others>,
    others_ended: TaskTracker,
    /// Nothing is published here any more.
    is_settled: bool,
}

impl Parts {
    fn of(running: Running, others: Option<Others>) -> Self {
        Self {
            pipeline: running.pipeline,
            shards: Some(running.shards),
            services: Arc::new(running.services),
            waiting: None,
            others,
            others_ended: TaskTracker::new(),
            is_settled: false,
        }
    }

    /// Shuts down what is shut down with it, so long after the begin.
    fn begin_others(&mut self, settings: DrainSettings, elapsed: Duration) {
        if let Some(others) = self.others.take() {
            let elapsed = elapsed.saturating_sub(settings.delay);
            self.others_ended.spawn(others(DrainSettings {
                delay: Duration::ZERO,
                timeout: settings.timeout.saturating_sub(elapsed),
                ..settings
            }));
        }
        self.others_ended.close();
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
        let (node, services) = (Arc::clone(&self.pipeline.node), Arc::clone(&self.services));
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
        let broker = self.pipeline.broker.clone();
        Box::pin(async move {
            if let Some(broker) = broker {
                let _ = broker.probe().await;
            }
            Report::CaughtUp
        })
    }

    /// Closes the connections of one wave.
    fn close(&self, left: u64, close: Close) {
        let open = self.pipeline.node.totals.connections_by_shard();
        if let Some(shards) = &self.shards {
            shards.send(|shard| Input::Close {
                count: DrainWaves::count(open[shard], left),
                close,
            });
        }
    }

    fn close_all(&mut self, close: Close) -> BoxFuture<'static, Report> {
        // From here on no client is left to receive a trigger.
        let Pipeline { node, broker, .. } = &*self.pipeline;
        node.lifecycle.desert();
        let shards = self.shards.take();
        if let Some(shards) = &shards {
            shards.send(|_| Input::Drain(close));
        }
        let (peers, broker) = (Arc::clone(&node.peers), broker.clone());
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
        let triggers = self.pipeline.triggers.clone();
        triggers.close();
        Box::pin(async move {
            triggers.wait().await;
            Report::TriggersEnded
        })
    }

    fn end_rest(&self) -> BoxFuture<'static, Report> {
        let (services, others) = (Arc::clone(&self.services), self.others_ended.clone());
        Box::pin(async move {
            others.wait().await;
            services.end(ShutdownStage::Delivery).await;
            Report::RestEnded
        })
    }

    fn log_end(&self, is_late: bool) {
        if is_late {
            let open = self.pipeline.node.totals.connections();
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
