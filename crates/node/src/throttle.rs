//! Log lines that peers can cause: one per cause in a while, with the number of those left out.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ht_telemetry::throttle::Throttle;

/// How long a cause stays silent after it was told.
const INTERVAL: Duration = Duration::from_secs(10);

/// One throttle per cause. Causes are fixed words, so there are few.
#[derive(Debug, Default)]
pub(crate) struct Throttles(Mutex<HashMap<&'static str, Throttle>>);

impl Throttles {
    /// Whether to tell of this now; if so, how many of its kind were left out.
    pub(crate) fn tell(&self, cause: &'static str) -> Option<u64> {
        let mut throttles = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let throttle = throttles
            .entry(cause)
            .or_insert_with(|| Throttle::new(INTERVAL));
        throttle.tell(Instant::now())
    }
}
