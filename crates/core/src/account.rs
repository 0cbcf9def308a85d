//! Memory accounting: the bytes that clients make a process keep, apart from outboxes, and their
//! global bound.

use std::sync::atomic::{AtomicUsize, Ordering};

use ht_proto::labels;

labels! {
    /// Purpose of accounted memory.
    pub enum Kind {
        /// Subscriptions: rooms, request ids and their share of every index.
        Subscriptions = "subscriptions",
        /// Incomplete messages and frames, and input that was read and not decoded yet.
        Messages = "messages",
        /// Credentials that are kept while connections are open.
        Credentials = "credentials",
        /// Connections that are not established yet: request heads, first frames and early bytes.
        Handshakes = "handshakes",
    }
}

/// The account of a process, shared by its shards and its control side.
///
/// A shard updates it when a client's memory use grows or shrinks, never during delivery.
#[derive(Debug, Default)]
pub struct Accounts {
    bytes: [AtomicUsize; Kind::ALL.len()],
    limit: AtomicUsize,
    address_limit: AtomicUsize,
    user_limit: AtomicUsize,
}

impl Accounts {
    /// An empty account. All kinds together may hold `limit` bytes; zero: no bound.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        let accounts = Self::default();
        accounts.set_limit(limit);
        accounts
    }

    /// Bytes of one kind.
    #[must_use]
    pub fn bytes(&self, kind: Kind) -> usize {
        self.bytes[kind as usize].load(Ordering::Relaxed)
    }

    /// Bytes of all kinds. Handshakes count only up to their part of the bound: no connection is
    /// evicted because of many handshakes.
    #[must_use]
    pub fn total(&self) -> usize {
        let bytes = |kind| match (kind, self.handshakes_limit()) {
            (Kind::Handshakes, 1..) => self.bytes(kind).min(self.handshakes_limit()),
            (Kind::Handshakes | Kind::Subscriptions | Kind::Messages | Kind::Credentials, _) => {
                self.bytes(kind)
            }
        };
        Kind::ALL.into_iter().map(bytes).sum()
    }

    /// Whether handshakes have more than their part of the bound.
    #[must_use]
    pub fn handshakes_are_over(&self) -> bool {
        let limit = self.handshakes_limit();
        limit != 0 && self.bytes(Kind::Handshakes) > limit
    }

    /// What handshakes may hold: a quarter of the bound; zero: no bound.
    #[must_use]
    pub fn handshakes_limit(&self) -> usize {
        self.limit() / 4
    }

    /// The bound of the total, in bytes; zero: none.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// Changes the bound. Shards enforce it in their next turn.
    pub fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// Bounds of what the connections of one address, and of one user, may hold, in bytes; zero:
    /// none.
    #[must_use]
    pub fn shares(&self) -> (usize, usize) {
        let load = |limit: &AtomicUsize| limit.load(Ordering::Relaxed);
        (load(&self.address_limit), load(&self.user_limit))
    }

    /// Changes the bounds of one address and of one user. They hold for what is added from now on.
    pub fn set_shares(&self, address: usize, user: usize) {
        self.address_limit.store(address, Ordering::Relaxed);
        self.user_limit.store(user, Ordering::Relaxed);
    }

    /// Whether the total exceeds its bound.
    #[must_use]
    pub fn is_over(&self) -> bool {
        let limit = self.limit();
        limit != 0 && self.total() > limit
    }

    /// Notes that a holder now has `now` bytes of this kind, where it had `before`.
    pub fn replace(&self, kind: Kind, before: usize, now: usize) {
        let bytes = &self.bytes[kind as usize];
        if now > before {
            bytes.fetch_add(now - before, Ordering::Relaxed);
        } else if now < before {
            bytes.fetch_sub(before - now, Ordering::Relaxed);
        }
    }
}

/// Memory that an allocation of `len` bytes takes: allocators round up.
pub(crate) const fn heap(len: usize) -> usize {
    len.next_multiple_of(16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn total_is_the_sum_of_all_kinds_and_compared_with_the_limit() {
        let accounts = Accounts::new(10);
        accounts.replace(Kind::Messages, 0, 7);
        accounts.replace(Kind::Subscriptions, 0, 3);
        assert_eq!((accounts.total(), accounts.is_over()), (10, false));
        accounts.replace(Kind::Handshakes, 0, 1);
        assert!(accounts.is_over());
        accounts.set_limit(0);
        assert!(!accounts.is_over());
        accounts.replace(Kind::Messages, 7, 2);
        assert_eq!(accounts.bytes(Kind::Messages), 2);
        assert_eq!(accounts.total(), 6);
    }

    #[test]
    fn handshakes_count_up_to_a_quarter_of_the_limit() {
        let accounts = Accounts::new(100);
        accounts.replace(Kind::Handshakes, 0, 25);
        assert_eq!(
            (accounts.total(), accounts.handshakes_are_over()),
            (25, false)
        );
        accounts.replace(Kind::Handshakes, 25, 1_000);
        assert_eq!(
            (accounts.total(), accounts.handshakes_are_over()),
            (25, true)
        );
        assert!(!accounts.is_over());
        accounts.replace(Kind::Subscriptions, 0, 76);
        assert!(accounts.is_over());
        accounts.set_limit(0);
        assert_eq!(
            (accounts.total(), accounts.handshakes_are_over()),
            (1_076, false)
        );
    }
}
