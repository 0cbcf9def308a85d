//! What requests to `/trigger/` hold in memory, all together.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

/// Bytes of the bodies that are being read, parsed or placed.
#[derive(Debug, Default)]
pub(crate) struct InFlight(AtomicU64);

/// The part of one request; given back when dropped.
#[derive(Debug)]
pub(super) struct Share<'a> {
    all: &'a InFlight,
    bytes: u64,
}

impl InFlight {
    /// Takes the bytes of a body, if all together stay within `limit`; 0 is no limit. One that is
    /// alone always fits.
    pub(super) fn take(&self, bytes: u64, limit: u64) -> Option<Share<'_>> {
        let fits = |held: u64| {
            let all = held.saturating_add(bytes);
            (limit == 0 || held == 0 || all <= limit).then_some(all)
        };
        self.0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, fits)
            .ok()?;
        Some(Share { all: self, bytes })
    }

    /// Bytes that are held now.
    pub(crate) fn bytes(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.all.0.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_stays_within_the_limit_but_for_one_alone() {
        let all = InFlight::default();
        let alone = all.take(200, 100).unwrap();
        assert!(all.take(1, 100).is_none());
        drop(alone);
        let first = all.take(60, 100).unwrap();
        let second = all.take(40, 100).unwrap();
        assert!(all.take(1, 100).is_none());
        assert!(all.take(0, 100).is_some());
        drop(first);
        assert_eq!(all.bytes(), 40);
        assert!(all.take(60, 100).is_some());
        drop(second);
        assert_eq!(all.bytes(), 0);
    }

    #[test]
    fn zero_is_no_limit() {
        let all = InFlight::default();
        let _held = all.take(u64::MAX / 2, 0).unwrap();
        assert!(all.take(u64::MAX / 2, 0).is_some());
    }
}
