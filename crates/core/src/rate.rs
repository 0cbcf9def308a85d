//! How often a client may speak: a token bucket in five bytes (the generic cell rate algorithm).

/// What a client may send at once after a silence, in tenths of a ms of its rate.
const BURST: u64 = 100_000;

/// When a client will have made up for what it sent, in tenths of a ms of the shard's clock. Five
/// bytes reach for three years, so that the clock does not come round while a node runs; more would
/// make every connection larger.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rate([u8; 5]);

impl Rate {
    /// Notes a message. False: there were more than `per_second`, and what ten seconds of that are
    /// beyond it. Zero is no limit. Above 10,000 all limits are 10,000 a second.
    pub(crate) fn allows(&mut self, per_second: usize, now: u64) -> bool {
        let Some(step) = 10_000_u64.checked_div(per_second as u64) else {
            return true;
        };
        let now = now.saturating_mul(10);
        let until = self.get().max(now).saturating_add(step.max(1));
        self.set(until);
        until - now <= BURST
    }

    fn get(self) -> u64 {
        let Self([a, b, c, d, e]) = self;
        u64::from_le_bytes([a, b, c, d, e, 0, 0, 0])
    }

    fn set(&mut self, value: u64) {
        let [a, b, c, d, e, ..] = value.to_le_bytes();
        self.0 = [a, b, c, d, e];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many messages are allowed at one moment.
    fn allowed(rate: &mut Rate, per_second: usize, now: u64) -> usize {
        (0..).take_while(|_| rate.allows(per_second, now)).count()
    }

    #[test]
    fn ten_seconds_may_come_at_once_and_then_the_rate() {
        for per_second in [1, 7, 100, 1_000, 10_000] {
            let mut rate = Rate::default();
            let burst = allowed(&mut rate, per_second, 5_000);
            assert!(
                (10 * per_second..11 * per_second).contains(&burst),
                "{burst}"
            );
            let mut rate = Rate::default();
            // Twice as much as is allowed, for a minute.
            let sent = (0..60_000_u64).flat_map(|ms| {
                let before = 2 * per_second as u64 * ms / 1_000;
                let after = 2 * per_second as u64 * (ms + 1) / 1_000;
                (before..after).map(move |_| ms)
            });
            let good = sent.take_while(|&ms| rate.allows(per_second, ms)).count();
            assert!((18 * per_second..22 * per_second).contains(&good), "{good}");
        }
    }

    #[test]
    fn who_keeps_to_the_rate_is_never_stopped() {
        let mut rate = Rate::default();
        assert!((0..100_000).all(|n| rate.allows(100, 10 * n)));
        // A silence, however long, saves up no more than the burst.
        let burst = allowed(&mut rate, 100, 30 * 24 * 3_600_000);
        assert_eq!(burst, 1_000);
    }

    #[test]
    fn zero_is_no_limit() {
        let mut rate = Rate::default();
        assert!((0..1_000_000).all(|_| rate.allows(0, 0)));
        assert!(rate.allows(usize::MAX, 0));
    }
}
