//! How soon those may come back who are sent away.

use std::time::Duration;

/// Shortest span that is told.
pub(crate) const SPAN_MIN: Duration = Duration::from_secs(1);

/// Longest span that is told: beyond it people rather reload the page.
pub(crate) const SPAN_MAX: Duration = Duration::from_secs(300);

/// Time of a call while none is known. Rather short: see below.
const CALL_TIME: Duration = Duration::from_millis(20);

/// How much a call that was faster than expected counts.
const FASTER: f64 = 0.25;

/// How much a slower one counts, and up to how many times the expected time. In a crowd calls are
/// slow because everything is, and a span that is too long leaves the backend idle with nobody to
/// correct it. One that is too short corrects itself: whoever comes too soon books again.
const SLOWER: (f64, u32) = (0.005, 2);

/// Knows how fast the backend serves, and until when it has enough to do with those who were told
/// to come back: each of them books the time of a call.
#[derive(Debug)]
pub(crate) struct Pace {
    places: u32,
    /// What a call takes, by those before.
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

    /// Within which span a client may come back who is sent away now, while `waiting` others
    /// wait and the backend is not asked before `from`.
    pub(crate) fn book(&mut self, now: Duration, from: Duration, waiting: usize) -> Duration {
        let slot = self.call_time / self.places;
        let line = slot.saturating_mul(u32::try_from(waiting).unwrap_or(u32::MAX));
        // Nobody is booked further ahead than can be told.
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

    /// Some moment.
    const NOW: Duration = Duration::from_secs(1_000);

    /// A pace at which calls take as long as assumed: 20 ms.
    fn pace(places: usize) -> (Pace, Duration) {
        (Pace::new(places), NOW)
    }

    #[test]
    fn the_span_grows_with_those_sent_away_and_passes_with_time() {
        // One a millisecond.
        let (mut pace, now) = pace(20);
        let spans: Vec<_> = (0..4_000).map(|_| pace.book(now, now, 0)).collect();
        assert_eq!(spans[0], SPAN_MIN);
        assert!(spans.is_sorted());
        assert_eq!(spans[3_999], 4_000 * MS);
        assert_eq!(pace.book(now + 2_000 * MS, now, 0), 2_001 * MS);
        assert_eq!(pace.book(now + 60_000 * MS, now, 0), SPAN_MIN);
    }

    #[test]
    fn those_in_line_come_first_and_a_backend_that_is_away_is_waited_for() {
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
        // What was told does not pile up: a backend that recovered is not left idle.
        (0..100).for_each(|_| pace.served(MS));
        let later = now + SPAN_MAX;
        assert_eq!(pace.book(later, later, 0), SPAN_MIN);
    }

    #[test]
    fn a_faster_backend_is_believed_sooner_than_a_slower_one() {
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
