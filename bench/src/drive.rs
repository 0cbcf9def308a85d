//! One run: start a server, let clients in, send triggers, settle the account.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use crate::client::Fleet;
use crate::client::FleetError;
use crate::outcome::Delivering;
use crate::outcome::Joining;
use crate::outcome::Outcome;
use crate::publisher::Progress;
use crate::publisher::Publisher;
use crate::server::LaunchError;
use crate::server::Running;
use crate::usage::Cpu;
use crate::usage::CpuClock;
use crate::usage::Memory;
use crate::workload::Pace;
use crate::workload::Rooms;
use crate::workload::Workload;

/// Connections that join and hear a message before anything is counted, so that what a server
/// sets up once, such as its own connections to the API, is not counted as a connection's. More
/// than join at once.
const WARM_UP_CONNECTIONS: usize = 100;

/// Why a run has no outcome.
#[derive(Debug, thiserror::Error)]
pub enum DriveError {
    /// The server did not come up.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// The clients could not be let in.
    #[error(transparent)]
    Fleet(#[from] FleetError),
    /// The server's process cannot be looked at: it is probably gone.
    #[error("cannot read what the server used: {0}")]
    Usage(io::Error),
    /// Triggers could not be handed over.
    #[error("triggers: {0}")]
    Publish(io::Error),
    /// A message of the warm-up did not arrive.
    #[error("nothing arrives: {delivered} of {expected} deliveries")]
    Silent {
        /// Deliveries that arrived.
        delivered: u64,
        /// Deliveries that were sent.
        expected: u64,
    },
}

/// Names of a run, for its outcome.
#[derive(Clone, Debug)]
pub struct Label {
    /// The workload.
    pub workload: String,
    /// The server.
    pub server: String,
    /// Which repetition.
    pub round: u32,
}

/// Drives a server through a workload and stops it.
///
/// # Errors
/// When there is nothing to measure. A run in which messages were lost is no error: its outcome
/// says that it is invalid.
pub fn drive(
    mut server: Running,
    workload: &Workload,
    label: Label,
) -> Result<Outcome, DriveError> {
    let epoch = Instant::now();
    let fleet = Fleet::new(server.public, server.dialect, workload.rooms, epoch)?;
    let door = server.door.open().map_err(DriveError::Publish)?;
    let mut run = Run {
        workload,
        fleet,
        publisher: Publisher::new(door, workload, epoch),
        progress: Progress::default(),
        clock: CpuClock::of_family(server.process.id()),
        beside: server
            .beside
            .iter()
            .map(|b| CpuClock::of_family(b.id()))
            .collect(),
        pid: server.process.id(),
        expected: 0,
    };
    let joining = run.join()?;
    let (delivering, mut invalid) = match workload.pace {
        Pace::Idle => (None, None),
        Pace::Rate { .. } | Pace::FlatOut { .. } => {
            let (delivering, invalid) = run.deliver()?;
            (Some(delivering), invalid)
        }
    };
    run.pump(workload.settle)?;
    let Run {
        fleet, publisher, ..
    } = run;
    let tally = fleet.finish(|number| publisher.sent_to(number));
    if !tally.faults.is_none() {
        let said = tally
            .first_fault
            .unwrap_or_else(|| "messages are missing".to_owned());
        invalid.get_or_insert(said);
    }
    if let Some(status) = server.process.ended() {
        invalid = Some(format!("the server ended with {status}"));
    }
    if let Err(error) = server.process.stop() {
        invalid = Some(format!("the server could not be stopped: {error}"));
    }
    Ok(Outcome {
        workload: label.workload,
        server: label.server,
        version: server.version,
        round: label.round,
        connections: workload.connections,
        joining,
        delivering,
        faults: tally.faults,
        invalid,
    })
}

struct Run<'a> {
    workload: &'a Workload,
    fleet: Fleet,
    publisher: Publisher,
    progress: Progress,
    clock: CpuClock,
    /// Clocks of what the server cannot do without, each in its own process.
    beside: Vec<CpuClock>,
    pid: u32,
    /// Deliveries that follow from what was sent.
    expected: u64,
}

