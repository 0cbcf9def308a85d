//! A rate limit with a burst of one second (the generic cell rate algorithm).

use std::time::Duration;

/// What may be done at once after a silence.
const BURST: Duration = Duration::from_secs(1);

/// A token bucket that holds the tokens of one second, and at least one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// When it will be full again, since the begin of its clock.
    full_at: Duration,
}

impl Bucket {
    /// Whether there is a token at the time `now`; takes none.
    ///
    /// # Errors
    /// With the time after which there is one.
    pub fn check(&self, per_second: u64, now: Duration) -> Result<(), Duration> {
        let mut copy = *self;
        copy.take(1, per_second, now)
    }

    /// Takes tokens at the time `now` of a clock that never goes backwards, all or none. A full
    /// bucket gives any number of them, and then none until they are made up for. A rate of 0 is no
    /// limit.
    ///
    /// # Errors
    /// With the time after which it has enough.
    pub fn take(&mut self, tokens: u64, per_second: u64, now: Duration) -> Result<(), Duration> {
        if per_second == 0 || tokens == 0 {
            return Ok(());
        }
        let debt = self.full_at.saturating_sub(now);
        // Of fewer than one token a second there is one as well.
        let burst = BURST.max(time_of(1, per_second));
        let cost = time_of(tokens, per_second);
        let missing = (debt + cost.min(burst)).saturating_sub(burst);
        if !missing.is_zero() {
            return Err(missing);
        }
        self.full_at = self.full_at.max(now) + cost;
        Ok(())
    }
}

/// How long it takes until so many tokens are there.
fn time_of(tokens: u64, per_second: u64) -> Duration {
    let ns = u128::from(tokens) * 1_000_000_000 / u128::from(per_second);
    Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX / 4).min(u64::MAX / 4))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_second_of_tokens_may_be_taken_at_once_and_then_the_rate_applies() {
        let (mut bucket, ms) = (Bucket::default(), Duration::from_millis);
        for (tokens, at, expected) in [
            (4, 5_000, Ok(())),
            (6, 5_000, Ok(())),
            (1, 5_000, Err(ms(100))),
            (3, 5_050, Err(ms(250))),
            (1, 5_100, Ok(())),
            (1, 5_100, Err(ms(100))),
            (10, 6_099, Err(ms(1))),
            (10, 6_100, Ok(())),
            // More than it ever holds: when it is full, and then nothing for as long.
            (30, 7_000, Err(ms(100))),
            (30, 7_100, Ok(())),
            (1, 9_000, Err(ms(200))),
            (1, 9_200, Ok(())),
        ] {
            if expected.is_ok() {
                assert_eq!(bucket.check(10, ms(at)), Ok(()), "{tokens} at {at}");
            } else if tokens == 1 {
                assert_eq!(bucket.check(10, ms(at)), expected, "{tokens} at {at}");
            }
            assert_eq!(
                bucket.take(tokens, 10, ms(at)),
                expected,
                "{tokens} at {at}"
            );
        }
        assert_eq!(bucket.take(1_000_000, 0, ms(9_200)), Ok(()), "no limit");
    }

    proptest! {
        #[test]
        fn no_more_is_taken_than_the_rate_and_one_burst(
            per_second in 1u64..100, steps in prop::collection::vec((1u64..20, 0u64..300), 1..100)
        ) {
            let (mut bucket, mut now, mut taken) = (Bucket::default(), Duration::ZERO, 0);
            let mut last = 0;
            for (tokens, pass) in steps {
                now += Duration::from_millis(pass);
                match bucket.take(tokens, per_second, now) {
                    Ok(()) => (taken, last) = (taken + tokens, tokens),
                    Err(again) => {
                        let mut later = bucket;
                        prop_assert_eq!(later.take(tokens, per_second, now + again), Ok(()));
                    }
                }
                // One more than that for what a single request has.
                let most = now.as_secs_f64() * per_second as f64 + per_second as f64 + last as f64;
                prop_assert!(taken as f64 <= most + 1.0, "{} of {}", taken, most);
            }
        }
    }
}
