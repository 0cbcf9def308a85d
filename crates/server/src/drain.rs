//! Graceful shutdown.

use std::sync::atomic::Ordering;
use std::time::Duration;

use ht_proto::close::Close;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::Gateway;
use crate::config::DrainConfig;
use crate::inbox;
use crate::inbox::Input;
use crate::joined;
use crate::node::Node;
use crate::shard::Running;

/// Connections whose clients may come back in a second without anybody noticing: fewer need no
/// spread over the whole period.
pub(crate) const RETURNS_PER_SECOND: u64 = 100;

/// The span that clients are told when they are all closed at once and they are many.
pub(crate) const SPAN_AT_ONCE: Duration = Duration::from_secs(5);

/// Time between two waves of connections that are closed.
pub(crate) const WAVE: Duration = Duration::from_millis(50);

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
        self.doors.cancel();
        // Its address is free as soon as it is over.
        joined(self.public_door).await;

        let spread = Spread::new(&settings, self.node.connections.load(Ordering::Acquire));
        tracing::info!(
            connections = spread.open,
            over_ms = ms(spread.over),
            "draining: closing all connections"
        );
        let inboxes: Vec<_> = self.shards.iter().map(|it| it.inbox.clone()).collect();
        let (node, intake) = (&self.node, &self.intake);
        let (shards, broker, hooks, triggers) =
            (self.shards, self.broker, self.hooks, self.triggers);
        let all = async {
            let close_in_waves = async {
                catch_up(node).await;
                spread.close_in_waves(node, &inboxes).await;
            };
            tokio::select! {
                () = close_in_waves => {}
                () = hurry.cancelled() => {}
            }
            // From here on nobody is there to hear a trigger.
            node.deserted.store(true, Ordering::SeqCst);
            send(&inboxes, |_| Input::Drain(spread.close()));
            drop(inboxes);
            ended(shards).await;
            triggers.close();
            triggers.wait().await;
            intake.cancel();
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
        self.intake.cancel();
        self.health.cancel();
        joined(self.internal_door).await;
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

/// How connections are closed without all of them coming back at once.
struct Spread {
    /// Connections at the start.
    open: u64,
    /// From the first to the last.
    over: Duration,
    /// What clients are told: the span within which to come back.
    span: Duration,
}

impl Spread {
    fn new(settings: &DrainConfig, open: u64) -> Self {
        let needed = Duration::from_millis(open.saturating_mul(1_000 / RETURNS_PER_SECOND));
        // Half of the time is for what comes after: answers to close frames, hooks, the broker.
        let over = needed.min(settings.period).min(settings.timeout / 2);
        Self {
            open,
            over,
            span: needed.min(over.max(SPAN_AT_ONCE)),
        }
    }

    fn close(&self) -> Close {
        let span = u32::try_from(self.span.as_millis()).unwrap_or(u32::MAX);
        Close::RESTART.within(span)
    }

    /// Closes all but the last wave, which is for whoever drains the shards.
    async fn close_in_waves(&self, node: &Node, inboxes: &[inbox::Sender]) {
        let waves = self.over.as_millis() / WAVE.as_millis();
        let mut interval = tokio::time::interval(WAVE);
        for left in (1..=waves).rev() {
            interval.tick().await;
            let open: Vec<_> = node.connections_by_shard().collect();
            let left = usize::try_from(left)
                .unwrap_or(usize::MAX)
                .saturating_add(1);
            send(inboxes, |shard| Input::Close {
                count: usize::try_from(open[shard]).unwrap_or(usize::MAX) / left,
                close: self.close(),
            });
        }
        interval.tick().await;
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(period: u64, timeout: u64, open: u64) -> (u128, String) {
        let settings = DrainConfig {
            delay: Duration::ZERO,
            period: Duration::from_millis(period),
            timeout: Duration::from_millis(timeout),
        };
        let spread = Spread::new(&settings, open);
        (
            spread.over.as_millis(),
            spread.close().reason().into_owned(),
        )
    }

    #[test]
    fn few_connections_need_no_spread_and_many_have_the_period() {
        assert_eq!(spread(5_000, 20_000, 0), (0, "restart".into()));
        assert_eq!(spread(5_000, 20_000, 3), (30, "restart 30".into()));
        assert_eq!(
            spread(5_000, 20_000, 100_000),
            (5_000, "restart 5000".into())
        );
        assert_eq!(
            spread(30_000, 90_000, 100_000),
            (30_000, "restart 30000".into())
        );
    }

    #[test]
    fn without_a_period_clients_spread_their_return() {
        assert_eq!(spread(0, 20_000, 100_000), (0, "restart 5000".into()));
        assert_eq!(spread(0, 20_000, 20), (0, "restart 200".into()));
    }

    #[test]
    fn half_of_the_timeout_is_left_for_the_rest() {
        assert_eq!(spread(5_000, 1_000, 100_000), (500, "restart 5000".into()));
    }
}
