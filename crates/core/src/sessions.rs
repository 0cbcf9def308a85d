//! The connections of a shard, by their slots.

use std::ops::{Index, IndexMut};

use slab::Slab;

use crate::connection::{ConnectionId, SessionKey};
use crate::session::Session;
use crate::timer::{Link, Links};

/// Connections by slot. A slot may outlive its connection: it is not reused before it is
/// [released](Self::release), because subscriptions queued to be dropped still name it.
#[derive(Debug)]
pub(crate) struct Sessions<P> {
    slots: Slab<Option<Session<P>>>,
    /// By slot, how often it was released; nothing for those that never were.
    generations: Vec<u32>,
    len: usize,
}

impl<P> Sessions<P> {
    pub(crate) const fn new() -> Self {
        Self {
            slots: Slab::new(),
            generations: Vec::new(),
            len: 0,
        }
    }

    /// How many connections there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// How many slots were ever in use together, or more.
    pub(crate) fn capacity(&self) -> usize {
        self.slots.capacity()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The key that the next session gets.
    pub(crate) fn next_key(&self) -> SessionKey {
        let slot = u32::try_from(self.slots.vacant_key()).expect("fewer than 2^32 sockets");
        self.key(slot)
    }

    /// The key of the session in a slot, or of the next one there.
    #[inline]
    pub(crate) fn key(&self, slot: u32) -> SessionKey {
        let generation = self.generations.get(slot as usize).copied();
        SessionKey {
            slot,
            generation: generation.unwrap_or(0),
        }
    }

    /// The slot of the session with this key, while it exists.
    #[inline]
    pub(crate) fn find(&self, key: SessionKey) -> Option<ConnectionId> {
        let is_there = self.key(key.slot) == key && self.contains(key.slot as usize);
        is_there.then_some(ConnectionId(key.slot))
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

    /// Removes a connection. Its slot stays taken until it is released.
    ///
    /// # Panics
    /// When there is no such connection.
    pub(crate) fn take(&mut self, key: usize) -> Session<P> {
        self.len -= 1;
        self.slots[key].take().expect("a session")
    }

    /// Frees the slot of a removed connection for reuse.
    pub(crate) fn release(&mut self, key: usize) {
        let session = self.slots.remove(key);
        debug_assert!(session.is_none(), "it was taken before");
        let len = self.generations.len().max(key + 1);
        self.generations.resize(len, 0);
        self.generations[key] = self.generations[key].wrapping_add(1);
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
