//! Deliveries.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::{DriveError, Run, micros};
use crate::endpoint::EndpointAt;
use crate::outcome::{Delivering, Stalling};
use ht_telemetry::usage::CpuClock;

impl Run<'_> {
    /// Warms up, then measures.
    pub(super) fn deliver(
        &mut self,
        endpoint: &EndpointAt,
    ) -> Result<(Delivering, Stalling), DriveError> {
        let work = self.workload;
        self.phase(work.warm_up)?;
        let stall = self.stall()?;
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

        let late = self.publisher.take_latest();
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
            publisher_late_us: micros(late),
            driver_cores: driver.total.as_secs_f64() / wall.as_secs_f64(),
        };
        let due = self.publisher.due();
        let missing = due.saturating_sub(tally.delivered);
        if missing > 0 {
            let why = format!("{missing} of {due} deliveries did not arrive");
            self.invalid.get_or_insert(why);
        }
        let stalling = self.resume(stall, endpoint)?;
        Ok((found, stalling))
    }

    /// Sends triggers for a duration and waits for their deliveries. Returns when the last one
    /// arrived.
    pub(super) fn phase(&mut self, duration: Duration) -> Result<Instant, DriveError> {
        let (publisher, progress, fleet) = (&mut self.publisher, &self.progress, &mut self.fleet);
        let pace = self.workload.pace;
        let done = std::thread::scope(|scope| {
            let sending = scope.spawn(|| publisher.run(pace, duration, progress));
            while !sending.is_finished() {
                if let Err(error) = fleet.poll(Duration::from_millis(20)) {
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
        self.await_deliveries()
    }

    /// Waits for all deliveries, as long as some arrive. Returns when the last one arrived.
    pub(super) fn await_deliveries(&mut self) -> Result<Instant, DriveError> {
        let mut last = (self.fleet.tally().delivered, Instant::now());
        let due = self.publisher.due();
        while last.0 < due && last.1.elapsed() < self.workload.patience {
            self.fleet.poll(Duration::from_millis(20))?;
            let delivered = self.fleet.tally().delivered;
            if delivered > last.0 {
                last = (delivered, Instant::now());
            }
        }
        let completed = self.fleet.tally().completed;
        self.progress.completed.store(completed, Ordering::Release);
        Ok(last.1)
    }
}
