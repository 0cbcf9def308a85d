//! One run: connect the clients, publish, collect the results.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use ht_telemetry::usage::{Cpu, CpuClock, Memory};

use crate::cli::bench::Args;
use crate::cli::bench::clients::Clients;
use crate::cli::bench::publisher::Publisher;
use crate::cli::bench::received::run_name;
use crate::cli::bench::report::{Report, Spread, Usage};
use crate::cli::client::Dial;

/// Connections that are opened before memory is measured, so that one-time allocations of the gateway
/// are not counted as theirs.
const FIRST: usize = 100;

/// Time for memory usage to settle.
const SETTLE: Duration = Duration::from_millis(500);

/// Time without a delivery after which the missing ones are lost.
const PATIENCE: Duration = Duration::from_secs(5);

/// Interval of polling the totals.
const POLL: Duration = Duration::from_millis(5);

/// Runs the load test.
pub(super) async fn run(args: &Args, dial: &Dial) -> anyhow::Result<Report> {
    let (name, epoch) = (run_name(), Instant::now());
    let mut run = Run {
        args,
        dial,
        publisher: Publisher::open(args, &name, epoch).await?,
        clients: Clients::new(&name, epoch),
        joining: Duration::ZERO,
        process: args.pid.map(Process::new).transpose()?,
    };
    let bytes_per_connection = run.join().await?;
    let delivering = run.deliver().await?;

    let Run {
        clients,
        publisher,
        joining,
        ..
    } = run;
    let totals = std::mem::take(&mut *clients.totals());
    let connect_ms = Spread::of(&clients.joining);
    let received = clients.close().await?;
    Ok(Report {
        connections: received.len(),
        joining_s: joining.as_secs_f64(),
        connect_ms,
        triggers: args.triggers(),
        triggers_per_s_asked: args.rate,
        triggers_per_s: delivering.triggers_per_s,
        data_bytes: args.data_bytes as usize,
        deliveries: delivering.deliveries,
        deliveries_per_s: delivering.deliveries as f64 / delivering.wall.as_secs_f64(),
        lost: received
            .iter()
            .map(|client| client.lost(publisher.next))
            .sum(),
        doubled: received.iter().map(|client| client.doubled).sum(),
        out_of_order: received.iter().map(|client| client.out_of_order).sum(),
        foreign: totals.foreign,
        ended: totals.ended,
        first_end: totals.first_end,
        latency_ms: Spread::of(&totals.latency),
        own_cores: delivering.own_cores,
        gateway: delivering.cpu.map(|cpu| Usage {
            cpu_us_per_delivery: cpu.as_secs_f64() * 1e6 / delivering.deliveries.max(1) as f64,
            cores: cpu.as_secs_f64() / delivering.wall.as_secs_f64(),
            bytes_per_connection,
        }),
    })
}

struct Run<'a> {
    args: &'a Args,
    dial: &'a Dial,
    publisher: Publisher<'a>,
    clients: Clients,
    /// Time that connecting took.
    joining: Duration,
    process: Option<Process>,
}

/// Measured during the deliveries.
struct Delivering {
    triggers_per_s: f64,
    deliveries: u64,
    /// From the first trigger to the last delivery, and at least `--seconds`.
    wall: Duration,
    /// CPU time of the gateway.
    cpu: Option<Duration>,
    own_cores: f64,
}

impl Run<'_> {
    /// Connects all clients. Returns how many resident bytes each connection added.
    async fn join(&mut self) -> anyhow::Result<Option<f64>> {
        let all = self.args.connections as usize;
        // A few first, so that a mistake is reported before thousands connect.
        let first = all.div_ceil(10).min(FIRST);
        self.grow(first).await?;
        self.publisher.send().await?;
        let received = self.wait_for(first as u64).await;
        if received < first as u64 {
            let trigger = &self.args.trigger;
            bail!(
                "a trigger was accepted, and {received} of {first} connections received it: do \
                 --url and --trigger {trigger} lead to the same gateway, or to nodes of the same \
                 broker?"
            );
        }
        let before = self.memory().await?;
        self.grow(all).await?;
        let then = self.memory().await?;
        let added = then.zip(before).filter(|_| all > first);
        Ok(added.map(|(then, before)| (then as f64 - before as f64) / (all - first) as f64))
    }

    async fn grow(&mut self, count: usize) -> anyhow::Result<()> {
        let start = Instant::now();
        let room = self.args.room.get();
        self.clients
            .grow(self.dial, room, count, self.publisher.next)
            .await?;
        self.joining += start.elapsed();
        Ok(())
    }

    /// Resident bytes of the gateway, after a pause to settle.
    async fn memory(&self) -> anyhow::Result<Option<u64>> {
        let Some(process) = &self.process else {
            return Ok(None);
        };
        tokio::time::sleep(SETTLE).await;
        process.memory().map(Some)
    }

    /// Publishes and waits until everything has arrived.
    async fn deliver(&mut self) -> anyhow::Result<Delivering> {
        let mut own = Process::new(std::process::id())?;
        let own_before = own.cpu()?;
        let before = self.process.as_mut().map(Process::cpu).transpose()?;
        let before_run = self.clients.clear();
        let start = Instant::now();
        let count = self.args.triggers();
        let triggers_per_s = self.publisher.send_all(count, self.args.rate).await?;
        let expected = before_run + count * self.clients.len() as u64;
        let deliveries = self.wait_for(expected).await - before_run;
        let now = self.process.as_mut().map(Process::cpu).transpose()?;
        let own_cpu = own.cpu()? - own_before;
        let last = self.clients.totals().last.unwrap_or(start);
        let planned = Duration::from_secs(self.args.seconds.into());
        let wall = last.duration_since(start).max(planned);
        Ok(Delivering {
            triggers_per_s,
            deliveries,
            wall,
            cpu: now
                .zip(before)
                .map(|(now, before)| now.saturating_sub(before)),
            own_cores: own_cpu.as_secs_f64() / start.elapsed().as_secs_f64(),
        })
    }

    /// Waits until `expected` triggers were received, as long as some arrive. Returns their number.
    async fn wait_for(&self, expected: u64) -> u64 {
        let mut last = (self.clients.totals().delivered, Instant::now());
        while last.0 < expected && last.1.elapsed() < PATIENCE {
            tokio::time::sleep(POLL).await;
            let delivered = self.clients.totals().delivered;
            if delivered > last.0 {
                last = (delivered, Instant::now());
            }
        }
        last.0
    }
}

/// A process that is measured.
struct Process {
    pid: u32,
    clock: CpuClock,
}

impl Process {
    fn new(pid: u32) -> anyhow::Result<Self> {
        let mut process = Self {
            pid,
            clock: CpuClock::new(pid),
        };
        process.cpu()?;
        process.memory()?;
        Ok(process)
    }

    /// User and system time up to now.
    fn cpu(&mut self) -> anyhow::Result<Duration> {
        let cpu: std::io::Result<Cpu> = self.clock.read();
        let cpu = cpu.with_context(|| format!("cannot read the CPU time of process {}", self.pid));
        Ok(cpu?.total)
    }

    /// Resident bytes.
    fn memory(&self) -> anyhow::Result<u64> {
        let memory = Memory::read(self.pid);
        let memory =
            memory.with_context(|| format!("cannot read the memory of process {}", self.pid));
        Ok(memory?.rss)
    }
}
