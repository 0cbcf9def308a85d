//! How far a node has read the log, and which gaps it has: a state machine without clock, socket,
//! lock or runtime.

use ht_proto::entry::Position;

use crate::log::{Caps, From, TailError};
use crate::missed::{Missed, MissedReason};

/// Where a node is in the log.
#[derive(Debug)]
pub struct Progress {
    caps: Caps,
    /// The last record that was read, of a log that retains them.
    last: Option<Position>,
    /// The digest of the record that was read last, and its position.
    digest: Option<(Position, u64)>,
    /// The next record has to be that one.
    resumes: bool,
    /// How what is read next relates to what was read before, where it does not follow it.
    broken: Option<Break>,
    /// Records appended until the next tail begins do not reach this node.
    missed: Option<Missed>,
}

/// How records relate to those that were read before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Break {
    /// Others between them were dropped.
    Trimmed,
    /// They are of another log, or of one that lost its end: its positions may be lower.
    Rewound,
}

impl Progress {
    /// State of a node that has read nothing yet of the log with this name.
    #[must_use]
    pub fn new(caps: Caps, name: &str) -> Self {
        Self {
            caps,
            last: None,
            digest: None,
            resumes: false,
            broken: None,
            missed: Some(Missed {
                reason: MissedReason::Start,
                cause: format!("the node was not connected to {name}"),
            }),
        }
    }

    /// Where the next tail begins.
    #[must_use]
    pub fn from(&self) -> From {
        match self.last {
            Some(last) if self.caps.retains => From::At(last),
            _ => From::Head,
        }
    }

    /// The last record that was read, of a log that retains them.
    #[must_use]
    pub fn last(&self) -> Option<Position> {
        self.last.filter(|_| self.caps.retains)
    }

    /// A tail has begun. Returns the gap before it.
    pub fn begun(&mut self) -> Option<Missed> {
        self.resumes = self.last.is_some();
        self.missed.take()
    }

    /// How the records of the tail that has begun relate to those that were read before, if they do
    /// not follow them.
    pub fn take_break(&mut self) -> Option<Break> {
        self.broken.take()
    }

    /// A record was read. Returns whether it is a new one: a tail begins with the record that the
    /// last one ended with.
    pub fn is_new(&mut self, position: Option<Position>) -> bool {
        let Some(position) = position else {
            return true;
        };
        let new = self.last.is_none_or(|last| position > last);
        if new {
            self.last = Some(position);
        }
        new
    }

    /// The record at this position, which is read last, has this digest.
    pub fn remember(&mut self, position: Option<Position>, digest: u64) {
        self.digest = position.map(|position| (position, digest));
    }

    /// The first record of a tail is the one that the last tail ended with.
    ///
    /// # Errors
    /// It is not: records are missing, or the log is another one.
    pub fn resume(&mut self, position: Option<Position>, digest: u64) -> Result<(), TailError> {
        let (Some(last), Some(position), true) = (self.last, position, self.resumes) else {
            return Ok(());
        };
        if position > last {
            return Err(TailError::Trimmed(last));
        }
        let differs = |(at, known)| at == last && known != digest;
        if position < last || self.digest.is_some_and(differs) {
            return Err(TailError::Rewound(last));
        }
        self.resumes = false;
        Ok(())
    }

