//! The settings of the guard. Plain values.

use std::time::Duration;

/// Limits of bootstrap calls by a [`crate::CallGuard`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuardConfig {
    /// Calls in progress at once; the others wait in the queue. At least 1.
    pub max_in_flight: usize,
    /// Clients that wait in the queue; a further one is rejected. 0: no queue.
    pub max_waiting: usize,
    /// Timeout of the queue.
    pub wait_timeout: Duration,
    /// For how long after a call was made its response is also used for clients with the same
    /// forwarded headers. Zero: not at all. A queued call is shared in any case.
    pub coalesce: Duration,
    /// Consecutive outages after which the circuit breaker opens. 0: never.
    pub circuit_failures: u32,
    /// Time until the backend is probed again; doubles with every failed probe.
    pub circuit_backoff: Duration,
    /// Upper limit of that time.
    pub circuit_backoff_max: Duration,
}

impl Default for GuardConfig {
    fn default() -> Self {
        Self {
            max_in_flight: 64,
            max_waiting: 10_000,
            wait_timeout: Duration::from_secs(10),
            coalesce: Duration::ZERO,
            circuit_failures: 10,
            circuit_backoff: Duration::from_secs(1),
            circuit_backoff_max: Duration::from_secs(30),
        }
    }
}
