//! A histogram of durations with a resolution of 0.1 % and a bounded size.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Significant digits of a recorded value.
const DIGITS: u8 = 3;

/// Maximum duration that is resolved: an hour, in nanoseconds. It bounds the size of the histogram,
/// 270 KB.
const LONGEST_NS: u64 = 3_600 * 1_000_000_000;

/// Counts durations in nanoseconds.
#[derive(Clone, Debug)]
pub struct Latency {
    counts: Histogram<u64>,
    /// Exact: the histogram would round it up.
    longest_ns: u64,
}

impl Default for Latency {
    fn default() -> Self {
        let counts = Histogram::new_with_bounds(1, LONGEST_NS, DIGITS);
        Self {
            counts: counts.expect("the bounds are valid, a test says so"),
            longest_ns: 0,
        }
    }
}

impl Latency {
    /// Adds one duration, in nanoseconds.
    pub fn add(&mut self, ns: u64) {
        self.counts.saturating_record(ns);
        self.longest_ns = self.longest_ns.max(ns);
    }

    /// Removes all values.
    pub fn clear(&mut self) {
        self.counts.reset();
        self.longest_ns = 0;
    }

    /// The quantile of the given share (0 to 1), at most 0.1 % too long. Zero if nothing was added.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Duration {
        let ns = self.counts.value_at_quantile(share);
        // Durations of more than an hour count as one.
        Duration::from_nanos(if share >= 1.0 {
            self.longest_ns
        } else {
            ns.min(self.longest_ns)
        })
    }

    /// The longest duration.
    #[must_use]
    pub fn longest(&self) -> Duration {
        Duration::from_nanos(self.longest_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_known_durations() {
        let mut latency = Latency::default();
        assert_eq!(latency.quantile(0.5), Duration::ZERO);
        (1..=1000).for_each(|us| latency.add(us * 1000));
        for (share, us) in [(0.5, 500.0), (0.99, 990.0), (0.999, 999.0)] {
            let found = latency.quantile(share).as_secs_f64() * 1e6;
            assert!((us..us * 1.001).contains(&found), "{share} {found}");
        }
        assert_eq!(latency.quantile(1.0), Duration::from_millis(1));
        assert_eq!(latency.longest(), Duration::from_millis(1));
        latency.clear();
        assert_eq!(latency.quantile(0.99), Duration::ZERO);
        assert_eq!(latency.longest(), Duration::ZERO);
    }

    #[test]
    fn extremes_are_counted() {
        let mut latency = Latency::default();
        for ns in [0, 1, u64::MAX] {
            latency.add(ns);
        }
        assert_eq!(latency.quantile(0.3), Duration::ZERO);
        assert_eq!(latency.quantile(0.6), Duration::from_nanos(1));
        let hour = Duration::from_nanos(LONGEST_NS);
        let capped = latency.quantile(0.9);
        assert!(capped >= hour && capped < hour * 2, "{capped:?}");
        assert_eq!(latency.quantile(1.0), Duration::from_nanos(u64::MAX));
    }
}
