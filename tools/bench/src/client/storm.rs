//! Clients that come and go.

use std::time::{Duration, Instant};

use super::{Fleet, FleetError};
use crate::workload::Storm;

/// What came of a storm.
#[derive(Clone, Copy, Debug)]
pub struct Stormed {
    /// Clients that came, and where they were to leave, left again.
    pub clients: u64,
    /// From the first that came to the last that was through.
    pub took: Duration,
    /// How far a client was behind its time at worst.
    pub latest: Duration,
}

impl Fleet {
    /// Lets clients come for `during`, at the storm's pace, and waits until each is through: it
    /// has joined, or where `leave` is set, has said goodbye and seen the connection end.
    ///
    /// # Errors
    /// When one is refused, or nothing happens for too long.
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
                // Nothing is published: the rooms of those who come have no messages.
                self.connect(&|_| 0)?;
                due += interval;
                continue;
            }
            if !coming && under_way == 0 {
                break;
            }
            let patience = Duration::from_millis(20);
            self.turn(if coming && now < due {
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
