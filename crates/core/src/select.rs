//! Selecting sessions: by user, sign-in, label, connection id, or by the rooms they are permitted.

mod directory;
mod ids;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use ht_proto::entry::TenantId;
use ht_proto::room::Room;
use uuid::Uuid;

pub(crate) use self::directory::{Directory, GroupId};
use crate::Hasher;
use crate::budget::cost;
use crate::grant::GrantSet;
use crate::who::{NameKind, Who};

/// Admitted sessions of one tenant. A session is selected if every given member matches it, and any
/// of the texts of a member; where no member is given, none is selected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// The tenant of the sessions.
    pub tenant: TenantId,
    /// Ids of users, as text.
    pub users: Vec<Box<str>>,
    /// Names of sign-ins.
    pub sessions: Vec<Box<str>>,
    /// Ids of connections.
    pub connections: Vec<Uuid>,
    /// Labels.
    pub labels: Vec<Box<str>>,
    /// Rooms, also with `*`: selects sessions whose grants permit a room that meets one of them.
    pub rooms: Vec<Room>,
    /// Every session.
    pub everyone: bool,
}

/// A session's properties that a selection tests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate<'a> {
    pub(crate) id: Uuid,
    pub(crate) who: Option<&'a Who>,
    pub(crate) grants: &'a Arc<GrantSet>,
}

/// Where to search for the selected sessions.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Candidates {
    /// In these slots, in ascending order.
    Listed(Vec<u32>),
    /// In all.
    All,
}

/// Cached results for grant sets: each is tested once for the rooms of a selection, however many
/// sessions have it. Valid while neither a set nor a selection can end, so for one slice of a
/// search.
#[derive(Debug, Default)]
pub(crate) struct Tested {
    sets: HashMap<(*const GrantSet, *const Room), bool, Hasher>,
    /// Grants that were compared.
    pub(crate) compared: usize,
}

impl Selection {
    /// Whether no member is given, so that no session is selected.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let texts = [&self.users, &self.sessions, &self.labels];
        texts.iter().all(|texts| texts.is_empty())
            && self.connections.is_empty()
            && self.rooms.is_empty()
            && !self.everyone
    }

    /// Where to search: in the lists of the member that names the fewest. `id_of` is the connection
    /// id of a slot.
    pub(crate) fn candidates(
        &self,
        directory: &Directory,
        id_of: impl Fn(u32) -> Uuid,
    ) -> Candidates {
        let mut slots = Vec::new();
        let members = [
            (NameKind::User, &self.users),
            (NameKind::Session, &self.sessions),
            (NameKind::Label, &self.labels),
        ];
        if !self.connections.is_empty() {
            let ids = self.connections.iter();
            slots.extend(ids.filter_map(|&id| directory.connection(id, &id_of)));
        } else if let Some((kind, texts)) = members.iter().find(|(_, texts)| !texts.is_empty()) {
            for text in *texts {
                directory.for_each(self.tenant, *kind, text, |slot| slots.push(slot));
            }
        } else if !self.is_empty() {
            return Candidates::All;
        }
        slots.sort_unstable();
        slots.dedup();
        Candidates::Listed(slots)
    }

    /// Whether a session is selected.
    pub(crate) fn means(&self, candidate: Candidate<'_>, tested: &mut Tested) -> bool {
        let Candidate { id, who, grants } = candidate;
        let is_one = |texts: &[Box<str>], text: Option<&str>| {
            texts.is_empty() || text.is_some_and(|text| texts.iter().any(|one| **one == *text))
        };
        let has_label = |who: &Who| self.labels.iter().any(|label| who.has_label(label));
        !self.is_empty()
            && grants.tenant() == self.tenant
            && (self.connections.is_empty() || self.connections.contains(&id))
            && is_one(&self.users, who.and_then(Who::user))
            && is_one(&self.sessions, who.and_then(Who::session))
            && (self.labels.is_empty() || who.is_some_and(has_label))
            && (self.rooms.is_empty() || tested.permits_any(grants, &self.rooms))
    }

    /// Units that it costs to test one session, its grants aside.
    pub(crate) fn units(&self) -> u64 {
        let texts = self.users.len() + self.sessions.len() + self.labels.len();
        cost::LOOK + (texts + self.connections.len()) as u64 * cost::COMPARE_TEXT
    }
}

impl Tested {
    fn permits_any(&mut self, grants: &Arc<GrantSet>, rooms: &[Room]) -> bool {
        let Self { sets, compared } = self;
        let key = (Arc::as_ptr(grants), rooms.as_ptr());
        *sets.entry(key).or_insert_with(|| {
            *compared += grants.len() * rooms.len();
            rooms.iter().any(|room| grants.meets(room))
        })
    }
}
