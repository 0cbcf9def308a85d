//! One run: start a server, connect clients, send triggers, collect the results.

mod crowd;
mod deliver;
mod further;
mod idle;
mod stall;
mod storm;
mod within;

use std::io;
use std::time::{Duration, Instant};

use crate::backend::Calls;
use crate::check::Faults;
use crate::client::{Fleet, FleetError, JoinError};
use crate::outcome::{Joining, Outcome};
use crate::publisher::{Progress, Publisher};
use crate::server::{LaunchError, Running};
use crate::workload::{Grants, Pace, Workload};
use ht_telemetry::usage::{Cpu, CpuClock, Memory};

/// Connections that join and receive a message before the measurement, so that one-time allocations
/// of a server, such as its connections to the API, are not counted. They are more than join at a
/// time.
const WARM_UP_CONNECTIONS: usize = 100;

/// Why a run has no outcome.
#[derive(Debug, thiserror::Error)]
pub enum DriveError {
    /// The server did not start.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// The clients could not join.
    #[error(transparent)]
    Fleet(#[from] FleetError),
    /// The server's process cannot be measured: it has probably ended.
    #[error("cannot read what the server used: {0}")]
    Usage(io::Error),
    /// Triggers could not be sent.
    #[error("triggers: {0}")]
    Publish(io::Error),
    /// A message of the warm-up did not arrive.
    #[error("nothing arrives: {delivered} of {expected} deliveries")]
    Silent {
        /// Deliveries that arrived.
        delivered: u64,
        /// Deliveries that were expected.
        expected: u64,
    },
}

impl DriveError {
    /// Whether the server does not support the workload.
    #[must_use]
    pub fn is_unable(&self) -> bool {
        matches!(
            self,
            Self::Fleet(
                FleetError::Unable(_)
                    | FleetError::Join {
                        cause: JoinError::Unable(_),
                        ..
                    }
            )
        )
    }
}

/// Labels of a run.
#[derive(Clone, Debug)]
pub struct Label {
    /// The workload.
    pub workload: String,
    /// The server.
    pub server: String,
    /// Number of the repetition.
    pub round: u32,
}

/// Drives a server through a workload and stops it. `calls` are those that its API receives.
///
/// # Errors
/// When nothing could be measured. A run in which messages were lost is not an error: its outcome
/// is invalid.
pub fn drive(
    server: Running,
    workload: &Workload,
    label: Label,
    calls: &Calls,
) -> Result<Outcome, DriveError> {
    let epoch = Instant::now();
    let fleet = Fleet::new(server.public, server.dialect, workload, epoch)?;
    let endpoint = server.endpoint.open().map_err(DriveError::Publish)?;
    let mut run = Run {
        workload,
        fleet,
        publisher: Publisher::new(endpoint, workload, epoch),
        progress: Progress::default(),
        clock: CpuClock::of_family(server.process.id()),
        beside: server
            .beside
            .iter()
            .map(|b| CpuClock::of_family(b.id()))
            .collect(),
        pid: server.process.id(),
        invalid: None,
    };
    let mut outcome = Outcome::new(label, server.version.clone(), workload.connections);
    outcome.joining = run.join()?;
    if workload.rooms.subscriptions() > 1 {
        outcome.subscribing = Some(run.subscribe_further()?);
    }
    if workload.grants == Grants::Identity {
        outcome.credentials_bytes = run.credentials(&server.endpoint);
    }
    if let Some(spread) = workload.spread {
        outcome.invalidating = Some(run.invalidate(spread, &server.endpoint, calls)?);
        return run.end(outcome, server);
    }
    if let Some(away) = workload.away {
        outcome.resuming = Some(run.crowd(away, server.public, &server.endpoint)?);
        return run.end(outcome, server);
    }
    match workload.pace {
        Pace::Idle => {
            outcome.idling = Some(run.idle()?);
            if let Some(storm) = workload.storm {
                outcome.storming = Some(run.storm(storm)?);
            }
        }
        Pace::Rate { .. } | Pace::FlatOut { .. } => {
            let (delivering, stalling) = run.deliver(&server.endpoint)?;
            outcome.delivering = Some(delivering);
            outcome.stalling = Some(stalling);
        }
    }
    run.end(outcome, server)
}

struct Run<'a> {
    workload: &'a Workload,
    fleet: Fleet,
    publisher: Publisher,
    progress: Progress,
    clock: CpuClock,
    /// CPU clocks of the processes that the server depends on.
    beside: Vec<CpuClock>,
    pid: u32,
    /// Why the run is invalid, apart from the clients' faults.
    invalid: Option<String>,
}

