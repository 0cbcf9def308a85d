//! Rate limits of one client: a token bucket in five bytes (the generic cell rate algorithm).

/// What a client may send at once after a silence, in tenths of a ms of its rate.
const BURST: u64 = 100_000;

/// The most that a client can be ahead of its rate, in tenths of a ms: one message may be larger
/// than a whole burst.
const DEBT: u64 = 10 * BURST;

/// The clock wraps around every 3.5 years: all times but one that five bytes can hold.
const ROUND: u64 = (1 << 40) - 1;

/// When a client will have made up for what it sent, in tenths of a ms of the shard's clock, modulo
/// [`ROUND`], and one; 0: it sent nothing yet. A time is ahead of the clock if it is so by at most [`DEBT`], and
/// past in every other case, so the bucket outlives any number of rounds of the clock. What is
/// wrong then is a client that was silent for a whole round, to within 100 s: it starts with less
/// than a full burst.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rate([u8; 5]);

impl Rate {
    /// Charges `tokens`: one for a message, or its bytes. `now` is in ms. Returns false if they
    /// exceed the limit of `per_second` with a burst of ten seconds. A client with a full bucket
    /// may send any number of tokens in one message. Zero is no limit. Each call costs a tenth of a
    /// ms at least, so above 10,000 messages all limits are 10,000 a second.
    pub(crate) fn allows(&mut self, tokens: usize, per_second: usize, now: u64) -> bool {
        let tokens = tokens as u64;
        let Some(step) = tokens.saturating_mul(10_000).checked_div(per_second as u64) else {
            return true;
        };
        let now = now.saturating_mul(10) % ROUND;
        let until = self.get().checked_sub(1).unwrap_or(now);
        let ahead = (until + ROUND - now) % ROUND;
        let before = if ahead <= DEBT { ahead } else { 0 };
        let debt = before.saturating_add(step.max(1)).min(DEBT);
        self.set((now + debt) % ROUND + 1);
        before == 0 || debt <= BURST
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
    use proptest::prelude::*;

    use super::*;

    /// When the clock wraps around, in ms.
    const ROUND: u64 = super::ROUND / 10;

    /// How many messages are allowed at one moment.
    fn allowed(rate: &mut Rate, per_second: usize, now: u64) -> usize {
        (0..)
            .take_while(|_| rate.allows(1, per_second, now))
            .count()
    }

    #[test]
    fn burst_is_ten_seconds_and_then_the_rate_applies() {
        for start in [5_000, ROUND - 30_000, ROUND - 1, ROUND, 7 * ROUND - 30_000] {
            for per_second in [1, 7, 100, 1_000, 10_000] {
                let mut rate = Rate::default();
                let burst = allowed(&mut rate, per_second, start);
                assert!(
                    (10 * per_second..11 * per_second).contains(&burst),
                    "{start} {burst}"
                );
                let mut rate = Rate::default();
                // Twice as much as is allowed, for a minute.
                let sent = (0..60_000_u64).flat_map(|ms| {
                    let before = 2 * per_second as u64 * ms / 1_000;
                    let after = 2 * per_second as u64 * (ms + 1) / 1_000;
                    (before..after).map(move |_| ms)
                });
                let good = sent
                    .take_while(|&ms| rate.allows(1, per_second, start + ms))
                    .count();
                assert!(
                    (18 * per_second..22 * per_second).contains(&good),
                    "{start} {good}"
                );
            }
        }
    }

    #[test]
    fn a_client_within_the_rate_is_never_limited() {
        for start in [0, ROUND - 500_000] {
            let mut rate = Rate::default();
            assert!((0..100_000).all(|n| rate.allows(1, 100, start + 10 * n)));
            // A silence, however long, saves up no more than the burst.
            let burst = allowed(&mut rate, 100, start + 30 * 24 * 3_600_000);
            assert_eq!(burst, 1_000);
        }
    }

    #[test]
    fn tokens_of_any_size_are_charged() {
        const PER_SECOND: usize = 1 << 20;
        let mut rate = Rate::default();
        let bursts = (0..).take_while(|_| rate.allows(64 << 10, PER_SECOND, 0));
        assert_eq!(bursts.count(), 160);
        // One that is larger than a burst passes with a full bucket, and has to be made up for.
        let mut rate = Rate::default();
        assert!(rate.allows(20 * PER_SECOND, PER_SECOND, 0));
        assert!(!rate.allows(1, PER_SECOND, 9_000));
        assert!(rate.allows(1, PER_SECOND, 21_000));
        assert!(rate.allows(usize::MAX, PER_SECOND, 200_000));
    }

    #[test]
    fn zero_is_no_limit() {
        let mut rate = Rate::default();
        assert!((0..1_000_000).all(|_| rate.allows(1, 0, 0)));
        assert!(rate.allows(1, usize::MAX, 0));
    }

    proptest! {
        /// The same messages are allowed at any time, around a wrap of the clock too.
        #[test]
        fn clock_value_makes_no_difference(
            start in prop_oneof![ROUND - 60_000..ROUND + 10, Just(3 * ROUND - 1), 1..u64::MAX / 20],
            sent in proptest::collection::vec((0..20_000_u64, 1..3_000_usize), 1..100),
        ) {
            let allowed = |mut now: u64| {
                let mut rate = Rate::default();
                let each = sent.iter().map(|&(pause, tokens)| {
                    now += pause;
                    rate.allows(tokens, 200, now)
                });
                each.collect::<Vec<_>>()
            };
            prop_assert_eq!(allowed(start), allowed(1));
        }
    }
}
