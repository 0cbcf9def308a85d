//! The admitted sessions of a shard by user, sign-in, label and connection id.
//!
//! Sessions of one tenant with an equal [`Who`] are a *group*. A session without known identity
//! belongs to none and takes no more than its entry among the connection ids. Each name of a group
//! (user, sign-in, label) maps to the groups that have it.

use std::hash::BuildHasher;
use std::sync::Arc;

use ht_proto::entry::TenantId;
use uuid::Uuid;

use crate::Hasher;
use crate::select::ids::Ids;
use crate::table::Table;
use crate::who::{NameKind, Who};
use ht_pages::Pages;

/// A group's slot in its directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GroupId(u32);

impl GroupId {
    /// The group of sessions without known identity, which has no list.
    pub(crate) const NOBODY: Self = Self(u32::MAX);
}

/// Lookup from identity to sessions.
#[derive(Debug)]
pub(crate) struct Directory {
    hasher: Hasher,
    groups: Pages<Group>,
    /// The groups, by tenant and content.
    by_who: Table,
    names: Pages<Name>,
    /// The names, by tenant, kind and text.
    by_name: Table,
    /// Slots of sessions, by connection id.
    connections: Table,
}

#[derive(Debug)]
struct Group {
    who: Arc<Who>,
    tenant: TenantId,
    /// Slots of its sessions.
    members: Ids,
}

#[derive(Debug)]
struct Name {
    text: Arc<str>,
    tenant: TenantId,
    kind: NameKind,
    groups: Ids,
}

impl Directory {
    /// An empty one, which takes no memory.
    pub(crate) fn new(hasher: Hasher) -> Self {
        Self {
            hasher,
            groups: Pages::new(),
            by_who: Table::new(),
            names: Pages::new(),
            by_name: Table::new(),
            connections: Table::new(),
        }
    }

    /// Adds the session in a slot. `id_of` is the connection id of any slot in the directory, this
    /// one included. Returns the session's group.
    pub(crate) fn enter(
        &mut self,
        slot: u32,
        tenant: TenantId,
        who: Option<Arc<Who>>,
        id_of: impl Fn(u32) -> Uuid,
    ) -> GroupId {
        let hasher = &self.hasher;
        let hash = hasher.hash_one(id_of(slot));
        self.connections
            .insert_unique(hash, slot, |&slot| hasher.hash_one(id_of(slot)));
        let Some(who) = who else {
            return GroupId::NOBODY;
        };
        let hash = hasher.hash_one((tenant, &who));
        let same = |&id: &u32| {
            let group = &self.groups[id as usize];
            group.tenant == tenant && (Arc::ptr_eq(&group.who, &who) || group.who == who)
        };
        if let Some(&known) = self.by_who.find(hash, same) {
            self.groups[known as usize].members.insert(slot);
            return GroupId(known);
        }
        let id = number(self.groups.insert(Group {
            who: Arc::clone(&who),
            tenant,
            members: Ids::One(slot),
        }));
        let (hasher, groups) = (&self.hasher, &self.groups);
        self.by_who
            .insert_unique(hash, id, |&id| groups[id as usize].hash(hasher));
        for (kind, text) in who.names() {
            self.add_name(id, tenant, kind, text);
        }
        GroupId(id)
    }

    /// Removes the session in a slot, which is in this group.
    pub(crate) fn leave(&mut self, slot: u32, group: GroupId, id_of: impl Fn(u32) -> Uuid) {
        let hasher = &self.hasher;
        let hash = hasher.hash_one(id_of(slot));
        self.connections.remove(
            hash,
            |&other| other == slot,
            |&slot| hasher.hash_one(id_of(slot)),
        );
        let GroupId(id) = group;
        let Some(known) = self.groups.get_mut(id as usize) else {
            return;
        };
        if !known.members.is_only(slot) {
            return known.members.remove(slot);
        }
        let hash = known.hash(hasher);
        let groups = &self.groups;
        self.by_who.remove(
            hash,
            |&other| other == id,
            |&id| groups[id as usize].hash(hasher),
        );
        let gone = self.groups.remove(id as usize);
        for (kind, text) in gone.who.names() {
            self.drop_name(id, gone.tenant, kind, text);
        }
    }

    /// The identity of the sessions of a group.
    pub(crate) fn who(&self, group: GroupId) -> Option<&Arc<Who>> {
        let group = self.groups.get(group.0 as usize)?;
        Some(&group.who)
    }

    /// The slot of the session with this connection id.
    pub(super) fn connection(&self, id: Uuid, id_of: impl Fn(u32) -> Uuid) -> Option<u32> {
        let hash = self.hasher.hash_one(id);
        self.connections
            .find(hash, |&slot| id_of(slot) == id)
            .copied()
    }

    /// Calls `found` with the slot of each session of the tenant that has this name.
    pub(super) fn for_each(
        &self,
        tenant: TenantId,
        kind: NameKind,
        text: &str,
        mut found: impl FnMut(u32),
    ) {
        if let Some(name) = self.find_name(tenant, kind, text) {
            let groups = &self.names[name as usize].groups;
            groups.for_each(|group| self.groups[group as usize].members.for_each(&mut found));
        }
    }

    fn find_name(&self, tenant: TenantId, kind: NameKind, text: &str) -> Option<u32> {
        let hash = self.hasher.hash_one((tenant, kind, text));
        let same = |&id: &u32| {
            let name = &self.names[id as usize];
            name.tenant == tenant && name.kind == kind && *name.text == *text
        };
        self.by_name.find(hash, same).copied()
    }

    fn add_name(&mut self, group: u32, tenant: TenantId, kind: NameKind, text: &Arc<str>) {
        if let Some(known) = self.find_name(tenant, kind, text) {
            return self.names[known as usize].groups.insert(group);
        }
        let name = Name {
            text: Arc::clone(text),
            tenant,
            kind,
            groups: Ids::One(group),
        };
        let hash = name.hash(&self.hasher);
        let id = number(self.names.insert(name));
        let (hasher, names) = (&self.hasher, &self.names);
        self.by_name
            .insert_unique(hash, id, |&id| names[id as usize].hash(hasher));
    }

    fn drop_name(&mut self, group: u32, tenant: TenantId, kind: NameKind, text: &str) {
        let Some(id) = self.find_name(tenant, kind, text) else {
            debug_assert!(false, "a group has its names");
            return;
        };
        let name = &mut self.names[id as usize];
        if !name.groups.is_only(group) {
            return name.groups.remove(group);
        }
        let (hasher, names) = (&self.hasher, &self.names);
        self.by_name.remove(
            names[id as usize].hash(hasher),
            |&other| other == id,
            |&id| names[id as usize].hash(hasher),
        );
        self.names.remove(id as usize);
    }

    /// Entries that all tables have memory for, and entries that are there.
    #[cfg(test)]
    pub(super) fn slots(&self) -> (usize, usize) {
        let tables = self.by_who.capacity() + self.by_name.capacity();
        let tables = tables + self.connections.capacity();
        let entries = self.groups.capacity() + self.names.capacity();
        (tables + entries, self.groups.len() + self.names.len())
    }
}

impl Group {
    fn hash(&self, hasher: &Hasher) -> u64 {
        hasher.hash_one((self.tenant, &self.who))
    }
}

impl Name {
    fn hash(&self, hasher: &Hasher) -> u64 {
        hasher.hash_one((self.tenant, self.kind, &*self.text))
    }
}

/// A table's index as it is kept: the limits on connections and labels keep it far below.
fn number(index: usize) -> u32 {
    u32::try_from(index).expect("fewer than 2^32 groups and names")
}
