//! Log lines that a peer can cause: one in a while, with the number of those left out.

use std::time::{Duration, Instant};

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
}
