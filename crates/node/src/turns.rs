//! How long the turns of a shard take: the longest one of the last minute or two, which a scrape
//! once a minute does not miss.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Length of a window. The longest turn is that of the current window and the one before.
const WINDOW: Duration = Duration::from_mins(1);

/// The longest turns of one shard. Its thread writes, scrapes read.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    /// The current window, counted from the start of the node.
    window: AtomicU64,
    /// The longest turn of the current window, and that of the one before, in ns.
    longest: [AtomicU64; 2],
}

impl Turns {
    /// Records a turn that ended now: `uptime` after the start of the node.
    pub(crate) fn note(&self, turn: Duration, uptime: Duration) {
        let [current, before] = &self.longest;
        let turn = u64::try_from(turn.as_nanos()).unwrap_or(u64::MAX);
        let window = window(uptime);
        let known = self.window.load(Ordering::Relaxed);
        if window == known {
            if turn > current.load(Ordering::Relaxed) {
                current.store(turn, Ordering::Relaxed);
            }
            return;
        }
        let last = match window - known {
            1 => current.load(Ordering::Relaxed),
            _ => 0,
        };
        before.store(last, Ordering::Relaxed);
        current.store(turn, Ordering::Relaxed);
        self.window.store(window, Ordering::Relaxed);
    }

    /// The longest turn of this window and the one before.
    pub(crate) fn longest(&self, uptime: Duration) -> Duration {
        let [current, before] = &self.longest;
        let current = current.load(Ordering::Relaxed);
        let ns = match window(uptime).saturating_sub(self.window.load(Ordering::Relaxed)) {
            0 => current.max(before.load(Ordering::Relaxed)),
            1 => current,
            _ => 0,
        };
        Duration::from_nanos(ns)
    }
}

fn window(uptime: Duration) -> u64 {
    uptime.as_secs() / WINDOW.as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_turn_is_reported_for_one_to_two_windows() {
        let turns = Turns::default();
        let (ms, secs) = (Duration::from_millis, Duration::from_secs);
        for (turn, uptime) in [(5, 10), (9, 59), (3, 59)] {
            turns.note(ms(turn), secs(uptime));
        }
        assert_eq!(turns.longest(secs(59)), ms(9));
        assert_eq!(turns.longest(secs(60)), ms(9));
        turns.note(ms(2), secs(61));
        assert_eq!(turns.longest(secs(119)), ms(9));
        turns.note(ms(1), secs(120));
        assert_eq!(turns.longest(secs(120)), ms(2));
        // A shard that sleeps has no turns.
        assert_eq!(turns.longest(secs(180)), ms(1));
        assert_eq!(turns.longest(secs(240)), ms(0));
        turns.note(ms(4), secs(600));
        assert_eq!(turns.longest(secs(600)), ms(4));
    }
}
