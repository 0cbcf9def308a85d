//! The order of entries: positions, and which triggers are repeated. A state machine without clock,
//! socket, lock or runtime; the sequencer is a shell around it.

mod ids;

use std::sync::Arc;

use ht_proto::cursor::{Check, Cursor};
use ht_proto::entry::{Epoch, Position};
use ht_proto::tenant::Scoped;

pub use crate::order::ids::IdLimits;

use crate::order::ids::Ids;

/// Position of an entry in the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Its position. Where the node counts, 1 is the first since the node started.
    pub position: Position,
    /// It was placed before: a trigger with this `id`, or a record that was read twice. It keeps
    /// that position and is not delivered again.
    pub duplicate: bool,
}

/// The order of one node.
#[derive(Debug)]
pub struct Order {
    epoch: Epoch,
    /// The position before the first one of the log: its numbers are counted from here on.
    base: Position,
    /// The last assigned position.
    last: Position,
    ids: Ids,
}

impl Order {
    /// An empty order. `ids`: how many trigger ids are remembered.
    #[must_use]
    pub fn new(epoch: Epoch, ids: impl Into<IdLimits>) -> Self {
        Self {
            epoch,
            base: Position::START,
            last: Position::START,
            ids: Ids::new(ids.into()),
        }
    }

    /// The order with this name that another process of the node gave positions in, up to `last`:
    /// it goes on after that. `ids` are those of its last triggers, the oldest first.
    #[must_use]
    pub fn continued(
        epoch: Epoch,
        last: Position,
        ids: impl IntoIterator<Item = (Scoped<Arc<str>>, Position)>,
        limits: impl Into<IdLimits>,
    ) -> Self {
        let mut order = Self {
            last,
            ..Self::new(epoch, limits)
        };
        for (id, position) in ids {
            if order.ids.position(&id).is_none() {
                order.ids.remember_counted(id, position);
            }
        }
        order
    }

    /// The ids of the last triggers that had one, the oldest first.
    #[must_use]
    pub fn ids(&self) -> Vec<(Scoped<Arc<str>>, Position)> {
        self.ids.all()
    }

    /// The name of this order.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The position before the first one of its epoch. A number of the log is counted from here, so
    /// that positions grow as long as the node lives.
    #[must_use]
    pub fn base(&self) -> Position {
        self.base
    }

    /// The order has another name from here on.
    pub fn rename(&mut self, epoch: Epoch) {
        self.epoch = epoch;
    }

    /// The log is another one from here on, whose numbers may be lower, and which knows no id of
    /// the former. Returns the position of the hole between the two.
    pub fn restart(&mut self, epoch: Epoch) -> Position {
        self.epoch = epoch;
        self.last = self.last.next();
        self.base = self.last;
        self.ids = Ids::new(self.ids.limits);
        self.base
    }

    /// What is placed first comes after this number of the log. Nothing was placed yet.
    pub fn begin_after(&mut self, number: Position) {
        debug_assert!(self.last == self.base, "nothing was placed");
        self.last = self.position(number);
    }

    /// The number in the log of one of its positions.
    #[must_use]
    pub fn number(&self, position: Position) -> Position {
        let number = position.get().saturating_sub(self.base.get());
        Position::new(number).unwrap_or(Position::MAX)
    }

    /// The position of a record of the log.
    fn position(&self, number: Position) -> Position {
        let position = self.base.get().saturating_add(number.get());
        Position::new(position).unwrap_or(Position::MAX)
    }

    /// The last assigned position.
    #[must_use]
    pub fn last(&self) -> Position {
        self.last
    }

    /// The cursor of a client that has read everything up to an entry of this order.
    #[must_use]
    pub fn cursor(&self, position: Position, check: Check) -> Cursor {
        Cursor {
            epoch: self.epoch,
            position: self.number(position),
            check,
            part: None,
        }
    }

    /// Places the next entry: at its number in the log, or at the next position if the log assigns
    /// none. `id` deduplicates repeated triggers: the first entry of a tenant with an id wins, as long as
    /// that is remembered. Where the log assigns numbers, every node that has read as many of them
    /// decides alike.
    pub fn place(&mut self, given: Option<Position>, id: Option<Scoped<Box<str>>>) -> Placed {
        let id = id.map(|id| id.tenant.scope(Arc::from(id.value)));
        let given = given.map(|number| self.position(number));
        if let Some(given) = given
            && given <= self.last
        {
            return Placed {
                position: given,
                duplicate: true,
            };
        }
        if let (Some(id), Some(given)) = (&id, given) {
            self.ids.come_to(id.tenant, given);
        }
        if let Some(position) = id.as_ref().and_then(|id| self.ids.position(id)) {
            return Placed {
                position,
                duplicate: true,
            };
        }
        self.last = given.unwrap_or(self.last.next());
        match (id, given) {
            (Some(id), Some(given)) => self.ids.remember(id, given),
            (Some(id), None) => self.ids.remember_counted(id, self.last),
            (None, _) => {}
        }
        Placed {
            position: self.last,
            duplicate: false,
        }
    }

    /// The position of a hole, after everything that was placed and before the next entry, which the
    /// log gives the position `next` if it assigns any. `None` if there is no room for one: nothing
    /// is missing between the two.
    pub fn hole(&mut self, next: Option<Position>) -> Option<Position> {
        let position = match next.map(|number| self.position(number)) {
            Some(next) => next.previous().filter(|&position| position > self.last)?,
            None => self.last.next(),
        };
        self.last = position;
        Some(position)
    }
}

#[cfg(test)]
mod tests;
