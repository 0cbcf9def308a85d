//! What is logged of outages: the first cause, a change of cause, now and then a reminder, and
//! the return.

use std::time::Duration;
use std::time::Instant;

/// While an outage lasts with one cause, it is told of this often.
const REMINDER: Duration = Duration::from_secs(60);

/// The outage under way, if any.
#[derive(Debug, Default)]
pub(super) struct Outage(Option<State>);

#[derive(Debug)]
struct State {
    since: Instant,
    told: Instant,
    cause: String,
    attempts: u64,
}

/// What is worth a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// Nothing new.
    Nothing,
    /// The outage begins, or its cause has changed.
    Cause,
    /// It goes on.
    Still {
        /// For how long.
        lasting: Duration,
        /// How often a connection was tried.
        attempts: u64,
    },
}

impl Outage {
    /// The broker was lost, or an attempt failed.
    pub(super) fn note(&mut self, cause: &str, now: Instant) -> Told {
        let Some(state) = &mut self.0 else {
            self.0 = Some(State {
                since: now,
                told: now,
                cause: cause.to_owned(),
                attempts: 1,
            });
            return Told::Cause;
        };
        state.attempts += 1;
        if state.cause != cause {
            cause.clone_into(&mut state.cause);
            state.told = now;
            Told::Cause
        } else if now.duration_since(state.told) >= REMINDER {
            state.told = now;
            Told::Still {
                lasting: now.duration_since(state.since),
                attempts: state.attempts,
            }
        } else {
            Told::Nothing
        }
    }

    /// The broker is there; how long it was away, if it was.
    pub(super) fn over(&mut self, now: Instant) -> Option<Duration> {
        let state = self.0.take()?;
        Some(now.duration_since(state.since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_of_each_cause_once_and_reminds() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut outage = Outage::default();
        assert_eq!(outage.over(at(0)), None);
        assert_eq!(outage.note("refused", at(0)), Told::Cause);
        assert_eq!(outage.note("refused", at(5)), Told::Nothing);
        assert_eq!(outage.note("login", at(6)), Told::Cause);
        assert_eq!(outage.note("login", at(65)), Told::Nothing);
        assert_eq!(
            outage.note("login", at(66)),
            Told::Still {
                lasting: Duration::from_secs(66),
                attempts: 5
            }
        );
        assert_eq!(outage.note("login", at(67)), Told::Nothing);
        assert_eq!(outage.over(at(70)), Some(Duration::from_secs(70)));
        assert_eq!(outage.note("login", at(71)), Told::Cause);
    }
}
