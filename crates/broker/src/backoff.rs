//! Delay before the next attempt.

use std::time::Duration;

/// Doubles from `least` to `most`; each delay is shortened by random jitter, by up to a half, so
/// that many nodes that lost one broker do not reconnect in step.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    least: Duration,
    most: Duration,
    next: Duration,
}

impl Backoff {
    pub(crate) fn new(least: Duration, most: Duration) -> Self {
        Self {
            least,
            most,
            next: least,
        }
    }

    /// The next delay; `random` determines the jitter.
    pub(crate) fn wait(&mut self, random: u32) -> Duration {
        let full = self.next;
        self.next = (full * 2).min(self.most);
        full.mul_f64(1.0 - 0.5 * f64::from(random) / f64::from(u32::MAX))
    }

    /// After a success that lasted.
    pub(crate) fn reset(&mut self) {
        self.next = self.least;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_cap() {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
        let waits: Vec<u128> = (0..7).map(|_| backoff.wait(0).as_millis()).collect();
        assert_eq!(waits, [200, 400, 800, 1600, 3200, 5000, 5000]);
        backoff.reset();
        assert_eq!(backoff.wait(0).as_millis(), 200);
    }

    #[test]
    fn jitter_is_at_most_half() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(1));
        assert_eq!(backoff.wait(u32::MAX).as_millis(), 500);
        let middle = backoff.wait(u32::MAX / 2).as_millis();
        assert!((749..=751).contains(&middle), "{middle}");
    }
}
