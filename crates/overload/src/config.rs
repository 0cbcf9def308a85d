//! The settings of the guard. Plain values.

use std::time::Duration;

/// How a [`crate::CallGuard`] holds bootstrap calls back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuardConfig {
    /// Calls under way at once; the others wait in the queue. At least 1.
    pub max_in_flight: usize,
    /// Clients that wait in the queue; a further one is sent away. 0: nobody waits.
    pub max_waiting: usize,
    /// Longest wait in the queue.
    pub wait_timeout: Duration,
    /// For how long after a call went out its answer also serves clients with the same forwarded
    /// headers. Zero: not at all. A call that has not gone out yet is shared in any case.
    pub coalesce: Duration,
    /// Outages in a row after which the backend is left alone for a while. 0: never.
    pub circuit_failures: u32,
    /// Time until it is tried again; doubles with every try that fails.
    pub circuit_backoff: Duration,
    /// Longest such time.
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
