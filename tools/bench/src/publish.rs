//! What a stream of RabbitMQ as the log costs publishers and the node: `POST /trigger/` beside a bare
//! publisher with confirms, and the ingest of triggers that nobody subscribed to.

mod amqp;
mod http;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use ht_telemetry::latency::Latency;
use ht_telemetry::usage::CpuClock;
use serde::{Deserialize, Serialize};

use crate::metrics;
use crate::publish::amqp::Amqp;
use crate::publish::http::Http;
use crate::server::{Beside, Running};

/// Publications without an answer of a publisher that does not wait for each.
pub const WINDOW: usize = 64;

/// Times that the two publishers take turns: what slows the machine down for a while slows both.
const TURNS: u32 = 4;

/// Publications of the ingest without a confirm, as of many publishers together.
const CROWD: usize = 1_000;

/// How long the node may take to read what was published.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is measured, and how long.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Of each publisher, one at a time and with a window.
    pub during: Duration,
    /// Triggers a second of the ingest.
    pub rate: u32,
    /// Number of this repetition.
    pub round: u32,
}

/// Figures of the log, as one line of JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Published {
    /// Number of the repetition.
    pub round: u32,
    /// A publisher of RabbitMQ with confirms, into a stream that nobody reads.
    pub bare: Publisher,
    /// The same, which waits until it has read each back, as the gateway does.
    pub read_back: Publisher,
    /// The same through `POST /trigger/` of a gateway whose log is a stream.
    pub gateway: Publisher,
    /// Triggers that nobody subscribed to, published to the exchange.
    pub ingest: Ingest,
}

/// Figures of a publisher.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Publisher {
    /// From a publication to its answer, one at a time, in µs: half of all within.
    pub p50_us: f64,
    /// 99 % within.
    pub p99_us: f64,
    /// Publications a second with a window of 64.
    pub per_second: f64,
}

/// Figures of an ingest.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Ingest {
    /// Triggers that the node read.
    pub triggers: u64,
    /// How many of them a second, from the first publication to the last one read.
    pub per_second: f64,
    /// CPU of the node for each, user and system, in µs.
    pub cpu_us: f64,
    /// CPU of RabbitMQ for each, in µs.
    pub broker_us: f64,
}

/// A publisher that waits for the answer to each publication.
trait Publish: Send + Sync {
    /// Publishes one, and waits until it is accepted.
    async fn publish(&self, number: u64) -> anyhow::Result<()>;
}

/// Measures a gateway whose log is a stream, and the broker by itself.
///
/// # Errors
/// When a publication is refused, or one does not arrive.
pub fn measure(running: &Running, internal: SocketAddr, plan: Plan) -> anyhow::Result<Published> {
    let broker = running.beside.iter().find_map(|beside| match beside {
        Beside::RabbitMq(rabbitmq) => Some(rabbitmq),
        Beside::Process(_) => None,
    });
    let broker = broker.context("the gateway has no RabbitMQ")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (bare, read_back, gateway) = runtime.block_on(publishers(broker.url(), internal, plan))?;
    let mut clocks = [running.process.id(), broker.id()].map(CpuClock::of_family);
    let ingest = runtime.block_on(ingest(broker.url(), internal, plan, &mut clocks))?;
    Ok(Published {
        round: plan.round,
        bare,
        read_back,
        gateway,
        ingest,
    })
}

/// The publishers, in turns.
async fn publishers(
    url: &str,
    internal: SocketAddr,
    plan: Plan,
) -> anyhow::Result<(Publisher, Publisher, Publisher)> {
    let bare = Amqp::to_stream(url).await?;
    let read_back = Amqp::reading_back(url).await?;
    let gateway = Http::open(internal, WINDOW).await?;
    let (mut of_bare, mut of_read_back, mut of_gateway) =
        (Found::default(), Found::default(), Found::default());
    for _ in 0..TURNS {
        of_bare.turn(&bare, plan.during / TURNS).await?;
        of_read_back.turn(&read_back, plan.during / TURNS).await?;
        of_gateway.turn(&gateway, plan.during / TURNS).await?;
    }
    Ok((
        of_bare.figures(),
        of_read_back.figures(),
        of_gateway.figures(),
    ))
}

/// What a publisher needed so far.
#[derive(Default)]
struct Found {
    latency: Latency,
    /// With a window.
    published: u64,
    took: Duration,
}

