//! The order of entries: positions, and which triggers are repeated. A state machine without clock,
//! socket, lock or runtime; the sequencer is a shell around it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use ht_proto::cursor::{Check, Cursor};
use ht_proto::entry::{Epoch, Position};

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
            last: Position::START,
            ids: Ids::new(ids_max),
        }
    }

    /// The name of this order.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
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
            position,
            check,
            part: None,
        }
    }

    /// Places the next entry: at its position in the log, or at the next one if the log assigns
    /// none. `id` deduplicates repeated triggers: the first entry with an id wins, on every node
    /// that reads the same log.
    pub fn place(&mut self, given: Option<Position>, id: Option<Box<str>>) -> Placed {
        if let Some(given) = given
            && given <= self.last
        {
            return Placed {
                position: given,
                duplicate: true,
            };
        }
        if let Some(position) = id.as_ref().and_then(|id| self.ids.position(id)) {
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
        let position = match next {
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
    positions: HashMap<Arc<str>, Position>,
    /// Oldest first.
    order: VecDeque<Arc<str>>,
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

    fn position(&self, id: &str) -> Option<Position> {
        self.positions.get(id).copied()
    }

    fn remember(&mut self, id: Box<str>, position: Position) {
        if self.max == 0 {
            return;
        }
        if self.order.len() >= self.max
            && let Some(oldest) = self.order.pop_front()
        {
            self.positions.remove(&oldest);
        }
        let id: Arc<str> = id.into();
        self.order.push_back(Arc::clone(&id));
        self.positions.insert(id, position);
    }
}

#[cfg(test)]
mod tests;
