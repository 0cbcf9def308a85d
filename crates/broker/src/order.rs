//! The order of entries: positions, and which triggers are repeated. A state machine without clock,
//! socket, lock or runtime; the sequencer is a shell around it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use ht_proto::cursor::{Check, Cursor};
use ht_proto::entry::{Epoch, Position};
use ht_proto::tenant::Scoped;

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
    /// An empty order. `ids_max`: how many trigger ids are remembered.
    #[must_use]
    pub fn new(epoch: Epoch, ids_max: usize) -> Self {
        Self {
            epoch,
            base: Position::START,
            last: Position::START,
            ids: Ids::new(ids_max),
        }
    }

    /// The order with this name that another process of the node gave positions in, up to `last`:
    /// it goes on after that. `ids` are those of its last triggers, the oldest first.
    #[must_use]
    pub fn continued(
        epoch: Epoch,
        last: Position,
        ids: impl IntoIterator<Item = (Scoped<Arc<str>>, Position)>,
        ids_max: usize,
    ) -> Self {
        let mut order = Self {
            last,
            ..Self::new(epoch, ids_max)
        };
        for (id, position) in ids {
            if order.ids.position(&id).is_none() {
                order.ids.remember(id, position);
            }
        }
        order
    }

    /// The ids of the last triggers that had one, the oldest first.
    pub fn ids(&self) -> impl Iterator<Item = (&Scoped<Arc<str>>, Position)> {
        let ids = self.ids.order.iter().map(|(id, position)| (id, *position));
        ids.filter(|(id, position)| self.ids.position(id) == Some(*position))
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
        self.ids = Ids::new(self.ids.max);
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
    /// none. `id` deduplicates repeated triggers: the first entry of a tenant with an id wins. Where the log
    /// assigns numbers, an id is remembered over so many of them, so that every node that has read
    /// as many of them decides alike.
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
        let known = id.as_ref().and_then(|id| self.ids.position(id));
        if let Some(position) = known
            && given.is_none_or(|given| self.ids.reach(position, given))
        {
            return Placed {
                position,
                duplicate: true,
            };
        }
        self.last = given.unwrap_or(self.last.next());
        if let Some(id) = id {
            self.ids.remember(id, self.last);
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

/// The ids of the last triggers that had one.
#[derive(Debug)]
struct Ids {
    positions: HashMap<Scoped<Arc<str>>, Position>,
    /// Oldest first. One that was forgotten by its distance and came again is there twice.
    order: VecDeque<(Scoped<Arc<str>>, Position)>,
    max: usize,
}

impl Ids {
    fn new(max: usize) -> Self {
        Self {
            positions: HashMap::new(),
            order: VecDeque::new(),
            max,
        }
    }

    fn position(&self, id: &Scoped<Arc<str>>) -> Option<Position> {
        self.positions.get(id).copied()
    }

    /// Whether an id at this position of a log is remembered at the other one.
    fn reach(&self, position: Position, other: Position) -> bool {
        let distance = other.get() - position.get();
        usize::try_from(distance).is_ok_and(|distance| distance <= self.max)
    }

    fn remember(&mut self, id: Scoped<Arc<str>>, position: Position) {
        if self.max == 0 {
            return;
        }
        if self.order.len() >= self.max
            && let Some((oldest, at)) = self.order.pop_front()
            && self.positions.get(&oldest) == Some(&at)
        {
            self.positions.remove(&oldest);
        }
        self.order.push_back((id.clone(), position));
        self.positions.insert(id, position);
    }
}

#[cfg(test)]
mod tests;
