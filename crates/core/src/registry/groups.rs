//! The subscriptions of a connection under one request id: a ring that runs through the registry.

use std::hash::BuildHasher;

use crate::Hasher;
use crate::connection::ConnectionId;
use crate::registry::{Registry, Subscription};

impl Registry {
    pub(super) fn find_group(&self, connection: ConnectionId, name: &str) -> Option<u32> {
        let hash = self.hasher.hash_one((connection, name.as_bytes()));
        let same = |&id: &u32| {
            let other = &self.subscriptions[id as usize];
            other.connection == connection && other.name() == name.as_bytes()
        };
        self.groups.find(hash, same).copied()
    }

    /// Adds a new subscription to the ring of its request id.
    pub(super) fn join_group(&mut self, id: u32) {
        let subscription = &self.subscriptions[id as usize];
        let hash = hash_group(&self.hasher, subscription);
        let (connection, all) = (subscription.connection, &self.subscriptions);
        let same = |&other: &u32| {
            let other = &all[other as usize];
            other.connection == connection && other.name() == subscription.name()
        };
        let (previous, next) = match self.groups.find(hash, same) {
            Some(&next) => (all[next as usize].group_previous, next),
            None => {
                let hasher = &self.hasher;
                self.groups
                    .insert_unique(hash, id, |&id| hash_group(hasher, &all[id as usize]));
                (id, id)
            }
        };
        let all = &mut self.subscriptions;
        all[previous as usize].group_next = id;
        all[next as usize].group_previous = id;
        all[id as usize].group_previous = previous;
        all[id as usize].group_next = next;
    }

    /// Removes a subscription from the ring of its request id.
    pub(super) fn leave_group(&mut self, id: u32) {
        let all = &mut self.subscriptions;
        let (previous, next) = {
            let subscription = &all[id as usize];
            (subscription.group_previous, subscription.group_next)
        };
        all[previous as usize].group_next = next;
        all[next as usize].group_previous = previous;
        let hash = hash_group(&self.hasher, &all[id as usize]);
        let same = |&other: &u32| other == id;
        if next == id {
            let (hasher, all) = (&self.hasher, &self.subscriptions);
            self.groups
                .remove(hash, same, |&id| hash_group(hasher, &all[id as usize]));
        } else if let Some(entry) = self.groups.find_mut(hash, same) {
            *entry = next;
        }
    }
}

fn hash_group(hasher: &Hasher, subscription: &Subscription) -> u64 {
    hasher.hash_one((subscription.connection, subscription.name()))
}