    /// A tail was lost, or could not begin.
    pub fn lost(&mut self, error: &TailError) {
        let reason = match error {
            // The next tail resumes at the end of this one.
            TailError::Lost(_) | TailError::NotYet(_) if self.from() != From::Head => return,
            TailError::Lost(trouble) | TailError::NotYet(trouble) => trouble.reason,
            TailError::NotRetained => MissedReason::Reconnect,
            TailError::Trimmed(_) => {
                // A log that was made anew is that still, whatever it lacks then.
                self.broken.get_or_insert(Break::Trimmed);
                MissedReason::Trimmed
            }
            TailError::Rewound(_) => {
                self.broken = Some(Break::Rewound);
                MissedReason::Rewound
            }
        };
        self.last = None;
        self.digest = None;
        // The first reason of the loss is the one that the operator needs.
        self.missed.get_or_insert_with(|| Missed {
            reason,
            cause: error.to_string(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Trouble;

    fn progress(retains: bool) -> Progress {
        Progress::new(Caps { retains }, "test")
    }

    fn at(number: u64) -> Position {
        Position::new(number).unwrap()
    }

    fn lost(reason: MissedReason) -> TailError {
        TailError::Lost(Trouble {
            cause: reason.as_str().into(),
            advice: "",
            reason,
        })
    }

    fn not_yet() -> TailError {
        TailError::NotYet(Trouble {
            cause: "it starts".into(),
            advice: "",
            reason: MissedReason::Reconnect,
        })
    }

    fn reason(progress: &mut Progress) -> Option<MissedReason> {
        progress.begun().map(|missed| missed.reason)
    }

    #[test]
    fn whatever_delays_the_first_tail_is_a_late_start() {
        for retains in [false, true] {
            let mut progress = progress(retains);
            progress.lost(&lost(MissedReason::Reconnect));
            assert_eq!(progress.from(), From::Head);
            let missed = progress.begun().unwrap();
            assert_eq!(missed.reason, MissedReason::Start);
            assert_eq!(missed.cause, "the node was not connected to test");
            assert_eq!(progress.begun(), None, "reported once");
        }
    }

    #[test]
    fn a_retaining_log_resumes_where_it_was() {
        let mut progress = progress(true);
        progress.begun();
        assert!(progress.is_new(Some(at(3))) && progress.is_new(Some(at(8))));
        progress.lost(&lost(MissedReason::Reconnect));
        progress.lost(&lost(MissedReason::Reconnect));
        assert_eq!(progress.from(), From::At(at(8)));
        assert_eq!(reason(&mut progress), None);
        assert!(!progress.is_new(Some(at(8))), "the one it was resumed at");
        assert!(progress.is_new(Some(at(9))));
    }

    #[test]
    fn dropped_records_are_a_gap_and_positions_restart() {
        let mut progress = progress(true);
        progress.begun();
        progress.is_new(Some(at(8)));
        progress.lost(&lost(MissedReason::Reconnect));
        progress.lost(&TailError::Trimmed(at(8)));
        assert_eq!(progress.from(), From::Head);
        assert_eq!(reason(&mut progress), Some(MissedReason::Trimmed));
        assert_eq!(progress.take_break(), Some(Break::Trimmed));
        assert_eq!(progress.take_break(), None, "reported once");
        assert!(progress.is_new(Some(at(12))));
    }

    #[test]
    fn the_record_that_was_read_last_proves_that_the_log_is_the_same() {
        let resumed = |first: u64, digest: u64| {
            let mut progress = progress(true);
            progress.begun();
            progress.is_new(Some(at(8)));
            progress.remember(Some(at(8)), 0xa);
            progress.lost(&lost(MissedReason::Reconnect));
            progress.begun();
            let resumed = progress.resume(Some(at(first)), digest);
            let next = progress.resume(Some(at(first + 1)), 0xb);
            (resumed, next.is_ok())
        };
        assert_eq!(resumed(8, 0xa), (Ok(()), true));
        assert_eq!(resumed(8, 0xb).0, Err(TailError::Rewound(at(8))));
        assert_eq!(resumed(9, 0xa).0, Err(TailError::Trimmed(at(8))));
        assert_eq!(resumed(7, 0xa).0, Err(TailError::Rewound(at(8))));
    }

    #[test]
    fn another_log_is_read_from_its_own_positions() {
        let mut progress = progress(true);
        assert_eq!(progress.resume(Some(at(1)), 0), Ok(()), "nothing was read");
        progress.begun();
        progress.is_new(Some(at(8)));
        progress.lost(&TailError::Rewound(at(8)));
        progress.lost(&not_yet());
        progress.lost(&TailError::Trimmed(at(8)));
        assert_eq!(progress.from(), From::Head);
        assert_eq!(reason(&mut progress), Some(MissedReason::Rewound));
        assert_eq!(progress.take_break(), Some(Break::Rewound));
        assert_eq!(progress.resume(Some(at(2)), 0), Ok(()));
        assert!(progress.is_new(Some(at(2))));
    }

    #[test]
    fn an_engine_that_starts_proves_nothing() {
        let mut progress = progress(true);
        progress.begun();
        progress.is_new(Some(at(8)));
        progress.lost(&not_yet());
        assert_eq!(progress.from(), From::At(at(8)));
        assert_eq!((progress.begun(), progress.take_break()), (None, None));
    }

    #[test]
    fn a_retaining_log_of_which_nothing_was_read_cannot_be_resumed() {
        let mut progress = progress(true);
        progress.begun();
        progress.lost(&lost(MissedReason::Reconnect));
        assert_eq!(progress.from(), From::Head);
        assert_eq!(reason(&mut progress), Some(MissedReason::Reconnect));
    }

    #[test]
    fn without_retention_every_outage_is_a_gap_for_its_first_reason() {
        let mut progress = progress(false);
        progress.begun();
        assert!(progress.is_new(None) && progress.is_new(None));
        progress.lost(&lost(MissedReason::QueueDeleted));
        progress.lost(&lost(MissedReason::Reconnect));
        assert_eq!(progress.from(), From::Head);
        assert_eq!(reason(&mut progress), Some(MissedReason::QueueDeleted));
        progress.lost(&lost(MissedReason::Reconnect));
        assert_eq!(reason(&mut progress), Some(MissedReason::Reconnect));
    }
}
