//! Memory that several APIs share: that of answers which are being read, or of what answers permit.
//!
//! Each may hold as much as it leaves free: alone half of it, a second one a quarter, and however many
//! there are, there is something left for one that holds nothing. So none takes it from others, and
//! whatever part of it nobody needs is of use.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::answer::Failure;

/// Memory that several APIs share.
#[derive(Debug, Default)]
pub struct Budget {
    /// In bytes; 0: no limit.
    limit: AtomicUsize,
    /// In bytes.
    held: Mutex<usize>,
    refused: AtomicU64,
}

/// What one API has of it.
#[derive(Debug)]
pub struct Share {
    all: Arc<Budget>,
    /// In bytes. Only changed with the lock of `all`.
    own: AtomicUsize,
}

/// What one answer has of it; released on drop.
#[derive(Debug)]
pub(crate) struct Held<'a> {
    share: Option<&'a Share>,
    bytes: usize,
}

/// What is held in any case; released on drop.
#[derive(Debug)]
pub struct Holding {
    share: Arc<Share>,
    bytes: usize,
}

impl Budget {
    /// All together may hold so many bytes from now on; 0 is no limit.
    pub fn set_limit(&self, bytes: usize) {
        self.limit.store(bytes, Ordering::Relaxed);
    }

    /// Bytes that are held now.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        *self.lock() as u64
    }

    /// How often something did not fit.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, usize> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share {
    /// Nothing yet.
    #[must_use]
    pub fn of(all: Arc<Budget>) -> Self {
        Self {
            all,
            own: AtomicUsize::new(0),
        }
    }

    /// Holds so many bytes, whether or not they fit.
    #[must_use]
    pub fn hold(self: &Arc<Self>, bytes: usize) -> Holding {
        let mut held = self.all.lock();
        *held = held.saturating_add(bytes);
        self.own.fetch_add(bytes, Ordering::Relaxed);
        Holding {
            share: Arc::clone(self),
            bytes,
        }
    }

    /// Whether it holds more than it leaves free; counts that as refused.
    #[must_use]
    pub fn refuses(&self) -> bool {
        let limit = self.all.limit.load(Ordering::Relaxed);
        let all = *self.all.lock();
        let is_over = limit != 0 && self.own.load(Ordering::Relaxed) > limit.saturating_sub(all);
        self.all
            .refused
            .fetch_add(u64::from(is_over), Ordering::Relaxed);
        is_over
    }

    fn release(&self, bytes: usize) {
        let mut held = self.all.lock();
        *held = held.saturating_sub(bytes);
        let own = self.own.load(Ordering::Relaxed);
        self.own.store(own.saturating_sub(bytes), Ordering::Relaxed);
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        self.share.release(self.bytes);
    }
}

impl<'a> Held<'a> {
    /// Nothing yet; without a share there is no limit.
    pub(crate) fn of(share: Option<&'a Share>) -> Self {
        Self { share, bytes: 0 }
    }

    /// The answer takes so many bytes now.
    ///
    /// # Errors
    /// If that leaves too little to the answers of other APIs.
    pub(crate) fn grow(&mut self, bytes: usize) -> Result<(), Failure> {
        let more = bytes.saturating_sub(self.bytes);
        let Some(share) = self.share.filter(|_| more > 0) else {
            return Ok(());
        };
        let limit = share.all.limit.load(Ordering::Relaxed);
        let mut held = share.all.lock();
        let (own, all) = (
            share.own.load(Ordering::Relaxed).saturating_add(more),
            held.saturating_add(more),
        );
        if limit != 0 && own > limit.saturating_sub(all) {
            share.all.refused.fetch_add(1, Ordering::Relaxed);
            return Err(Failure::NoRoom { limit });
        }
        *held = all;
        share.own.store(own, Ordering::Relaxed);
        self.bytes = bytes;
        Ok(())
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if let Some(share) = self.share {
            share.release(self.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no_room(limit: usize) -> Result<(), Failure> {
        Err(Failure::NoRoom { limit })
    }

    #[test]
    fn an_api_has_as_much_as_it_leaves_free_and_gives_all_back() {
        let all: Arc<Budget> = Arc::default();
        all.set_limit(100);
        let shares = [0; 3].map(|_| Share::of(Arc::clone(&all)));
        let mut first = Held::of(Some(&shares[0]));
        assert_eq!(first.grow(50), Ok(()));
        assert_eq!(first.grow(51), no_room(100));
        // Another answer of it has no more.
        assert_eq!(Held::of(Some(&shares[0])).grow(1), no_room(100));
        let mut second = Held::of(Some(&shares[1]));
        assert_eq!(second.grow(25), Ok(()));
        assert_eq!(second.grow(26), no_room(100));
        let mut third = Held::of(Some(&shares[2]));
        assert_eq!(third.grow(12), Ok(()));
        assert_eq!((all.bytes(), all.refused()), (87, 3));
        drop(first);
        assert_eq!(all.bytes(), 37);
        assert_eq!(second.grow(40), Ok(()));
        drop((second, third));
        assert_eq!(all.bytes(), 0);
        assert_eq!(Held::of(Some(&shares[1])).grow(50), Ok(()));
    }

    #[test]
    fn what_is_held_in_any_case_may_be_too_much() {
        let all: Arc<Budget> = Arc::default();
        all.set_limit(100);
        let shares = [0; 2].map(|_| Arc::new(Share::of(Arc::clone(&all))));
        let first = shares[0].hold(50);
        assert!(!shares[0].refuses());
        let second = shares[0].hold(1);
        assert!(shares[0].refuses() && !shares[1].refuses());
        assert_eq!((all.bytes(), all.refused()), (51, 1));
        let other = shares[1].hold(30);
        assert!(shares[0].refuses() && shares[1].refuses());
        drop((first, second));
        assert!(!shares[1].refuses());
        drop(other);
        assert_eq!(all.bytes(), 0);
    }

    #[test]
    fn without_a_limit_or_a_share_everything_fits() {
        let share = Share::of(Arc::default());
        assert_eq!(Held::of(Some(&share)).grow(usize::MAX), Ok(()));
        assert_eq!(Held::of(None).grow(usize::MAX), Ok(()));
    }
}
