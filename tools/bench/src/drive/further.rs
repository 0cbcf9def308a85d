//! A hundred subscriptions a connection.

use std::time::Instant;

use super::{DriveError, Run, micros};
use crate::outcome::Subscribing;

impl Run<'_> {
    /// Every client requests its further subscriptions.
    pub(super) fn subscribe_further(&mut self) -> Result<Subscribing, DriveError> {
        let memory = self.memory()?;
        let (cpu, start) = (self.cpu()?, Instant::now());
        let subscriptions = self.fleet.subscribe_further()?;
        let wall = start.elapsed();
        self.pump(self.workload.settle)?;
        let cpu = self.cpu()? - cpu;
        let memory_then = self.memory()?;
        let each = |sum: f64| sum / subscriptions.max(1) as f64;
        Ok(Subscribing {
            subscriptions,
            cpu_us: each(micros(cpu.total)),
            wall_us: each(micros(wall)),
            rss_bytes: each(memory_then.rss as f64 - memory.rss as f64),
            anonymous_bytes: each(memory_then.anonymous as f64 - memory.anonymous as f64),
        })
    }
}
