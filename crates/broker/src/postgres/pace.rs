//! How often the outbox is looked at: a state machine without clock.
//!
//! A notification wakes whoever moves the outbox, but makes concurrent commits wait for each other.
//! So there are notifications while few rows come, and frequent looks while many do.

use std::time::Duration;

/// Between two looks while rows come.
const BUSY: Duration = Duration::from_millis(20);

/// Between two looks while none come, should a notification be lost.
const IDLE: Duration = Duration::from_millis(250);

/// So many looks in a row with rows: there are many.
const MANY: u32 = 5;

/// So many looks in a row without: there are few.
const FEW: u32 = 50;

/// The pace.
#[derive(Debug)]
pub(super) struct Pace {
    /// Inserts notify.
    sleeping: bool,
    /// Looks in a row with rows, or without.
    with: u32,
    without: u32,
}

/// What to do after a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// There is more.
    Again,
    /// Have inserts notify from now on, or not; then look again.
    Notify(bool),
    /// Wait for a notification, but no longer than this.
    Wait(Duration),
}

impl Pace {
    /// Of one who has just begun, and has inserts notify.
    pub(super) const fn new() -> Self {
        Self {
            sleeping: true,
            with: 0,
            without: 0,
        }
    }

    /// A look has found so many rows, of so many at most.
    pub(super) const fn looked(&mut self, found: i32, most: i32) -> Next {
        if found > 0 {
            self.without = 0;
            self.with = self.with.saturating_add(1);
        } else {
            self.with = 0;
            self.without = self.without.saturating_add(1);
        }
        if self.sleeping && self.with >= MANY {
            self.sleeping = false;
            return Next::Notify(false);
        }
        if !self.sleeping && self.without >= FEW {
            self.sleeping = true;
            // What was inserted before that is seen by one more look.
            return Next::Notify(true);
        }
        if found >= most {
            Next::Again
        } else if found > 0 || !self.sleeping {
            Next::Wait(BUSY)
        } else {
            Next::Wait(IDLE)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_rows_are_notified_of_and_many_are_looked_for() {
        let mut pace = Pace::new();
        assert_eq!(pace.looked(0, 10), Next::Wait(IDLE));
        for _ in 1..MANY {
            assert_eq!(pace.looked(3, 10), Next::Wait(BUSY));
        }
        assert_eq!(pace.looked(1, 10), Next::Notify(false));
        assert_eq!(pace.looked(10, 10), Next::Again);
        for _ in 1..FEW {
            assert_eq!(pace.looked(0, 10), Next::Wait(BUSY));
        }
        assert_eq!(pace.looked(0, 10), Next::Notify(true));
        assert_eq!(pace.looked(0, 10), Next::Wait(IDLE));
    }

    #[test]
    fn now_and_then_a_row_is_few() {
        let mut pace = Pace::new();
        for _ in 0..100 {
            assert_eq!(pace.looked(1, 10), Next::Wait(BUSY));
            assert_eq!(pace.looked(0, 10), Next::Wait(IDLE));
        }
    }
}
