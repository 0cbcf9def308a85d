//! Subscriptions after the first.

use std::time::{Duration, Instant};

use super::{Fleet, FleetError};

/// What cannot be done where a client hears one room only.
const UNABLE: &str = "several subscriptions a connection";

impl Fleet {
    /// Lets every client ask for all its subscriptions but the first, as many clients at once as
    /// may join at once, and waits for the answers. Says how many subscriptions that were.
    ///
    /// # Errors
    /// When the server knows one subscription only, or nothing happens for too long.
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
            self.turn(Duration::from_millis(50))?;
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
