//! Deadlines without timers: connections with the same time to live are in a list in the order of
//! their deadlines, so that only those that expire are examined.

/// No entry.
pub(crate) const NONE: u32 = u32::MAX;

/// A connection's links in its list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    previous: u32,
    next: u32,
    /// When it entered the list, in ms.
    pub(crate) since: u64,
}

impl Link {
    pub(crate) const fn new() -> Self {
        Self {
            previous: NONE,
            next: NONE,
            since: 0,
        }
    }
}

/// Where the links of a list are.
pub(crate) trait Links {
    /// The link of the entry `id`.
    fn link(&mut self, id: u32) -> &mut Link;
}

/// Entries in the order of their entering.
#[derive(Debug)]
pub(crate) struct Queue {
    first: u32,
    last: u32,
    /// How long an entry may stay, in ms; zero: for ever.
    limit: u64,
}

impl Queue {
    pub(crate) const fn new(limit: u64) -> Self {
        Self {
            first: NONE,
            last: NONE,
            limit,
        }
    }

    /// How long entries may stay from now on, including those already in the list.
    pub(crate) const fn set_limit(&mut self, limit: u64) {
        self.limit = limit;
    }

    /// Appends `id`, which is in no list. `now` never goes backwards.
    pub(crate) fn push(&mut self, entries: &mut impl Links, id: u32, now: u64) {
        *entries.link(id) = Link {
            previous: self.last,
            next: NONE,
            since: now,
        };
        match self.last {
            NONE => self.first = id,
            last => entries.link(last).next = id,
        }
        self.last = id;
    }

    /// Removes `id`, which is in this list.
    pub(crate) fn remove(&mut self, entries: &mut impl Links, id: u32) {
        let Link { previous, next, .. } = *entries.link(id);
        match previous {
            NONE => self.first = next,
            previous => entries.link(previous).next = next,
        }
        match next {
            NONE => self.last = previous,
            next => entries.link(next).previous = previous,
        }
    }

    /// The entry that has been here for longest, if there is one.
    pub(crate) fn first(&self) -> Option<u32> {
        (self.first != NONE).then_some(self.first)
    }

    /// At most `most` entries of either end, from the first on, and none twice.
    pub(crate) fn ends(&self, entries: &mut impl Links, most: usize) -> Vec<u32> {
        let mut ends = Vec::new();
        let mut id = self.first;
        while id != NONE && ends.len() < most {
            ends.push(id);
            id = entries.link(id).next;
        }
        let front = ends.len();
        let mut id = self.last;
        while id != NONE && ends.len() < front + most && !ends[..front].contains(&id) {
            ends.insert(front, id);
            id = entries.link(id).previous;
        }
        ends
    }

    /// The entry whose time is up, if there is one.
    pub(crate) fn expired(&self, entries: &mut impl Links, now: u64) -> Option<u32> {
        (self.deadline(entries)? <= now).then_some(self.first)
    }

    /// When the first entry's time is up.
    pub(crate) fn deadline(&self, entries: &mut impl Links) -> Option<u64> {
        if self.first == NONE || self.limit == 0 {
            return None;
        }
        let since = entries.link(self.first).since;
        Some(since.saturating_add(self.limit))
    }
}

#[cfg(test)]
mod tests {
    use slab::Slab;

    use super::*;

    impl Links for Slab<Link> {
        fn link(&mut self, id: u32) -> &mut Link {
            &mut self[id as usize]
        }
    }

    #[test]
    fn the_ends_are_in_order_and_none_is_twice() {
        let mut entries = Slab::new();
        let mut queue = Queue::new(10);
        assert!(queue.ends(&mut entries, 3).is_empty());
        for now in 0..7 {
            let id = u32::try_from(entries.insert(Link::new())).unwrap();
            queue.push(&mut entries, id, now);
        }
        assert_eq!(queue.ends(&mut entries, 2), [0, 1, 5, 6]);
        assert_eq!(queue.ends(&mut entries, 4), [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(queue.ends(&mut entries, 9), [0, 1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn entries_expire_in_the_order_they_entered() {
        let mut entries = Slab::new();
        let mut queue = Queue::new(10);
        for now in 0..4 {
            let id = u32::try_from(entries.insert(Link::new())).unwrap();
            queue.push(&mut entries, id, now);
        }
        queue.remove(&mut entries, 1);
        queue.remove(&mut entries, 0);
        queue.push(&mut entries, 0, 5);
        assert_eq!(queue.expired(&mut entries, 11), None);
        let mut order = Vec::new();
        while let Some(id) = queue.expired(&mut entries, 15) {
            queue.remove(&mut entries, id);
            order.push(id);
        }
        assert_eq!(order, [2, 3, 0]);
        assert_eq!(queue.deadline(&mut entries), None);
    }

    #[test]
    fn changed_limit_applies_to_existing_entries() {
        let mut entries = Slab::new();
        let mut queue = Queue::new(0);
        let id = u32::try_from(entries.insert(Link::new())).unwrap();
        queue.push(&mut entries, id, 3);
        queue.set_limit(10);
        assert_eq!(queue.deadline(&mut entries), Some(13));
        queue.set_limit(0);
        assert_eq!(queue.deadline(&mut entries), None);
    }

    #[test]
    fn without_a_limit_nothing_expires() {
        let mut entries = Slab::new();
        let mut queue = Queue::new(0);
        let id = u32::try_from(entries.insert(Link::new())).unwrap();
        queue.push(&mut entries, id, 0);
        assert_eq!(queue.expired(&mut entries, u64::MAX), None);
    }
}