impl Run<'_> {
    fn cpu(&mut self) -> Result<Cpu, DriveError> {
        self.clock.read().map_err(DriveError::Usage)
    }

    /// CPU of the processes that the server depends on.
    fn cpu_beside(&mut self) -> Result<Duration, DriveError> {
        let mut sum = Duration::ZERO;
        for clock in &mut self.beside {
            sum += clock.read().map_err(DriveError::Usage)?.total;
        }
        Ok(sum)
    }

    fn memory(&self) -> Result<Memory, DriveError> {
        Memory::read_family(self.pid).map_err(DriveError::Usage)
    }

    /// Connects the first clients, warms the server up with them, then connects the others.
    fn join(&mut self) -> Result<Joining, DriveError> {
        let all = self.workload.connections;
        let first = WARM_UP_CONNECTIONS.min(all.div_ceil(10));
        self.grow(first)?;
        self.publisher.send_next().map_err(DriveError::Publish)?;
        self.await_deliveries()?;
        let (delivered, expected) = (self.fleet.tally().delivered, self.publisher.due());
        if delivered < expected {
            return Err(DriveError::Silent {
                delivered,
                expected,
            });
        }
        self.pump(self.workload.settle)?;

        let memory = self.memory()?;
        let (cpu, start) = (self.cpu()?, Instant::now());
        self.grow(all)?;
        let wall = start.elapsed();
        self.pump(self.workload.settle)?;
        let cpu = self.cpu()? - cpu;
        let memory_then = self.memory()?;

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
        // Clients that join later expect the next messages.
        let publisher = &self.publisher;
        self.fleet
            .grow(wanted, |target| publisher.sent_to(target))?;
        self.publisher.set_listening(wanted);
        // If the protocol does not confirm joins, the server reports their number.
        let deadline = Instant::now() + self.workload.patience;
        while let Some(joined) = self.publisher.joined().map_err(DriveError::Publish)? {
            if joined == wanted {
                break;
            }
            if Instant::now() > deadline {
                return Err(FleetError::Silent { joined, wanted }.into());
            }
            self.fleet.poll(Duration::from_millis(1))?;
        }
        Ok(())
    }

    /// Handles events for a duration.
    fn pump(&mut self, duration: Duration) -> Result<(), DriveError> {
        let deadline = Instant::now() + duration;
        while Instant::now() < deadline {
            self.fleet.poll(Duration::from_millis(10))?;
        }
        Ok(())
    }

    /// Adds the results of all clients, and stops the server.
    fn end(mut self, mut outcome: Outcome, mut server: Running) -> Result<Outcome, DriveError> {
        self.pump(self.workload.settle)?;
        let (faults, invalid) = self.flush();
        outcome.faults = faults;
        outcome.invalid = invalid;
        if let Some(status) = server.process.ended() {
            outcome.invalid = Some(format!("the server ended with {status}"));
        }
        if let Err(error) = server.process.stop() {
            outcome.invalid = Some(format!("the server could not be stopped: {error}"));
        }
        Ok(outcome)
    }

    /// Collects the results of all clients.
    fn flush(self) -> (Faults, Option<String>) {
        let Self {
            fleet,
            publisher,
            mut invalid,
            ..
        } = self;
        let tally = fleet.finish(|target| publisher.sent_to(target));
        if !tally.faults.is_none() {
            let said = tally
                .first_fault
                .unwrap_or_else(|| "messages are missing".to_owned());
            invalid.get_or_insert(said);
        }
        (tally.faults, invalid)
    }
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}
