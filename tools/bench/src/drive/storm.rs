//! Connection churn: clients connect, subscribe and leave.

use std::time::Duration;

use super::{DriveError, Run, micros};
use crate::client::Stormed;
use crate::outcome::Storming;
use crate::workload::Storm;
use ht_telemetry::usage::CpuClock;

impl Run<'_> {
    /// A storm of clients that leave at once, followed by one of clients that stay, which measures
    /// the cost of joining alone.
    pub(super) fn storm(&mut self, storm: Storm) -> Result<Storming, DriveError> {
        let work = self.workload;
        self.fleet.storm(storm, true, work.warm_up)?;
        self.pump(work.settle)?;
        let before = self.memory()?;
        let mut driver_clock = CpuClock::new(std::process::id());
        let driver = driver_clock.read().map_err(DriveError::Usage)?;
        let (cycles, cycle_us) = self.part(storm, true, work.measured)?;
        let driver = driver_clock.read().map_err(DriveError::Usage)? - driver;
        self.pump(work.settle)?;
        let after = self.memory()?;
        let (_, join_us) = self.part(storm, false, work.measured / 2)?;
        Ok(Storming {
            cycles: cycles.clients,
            per_second: cycles.clients as f64 / cycles.took.as_secs_f64(),
            cycle_us,
            join_us,
            latest_us: micros(cycles.latest),
            driver_cores: driver.total.as_secs_f64() / cycles.took.as_secs_f64(),
            rss_before_bytes: before.rss,
            rss_after_bytes: after.rss,
            backend_call_us: None,
        })
    }

    /// One storm. Returns its result and the server's CPU for each client in µs.
    fn part(
        &mut self,
        storm: Storm,
        leave: bool,
        during: Duration,
    ) -> Result<(Stormed, f64), DriveError> {
        let cpu = self.cpu()?;
        let stormed = self.fleet.storm(storm, leave, during)?;
        let cpu = self.cpu()? - cpu;
        Ok((stormed, micros(cpu.total) / stormed.clients.max(1) as f64))
    }
}
