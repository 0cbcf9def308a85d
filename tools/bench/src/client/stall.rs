//! Clients that stop reading.

use std::time::{Duration, Instant};

use super::{Fleet, FleetError};

impl Fleet {
    /// The clients that the workload names stop reading; what is sent from now on is counted and
    /// judged for the others alone. Says how many others there are.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn stall(&mut self) -> Result<usize, FleetError> {
        let registry = self.poll.registry();
        for link in self.links.iter_mut().flatten() {
            if self.workload.stalls(link.number()) {
                link.stall(registry, true)?;
                self.audience.listening -= 1;
            }
        }
        Ok(self.audience.listening)
    }

    /// The stalled clients read again, to see whether they were closed: says how many were.
    /// `patience` is how long nothing may come before the others count as open.
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
                (closed + usize::from(link.is_ended()), heard + link.heard())
            });
            if heard + closed as u64 > last.0 {
                last = (heard + closed as u64, Instant::now());
            }
            if closed == self.workload.stalled || last.1.elapsed() > patience {
                return Ok(closed);
            }
            self.turn(Duration::from_millis(10))?;
        }
    }
}
