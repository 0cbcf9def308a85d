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
    /// Records appended until the next tail begins do not reach this node.
    missed: Option<Missed>,
}

impl Progress {
    /// State of a node that has read nothing yet of the log with this name.
    #[must_use]
    pub fn new(caps: Caps, name: &str) -> Self {
        Self {
            caps,
            last: None,
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

    /// A tail has begun. Returns the gap before it.
    pub fn begun(&mut self) -> Option<Missed> {
        self.missed.take()
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

    /// A tail was lost, or could not begin.
    pub fn lost(&mut self, error: &TailError) {
        let reason = match error {
            // The next tail resumes at the end of this one.
            TailError::Lost(_) if self.from() != From::Head => return,
            TailError::Lost(trouble) => trouble.reason,
            TailError::Trimmed(_) | TailError::NotRetained => MissedReason::Reconnect,
        };
        self.last = None;
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
        assert_eq!(reason(&mut progress), Some(MissedReason::Reconnect));
        // The log may be another one: its positions are lower.
        assert!(progress.is_new(Some(at(2))));
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
