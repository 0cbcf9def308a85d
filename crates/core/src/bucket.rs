//! How much a node may deliver to the clients of one tenant: a bucket that refills as time passes.
//!
//! All shards of a node take from the same bucket, once for each publication that they match: a
//! delivery takes nothing.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// What may be delivered to the clients of a tenant in a second; zero: as much as there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeliveryLimits {
    /// Messages.
    pub messages: u64,
    /// Bytes of them.
    pub bytes: u64,
}

/// What may be delivered to the clients of a tenant now. It holds as much as one second gives, and
/// may be overdrawn by what cannot be divided.
#[derive(Debug)]
pub struct DeliveryBucket {
    messages: Tokens,
    bytes: Tokens,
}

impl DeliveryBucket {
    /// A full one.
    #[must_use]
    pub fn new(limits: DeliveryLimits) -> Self {
        Self {
            messages: Tokens::new(limits.messages),
            bytes: Tokens::new(limits.bytes),
        }
    }

    /// Changes what a second gives, and keeps what was taken.
    pub fn set_limits(&self, limits: DeliveryLimits) {
        self.messages.set(limits.messages);
        self.bytes.set(limits.bytes);
    }

    /// Whether it is empty at this time, in ms of the clock that all shards of the node have.
    #[must_use]
    pub fn is_empty(&self, now: u64) -> bool {
        // Both refill.
        let messages = self.messages.is_empty(now);
        self.bytes.is_empty(now) || messages
    }

    /// How many messages may be taken at once, up to so many, but one at least: not more than are
    /// left.
    #[must_use]
    pub fn at_once(&self, most: usize) -> usize {
        match (self.messages.left(), self.bytes.left()) {
            (_, Some(_)) => 1,
            (Some(left), None) => usize::try_from(left / PARTS).unwrap_or(0).clamp(1, most),
            (None, None) => most,
        }
    }

    /// Takes what is delivered.
    pub fn take(&self, messages: usize, bytes: usize) {
        self.messages.take(messages);
        self.bytes.take(bytes);
    }
}

/// Thousandths of a token, so that each millisecond gives a whole number.
const PARTS: i64 = 1_000;

#[derive(Debug)]
struct Tokens {
    /// Zero: no bound.
    per_second: AtomicU64,
    left: AtomicI64,
    /// When it was refilled last, in ms.
    at: AtomicU64,
}

impl Tokens {
    fn new(per_second: u64) -> Self {
        Self {
            per_second: AtomicU64::new(per_second),
            left: AtomicI64::new(parts(per_second)),
            at: AtomicU64::new(0),
        }
    }

    fn set(&self, per_second: u64) {
        let before = self.per_second.swap(per_second, Ordering::Relaxed);
        if before == 0 {
            self.left.store(parts(per_second), Ordering::Relaxed);
        }
        self.left.fetch_min(parts(per_second), Ordering::Relaxed);
    }

    fn is_empty(&self, now: u64) -> bool {
        let per_second = self.per_second.load(Ordering::Relaxed);
        if per_second == 0 {
            return false;
        }
        let before = self.at.fetch_max(now, Ordering::Relaxed);
        let most = parts(per_second);
        if before < now {
            // A millisecond of so many tokens a second gives as many thousandths of them.
            let given = per_second.saturating_mul(now - before);
            let given = i64::try_from(given).unwrap_or(i64::MAX);
            let add = |left: i64| Some(left.saturating_add(given).min(most));
            let updated = self
                .left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
            debug_assert!(updated.is_ok(), "it always has a result");
        }
        self.left.load(Ordering::Relaxed) <= 0
    }

    /// What is left, in parts; none: there is no bound.
    fn left(&self) -> Option<i64> {
        let is_bounded = self.per_second.load(Ordering::Relaxed) != 0;
        is_bounded.then(|| self.left.load(Ordering::Relaxed))
    }

    fn take(&self, count: usize) {
        if self.per_second.load(Ordering::Relaxed) != 0 {
            self.left.fetch_sub(parts(count as u64), Ordering::Relaxed);
        }
    }
}

fn parts(tokens: u64) -> i64 {
    i64::try_from(tokens)
        .unwrap_or(i64::MAX)
        .saturating_mul(PARTS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(messages: u64, bytes: u64) -> DeliveryBucket {
        DeliveryBucket::new(DeliveryLimits { messages, bytes })
    }

    #[test]
    fn bucket_holds_a_second_and_is_overdrawn_by_what_cannot_be_divided() {
        let bucket = bucket(100, 0);
        assert!(!bucket.is_empty(5_000));
        bucket.take(99, 1 << 40);
        assert!(!bucket.is_empty(5_000));
        bucket.take(101, 0);
        assert!(bucket.is_empty(5_000), "a hundred too many");
        assert!(bucket.is_empty(5_999) && bucket.is_empty(6_000));
        assert!(
            !bucket.is_empty(6_001),
            "a millisecond gives a tenth of one"
        );
        bucket.take(1, 0);
        assert!(bucket.is_empty(6_001));
        // No more than a second is saved up.
        assert!(!bucket.is_empty(600_000));
        bucket.take(100, 0);
        assert!(bucket.is_empty(600_000));
    }

    #[test]
    fn either_of_both_is_enough_to_wait() {
        for (messages, bytes) in [(10, 0), (0, 10), (10, 10)] {
            let bucket = bucket(messages, bytes);
            bucket.take(10, 10);
            assert!(bucket.is_empty(1) || messages + bytes > 0 && !bucket.is_empty(2_000));
        }
        let free = bucket(0, 0);
        free.take(usize::MAX >> 1, usize::MAX >> 1);
        assert!(!free.is_empty(0));
    }

    #[test]
    fn shards_whose_turns_overlap_refill_it_once() {
        let bucket = bucket(1_000, 0);
        assert!(!bucket.is_empty(10_000));
        bucket.take(2_000, 0);
        for now in [10_400, 10_300, 10_400, 10_200] {
            assert!(bucket.is_empty(now));
        }
        assert!(bucket.is_empty(11_000));
        assert!(!bucket.is_empty(11_001));
    }

    #[test]
    fn changed_limits_keep_what_was_taken() {
        let bucket = bucket(1_000, 0);
        assert!(!bucket.is_empty(1));
        bucket.take(1_500, 0);
        let limits = |messages| DeliveryLimits { messages, bytes: 0 };
        bucket.set_limits(limits(100));
        assert!(bucket.is_empty(4_999));
        assert!(!bucket.is_empty(5_100));
        bucket.set_limits(limits(0));
        bucket.take(1_000, 0);
        assert!(!bucket.is_empty(5_100));
        bucket.set_limits(limits(10));
        assert!(!bucket.is_empty(5_100), "it begins full");
    }
}
