//! Heartbeat: an inactive connection is sent a control ping (RFC 6455 section 5.5.2); one that does
//! not answer is dead.
//!
//! The list links are kept apart from the connections, which would otherwise be larger on all nodes
//! without a heartbeat: without an interval nothing is kept at all.

use crate::timer::{Link, Links, Queue};
use ht_pages::shrink_list;

/// The connections, by when they were last active or pinged.
#[derive(Debug)]
pub(crate) struct Keepalive {
    is_on: bool,
    heard: Queue,
    asked: Queue,
    /// By connection.
    entries: Vec<Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    link: Link,
    place: Place,
}

/// The list that contains a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Nowhere,
    Heard,
    Asked,
}

impl Links for Vec<Entry> {
    fn link(&mut self, id: u32) -> &mut Link {
        &mut self[id as usize].link
    }
}

impl Keepalive {
    /// A connection inactive for `interval` is pinged and has `timeout` to answer, both in ms. An
    /// interval of zero disables pings.
    pub(crate) const fn new(interval: u64, timeout: u64) -> Self {
        Self {
            is_on: interval != 0,
            heard: Queue::new(interval),
            asked: Queue::new(timeout),
            entries: Vec::new(),
        }
    }

    /// Changes the times; returns whether every connection must [enter](Self::enter) now.
    pub(crate) fn set_limits(&mut self, interval: u64, timeout: u64) -> bool {
        let was_on = std::mem::replace(&mut self.is_on, interval != 0);
        if was_on && self.is_on {
            self.heard.set_limit(interval);
            self.asked.set_limit(timeout);
        } else {
            *self = Self::new(interval, timeout);
        }
        self.is_on && !was_on
    }

    /// A connection begins; it is in no list.
    pub(crate) fn enter(&mut self, id: u32, now: u64) {
        if !self.is_on {
            return;
        }
        let nowhere = Entry {
            link: Link::new(),
            place: Place::Nowhere,
        };
        let len = self.entries.len().max(id as usize + 1);
        self.entries.resize(len, nowhere);
        self.put(id, Place::Heard, now);
    }

    /// A connection was active.
    pub(crate) fn heard(&mut self, id: u32, now: u64) {
        if self.take(id) != Place::Nowhere {
            self.put(id, Place::Heard, now);
        }
    }

    /// A connection, which was inactive, is pinged.
    pub(crate) fn asked(&mut self, id: u32, now: u64) {
        self.take(id);
        self.put(id, Place::Asked, now);
    }

    /// A connection ends.
    pub(crate) fn leave(&mut self, id: u32) {
        self.take(id);
        while self
            .entries
            .last()
            .is_some_and(|it| it.place == Place::Nowhere)
        {
            self.entries.pop();
        }
        shrink_list(&mut self.entries);
    }

    /// A connection that is due for a ping.
    pub(crate) fn silent(&mut self, now: u64) -> Option<u32> {
        self.heard.expired(&mut self.entries, now)
    }

    /// A connection that did not answer in time.
    pub(crate) fn unanswered(&mut self, now: u64) -> Option<u32> {
        self.asked.expired(&mut self.entries, now)
    }

    /// When one of these is due.
    pub(crate) fn deadline(&mut self) -> Option<u64> {
        let heard = self.heard.deadline(&mut self.entries);
        let asked = self.asked.deadline(&mut self.entries);
        heard.into_iter().chain(asked).min()
    }

    fn put(&mut self, id: u32, place: Place, now: u64) {
        self.entries[id as usize].place = place;
        match place {
            Place::Heard => self.heard.push(&mut self.entries, id, now),
            Place::Asked => self.asked.push(&mut self.entries, id, now),
            Place::Nowhere => {}
        }
    }

    /// Removes a connection from its list; returns which list that was.
    fn take(&mut self, id: u32) -> Place {
        let Some(entry) = self.entries.get_mut(id as usize) else {
            return Place::Nowhere;
        };
        let place = std::mem::replace(&mut entry.place, Place::Nowhere);
        match place {
            Place::Heard => self.heard.remove(&mut self.entries, id),
            Place::Asked => self.asked.remove(&mut self.entries, id),
            Place::Nowhere => {}
        }
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inactive_connection_is_pinged_and_then_closed() {
        let mut keepalive = Keepalive::new(10, 5);
        for id in [0, 3] {
            keepalive.enter(id, 0);
        }
        keepalive.heard(3, 4);
        keepalive.heard(1, 4);
        assert_eq!(
            (keepalive.silent(9), keepalive.deadline()),
            (None, Some(10))
        );
        assert_eq!(keepalive.silent(10), Some(0));
        keepalive.asked(0, 10);
        assert_eq!(keepalive.deadline(), Some(14));
        assert_eq!(
            (keepalive.silent(14), keepalive.unanswered(14)),
            (Some(3), None)
        );
        keepalive.leave(3);
        assert_eq!(keepalive.unanswered(15), Some(0));
        keepalive.heard(0, 15);
        assert_eq!(
            (keepalive.unanswered(20), keepalive.silent(25)),
            (None, Some(0))
        );
        keepalive.leave(0);
        assert_eq!(keepalive.deadline(), None);
    }

    #[test]
    fn without_an_interval_nothing_is_kept() {
        let mut keepalive = Keepalive::new(0, 5);
        keepalive.enter(0, 0);
        keepalive.heard(0, 1);
        assert_eq!(
            (keepalive.silent(u64::MAX), keepalive.deadline()),
            (None, None)
        );
        assert_eq!(keepalive.entries.capacity(), 0);
        assert!(keepalive.set_limits(10, 5));
        keepalive.enter(0, 2);
        assert!(!keepalive.set_limits(20, 5));
        assert_eq!(keepalive.deadline(), Some(22));
        assert!(!keepalive.set_limits(0, 5));
        assert_eq!(
            (keepalive.deadline(), keepalive.entries.capacity()),
            (None, 0)
        );
    }
}
