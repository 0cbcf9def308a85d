//! The calls that the stub backend received: when, and how many of them were in flight at once.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The calls since the last [`Self::take`].
#[derive(Debug, Default)]
pub struct Calls(Mutex<Record>);

#[derive(Debug, Default)]
struct Record {
    in_flight: usize,
    most: usize,
    arrivals: Vec<Instant>,
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counted {
    /// Calls.
    pub calls: usize,
    /// Maximum of the calls that were received and not responded to.
    pub in_flight_most: usize,
    /// The calls of the busiest tenth of a second.
    pub busiest: usize,
}

/// The length of what [`Counted::busiest`] counts.
pub const BUSIEST: Duration = Duration::from_millis(100);

impl Calls {
    /// A call was received.
    pub(super) fn begin(&self) {
        let mut record = self.lock();
        record.arrivals.push(Instant::now());
        record.in_flight += 1;
        record.most = record.most.max(record.in_flight);
    }

    /// A call is responded to.
    pub(super) fn end(&self) {
        self.lock().in_flight -= 1;
    }

    /// How many were received.
    #[must_use]
    pub fn received(&self) -> usize {
        self.lock().arrivals.len()
    }

    /// What was counted, and counts anew.
    pub fn take(&self) -> Counted {
        let mut record = self.lock();
        let arrivals = std::mem::take(&mut record.arrivals);
        let counted = Counted {
            calls: arrivals.len(),
            in_flight_most: record.most,
            busiest: busiest(&arrivals),
        };
        record.most = record.in_flight;
        counted
    }

    fn lock(&self) -> MutexGuard<'_, Record> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The most arrivals within [`BUSIEST`].
fn busiest(arrivals: &[Instant]) -> usize {
    let mut first = 0;
    let counts = arrivals.iter().enumerate().map(|(last, at)| {
        while at.duration_since(arrivals[first]) >= BUSIEST {
            first += 1;
        }
        last - first + 1
    });
    counts.max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_in_flight_are_counted_at_their_most() {
        let calls = Calls::default();
        for _ in 0..3 {
            calls.begin();
        }
        calls.end();
        calls.begin();
        let counted = calls.take();
        assert_eq!((counted.calls, counted.in_flight_most), (4, 3));
        calls.end();
        calls.begin();
        let counted = calls.take();
        assert_eq!((counted.calls, counted.in_flight_most), (1, 3));
        assert_eq!(calls.take().calls, 0);
    }

    #[test]
    fn busiest_tenth_of_a_second_is_found() {
        let begin = Instant::now();
        let at = |ms: &[u64]| -> Vec<Instant> {
            let instants = ms.iter().map(|ms| begin + Duration::from_millis(*ms));
            instants.collect()
        };
        assert_eq!(busiest(&at(&[])), 0);
        assert_eq!(busiest(&at(&[5])), 1);
        assert_eq!(busiest(&at(&[0, 100, 200])), 1);
        assert_eq!(busiest(&at(&[0, 90, 100, 180, 250, 251])), 3);
    }
}
