//! A histogram of durations with three per cent resolution and a fixed size.

use std::time::Duration;

/// Values with the same leading bit are split into this many buckets: 1/32 is 3 %.
const STEPS_LOG2: u32 = 5;
const STEPS: usize = 1 << STEPS_LOG2;
const BUCKETS: usize = (64 - STEPS_LOG2 as usize + 1) * STEPS;

/// Counts durations in nanoseconds.
#[derive(Clone, Debug)]
pub struct Latency {
    counts: Vec<u64>,
    total: u64,
    longest_ns: u64,
}

impl Default for Latency {
    fn default() -> Self {
        Self {
            counts: vec![0; BUCKETS],
            total: 0,
            longest_ns: 0,
        }
    }
}

impl Latency {
    /// Adds one duration, in nanoseconds.
    pub fn add(&mut self, ns: u64) {
        self.counts[bucket(ns)] += 1;
        self.total += 1;
        self.longest_ns = self.longest_ns.max(ns);
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.counts.fill(0);
        self.total = 0;
        self.longest_ns = 0;
    }

    /// The duration that the given share (0 to 1) of all stays within, at most 3 % too long.
    /// Zero when nothing was added.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Duration {
        let rank = ((self.total as f64 * share).ceil() as u64).max(1);
        let mut sum = 0;
        for (index, count) in self.counts.iter().enumerate() {
            sum += count;
            if sum >= rank {
                return Duration::from_nanos(last_of(index).min(self.longest_ns));
            }
        }
        Duration::ZERO
    }

    /// The longest duration.
    #[must_use]
    pub fn longest(&self) -> Duration {
        Duration::from_nanos(self.longest_ns)
    }
}

fn bucket(ns: u64) -> usize {
    if ns < STEPS as u64 {
        return ns as usize;
    }
    let shift = 63 - ns.leading_zeros() - STEPS_LOG2;
    (shift as usize + 1) * STEPS + ((ns >> shift) as usize - STEPS)
}

/// The greatest value that falls into a bucket.
fn last_of(index: usize) -> u64 {
    if index < STEPS {
        return index as u64;
    }
    let shift = index / STEPS - 1;
    let start = ((index % STEPS + STEPS) as u64) << shift;
    start + ((1u64 << shift) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_falls_into_a_bucket_that_ends_within_three_per_cent() {
        for ns in (0..200).chain((3..64).flat_map(|bit| {
            let power = 1u64 << bit;
            [power - 1, power, power + 1, power + power / 3]
        })) {
            let last = last_of(bucket(ns));
            assert!(last >= ns, "{ns} {last}");
            assert!(last as f64 <= ns as f64 * 1.0323, "{ns} {last}");
        }
        assert!(bucket(u64::MAX) < BUCKETS);
    }

    #[test]
    fn quantiles_of_a_known_row() {
        let mut latency = Latency::default();
        assert_eq!(latency.quantile(0.5), Duration::ZERO);
        (1..=1000).for_each(|us| latency.add(us * 1000));
        for (share, us) in [(0.5, 500.0), (0.99, 990.0), (0.999, 999.0)] {
            let found = latency.quantile(share).as_secs_f64() * 1e6;
            assert!((us..us * 1.033).contains(&found), "{share} {found}");
        }
        assert_eq!(latency.quantile(1.0), Duration::from_millis(1));
        assert_eq!(latency.longest(), Duration::from_millis(1));
        latency.clear();
        assert_eq!(latency.quantile(0.99), Duration::ZERO);
    }
}
