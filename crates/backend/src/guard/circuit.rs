//! Whether the backend is asked at all.

#[cfg(test)]
mod tests;

use std::time::Duration;

use tokio::time::Instant;

/// Opens when the backend fails several times in a row; lets one call through now and then to see
/// whether it answers again. Time and chance are arguments.
#[derive(Debug)]
pub(super) struct Circuit {
    state: State,
    /// Failures in a row that open it; 0 never does.
    failures_max: u32,
    backoff: Duration,
    backoff_max: Duration,
    opened: u64,
}

#[derive(Debug)]
enum State {
    Closed {
        failures: u32,
    },
    Open {
        /// When the next probe may go out.
        until: Instant,
        /// How long it was set to wait before chance shortened it.
        backoff: Duration,
        /// A probe is under way.
        probing: bool,
        /// Probes that failed.
        probes: u32,
    },
}

/// A call that is let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pass {
    /// One of many.
    Call,
    /// The one that decides.
    Probe,
}

/// What an outcome changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// The backend is given up for at least this long.
    Opened(Duration),
    /// It answers again, after this many probes that failed.
    Closed(u32),
}

impl Circuit {
    pub(super) fn new(failures_max: u32, backoff: Duration, backoff_max: Duration) -> Self {
        Self {
            state: State::Closed { failures: 0 },
            failures_max,
            backoff,
            backoff_max: backoff_max.max(backoff),
            opened: 0,
        }
    }

    /// Whether it is open, also while it probes.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::Open { .. })
    }

    /// How often it opened.
    pub(super) fn opened(&self) -> u64 {
        self.opened
    }

    /// Whether a call has a chance now.
    ///
    /// # Errors
    /// How long the backend is left alone at least; while a probe is under way, as long as before
    /// it.
    pub(super) fn check(&self, now: Instant) -> Result<(), Duration> {
        match self.state {
            State::Open {
                probing: true,
                backoff,
                ..
            } => Err(backoff),
            State::Open { until, .. } if now < until => Err(until - now),
            State::Open { .. } | State::Closed { .. } => Ok(()),
        }
    }

    /// Lets a call through, whose outcome must then be told.
    ///
    /// # Errors
    /// As [`Circuit::check`].
    pub(super) fn enter(&mut self, now: Instant) -> Result<Pass, Duration> {
        self.check(now)?;
        match &mut self.state {
            State::Closed { .. } => Ok(Pass::Call),
            State::Open { probing, .. } => {
                *probing = true;
                Ok(Pass::Probe)
            }
        }
    }

    /// The backend answered, whatever it said. That also counts when the call began long ago.
    pub(super) fn succeeded(&mut self) -> Option<Change> {
        let before = std::mem::replace(&mut self.state, State::Closed { failures: 0 });
        match before {
            State::Closed { .. } => None,
            State::Open { probes, .. } => Some(Change::Closed(probes)),
        }
    }

    /// The backend did not answer. `random` decides how much of the next wait is taken away, so
    /// that many nodes do not probe in step.
    pub(super) fn failed(&mut self, pass: Pass, now: Instant, random: u32) -> Option<Change> {
        match &mut self.state {
            State::Closed { failures } => {
                *failures = failures.saturating_add(1);
                if self.failures_max == 0 || *failures < self.failures_max {
                    return None;
                }
                let wait = shortened(self.backoff, random);
                self.state = State::Open {
                    until: now + wait,
                    backoff: self.backoff,
                    probing: false,
                    probes: 0,
                };
                self.opened += 1;
                Some(Change::Opened(wait))
            }
            State::Open {
                until,
                backoff,
                probing,
                probes,
            } if pass == Pass::Probe => {
                *backoff = (*backoff * 2).min(self.backoff_max);
                *until = now + shortened(*backoff, random);
                *probing = false;
                *probes = probes.saturating_add(1);
                None
            }
            // It began before the circuit opened and tells nothing new.
            State::Open { .. } => None,
        }
    }

    /// The visitor left before there was an outcome: the next one decides.
    pub(super) fn abandoned(&mut self, pass: Pass) {
        if let State::Open { probing, .. } = &mut self.state
            && pass == Pass::Probe
        {
            *probing = false;
        }
    }
}

/// A wait, shortened by chance by up to a half.
fn shortened(wait: Duration, random: u32) -> Duration {
    wait.mul_f64(1.0 - 0.5 * f64::from(random) / f64::from(u32::MAX))
}
