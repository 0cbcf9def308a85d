//! The circuit breaker: decides whether the backend is called at all.
//!
//! Failures of clients' calls only raise a suspicion: a client can make its own call fail, such as
//! with a cookie that is longer than the API's buffer. The circuit is opened by a call of the
//! gateway's own, without any client's credentials, that fails as well; and only such a call is a
//! probe while it is open. So no client can open it, and none is the probe.

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::time::Duration;

/// Consecutive own calls that must fail if the failures came from fewer than `failures_max`
/// distinct clients: a short disruption, while some client makes calls fail, is not an outage.
const PROBES_WITHOUT_SPREAD: u32 = 3;

/// Opens when consecutive calls fail and the gateway's own does, too. Time and randomness are
/// arguments.
#[derive(Debug)]
pub(crate) struct Circuit {
    state: CircuitState,
    /// Consecutive failures that raise a suspicion; 0 disables the circuit breaker.
    failures_max: u32,
    backoff: Duration,
    backoff_max: Duration,
    /// No own call is made before this.
    quiet_until: Option<Duration>,
    opened: u64,
}

#[derive(Debug)]
enum CircuitState {
    Closed(Row),
    Open {
        /// When the next probe is made.
        until: Duration,
        /// The wait before jitter shortened it.
        backoff: Duration,
        /// Number of failed probes.
        probes: u32,
    },
}

/// Failures since the last response.
#[derive(Debug, Default)]
struct Row {
    failures: u32,
    /// Since when there are so many that the gateway's own call is due.
    suspect: Option<Duration>,
    /// Distinct addresses and credentials among them, at most `failures_max` each.
    addresses: HashSet<u64>,
    credentials: HashSet<u64>,
    /// Own calls that failed meanwhile.
    probes: u32,
}

/// The client whose call failed, as hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// Of the address: an IPv6 network counts as one.
    pub address: u64,
    /// Of the forwarded headers that identify a client.
    pub credentials: u64,
}

/// The change that a result caused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The circuit opened: the backend is not called for at least this long.
    Opened(Duration),
    /// The circuit closed, after this many failed probes.
    Closed(u32),
}

impl Circuit {
    pub(crate) fn new(failures_max: u32, backoff: Duration, backoff_max: Duration) -> Self {
        Self {
            state: CircuitState::Closed(Row::default()),
            failures_max,
            backoff,
            backoff_max: backoff_max.max(backoff),
            quiet_until: None,
            opened: 0,
        }
    }

    /// Whether it is open.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.state, CircuitState::Open { .. })
    }

    /// How often it opened.
    pub(crate) fn opened(&self) -> u64 {
        self.opened
    }

    /// Whether a client's call may be made.
    ///
    /// # Errors
    /// How long it stays open at least; while the probe is in progress, as long as before it.
    pub(crate) fn check(&self, now: Duration) -> Result<(), Duration> {
        match self.state {
            CircuitState::Open { until, backoff, .. } => {
                let left = until.saturating_sub(now);
                Err(if left.is_zero() { backoff } else { left })
            }
            CircuitState::Closed(_) => Ok(()),
        }
    }

    /// When the gateway's own call is due, if one is.
    pub(crate) fn next_probe(&self) -> Option<Duration> {
        match &self.state {
            CircuitState::Open { until, .. } => Some(*until),
            CircuitState::Closed(row) => {
                let suspect = row.suspect?;
                Some(self.quiet_until.map_or(suspect, |until| until.max(suspect)))
            }
        }
    }

    /// A client's call was answered, whatever the response. That also counts if it was started
    /// before the circuit opened.
    pub(crate) fn answered(&mut self) -> Option<Change> {
        match std::mem::replace(&mut self.state, CircuitState::Closed(Row::default())) {
            CircuitState::Closed(_) => None,
            CircuitState::Open { probes, .. } => Some(Change::Closed(probes)),
        }
    }

    /// A client's call was not answered. Returns whether the gateway's own call is due.
    pub(crate) fn failed(&mut self, source: Source, now: Duration) -> bool {
        let CircuitState::Closed(row) = &mut self.state else {
            // It was started before the circuit opened and carries no new information.
            return false;
        };
        row.failures = row.failures.saturating_add(1);
        if self.failures_max != 0 && row.failures >= self.failures_max {
            row.suspect.get_or_insert(now);
        }
        if row.addresses.len() < self.failures_max as usize {
            row.addresses.insert(source.address);
        }
        if row.credentials.len() < self.failures_max as usize {
            row.credentials.insert(source.credentials);
        }
        row.suspect.is_some()
    }

    /// Result of the gateway's own call. `random` decides by how much the next wait is shortened
    /// (jitter), so that many nodes do not probe in step.
    pub(crate) fn probed(&mut self, answered: bool, now: Duration, random: u32) -> Option<Change> {
        let wait = shortened(self.backoff, random);
        self.quiet_until = Some(now + wait);
        if answered {
            return self.answered();
        }
        let failures_max = self.failures_max;
        match &mut self.state {
            // A client's call was answered meanwhile.
            CircuitState::Closed(row) if row.suspect.is_none() => None,
            CircuitState::Closed(row) => {
                row.probes += 1;
                if row.probes < row.probes_needed(failures_max) {
                    return None;
                }
                self.state = CircuitState::Open {
                    until: now + wait,
                    backoff: self.backoff,
                    probes: 0,
                };
                self.opened += 1;
                Some(Change::Opened(wait))
            }
            CircuitState::Open {
                until,
                backoff,
                probes,
            } => {
                *backoff = (*backoff * 2).min(self.backoff_max);
                *until = now + shortened(*backoff, random);
                *probes = probes.saturating_add(1);
                None
            }
        }
    }
}

impl Row {
    /// Own calls that must fail before the circuit opens.
    fn probes_needed(&self, failures_max: u32) -> u32 {
        let spread = self.addresses.len().min(self.credentials.len());
        if spread >= failures_max as usize {
            1
        } else {
            PROBES_WITHOUT_SPREAD
        }
    }
}

/// A wait, shortened at random by up to a half.
fn shortened(wait: Duration, random: u32) -> Duration {
    wait.mul_f64(1.0 - 0.5 * f64::from(random) / f64::from(u32::MAX))
}