impl Run<'_> {
    fn cpu(&mut self) -> Result<Cpu, DriveError> {
        self.clock.read().map_err(DriveError::Usage)
    }

    /// CPU of what stands beside the server.
    fn cpu_beside(&mut self) -> Result<Duration, DriveError> {
        let mut sum = Duration::ZERO;
        for clock in &mut self.beside {
            sum += clock.read().map_err(DriveError::Usage)?.total;
        }
        Ok(sum)
    }

    /// Lets the first clients in, warms the server up with them, then lets the others in.
    fn join(&mut self) -> Result<Joining, DriveError> {
        let all = self.workload.connections;
        let first = WARM_UP_CONNECTIONS.min(all.div_ceil(10));
        self.grow(first)?;
        self.publisher.send_next().map_err(DriveError::Publish)?;
        self.expected += self.workload.rooms.receivers(first) as u64;
        self.await_deliveries()?;
        let delivered = self.fleet.tally().delivered;
        if delivered < self.expected {
            let expected = self.expected;
            return Err(DriveError::Silent {
                delivered,
                expected,
            });
        }
        self.pump(self.workload.settle)?;

        let memory = Memory::read_family(self.pid).map_err(DriveError::Usage)?;
        let (cpu, start) = (self.cpu()?, Instant::now());
        self.grow(all)?;
        let wall = start.elapsed();
        self.pump(self.workload.settle)?;
        let cpu = self.cpu()? - cpu;
        let memory_then = Memory::read_family(self.pid).map_err(DriveError::Usage)?;

        let joined = (all - first).max(1) as f64;
        let growth = |before: u64, after: u64| (after as f64 - before as f64) / joined;
        Ok(Joining {
            cpu_us: micros(cpu.total) / joined,
            wall_us: micros(wall) / joined,
            rss_bytes: growth(memory.rss, memory_then.rss),
            anonymous_bytes: growth(memory.anonymous, memory_then.anonymous),
            baseline_rss_bytes: memory.rss,
        })
    }

    fn grow(&mut self, wanted: usize) -> Result<(), DriveError> {
        let work = self.workload;
        // Who joins a room later begins with what comes next.
        let already = match work.rooms {
            Rooms::FanOut => self.publisher.sent(),
            Rooms::Unicast => 0,
        };
        self.fleet
            .grow(wanted, work.joining, already, work.patience)?;
        // A server that does not answer those who join is asked how many it knows.
        let deadline = Instant::now() + work.patience;
        while let Some(joined) = self.publisher.joined().map_err(DriveError::Publish)? {
            if joined == wanted {
                break;
            }
            if Instant::now() > deadline {
                return Err(FleetError::Silent { joined, wanted }.into());
            }
            self.fleet.turn(Duration::from_millis(1))?;
        }
        Ok(())
    }

    /// Warms up, then counts. Says also why the count proves nothing, if so.
    fn deliver(&mut self) -> Result<(Delivering, Option<String>), DriveError> {
        let work = self.workload;
        self.phase(work.warm_up)?;
        self.fleet.clear_latency();
        self.publisher.take_latest();
        let mut driver_clock = CpuClock::new(std::process::id());
        let driver = driver_clock.read().map_err(DriveError::Usage)?;
        let delivered = self.fleet.tally().delivered;
        let beside = self.cpu_beside()?;
        let (cpu, start) = (self.cpu()?, Instant::now());
        let last = self.phase(work.measured)?;
        let cpu = self.cpu()? - cpu;
        let beside = self.cpu_beside()?.saturating_sub(beside);
        let driver = driver_clock.read().map_err(DriveError::Usage)? - driver;
        let wall = last.duration_since(start).max(Duration::from_micros(1));

        let tally = self.fleet.tally();
        let deliveries = tally.delivered - delivered;
        let latency = |share| micros(tally.latency.quantile(share));
        let coarse = (cpu.user + cpu.system).max(Duration::from_millis(1));
        let found = Delivering {
            deliveries,
            per_second: deliveries as f64 / wall.as_secs_f64(),
            cpu_us: micros(cpu.total) / (deliveries.max(1) as f64),
            beside_us: micros(beside) / (deliveries.max(1) as f64),
            user_share: cpu.user.as_secs_f64() / coarse.as_secs_f64(),
            frame_bytes: tally.frame_bytes,
            p50_us: latency(0.5),
            p99_us: latency(0.99),
            p999_us: latency(0.999),
            longest_us: micros(tally.latency.longest()),
            publisher_late_us: micros(self.publisher.take_latest()),
            driver_cores: driver.total.as_secs_f64() / wall.as_secs_f64(),
        };
        let missing = self.expected.saturating_sub(tally.delivered);
        let invalid = (missing > 0)
            .then(|| format!("{missing} of {} deliveries did not arrive", self.expected));
        Ok((found, invalid))
    }

    /// Sends for a while and waits for the deliveries. Says when the last one came.
    fn phase(&mut self, duration: Duration) -> Result<Instant, DriveError> {
        let (publisher, progress, fleet) = (&mut self.publisher, &self.progress, &mut self.fleet);
        let pace = self.workload.pace;
        let before = publisher.sent();
        let done = std::thread::scope(|scope| {
            let sending = scope.spawn(|| publisher.run(pace, duration, progress));
            while !sending.is_finished() {
                if let Err(error) = fleet.turn(Duration::from_millis(20)) {
                    progress.cancelled.store(true, Ordering::Relaxed);
                    sending.thread().unpark();
                    return Err(DriveError::Fleet(error));
                }
                let completed = fleet.tally().completed;
                if progress.completed.swap(completed, Ordering::AcqRel) != completed {
                    sending.thread().unpark();
                }
            }
            match sending.join() {
                Ok(result) => result.map_err(DriveError::Publish),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        });
        done?;
        let sent = self.publisher.sent() - before;
        let receivers = self.workload.rooms.receivers(self.workload.connections);
        self.expected += sent * receivers as u64;
        self.await_deliveries()
    }

    /// Waits for what was sent, as long as something arrives. Says when the last one came.
    fn await_deliveries(&mut self) -> Result<Instant, DriveError> {
        let mut last = (self.fleet.tally().delivered, Instant::now());
        while last.0 < self.expected && last.1.elapsed() < self.workload.patience {
            self.fleet.turn(Duration::from_millis(20))?;
            let delivered = self.fleet.tally().delivered;
            if delivered > last.0 {
                last = (delivered, Instant::now());
            }
        }
        let completed = self.fleet.tally().completed;
        self.progress.completed.store(completed, Ordering::Release);
        Ok(last.1)
    }

    /// Listens for a while to whatever comes.
    fn pump(&mut self, duration: Duration) -> Result<(), DriveError> {
        let deadline = Instant::now() + duration;
        while Instant::now() < deadline {
            self.fleet.turn(Duration::from_millis(10))?;
        }
        Ok(())
    }
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}
