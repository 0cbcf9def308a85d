//! Whether the backend can be reached, for the log: one warning when it cannot any more, one line
//! when it can again, however many clients notice. Time is an argument.

#[cfg(test)]
mod tests;

use std::time::Duration;

use tokio::time::Instant;

use crate::kind::FailureKind;

/// Least time between two warnings, for a backend that is reachable only now and then.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// Known reachability of the backend.
#[derive(Debug, Default)]
pub(super) struct Reach {
    outage: Option<Outage>,
    warned: Option<Instant>,
}

#[derive(Debug)]
struct Outage {
    since: Instant,
    /// Kind of the failure that was logged, if one was.
    reported: Option<FailureKind>,
    failures: u64,
}

/// What is to be logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Report {
    /// The backend cannot be reached.
    Lost,
    /// It can be reached again.
    Back {
        /// For how long it could not.
        after: Duration,
        /// Attempts that failed meanwhile.
        failures: u64,
    },
}

impl Reach {
    /// Records an attempt that failed to connect.
    pub(super) fn failed(&mut self, kind: FailureKind, now: Instant) -> Option<Report> {
        let outage = self.outage.get_or_insert(Outage {
            since: now,
            reported: None,
            failures: 0,
        });
        outage.failures += 1;
        let is_recent = self
            .warned
            .is_some_and(|warned| now.saturating_duration_since(warned) < WARNING_INTERVAL);
        if outage.reported == Some(kind) || is_recent {
            return None;
        }
        outage.reported = Some(kind);
        self.warned = Some(now);
        Some(Report::Lost)
    }

    /// Records that an attempt which began at `begun` reached the backend. One that began before
    /// the outage does not prove its end.
    pub(super) fn reached(&mut self, begun: Instant, now: Instant) -> Option<Report> {
        let outage = self.outage.take_if(|outage| begun >= outage.since)?;
        outage.reported.map(|_| Report::Back {
            after: now.saturating_duration_since(outage.since),
            failures: outage.failures,
        })
    }

    /// Whether the log has a warning that the backend cannot be reached.
    pub(super) fn is_reported(&self) -> bool {
        let outage = self.outage.as_ref();
        outage.is_some_and(|outage| outage.reported.is_some())
    }

    /// Whether the last attempt failed to connect.
    pub(super) fn is_lost(&self) -> bool {
        self.outage.is_some()
    }
}
