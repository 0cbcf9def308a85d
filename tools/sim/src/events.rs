//! Virtual time: due events, in their order.

use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::rc::Rc;

/// An event due at some time. Of those due at the same time, the first planned is the first.
#[derive(Debug)]
pub(crate) struct Events<E> {
    times: BinaryHeap<Reverse<(u64, u64)>>,
    events: BTreeMap<u64, E>,
    count: u64,
    pub(crate) now: u64,
    /// The same, for callers that keep it.
    pub(crate) clock: Rc<Cell<u64>>,
}

impl<E> Default for Events<E> {
    fn default() -> Self {
        Self {
            times: BinaryHeap::new(),
            events: BTreeMap::new(),
            count: 0,
            now: 0,
            clock: Rc::default(),
        }
    }
}

impl<E> Events<E> {
    pub(crate) fn at(&mut self, time: u64, event: E) {
        self.times.push(Reverse((time.max(self.now), self.count)));
        self.events.insert(self.count, event);
        self.count += 1;
    }

    pub(crate) fn after(&mut self, ms: u64, event: E) {
        self.at(self.now + ms, event);
    }

    /// The next event up to `end`; time is its time then.
    pub(crate) fn next(&mut self, end: u64) -> Option<E> {
        let Reverse((time, number)) = *self.times.peek()?;
        if time > end {
            return None;
        }
        self.times.pop();
        self.now = time;
        self.clock.set(time);
        self.events.remove(&number)
    }
}
