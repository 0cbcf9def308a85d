//! Connection churn.

use std::time::{Duration, Instant};

use super::{Fleet, FleetError};
use crate::workload::Storm;

/// Result of a storm.
#[derive(Clone, Copy, Debug)]
pub struct Stormed {
    /// Clients that joined, and also left if requested.
    pub clients: u64,
    /// From the first connect to the last client that finished.
    pub took: Duration,
    /// Maximum delay of a client against its schedule.
    pub latest: Duration,
}

impl Fleet {
    /// Lets clients come for `during`, at the storm's pace, and waits until each is through: it has
    /// joined, or where `leave` is set, its connection has been closed.
    ///
    /// # Errors
    /// When one is rejected, or there is no progress for too long.
    pub fn storm(
        &mut self,
        storm: Storm,
        leave: bool,
        during: Duration,
    ) -> Result<Stormed, FleetError> {
        self.leave = leave;
        let through = |fleet: &Self| if leave { fleet.left } else { fleet.joined };
        let (opened, before) = (self.opened, through(self));
        let interval = Duration::from_secs_f64(1.0 / storm.per_second);
        let start = Instant::now();
        let (mut due, mut latest) = (start, Duration::ZERO);
        let mut last = (before, start);
        loop {
            let under_way = (self.opened - opened) - (through(self) - before);
            let now = Instant::now();
            let coming = due < start + during;
            if coming && now >= due && under_way < storm.at_once {
                latest = latest.max(now - due);
                // Nothing is published.
                self.connect(&|_| 0)?;
                due += interval;
                continue;
            }
            if !coming && under_way == 0 {
                break;
            }
            let patience = Duration::from_millis(20);
            self.poll(if coming && now < due {
                (due - now).min(patience)
            } else {
                patience
            })?;
            if through(self) > last.0 {
                last = (through(self), Instant::now());
            } else if last.1.elapsed() > self.workload.patience {
                let (joined, wanted) = (through(self) - before, self.opened - opened);
                return Err(FleetError::Silent { joined, wanted });
            }
        }
        self.leave = false;
        Ok(Stormed {
            clients: (through(self) - before) as u64,
            took: last.1 - start,
            latest,
        })
    }
}
