//! The cost of idle connections.

use std::time::Instant;

use super::{DriveError, Run};
use crate::endpoint::{EndpointAt, Post};
use crate::metrics;
use crate::outcome::{Idling, Pinging};

impl Run<'_> {
    /// First all clients are silent; then they ping, if the workload has pings.
    pub(super) fn idle(&mut self) -> Result<Idling, DriveError> {
        let (cpu, start) = (self.cpu()?, Instant::now());
        self.pump(self.workload.measured)?;
        let silent = (self.cpu()? - cpu).total.as_secs_f64();
        let seconds = start.elapsed().as_secs_f64();
        let silent_cores = if seconds > 0.0 { silent / seconds } else { 0.0 };
        Ok(Idling {
            silent_seconds: seconds,
            silent_cores,
            pinging: self.ping()?,
        })
    }

    /// Bytes of the credentials that the server keeps for each client, by its own account.
    pub(super) fn credentials(&self, endpoint: &EndpointAt) -> Option<f64> {
        let EndpointAt::Http(address, Post::Trigger) = endpoint else {
            return None;
        };
        let bytes = metrics::credentials_bytes(*address)?;
        Some(bytes as f64 / self.workload.connections as f64)
    }

    fn ping(&mut self) -> Result<Option<Pinging>, DriveError> {
        let Some(pings) = self.workload.pings else {
            return Ok(None);
        };
        let (cpu, start) = (self.cpu()?, Instant::now());
        let Some(sent) = self.fleet.ping(pings)? else {
            return Ok(None);
        };
        let cpu = self.cpu()? - cpu;
        let seconds = start.elapsed().as_secs_f64();
        let heard = self.fleet.await_pongs(sent, self.workload.patience)?;
        if heard != sent {
            let why = format!("{sent} pings had {heard} answers");
            self.invalid.get_or_insert(why);
        }
        Ok(Some(Pinging {
            seconds,
            interval_seconds: pings.interval.as_secs_f64(),
            pings: sent,
            cores: cpu.total.as_secs_f64() / seconds,
        }))
    }
}
