//! Some readers stop: what does the server do about it?

use super::{DriveError, Run};
use crate::door::{DoorAt, Post};
use crate::metrics;
use crate::outcome::Stalling;
use ht_telemetry::usage::{Memory, Peak};

/// What was before they stopped.
pub(super) struct Before {
    memory: Memory,
    peak: Peak,
}

impl Run<'_> {
    /// The readers that the workload names stop, from now on.
    pub(super) fn stall(&mut self) -> Result<Before, DriveError> {
        if self.workload.stalled > 0 {
            let listening = self.fleet.stall()?;
            self.publisher.set_listening(listening);
        }
        Ok(Before {
            memory: self.memory()?,
            peak: Peak::begin(self.pid),
        })
    }

    /// Looks at what became of them, and of the server's memory.
    pub(super) fn resume(&mut self, before: Before, door: &DoorAt) -> Result<Stalling, DriveError> {
        let peak = before.peak.read().map_err(DriveError::Usage)?;
        // Before the clients read again: what they read now would make room.
        let evictions = match door {
            DoorAt::Http(address, Post::Trigger) if self.workload.stalled > 0 => {
                metrics::evictions(*address)
            }
            DoorAt::Http(..)
            | DoorAt::Floor(_)
            | DoorAt::Grip(_)
            | DoorAt::Amqp(_)
            | DoorAt::Nats(_) => None,
        };
        let closed = match self.workload.stalled {
            0 => 0,
            _ => self.fleet.resume(self.workload.settle)?,
        };
        Ok(Stalling {
            stalled: self.workload.stalled,
            closed,
            evictions,
            peak_growth_bytes: peak.saturating_sub(before.memory.rss),
        })
    }
}
