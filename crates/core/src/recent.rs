//! The last commands, for clients that were admitted while they were executed.
//!
//! The API answers for a client before the client is added to its shard. A command in between finds
//! no connection, and its effect may be missing in the answer: so it is looked up here when the
//! client is added.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::command::Command;

/// Bounds for what is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// Commands.
    pub(crate) commands: usize,
    /// Bytes of all of them.
    pub(crate) bytes: usize,
    /// Units that it costs to test a client for all of them.
    pub(crate) units: u64,
}

impl Bounds {
    /// A thousand commands a second for ten seconds, the default time of a handshake.
    pub(crate) const DEFAULT: Self = Self {
        commands: 10_000,
        bytes: 16 << 20,
        units: 2_000_000,
    };
}

/// The last commands, in their order.
#[derive(Debug)]
pub(crate) struct Recent {
    commands: VecDeque<Arc<Command>>,
    /// The position of the last command that began.
    last: u64,
    bytes: usize,
    units: u64,
    /// The position of the last command that is kept no longer.
    forgotten: u64,
    bounds: Bounds,
}

impl Recent {
    /// No command yet.
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            commands: VecDeque::new(),
            last: 0,
            bytes: 0,
            units: 0,
            forgotten: 0,
            bounds,
        }
    }

    /// The position of the last command that began.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// Whether no command is kept or was forgotten.
    pub(crate) fn is_empty(&self) -> bool {
        self.commands.is_empty() && self.forgotten == 0
    }

    /// A command begins, which is later than all others.
    pub(crate) fn begin(&mut self, command: &Arc<Command>) {
        self.last = command.position;
        if command.action.concerns_newcomers() {
            self.push(Arc::clone(command));
        }
    }

    /// Keeps a command.
    fn push(&mut self, command: Arc<Command>) {
        self.bytes += command.bytes;
        self.units += command.selection.units();
        self.commands.push_back(command);
        let Bounds {
            commands,
            bytes,
            units,
        } = self.bounds;
        while self.commands.len() > commands || self.bytes > bytes || self.units > units {
            let Some(oldest) = self.commands.pop_front() else {
                return;
            };
            self.bytes -= oldest.bytes;
            self.units -= oldest.selection.units();
            self.forgotten = oldest.position;
        }
    }

    /// Forgets all commands up to this position; those of the last ones were never seen.
    pub(crate) fn forget(&mut self, position: u64) {
        self.commands = VecDeque::new();
        (self.bytes, self.units) = (0, 0);
        self.forgotten = position;
        self.last = position;
    }

    /// Bytes of all that is kept.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Forgets all commands so far.
    pub(crate) fn forget_kept(&mut self) {
        self.forget(self.last);
    }

    /// The commands after a position, in their order; none where some are kept no longer.
    pub(crate) fn after(&self, position: u64) -> Option<impl Iterator<Item = &Arc<Command>>> {
        let begin = self
            .commands
            .partition_point(|command| command.position <= position);
        (self.forgotten <= position).then(|| self.commands.range(begin..))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Action;
    use crate::select::Selection;

    fn command(position: u64, users: usize, bytes: usize) -> Arc<Command> {
        let users = (0..users).map(|user| user.to_string().into());
        Arc::new(Command {
            position,
            selection: Selection {
                users: users.collect(),
                ..Selection::default()
            },
            action: Action::Count,
            bytes,
        })
    }

    fn after(recent: &Recent, position: u64) -> Option<Vec<u64>> {
        let commands = recent.after(position)?;
        Some(commands.map(|command| command.position).collect())
    }

    #[test]
    fn kept_commands_are_found_and_dropped_ones_are_detected() {
        let mut recent = Recent::new(Bounds {
            commands: 3,
            ..Bounds::DEFAULT
        });
        assert_eq!(after(&recent, 0), Some(vec![]));
        for position in [2, 5, 9] {
            recent.push(command(position, 1, 10));
        }
        assert_eq!(after(&recent, 0), Some(vec![2, 5, 9]));
        assert_eq!(after(&recent, 2), Some(vec![5, 9]));
        assert_eq!(after(&recent, 9), Some(vec![]));
        recent.push(command(11, 1, 10));
        assert_eq!(after(&recent, 1), None, "2 is missing");
        assert_eq!(after(&recent, 2), Some(vec![5, 9, 11]));
        recent.forget(20);
        assert_eq!(after(&recent, 19), None);
        assert_eq!(after(&recent, 20), Some(vec![]));
    }

    #[test]
    fn neither_bytes_nor_work_exceed_their_bounds() {
        let bounds = Bounds {
            commands: 100,
            bytes: 100,
            units: 10_000,
        };
        let mut recent = Recent::new(bounds);
        for position in 1..50 {
            recent.push(command(position, 1, 30));
            assert!(recent.bytes <= bounds.bytes && recent.commands.len() <= 3);
        }
        for position in 50..100 {
            recent.push(command(position, 100, 1));
            assert!(recent.units <= bounds.units && recent.commands.len() < 10);
        }
        recent.push(command(100, 1_000, 1));
        assert!(recent.commands.is_empty() && after(&recent, 99).is_none());
        assert_eq!((recent.bytes, recent.units), (0, 0));
    }
}
