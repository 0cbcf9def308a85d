//! Logging of outages: the first cause, a change of cause, a periodic reminder, and the reconnect.

use std::time::Duration;

use tokio::time::Instant;

/// While an outage lasts with one cause, a reminder is logged this often.
const REMINDER: Duration = Duration::from_secs(60);

/// The outage under way, if any.
#[derive(Debug, Default)]
pub(crate) struct Outage(Option<OutageState>);

#[derive(Debug)]
struct OutageState {
    since: Instant,
    logged: Instant,
    cause: String,
    attempts: u64,
}

/// An event to log.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// Nothing new.
    Nothing,
    /// The outage begins, or its cause has changed.
    Cause,
    /// The outage continues.
    Still {
        /// For how long.
        lasting: Duration,
        /// Number of connection attempts.
        attempts: u64,
    },
}

impl Outage {
    /// The connection was lost, or an attempt failed.
    pub(crate) fn note(&mut self, cause: &str, now: Instant) -> Notice {
        let Some(state) = &mut self.0 else {
            self.0 = Some(OutageState {
                since: now,
                logged: now,
                cause: cause.to_owned(),
                attempts: 1,
            });
            return Notice::Cause;
        };
        state.attempts += 1;
        if state.cause != cause {
            cause.clone_into(&mut state.cause);
            state.logged = now;
            Notice::Cause
        } else if now.duration_since(state.logged) >= REMINDER {
            state.logged = now;
            Notice::Still {
                lasting: now.duration_since(state.since),
                attempts: state.attempts,
            }
        } else {
            Notice::Nothing
        }
    }

    /// Connected. Returns how long the outage lasted, if there was one.
    pub(crate) fn over(&mut self, now: Instant) -> Option<Duration> {
        let state = self.0.take()?;
        Some(now.duration_since(state.since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_is_logged_once_with_reminders() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut outage = Outage::default();
        assert_eq!(outage.over(at(0)), None);
        assert_eq!(outage.note("refused", at(0)), Notice::Cause);
        assert_eq!(outage.note("refused", at(5)), Notice::Nothing);
        assert_eq!(outage.note("login", at(6)), Notice::Cause);
        assert_eq!(outage.note("login", at(65)), Notice::Nothing);
        assert_eq!(
            outage.note("login", at(66)),
            Notice::Still {
                lasting: Duration::from_secs(66),
                attempts: 5
            }
        );
        assert_eq!(outage.note("login", at(67)), Notice::Nothing);
        assert_eq!(outage.over(at(70)), Some(Duration::from_secs(70)));
        assert_eq!(outage.note("login", at(71)), Notice::Cause);
    }
}
