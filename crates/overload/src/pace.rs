//! When rejected clients may reconnect.

use std::time::Duration;

/// Shortest reconnect span.
pub(crate) const SPAN_MIN: Duration = Duration::from_secs(1);

/// Longest reconnect span: beyond it users rather reload the page.
pub(crate) const SPAN_MAX: Duration = Duration::from_secs(300);

/// Assumed duration of a call while none is known. Rather short: see below.
const CALL_TIME: Duration = Duration::from_millis(20);

/// Weight of a call that was faster than expected.
const FASTER: f64 = 0.25;

/// Weight of a slower one, and its cap as a multiple of the expected duration. Under overload calls
/// are slow because everything is, and a span that is too long leaves the backend idle with no
/// client to correct it. One that is too short corrects itself: a client that reconnects too early
/// is booked again.
const SLOWER: (f64, u32) = (0.005, 2);

/// Estimates how fast the backend serves, and until when it is busy with rejected clients that will
/// reconnect: each of them books the duration of a call.
#[derive(Debug)]
pub(crate) struct Pace {
    places: u32,
    /// Estimated duration of a call.
    call_time: Duration,
    booked: Option<Duration>,
}

impl Pace {
    pub(crate) fn new(places: usize) -> Self {
        Self {
            places: u32::try_from(places).unwrap_or(u32::MAX).max(1),
            call_time: CALL_TIME,
            booked: None,
        }
    }

    /// A call was answered after this time.
    pub(crate) fn served(&mut self, time: Duration) {
        let (slower, times) = SLOWER;
        let (time, weight) = if time < self.call_time {
            (time, FASTER)
        } else {
            (time.min(self.call_time * times), slower)
        };
        self.call_time = self.call_time.mul_f64(1.0 - weight) + time.mul_f64(weight);
    }

    /// The reconnect span of a client that is rejected now, while `waiting` others wait and the
    /// backend is not called before `from`.
    pub(crate) fn book(&mut self, now: Duration, from: Duration, waiting: usize) -> Duration {
        let slot = self.call_time / self.places;
        let line = slot.saturating_mul(u32::try_from(waiting).unwrap_or(u32::MAX));
        // No client is booked beyond the longest span.
        let most = now + SPAN_MAX;
        let free = now.max(from) + line.min(SPAN_MAX);
        let booked = (self.booked.map_or(free, |booked| booked.max(free)) + slot).min(most);
        self.booked = Some(booked);
        booked.saturating_sub(now).clamp(SPAN_MIN, SPAN_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// An arbitrary moment.
    const NOW: Duration = Duration::from_secs(1_000);

    /// A pace at which calls take as long as assumed: 20 ms.
    fn pace(places: usize) -> (Pace, Duration) {
        (Pace::new(places), NOW)
    }

    #[test]
    fn the_span_grows_with_rejected_clients_and_shrinks_with_time() {
        // One per millisecond.
        let (mut pace, now) = pace(20);
        let spans: Vec<_> = (0..4_000).map(|_| pace.book(now, now, 0)).collect();
        assert_eq!(spans[0], SPAN_MIN);
        assert!(spans.is_sorted());
        assert_eq!(spans[3_999], 4_000 * MS);
        assert_eq!(pace.book(now + 2_000 * MS, now, 0), 2_001 * MS);
        assert_eq!(pace.book(now + 60_000 * MS, now, 0), SPAN_MIN);
    }

    #[test]
    fn the_span_covers_queued_clients_and_an_unavailable_backend() {
        let (mut line, now) = pace(10);
        assert_eq!(line.book(now, now, 999), 2_000 * MS);
        let (mut away, now) = pace(10);
        assert_eq!(away.book(now, now + 1_996 * MS, 1), 2_000 * MS);
    }

    #[test]
    fn nothing_is_told_beyond_the_longest_span() {
        let (mut pace, now) = pace(1);
        (0..5_000).for_each(|_| pace.served(Duration::from_secs(3_600)));
        for waiting in [0, 1, usize::MAX] {
            assert_eq!(pace.book(now, now, waiting), SPAN_MAX);
        }
        // Bookings do not accumulate: a backend that recovered is not left idle.
        (0..100).for_each(|_| pace.served(MS));
        let later = now + SPAN_MAX;
        assert_eq!(pace.book(later, later, 0), SPAN_MIN);
    }

    #[test]
    fn faster_calls_adjust_the_estimate_sooner_than_slower_ones() {
        let (mut pace, mut now) = pace(1);
        let mut span_after = |calls, time| {
            (0..calls).for_each(|_| pace.served(time));
            now += SPAN_MAX;
            pace.book(now, now, 0)
        };
        assert_eq!(span_after(100, 20_000 * MS), SPAN_MIN);
        assert!(span_after(3_000, 20_000 * MS) > 19_000 * MS);
        assert!(span_after(10, 2_000 * MS) < 3_100 * MS);
    }
}
