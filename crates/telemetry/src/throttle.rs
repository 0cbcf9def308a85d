//! Rate limit of log lines that a peer can cause: one per cause and interval, with the number of
//! suppressed ones.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Interval between two lines of one cause.
const INTERVAL: Duration = Duration::from_secs(10);

/// Allows one event per interval and counts the others.
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

    /// Whether to log this event. If so, returns how many were suppressed since the last one.
    pub fn allow(&mut self, now: Instant) -> Option<u64> {
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

/// One throttle per cause. Causes are constants, so there are few.
#[derive(Debug, Default)]
pub struct Throttles(Mutex<HashMap<&'static str, Throttle>>);

impl Throttles {
    /// Whether to log an event of this cause. If so, returns how many were suppressed since the last
    /// one.
    pub fn allow(&self, cause: &'static str) -> Option<u64> {
        let mut throttles = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let throttle = throttles
            .entry(cause)
            .or_insert_with(|| Throttle::new(INTERVAL));
        throttle.allow(Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_event_is_allowed_and_the_others_counted() {
        let start = Instant::now();
        let mut throttle = Throttle::new(Duration::from_secs(10));
        assert_eq!(throttle.allow(start), Some(0));
        assert_eq!(throttle.allow(start + Duration::from_secs(1)), None);
        assert_eq!(throttle.allow(start + Duration::from_secs(9)), None);
        assert_eq!(throttle.allow(start + Duration::from_secs(10)), Some(2));
        assert_eq!(throttle.allow(start + Duration::from_secs(30)), Some(0));
    }

    #[test]
    fn causes_are_throttled_independently() {
        let throttles = Throttles::default();
        let allowed = ["a", "a", "b", "a", "b"].map(|cause| throttles.allow(cause).is_some());
        assert_eq!(allowed, [true, false, true, false, false]);
    }
}
