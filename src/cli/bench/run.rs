//! One run: let the clients in, publish, settle the account.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use ht_telemetry::usage::{Cpu, CpuClock, Memory};

use crate::cli::bench::Args;
use crate::cli::bench::account::run_name;
use crate::cli::bench::audience::Audience;
use crate::cli::bench::publisher::Publisher;
use crate::cli::bench::report::{Report, Spread, Usage};
use crate::cli::visitor::Dial;

/// Most connections that join before memory is looked at, so that what the gateway sets up once
/// is not counted as theirs.
const FIRST: usize = 100;

/// How long memory is given to settle.
const SETTLE: Duration = Duration::from_millis(500);

/// How long a delivery is waited for after the last one that came.
const PATIENCE: Duration = Duration::from_secs(5);

/// Between two looks at what was delivered.
const LOOK: Duration = Duration::from_millis(5);

/// Drives the gateway and tells what was found.
pub(super) async fn run(args: &Args, dial: &Dial) -> anyhow::Result<Report> {
    let (name, epoch) = (run_name(), Instant::now());
    let mut run = Run {
        args,
        dial,
        publisher: Publisher::open(args, &name, epoch).await?,
        audience: Audience::new(&name, epoch),
        joining: Duration::ZERO,
        process: args.pid.map(Process::new).transpose()?,
    };
    let bytes_per_connection = run.join().await?;
    let delivering = run.deliver().await?;

    let Run {
        audience,
        publisher,
        joining,
        ..
    } = run;
    let tally = std::mem::take(&mut *audience.tally());
    let connect_ms = Spread::of(&audience.joining);
    let accounts = audience.disperse().await?;
    Ok(Report {
        connections: accounts.len(),
        joining_s: joining.as_secs_f64(),
        connect_ms,
        triggers: args.triggers(),
        triggers_per_s_asked: args.rate,
        triggers_per_s: delivering.triggers_per_s,
        data_bytes: args.data_bytes as usize,
        deliveries: delivering.deliveries,
        deliveries_per_s: delivering.deliveries as f64 / delivering.wall.as_secs_f64(),
        lost: accounts.iter().map(|a| a.lost(publisher.next)).sum(),
        doubled: accounts.iter().map(|a| a.doubled).sum(),
        out_of_order: accounts.iter().map(|a| a.out_of_order).sum(),
        foreign: tally.foreign,
        ended: tally.ended,
        first_end: tally.first_end,
        latency_ms: Spread::of(&tally.latency),
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
    audience: Audience,
    /// Time that joining took.
    joining: Duration,
    process: Option<Process>,
}

/// What was seen while triggers went.
struct Delivering {
    triggers_per_s: f64,
    deliveries: u64,
    /// From the first trigger to the last delivery, and at least the time that was asked for.
    wall: Duration,
    /// Of the gateway.
    cpu: Option<Duration>,
    own_cores: f64,
}

impl Run<'_> {
    /// Lets everybody in; answers how many resident bytes each connection added.
    async fn join(&mut self) -> anyhow::Result<Option<f64>> {
        let all = self.args.connections as usize;
        // A few first: what is wrong is told before thousands connect.
        let first = all.div_ceil(10).min(FIRST);
        self.grow(first).await?;
        self.publisher.send().await?;
        let heard = self.wait_for(first as u64).await;
        if heard < first as u64 {
            let door = &self.args.trigger;
            bail!(
                "a trigger was accepted, and {heard} of {first} connections heard it: do --url \
                 and --trigger {door} lead to the same gateway, or to nodes of the same broker?"
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
        self.audience
            .grow(self.dial, room, count, self.publisher.next)
            .await?;
        self.joining += start.elapsed();
        Ok(())
    }

    /// Resident bytes of the gateway, once they had time to settle.
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
        let heard = self.audience.clear();
        let start = Instant::now();
        let count = self.args.triggers();
        let triggers_per_s = self.publisher.send_all(count, self.args.rate).await?;
        let expected = heard + count * self.audience.len() as u64;
        let deliveries = self.wait_for(expected).await - heard;
        let now = self.process.as_mut().map(Process::cpu).transpose()?;
        let own_cpu = own.cpu()? - own_before;
        let last = self.audience.tally().last.unwrap_or(start);
        let asked = Duration::from_secs(self.args.seconds.into());
        let wall = last.duration_since(start).max(asked);
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

    /// Waits until so much was heard, for as long as something comes; answers how much it is.
    async fn wait_for(&self, expected: u64) -> u64 {
        let mut last = (self.audience.tally().delivered, Instant::now());
        while last.0 < expected && last.1.elapsed() < PATIENCE {
            tokio::time::sleep(LOOK).await;
            let heard = self.audience.tally().delivered;
            if heard > last.0 {
                last = (heard, Instant::now());
            }
        }
        last.0
    }
}

/// A process that is looked at.
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

    /// User and system time until now.
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
