//! The connections of a shard, by their ids.

use std::ops::{Index, IndexMut};

use slab::Slab;

use crate::connection::Connection;

/// Connections by id. An id may outlive its connection: it is not given to another one before it
/// is [released](Self::release), because subscriptions that wait to be dropped still name it.
#[derive(Debug)]
pub(crate) struct Connections<P> {
    slots: Slab<Option<Connection<P>>>,
    len: usize,
}

impl<P> Connections<P> {
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

    pub(crate) fn insert(&mut self, connection: Connection<P>) -> usize {
        self.len += 1;
        self.slots.insert(Some(connection))
    }

    pub(crate) fn contains(&self, key: usize) -> bool {
        self.get(key).is_some()
    }

    pub(crate) fn get(&self, key: usize) -> Option<&Connection<P>> {
        self.slots.get(key)?.as_ref()
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, key: usize) -> Option<&mut Connection<P>> {
        self.slots.get_mut(key)?.as_mut()
    }

    /// Removes a connection. Its id stays taken until it is released.
    ///
    /// # Panics
    /// When there is no such connection.
    pub(crate) fn take(&mut self, key: usize) -> Connection<P> {
        self.len -= 1;
        self.slots[key].take().expect("a connection")
    }

    /// Gives the id of a connection that was taken to the next one.
    pub(crate) fn release(&mut self, key: usize) {
        let connection = self.slots.remove(key);
        debug_assert!(connection.is_none(), "it was taken before");
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, &Connection<P>)> {
        let slots = self.slots.iter();
        slots.filter_map(|(key, slot)| slot.as_ref().map(|connection| (key, connection)))
    }
}

impl<P> Index<usize> for Connections<P> {
    type Output = Connection<P>;

    fn index(&self, key: usize) -> &Connection<P> {
        self.get(key).expect("a connection")
    }
}

impl<P> IndexMut<usize> for Connections<P> {
    #[inline]
    fn index_mut(&mut self, key: usize) -> &mut Connection<P> {
        self.get_mut(key).expect("a connection")
    }
}
