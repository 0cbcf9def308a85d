//! Entries on their way into the order.

use ht_core::publication::Publication;
use ht_core::window::Key;
use ht_proto::cursor::Check;
use ht_proto::entry::{Body, Entry, Position, TenantId};
use ht_proto::room::Room;
use ht_proto::tenant::Scoped;
use ht_proto::trigger::Trigger;
use smallvec::SmallVec;

use super::NodeSequencer;
use crate::commands::Prepared;

/// The keys of the rooms of a publication: mostly one.
pub(super) type Keys = SmallVec<[Key; 1]>;

/// An entry that waits to be ordered.
pub(super) struct Placing {
    pub(super) given: Option<Position>,
    pub(super) id: Option<Scoped<Box<str>>>,
    pub(super) check: Check,
    pub(super) what: What,
}

/// Its action.
pub(super) enum What {
    Publication(Publication, Keys),
    Command(Prepared),
    /// It only takes a position: a command that only counts, which another node received.
    Nothing,
}

impl NodeSequencer {
    pub(super) fn placing(&self, entry: Entry) -> Placing {
        let tenant = entry.tenant;
        let (id, what) = match entry.body {
            Body::Publication(trigger) => {
                let Trigger {
                    rooms, data, id, ..
                } = trigger;
                let keys = rooms.iter().map(|room| self.interest.key(tenant, room));
                let keys = keys.collect();
                let publication = Publication::new(0, tenant, rooms, data);
                (id, What::Publication(publication, keys))
            }
            Body::Command(mut command) => {
                let id = command.id.take();
                let prepared = Prepared::new(command, tenant, &self.interner);
                (id, prepared.map_or(What::Nothing, What::Command))
            }
        };
        Placing {
            given: entry.position,
            id: id.map(|id| tenant.scope(id)),
            check: entry.check,
            what,
        }
    }
}

/// The rooms that an entry may concern.
pub(super) fn rooms(entry: &Entry) -> &[Room] {
    match &entry.body {
        Body::Publication(trigger) => &trigger.rooms,
        Body::Command(_) => &[],
    }
}

pub(super) fn is_command(entry: &Entry) -> bool {
    matches!(entry.body, Body::Command(_))
}

/// Publications that are handed on together.
#[derive(Default)]
pub(super) struct Group {
    pub(super) publications: Vec<Publication>,
    /// The keys of their rooms.
    pub(super) keys: Vec<Key>,
}

impl Group {
    /// Whether it may have a publication of this tenant: all are of one.
    pub(super) fn is_of(&self, tenant: TenantId) -> bool {
        let first = self.publications.first();
        first.is_none_or(|first| first.tenant == tenant)
    }

    pub(super) fn add(&mut self, publication: Publication, keys: Keys) {
        self.publications.push(publication);
        self.keys.extend(keys);
    }
}
