//! The connections of a shard, by their ids.

use std::ops::{Index, IndexMut};

use slab::Slab;

use crate::session::Session;
use crate::timer::{Link, Links};

/// Connections by id. An id may outlive its connection: it is not given to another one before it
/// is [released](Self::release), because subscriptions that wait to be dropped still name it.
#[derive(Debug)]
pub(crate) struct Sessions<P> {
    slots: Slab<Option<Session<P>>>,
    len: usize,
}

impl<P> Sessions<P> {
    pub(crate) const fn new() -> Self {
        Self {
            slots: Slab::new(),
            len: 0,
        }
    }

    /// How many connections there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// How many ids were ever in use together, or more.
    pub(crate) fn capacity(&self) -> usize {
        self.slots.capacity()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The id that the next connection gets.
    pub(crate) fn vacant_key(&self) -> usize {
        self.slots.vacant_key()
    }

    pub(crate) fn insert(&mut self, session: Session<P>) -> usize {
        self.len += 1;
        self.slots.insert(Some(session))
    }

    pub(crate) fn contains(&self, key: usize) -> bool {
        self.get(key).is_some()
    }

    pub(crate) fn get(&self, key: usize) -> Option<&Session<P>> {
        self.slots.get(key)?.as_ref()
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, key: usize) -> Option<&mut Session<P>> {
        self.slots.get_mut(key)?.as_mut()
    }

    /// Removes a connection. Its id stays taken until it is released.
    ///
    /// # Panics
    /// When there is no such connection.
    pub(crate) fn take(&mut self, key: usize) -> Session<P> {
        self.len -= 1;
        self.slots[key].take().expect("a session")
    }

    /// Gives the id of a connection that was taken to the next one.
    pub(crate) fn release(&mut self, key: usize) {
        let session = self.slots.remove(key);
        debug_assert!(session.is_none(), "it was taken before");
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, &Session<P>)> {
        let slots = self.slots.iter();
        slots.filter_map(|(key, slot)| slot.as_ref().map(|session| (key, session)))
    }
}

impl<P> Index<usize> for Sessions<P> {
    type Output = Session<P>;

    fn index(&self, key: usize) -> &Session<P> {
        self.get(key).expect("a session")
    }
}

impl<P> IndexMut<usize> for Sessions<P> {
    #[inline]
    fn index_mut(&mut self, key: usize) -> &mut Session<P> {
        self.get_mut(key).expect("a session")
    }
}

impl<P> Links for Sessions<P> {
    fn link(&mut self, id: u32) -> &mut Link {
        &mut self[id as usize].link
    }
}

/// The connections that have an outbox.
pub(crate) struct Waiting<'a, P>(pub(crate) &'a mut Sessions<P>);

impl<P> Links for Waiting<'_, P> {
    fn link(&mut self, id: u32) -> &mut Link {
        let outbox = self.0[id as usize].outbox.as_mut();
        &mut outbox
            .expect("it leaves this list before its outbox goes")
            .link
    }
}
