//! Log lines about the backend: when it is lost and back, and state changes of the circuit breaker.

use std::time::Duration;

use ht_overload::Change;

use crate::answer::Failure;
use crate::guard::Parts;
use crate::guard::reach::Report;

impl Parts {
    /// Logs a change of reachability of the backend.
    pub(super) fn log_reach(&self, report: Option<Report>, failure: Option<&Failure>) {
        match report {
            Some(Report::Lost) => tracing::warn!(
                cause = failure.map(tracing::field::display),
                advice = failure.and_then(Failure::advice).as_deref(),
                "the backend cannot be reached: clients are told to retry later. There is no \
                 further line about it until it can be"
            ),
            Some(Report::Back { after, failures }) => {
                tracing::info!(
                    after_ms = millis(after),
                    failures,
                    "the backend can be reached again"
                )
            }
            None => {}
        }
    }

    /// Logs a change of the circuit breaker's state. If the outage is logged already, the opened
    /// circuit is not a second warning.
    pub(super) fn log_circuit(&self, change: Option<Change>, cause: Option<&Failure>) {
        const OPENED: &str = "backend circuit breaker opened: the gateway's own call, without credentials, fails, too. \
             Clients are told to retry later; the gateway probes until the API answers";
        let advice = cause.and_then(Failure::advice);
        let (advice, cause) = (advice.as_deref(), cause.map(tracing::field::display));
        match change {
            Some(Change::Opened(wait)) if self.reach().is_reported() => {
                tracing::info!(cause, retry_in_ms = millis(wait), "{OPENED}");
            }
            Some(Change::Opened(wait)) => {
                tracing::warn!(cause, advice, retry_in_ms = millis(wait), "{OPENED}");
            }
            Some(Change::Closed(probes)) => tracing::info!(
                failed_probes = probes,
                "backend circuit breaker closed: the API answers again"
            ),
            None => {}
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
