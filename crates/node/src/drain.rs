//! Graceful shutdown.

use std::sync::atomic::Ordering;
use std::time::Duration;

use ht_control::waves::{DrainWaves, WAVE};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::inbox::Input;
use crate::joined;
use crate::node::Node;
use crate::shard::Running;
use crate::{Gateway, inbox};

/// What was published before may take so long to come from the broker.
const CATCH_UP: Duration = Duration::from_secs(1);

/// What is left may take so long once there is a hurry.
const HURRIED: Duration = Duration::from_secs(1);

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
        self.node.draining.store(true, Ordering::Relaxed);
        stay_open(settings.delay, &hurry).await;
        let end = Instant::now() + settings.timeout;
        self.stop_public.cancel();
        // Its address is free as soon as it is over.
        joined(self.public_task).await;

        let open = self.node.connections.load(Ordering::Acquire);
        let waves = DrainWaves::new(open, settings.period, settings.timeout);
        tracing::info!(
            connections = open,
            over_ms = ms(waves.over),
            "draining: closing all connections"
        );
        let inboxes: Vec<_> = self.shards.iter().map(|it| it.inbox.clone()).collect();
        let (node, stop_broker) = (&self.node, &self.stop_broker);
        let (shards, broker, hooks, triggers) =
            (self.shards, self.broker, self.hooks, self.triggers);
        let all = async {
            let close_in_waves = async {
                catch_up(node).await;
                close_in_waves(&waves, node, &inboxes).await;
            };
            tokio::select! {
                () = close_in_waves => {}
                () = hurry.cancelled() => {}
            }
            // From here on nobody is there to hear a trigger.
            node.deserted.store(true, Ordering::SeqCst);
            send(&inboxes, |_| Input::Drain(waves.close()));
            drop(inboxes);
            ended(shards).await;
            triggers.close();
            triggers.wait().await;
            stop_broker.cancel();
            tokio::join!(finished(broker), finished(hooks));
        };
        let late = async {
            tokio::select! {
                () = tokio::time::sleep_until(end) => {}
                () = async { hurry.cancelled().await; tokio::time::sleep(HURRIED).await } => {}
            }
        };
        tokio::select! {
            () = all => tracing::info!("shutdown complete: all connections are closed"),
            () = late => {
                let open = self.node.connections.load(Ordering::Acquire);
                tracing::warn!(open, "drain.timeout exceeded: dropping the remaining connections");
            }
        }
        self.stop_broker.cancel();
        self.stop_internal.cancel();
        joined(self.internal_task).await;
    }
}

/// Waits until those who look at `/ready` know that newcomers belong elsewhere, or there is a hurry.
async fn stay_open(delay: Duration, hurry: &CancellationToken) {
    if delay.is_zero() {
        return;
    }
    tracing::info!(
        delay_ms = ms(delay),
        "draining: /ready is 503, traffic is served for drain.delay"
    );
    tokio::select! {
        () = tokio::time::sleep(delay) => {}
        () = hurry.cancelled() => {}
    }
}

/// A time for the log: a number that every format writes as one.
fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Closes all but the last wave, which is for whoever drains the shards.
async fn close_in_waves(waves: &DrainWaves, node: &Node, inboxes: &[inbox::Sender]) {
    let mut interval = tokio::time::interval(WAVE);
    for left in (0..waves.waves()).rev() {
        interval.tick().await;
        let open: Vec<_> = node.connections_by_shard().collect();
        send(inboxes, |shard| Input::Close {
            count: DrainWaves::count(open[shard], left),
            close: waves.close(),
        });
    }
    interval.tick().await;
}

/// Waits until what the broker took from anybody before is placed here: a trigger that another node
/// answered may still be on its way to this one.
async fn catch_up(node: &Node) {
    if let Some(broker) = &node.broker {
        // A broker that is away or slow has its time, and no more.
        let _ = tokio::time::timeout(CATCH_UP, broker.probe()).await;
    }
}

/// Tells each shard something, behind all that was published so far.
fn send(inboxes: &[inbox::Sender], input: impl Fn(usize) -> Input) {
    for (index, inbox) in inboxes.iter().enumerate() {
        // A shard that has ended has nobody left.
        let _ = inbox.send(input(index));
    }
}

/// Waits until every shard has let its last connection go.
async fn ended(shards: Vec<Running>) {
    let threads: Vec<_> = shards.into_iter().map(|shard| shard.thread).collect();
    let ended = tokio::task::spawn_blocking(move || {
        threads
            .into_iter()
            .map(std::thread::JoinHandle::join)
            .all(|end| end.is_ok())
    });
    if !matches!(ended.await, Ok(true)) {
        tracing::error!("a shard thread panicked");
    }
}

async fn finished(task: Option<JoinHandle<()>>) {
    if let Some(task) = task {
        joined(task).await;
    }
}
