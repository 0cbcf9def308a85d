//! Grant sets: which rooms a user may enter.

use std::collections::hash_map::DefaultHasher;
use std::hash::Hasher as _;
use std::hash::{BuildHasher, Hash};

use ht_proto::room::Room;

use crate::Hasher;
use crate::index::RoomIndex;

/// Up to so many grants are compared one by one: less memory than an index, and as fast.
const FEW: usize = 8;

/// The grants of one or many users.
#[derive(Debug)]
pub struct GrantSet(Grants);

#[derive(Debug)]
enum Grants {
    Few(Box<[Room]>),
    Many(Box<RoomIndex<Hasher>>),
}

impl GrantSet {
    /// A set of the grants.
    #[must_use]
    pub fn new(mut grants: Vec<Room>, hasher: Hasher) -> Self {
        if grants.len() <= FEW {
            grants.shrink_to_fit();
            return Self(Grants::Few(grants.into()));
        }
        let mut index = RoomIndex::for_permits(hasher);
        for grant in grants {
            index.insert(grant);
        }
        Self(Grants::Many(Box::new(index)))
    }

    /// Whether `room` may be entered: a grant has the same keys, and at each of them an equal
    /// value or `*`.
    #[must_use]
    pub fn permits(&self, room: &Room) -> bool {
        match &self.0 {
            Grants::Few(grants) => grants.iter().any(|grant| permits(grant, room)),
            Grants::Many(index) => index.permits(room),
        }
    }

    /// Whether `room` is one of the grants, as it stands.
    #[must_use]
    pub fn contains(&self, room: &Room) -> bool {
        match &self.0 {
            Grants::Few(grants) => grants.contains(room),
            Grants::Many(index) => index.find(room).is_some(),
        }
    }

    /// The grants, those with the same keys as `room` first.
    pub fn nearest_first<'a>(&'a self, room: &'a Room) -> Box<dyn Iterator<Item = &'a Room> + 'a> {
        match &self.0 {
            Grants::Few(grants) => {
                let same = |grant: &&Room| grant.shape() == room.shape();
                let others = grants.iter().filter(move |grant| !same(grant));
                Box::new(grants.iter().filter(same).chain(others))
            }
            Grants::Many(index) => Box::new(index.nearest_first(room)),
        }
    }

    /// Whether this is the set of exactly these grants, in whatever order; they must be free of
    /// repetitions.
    #[must_use]
    pub fn is_of(&self, grants: &[Room]) -> bool {
        match &self.0 {
            Grants::Few(own) => {
                own.len() == grants.len() && grants.iter().all(|grant| own.contains(grant))
            }
            Grants::Many(index) => {
                index.len() == grants.len()
                    && grants.iter().all(|grant| index.find(grant).is_some())
            }
        }
    }
}

/// A number that is equal for equal sets of grants, whatever their order.
#[must_use]
pub fn fingerprint(grants: &[Room], hasher: &Hasher) -> u64 {
    let sum = grants
        .iter()
        .fold(0u64, |sum, grant| sum.wrapping_add(hasher.hash_one(grant)));
    let mut state = DefaultHasher::new();
    (sum, grants.len()).hash(&mut state);
    state.finish()
}

fn permits(grant: &Room, room: &Room) -> bool {
    grant.shape() == room.shape()
        && (0..room.len())
            .all(|p| grant.wildcards() & (1 << p) != 0 || grant.value(p) == room.value(p))
}

#[cfg(test)]
mod tests;
