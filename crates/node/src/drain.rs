//! Graceful shutdown.

use std::time::Duration;

use ht_broker::Broker;
use ht_control::waves::{DrainWaves, WAVE};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::gateway::Gateway;
use crate::inbox::Input;
use crate::services::Stage;
use crate::shards::Shards;
use crate::totals::Totals;

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
        let Self {
            node,
            live,
            broker,
            shards,
            triggers,
            services,
            ..
        } = self;
        let settings = live.now().drain;
        node.lifecycle.drain();
        stay_open(settings.delay, &hurry).await;
        let end = Instant::now() + settings.timeout;
        // Its address is free as soon as it is over.
        services.end(Stage::Clients).await;

        let totals = &node.totals;
        let open = totals.connections();
        let waves = DrainWaves::new(open, settings.period, settings.timeout);
        tracing::info!(
            connections = open,
            over_ms = ms(waves.over),
            "draining: closing all connections"
        );
        let all = async {
            let close_in_waves = async {
                catch_up(broker.as_deref()).await;
                close_in_waves(&waves, totals, &shards).await;
            };
            tokio::select! {
                () = close_in_waves => {}
                () = hurry.cancelled() => {}
            }
            // From here on nobody is there to hear a trigger.
            node.lifecycle.desert();
            shards.send(|_| Input::Drain(waves.close()));
            shards.ended().await;
            triggers.close();
            triggers.wait().await;
            services.end(Stage::Delivery).await;
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
                let open = totals.connections();
                tracing::warn!(open, "drain.timeout exceeded: dropping the remaining connections");
            }
        }
        services.shutdown(Stage::Delivery).cancel();
        services.end(Stage::Health).await;
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
async fn close_in_waves(waves: &DrainWaves, totals: &Totals, shards: &Shards) {
    let mut interval = tokio::time::interval(WAVE);
    for left in (0..waves.waves()).rev() {
        interval.tick().await;
        let open = totals.connections_by_shard();
        shards.send(|shard| Input::Close {
            count: DrainWaves::count(open[shard], left),
            close: waves.close(),
        });
    }
    interval.tick().await;
}

/// Waits until what the broker took from anybody before is placed here: a trigger that another node
/// answered may still be on its way to this one.
async fn catch_up(broker: Option<&Broker>) {
    if let Some(broker) = broker {
        // A broker that is away or slow has its time, and no more.
        let _ = tokio::time::timeout(CATCH_UP, broker.probe()).await;
    }
}
