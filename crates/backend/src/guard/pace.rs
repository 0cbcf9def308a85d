//! How soon those may come back who are sent away.

use std::time::Duration;

use tokio::time::Instant;

/// Shortest span that is told.
pub(super) const SPAN_MIN: Duration = Duration::from_secs(1);

/// Longest span that is told: beyond it people rather reload the page.
pub(super) const SPAN_MAX: Duration = Duration::from_secs(300);

/// Time of a call while none is known.
const CALL_TIME: Duration = Duration::from_millis(50);

/// How much a new call's time counts against the mean of those before.
const NEWEST: f64 = 0.1;

/// Told spans are this much longer than the backend needs, because chance does not spread evenly:
/// a visitor who is told a long span may come at its very beginning.
const SLACK: u32 = 2;

/// Knows how fast the backend serves, and until when it has enough to do with those who were told
/// to come back: each of them books the time of a call.
#[derive(Debug)]
pub(super) struct Pace {
    places: u32,
    /// Mean time of a call, the newest counting most.
    call_time: Option<Duration>,
    booked: Option<Instant>,
}

impl Pace {
    pub(super) fn new(places: usize) -> Self {
        Self {
            places: u32::try_from(places).unwrap_or(u32::MAX).max(1),
            call_time: None,
            booked: None,
        }
    }

    /// A call was answered after this time.
    pub(super) fn served(&mut self, time: Duration) {
        let mean = self.call_time.map_or(time, |mean| {
            mean.mul_f64(1.0 - NEWEST) + time.mul_f64(NEWEST)
        });
        self.call_time = Some(mean);
    }

    /// Within which span a visitor may come back who is sent away now, while `waiting` others
    /// wait and the backend is not asked before `from`.
    pub(super) fn book(&mut self, now: Instant, from: Instant, waiting: usize) -> Duration {
        let slot = self.call_time.unwrap_or(CALL_TIME) / self.places;
        let line = slot.saturating_mul(u32::try_from(waiting).unwrap_or(u32::MAX));
        // Nobody is booked further ahead than can be told.
        let most = now + SPAN_MAX;
        let free = now.max(from) + line.min(SPAN_MAX);
        let booked = (self.booked.map_or(free, |booked| booked.max(free)) + slot).min(most);
        self.booked = Some(booked);
        let span = booked.saturating_duration_since(now).saturating_mul(SLACK);
        span.clamp(SPAN_MIN, SPAN_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_span_grows_with_those_sent_away_and_passes_with_time() {
        let now = Instant::now();
        let mut pace = Pace::new(20);
        pace.served(20 * MS);
        // One a millisecond: twice the time that the backend needs for all of them.
        let spans: Vec<_> = (0..4_000).map(|_| pace.book(now, now, 0)).collect();
        assert_eq!(spans[0], SPAN_MIN);
        assert!(spans.is_sorted());
        assert_eq!(spans[3_999], 8_000 * MS);
        assert_eq!(pace.book(now + 3_000 * MS, now, 0), 2 * 1_001 * MS);
        assert_eq!(pace.book(now + 60_000 * MS, now, 0), SPAN_MIN);
    }

    #[test]
    fn those_in_line_come_first_and_a_backend_that_is_away_is_waited_for() {
        let now = Instant::now();
        let mut pace = Pace::new(10);
        pace.served(100 * MS);
        assert_eq!(pace.book(now, now, 999), 20_000 * MS);
        let mut pace = Pace::new(10);
        pace.served(100 * MS);
        assert_eq!(pace.book(now, now + 990 * MS, 1), 2_020 * MS);
    }

    #[test]
    fn nothing_is_told_beyond_the_longest_span() {
        let now = Instant::now();
        let mut pace = Pace::new(1);
        pace.served(Duration::from_secs(3_600));
        for waiting in [0, 1, usize::MAX] {
            assert_eq!(pace.book(now, now, waiting), SPAN_MAX);
        }
        // A minute later the backend may have recovered: what was told does not pile up.
        for _ in 0..1_000 {
            pace.served(MS);
        }
        let later = now + SPAN_MAX;
        assert_eq!(pace.book(later, later, 0), SPAN_MIN);
    }

    #[test]
    fn the_mean_follows_the_newest_calls() {
        let now = Instant::now();
        let mut pace = Pace::new(1);
        (0..100).for_each(|_| pace.served(1_000 * MS));
        assert_eq!(pace.book(now, now, 0), 2_000 * MS);
        (0..100).for_each(|_| pace.served(5_000 * MS));
        let later = now + SPAN_MAX;
        let span = pace.book(later, later, 0);
        assert!((9_900 * MS..=10_000 * MS).contains(&span), "{span:?}");
    }
}
