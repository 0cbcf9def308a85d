//! Subscriptions after the first.

use std::time::{Duration, Instant};

use super::{Fleet, FleetError};

/// What a protocol with one room for each client cannot do.
const UNABLE: &str = "several subscriptions a connection";

impl Fleet {
    /// Sends the requests of every client for all its subscriptions but the first, for as many
    /// clients at a time as join at a time, and waits for the replies. Returns the number of
    /// subscriptions.
    ///
    /// # Errors
    /// When the protocol has one subscription only, or there is no progress for too long.
    pub fn subscribe_further(&mut self) -> Result<u64, FleetError> {
        let rooms = self.workload.rooms;
        let each = u64::from(rooms.subscriptions() - 1);
        let at_once = each * self.workload.joining as u64;
        let (mut asked, mut next) = (0, 0);
        let mut last = (self.tally.answers, Instant::now());
        while next < self.links.len() || self.tally.answers < asked {
            while next < self.links.len() && asked - self.tally.answers < at_once {
                if let Some(link) = &mut self.links[next] {
                    let number = link.number();
                    match link.subscribe_further(self.dialect, rooms, &mut self.out) {
                        Ok(Some(further)) => asked += u64::from(further),
                        Ok(None) => return Err(FleetError::Unable(UNABLE)),
                        Err(_) => return Err(FleetError::Disconnected { number }),
                    }
                }
                next += 1;
            }
            self.poll(Duration::from_millis(50))?;
            if self.tally.answers > last.0 {
                last = (self.tally.answers, Instant::now());
            } else if last.1.elapsed() > self.workload.patience {
                let (joined, wanted) = (self.tally.answers as usize, asked as usize);
                return Err(FleetError::Silent { joined, wanted });
            }
        }
        Ok(asked)
    }
}
