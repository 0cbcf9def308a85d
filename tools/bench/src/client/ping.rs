//! Heartbeats of idle clients.

use std::time::{Duration, Instant};

use super::{Fleet, FleetError};
use crate::workload::Pings;

impl Fleet {
    /// Sends the pings of all clients in turn, spread over the interval. Returns their number, or
    /// `None` if the protocol has no ping. Pongs may still be outstanding.
    ///
    /// # Errors
    /// When polling fails.
    pub fn ping(&mut self, pings: Pings) -> Result<Option<u64>, FleetError> {
        let clients = self.links.len().max(1) as u32;
        let apart = pings.interval / clients;
        let start = Instant::now();
        let (mut sent, mut due) = (0u64, start);
        while due < start + pings.during {
            let now = Instant::now();
            if now < due {
                self.poll(due - now)?;
                continue;
            }
            let place = (sent % u64::from(clients)) as usize;
            if let Some(Some(link)) = self.links.get_mut(place) {
                match link.ping(self.dialect, &mut self.out) {
                    Ok(true) => sent += 1,
                    Ok(false) => return Ok(None),
                    // The end of the connection is reported by its own event.
                    Err(_) => {}
                }
            }
            due += apart;
        }
        Ok(Some(sent))
    }

    /// Waits until so many pongs have arrived, at most `patience`. Returns their number.
    ///
    /// # Errors
    /// When polling fails.
    pub fn await_pongs(&mut self, pings: u64, patience: Duration) -> Result<u64, FleetError> {
        let deadline = Instant::now() + patience;
        while self.tally.pongs < pings && Instant::now() < deadline {
            self.poll(Duration::from_millis(20))?;
        }
        Ok(self.tally.pongs)
    }
}
