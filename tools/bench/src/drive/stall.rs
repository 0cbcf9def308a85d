//! Slow consumers.

use super::{DriveError, Run};
use crate::endpoint::{EndpointAt, Post};
use crate::metrics;
use crate::outcome::Stalling;
use ht_telemetry::usage::{Memory, Peak};

/// State before they stopped reading.
pub(super) struct Before {
    memory: Memory,
    peak: Peak,
}

impl Run<'_> {
    /// Makes the workload's stalled clients stop reading.
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

    /// Measures how many were closed, and the server's memory.
    pub(super) fn resume(
        &mut self,
        before: Before,
        endpoint: &EndpointAt,
    ) -> Result<Stalling, DriveError> {
        let peak = before.peak.read().map_err(DriveError::Usage)?;
        // Measured before the clients read again, which would free memory.
        let evictions = match endpoint {
            EndpointAt::Http(address, Post::Trigger) if self.workload.stalled > 0 => {
                metrics::evictions(*address)
            }
            EndpointAt::Http(..)
            | EndpointAt::Floor(_)
            | EndpointAt::Grip(_)
            | EndpointAt::Amqp(_)
            | EndpointAt::Nats(_) => None,
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
