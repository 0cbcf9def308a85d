//! Clients that stop reading.

use std::time::{Duration, Instant};

use super::{Fleet, FleetError};

impl Fleet {
    /// Makes the workload's stalled clients stop reading. Messages from now on are counted for the
    /// others only. Returns the number of the others.
    ///
    /// # Errors
    /// When the system call fails.
    pub fn stall(&mut self) -> Result<usize, FleetError> {
        let registry = self.poll.registry();
        for link in self.links.iter_mut().flatten() {
            if self.workload.stalls(link.number()) {
                link.stall(registry, true)?;
                self.subscribers.listening -= 1;
            }
        }
        Ok(self.subscribers.listening)
    }

    /// Makes the stalled clients read again. Returns how many were closed. The others count as open
    /// after nothing has arrived for `patience`.
    ///
    /// # Errors
    /// When polling fails.
    pub fn resume(&mut self, patience: Duration) -> Result<usize, FleetError> {
        let registry = self.poll.registry();
        for link in self.links.iter_mut().flatten().filter(|l| l.is_stalled()) {
            link.stall(registry, false)?;
        }
        let mut last = (0, Instant::now());
        loop {
            let all = self.links.iter().flatten().filter(|l| l.is_stalled());
            let (closed, heard) = all.fold((0, 0), |(closed, heard), link| {
                (
                    closed + usize::from(link.is_ended()),
                    heard + link.received(),
                )
            });
            if heard + closed as u64 > last.0 {
                last = (heard + closed as u64, Instant::now());
            }
            if closed == self.workload.stalled || last.1.elapsed() > patience {
                return Ok(closed);
            }
            self.poll(Duration::from_millis(10))?;
        }
    }
}
