//! How many connections a tenant has, and its rate of handshakes.

use std::time::Duration;

use crate::addresses::{Bounds, Crowded, nanos, next_due};

/// What a tenant has of a node.
#[derive(Clone, Copy, Debug, Default)]
pub struct Share {
    open: u32,
    /// When all handshakes would have been made at exactly their rate; in ns.
    due: u64,
}

impl Share {
    /// Takes a permit for a connection at this time.
    ///
    /// # Errors
    /// If the tenant has reached its limit of connections or its rate limit.
    pub fn take(&mut self, bounds: Bounds, now: Duration) -> Result<(), Crowded> {
        let due = next_due(self.due, bounds.per_second, nanos(now))?;
        if bounds.open != 0 && self.open as usize >= bounds.open {
            return Err(Crowded::Open);
        }
        self.open += 1;
        self.due = due;
        Ok(())
    }

    /// Releases a permit.
    pub fn give_back(&mut self) {
        debug_assert!(self.open > 0, "a permit is released once");
        self.open = self.open.saturating_sub(1);
    }

    /// Connections that are open.
    #[must_use]
    pub fn open(&self) -> u32 {
        self.open
    }

    /// Whether it need not be remembered: no connection, and no handshake that still counts.
    #[must_use]
    pub fn is_idle(&self, now: Duration) -> bool {
        self.open == 0 && self.due <= nanos(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_limited_until_one_ends() {
        let (mut share, bounds) = (
            Share::default(),
            Bounds {
                open: 2,
                per_second: 0,
            },
        );
        let now = Duration::ZERO;
        assert!(share.take(bounds, now).is_ok() && share.take(bounds, now).is_ok());
        assert_eq!(share.take(bounds, now), Err(Crowded::Open));
        share.give_back();
        assert!(share.take(bounds, now).is_ok());
        assert_eq!(share.open(), 2);
        share.give_back();
        share.give_back();
        assert!(share.is_idle(now));
    }

    #[test]
    fn handshakes_are_limited_over_ten_seconds() {
        let (mut share, bounds) = (
            Share::default(),
            Bounds {
                open: 0,
                per_second: 2,
            },
        );
        let taken = |share: &mut Share, now: u64| {
            let now = Duration::from_secs(now);
            (0..100)
                .take_while(|_| share.take(bounds, now).is_ok())
                .count()
        };
        assert_eq!(taken(&mut share, 0), 20);
        assert_eq!(taken(&mut share, 0), 0);
        assert_eq!(taken(&mut share, 3), 6);
        assert!(matches!(
            share.take(bounds, Duration::from_secs(3)),
            Err(Crowded::Rate { again }) if again == Duration::from_millis(500)
        ));
        assert_eq!(share.open(), 26);
        (0..26).for_each(|_| share.give_back());
        assert!(!share.is_idle(Duration::from_secs(4)));
        assert!(share.is_idle(Duration::from_secs(60)));
    }
}
