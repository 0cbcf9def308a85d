//! Grant sets: the rooms a user may subscribe to.

use std::any::Any;
use std::collections::hash_map::DefaultHasher;
use std::hash::Hasher as _;
use std::hash::{BuildHasher, Hash};

use ht_proto::entry::TenantId;
use ht_proto::room::Room;

use crate::Hasher;
use crate::index::RoomIndex;

/// Up to so many grants are compared one by one: less memory than an index, and as fast.
const FEW: usize = 8;

/// Bytes of a grant beside its room: its places in the index.
const GRANT_BYTES: usize = 128;

/// The grants of one or many users of a tenant. They concern rooms of that tenant alone.
#[derive(Debug)]
pub struct GrantSet {
    tenant: TenantId,
    grants: Grants,
    /// What accounts for its memory; dropped with it.
    _holding: Option<Box<dyn Any + Send + Sync>>,
}

#[derive(Debug)]
enum Grants {
    Few(Box<[Room]>),
    Many(Box<RoomIndex<Hasher>>),
}

impl GrantSet {
    /// A set of the grants.
    #[must_use]
    pub fn new(tenant: TenantId, mut grants: Vec<Room>, hasher: Hasher) -> Self {
        let grants = if grants.len() <= FEW {
            grants.shrink_to_fit();
            Grants::Few(grants.into())
        } else {
            let mut index = RoomIndex::for_permits(hasher);
            for grant in grants {
                index.insert(tenant, grant);
            }
            Grants::Many(Box::new(index))
        };
        Self {
            tenant,
            grants,
            _holding: None,
        }
    }

    /// The same, with what accounts for its memory.
    #[must_use]
    pub fn held(self, holding: Box<dyn Any + Send + Sync>) -> Self {
        Self {
            _holding: Some(holding),
            ..self
        }
    }

    /// How many bytes a set of these grants takes in memory, about.
    #[must_use]
    pub fn bytes_of(grants: &[Room]) -> usize {
        let each = grants.iter().map(|grant| grant.memory() + GRANT_BYTES);
        size_of::<Self>() + each.sum::<usize>()
    }

    /// The tenant whose rooms they concern.
    #[must_use]
    pub fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// Whether `room` is permitted: a grant has the same keys, and at each of them an equal value
    /// or `*`.
    #[must_use]
    pub fn permits(&self, room: &Room) -> bool {
        match &self.grants {
            Grants::Few(grants) => grants.iter().any(|grant| permits(grant, room)),
            Grants::Many(index) => index.permits(self.tenant, room),
        }
    }

    /// Whether the grants permit a room that meets `room`, which may have `*` for any value.
    #[must_use]
    pub fn meets(&self, room: &Room) -> bool {
        match &self.grants {
            Grants::Few(grants) => grants.iter().any(|grant| meets(grant, room)),
            Grants::Many(index) => index.meets_any(self.tenant, room),
        }
    }

    /// How many grants there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.grants {
            Grants::Few(grants) => grants.len(),
            Grants::Many(index) => index.len(),
        }
    }

    /// Whether there are no grants.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether `room` is one of the grants, compared exactly.
    #[must_use]
    pub fn contains(&self, room: &Room) -> bool {
        match &self.grants {
            Grants::Few(grants) => grants.contains(room),
            Grants::Many(index) => index.find(self.tenant, room).is_some(),
        }
    }

    /// The grants.
    pub fn iter(&self) -> Box<dyn Iterator<Item = &Room> + '_> {
        match &self.grants {
            Grants::Few(grants) => Box::new(grants.iter()),
            Grants::Many(index) => Box::new(index.rooms()),
        }
    }

    /// The grants, those with the same keys as `room` first.
    pub fn nearest_first<'a>(&'a self, room: &'a Room) -> Box<dyn Iterator<Item = &'a Room> + 'a> {
        match &self.grants {
            Grants::Few(grants) => {
                let same = |grant: &&Room| grant.shape() == room.shape();
                let others = grants.iter().filter(move |grant| !same(grant));
                Box::new(grants.iter().filter(same).chain(others))
            }
            Grants::Many(index) => Box::new(index.nearest_first(self.tenant, room)),
        }
    }

    /// Whether this is the set of exactly these grants of the tenant, in whatever order; they must be
    /// free of repetitions.
    #[must_use]
    pub fn is_of(&self, tenant: TenantId, grants: &[Room]) -> bool {
        if self.tenant != tenant {
            return false;
        }
        match &self.grants {
            Grants::Few(own) => {
                own.len() == grants.len() && grants.iter().all(|grant| own.contains(grant))
            }
            Grants::Many(index) => {
                index.len() == grants.len()
                    && grants
                        .iter()
                        .all(|grant| index.find(tenant, grant).is_some())
            }
        }
    }
}

/// A number that is equal for equal sets of grants of one tenant, whatever their order.
#[must_use]
pub fn fingerprint(tenant: TenantId, grants: &[Room], hasher: &Hasher) -> u64 {
    let sum = grants
        .iter()
        .fold(0u64, |sum, grant| sum.wrapping_add(hasher.hash_one(grant)));
    let mut state = DefaultHasher::new();
    (tenant, sum, grants.len()).hash(&mut state);
    state.finish()
}

fn permits(grant: &Room, room: &Room) -> bool {
    is_alike(grant, room, grant.wildcards())
}

fn meets(grant: &Room, room: &Room) -> bool {
    is_alike(grant, room, grant.wildcards() | room.wildcards())
}

/// Whether two rooms have the same keys, and equal values where `free` has no bit. Evaluated for
/// each subscribe: a call would cost as much.
#[inline(always)]
fn is_alike(a: &Room, b: &Room, free: u64) -> bool {
    a.shape() == b.shape() && (0..b.len()).all(|p| free & (1 << p) != 0 || a.value(p) == b.value(p))
}

#[cfg(test)]
mod tests;
