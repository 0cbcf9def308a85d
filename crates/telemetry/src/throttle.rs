//! Log lines that a peer can cause: one per cause in a while, with the number of those left out.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a cause stays silent after it was logged.
const INTERVAL: Duration = Duration::from_secs(10);

/// Lets one event through per interval and counts the others.
#[derive(Debug)]
pub struct Throttle {
    interval: Duration,
    last: Option<Instant>,
    suppressed: u64,
}

impl Throttle {
    /// One per `interval`.
    #[must_use]
    pub fn new(interval: Duration) -> Self {
        Self {
            interval,
            last: None,
            suppressed: 0,
        }
    }

    /// Whether to tell of this event; if so, how many were not told of since the last one.
    pub fn tell(&mut self, now: Instant) -> Option<u64> {
        if let Some(last) = self.last
            && now.duration_since(last) < self.interval
        {
            self.suppressed += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.suppressed))
    }
}

/// One throttle per cause. Causes are fixed words, so there are few.
#[derive(Debug, Default)]
pub struct Throttles(Mutex<HashMap<&'static str, Throttle>>);

impl Throttles {
    /// Whether to log this now; if so, how many of its kind were left out.
    pub fn tell(&self, cause: &'static str) -> Option<u64> {
        let mut throttles = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let throttle = throttles
            .entry(cause)
            .or_insert_with(|| Throttle::new(INTERVAL));
        throttle.tell(Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_of_the_first_and_counts_the_rest() {
        let start = Instant::now();
        let mut throttle = Throttle::new(Duration::from_secs(10));
        assert_eq!(throttle.tell(start), Some(0));
        assert_eq!(throttle.tell(start + Duration::from_secs(1)), None);
        assert_eq!(throttle.tell(start + Duration::from_secs(9)), None);
        assert_eq!(throttle.tell(start + Duration::from_secs(10)), Some(2));
        assert_eq!(throttle.tell(start + Duration::from_secs(30)), Some(0));
    }

    #[test]
    fn causes_are_throttled_each_for_itself() {
        let throttles = Throttles::default();
        let told = ["a", "a", "b", "a", "b"].map(|cause| throttles.tell(cause).is_some());
        assert_eq!(told, [true, false, true, false, false]);
    }
}