impl Found {
    /// One at a time, then with a window.
    async fn turn(&mut self, publisher: &impl Publish, during: Duration) -> anyhow::Result<()> {
        let begun = Instant::now();
        for number in 0.. {
            if begun.elapsed() >= during {
                break;
            }
            let sent = Instant::now();
            publisher.publish(number).await?;
            self.latency.add(sent.elapsed().as_nanos() as u64);
        }
        let begun = Instant::now();
        let next = AtomicU64::new(0);
        let each = (0..WINDOW).map(|_| async {
            while begun.elapsed() < during {
                publisher
                    .publish(next.fetch_add(1, Ordering::Relaxed))
                    .await?;
            }
            anyhow::Ok(())
        });
        all(each).await?;
        self.published += next.into_inner();
        self.took += begun.elapsed();
        Ok(())
    }

    fn figures(&self) -> Publisher {
        let us = |share| self.latency.quantile(share).as_secs_f64() * 1e6;
        Publisher {
            p50_us: us(0.5),
            p99_us: us(0.99),
            per_second: self.published as f64 / self.took.as_secs_f64(),
        }
    }
}

/// Runs all of them at once, until the first error.
async fn all(
    work: impl Iterator<Item = impl Future<Output = anyhow::Result<()>>>,
) -> anyhow::Result<()> {
    futures_util::future::try_join_all(work).await.map(drop)
}

/// Publishes to the exchange at a rate, and waits until the node has read it all.
async fn ingest(
    url: &str,
    internal: SocketAddr,
    plan: Plan,
    clocks: &mut [CpuClock; 2],
) -> anyhow::Result<Ingest> {
    let publisher = Amqp::to_exchange(url).await?;
    let before = read(internal)?;
    let mut cpu = [Duration::ZERO; 2];
    for (sum, clock) in cpu.iter_mut().zip(&mut *clocks) {
        *sum = clock.read()?.total;
    }
    let begun = Instant::now();
    let triggers = u64::from(plan.rate) * plan.during.as_millis() as u64 / 1_000;
    let next = AtomicU64::new(0);
    let each = (0..CROWD).map(|_| async {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= triggers {
                return anyhow::Ok(());
            }
            let due = begun + Duration::from_secs_f64(number as f64 / f64::from(plan.rate));
            tokio::time::sleep_until(due.into()).await;
            publisher.publish(number).await?;
        }
    });
    all(each).await?;
    let deadline = Instant::now() + PATIENCE;
    while read(internal)? - before < triggers {
        anyhow::ensure!(Instant::now() < deadline, "the node does not read on");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let took = begun.elapsed();
    for (sum, clock) in cpu.iter_mut().zip(clocks) {
        *sum = clock.read()?.total.saturating_sub(*sum);
    }
    let [cpu_us, broker_us] = cpu.map(|cpu| cpu.as_secs_f64() * 1e6 / triggers.max(1) as f64);
    Ok(Ingest {
        triggers,
        per_second: triggers as f64 / took.as_secs_f64(),
        cpu_us,
        broker_us,
    })
}

/// How many triggers the node has read.
fn read(internal: SocketAddr) -> anyhow::Result<u64> {
    metrics::triggers(internal).context("the gateway has no metrics")
}

/// A trigger for a room that nobody subscribed to.
fn body(number: u64) -> String {
    let filler = "x".repeat(110);
    format!(r#"{{"rooms":[{{"target":"nobody","id":{number}}}],"data":"{number} {filler}"}}"#)
}

impl Published {
    /// The figures in a line.
    #[must_use]
    pub fn one_line(&self) -> String {
        let Self {
            bare,
            read_back,
            gateway,
            ingest,
            ..
        } = self;
        format!(
            "one at a time p50 {:.0} µs bare, {:.0} µs through the gateway; window {WINDOW}: {:.0}/s \
             bare, {:.0}/s read back, {:.0}/s through the gateway; ingest {:.0}/s at {:.1} µs of the node and {:.1} µs of \
             RabbitMQ each",
            bare.p50_us,
            gateway.p50_us,
            bare.per_second,
            read_back.per_second,
            gateway.per_second,
            ingest.per_second,
            ingest.cpu_us,
            ingest.broker_us
        )
    }
}
