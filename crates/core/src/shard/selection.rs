//! Finding the sessions of a selection, in slices, and dropping forbidden subscriptions of a
//! session.

use ht_proto::room::Room;
use uuid::Uuid;

use crate::budget::cost;
use crate::connection::SessionKey;
use crate::peer::Peer;
use crate::select::{Candidate, Candidates, Selection, Tested};
use crate::session::Stage;
use crate::sessions::Sessions;
use crate::shard::Shard;
use crate::who::Who;
use crate::world::{Turn, World};

/// A search for the sessions of a selection. It finds each one that is admitted from its beginning
/// to its end; of those that open or end meanwhile it may find some.
#[derive(Debug)]
pub struct Search {
    selection: Selection,
    place: Place,
    /// How many of the candidates were examined.
    looked: usize,
}

#[derive(Debug)]
enum Place {
    /// Among these.
    Listed(Vec<SessionKey>),
    /// In every slot.
    Slots,
}

impl<P: Peer> Shard<P> {
    /// Begins a search.
    pub fn search(&mut self, selection: Selection) -> Search {
        let sessions = &self.sessions;
        let candidates = selection.candidates(&self.directory, |slot| id_of(sessions, slot));
        let place = match candidates {
            Candidates::All => Place::Slots,
            Candidates::Listed(slots) => {
                self.budget.spend(slots.len() as u64 * cost::LOOK);
                let keys = slots.into_iter().map(|slot| self.sessions.key(slot));
                Place::Listed(keys.collect())
            }
        };
        Search {
            selection,
            place,
            looked: 0,
        }
    }

    /// Appends sessions that a search finds to `found`, until it is finished or the budget is
    /// spent, but examines one at least. Returns whether it is finished.
    pub fn continue_search(&mut self, search: &mut Search, found: &mut Vec<SessionKey>) -> bool {
        let Search {
            selection,
            place,
            looked,
        } = search;
        let (units, mut tested) = (selection.units(), Tested::default());
        loop {
            let key = match place {
                Place::Listed(keys) => keys.get(*looked).copied(),
                Place::Slots if *looked < self.sessions.capacity() => {
                    let slot = u32::try_from(*looked).expect("keys were given as u32");
                    Some(self.sessions.key(slot))
                }
                Place::Slots => None,
            };
            let Some(key) = key else {
                return true;
            };
            *looked += 1;
            let before = tested.compared;
            if self.is_meant(key, selection, &mut tested) {
                found.push(key);
            }
            let compared = (tested.compared - before) as u64;
            self.budget.spend(units + compared * cost::LOOK);
            if self.budget.is_spent() {
                return false;
            }
        }
    }

    pub(super) fn is_meant(
        &self,
        key: SessionKey,
        selection: &Selection,
        tested: &mut Tested,
    ) -> bool {
        let session = self.sessions.find(key);
        let session = session.and_then(|id| self.sessions.get(id.index()));
        let Some(session) = session else {
            return false;
        };
        let Stage::Open { grants, group } = &session.stage else {
            return false;
        };
        let candidate = Candidate {
            id: session.id,
            who: self.directory.who(*group).map(|who| &**who),
            grants,
        };
        selection.means(candidate, tested)
    }

    /// The identity of a session; none where it is not admitted or has none.
    #[must_use]
    pub fn who(&self, key: SessionKey) -> Option<&Who> {
        let id = self.sessions.find(key)?;
        match self.sessions[id.index()].stage {
            Stage::Open { group, .. } => self.directory.who(group).map(|who| &**who),
            Stage::Authenticating(_) | Stage::Refused(_) | Stage::Closing { .. } => None,
        }
    }

    /// Drops those subscriptions of a session for which `keep` returns false, given their room and
    /// the JSON text of their request id. Earlier publications to them are delivered first.
    pub fn retain(
        &mut self,
        key: SessionKey,
        keep: impl FnMut(&Room, &str) -> bool,
        turn: &mut Turn<'_, impl World<P>>,
    ) {
        let Some(id) = self.sessions.find(key) else {
            return;
        };
        self.lanes.enter(self.tenant_of(id));
        self.gather_queued(turn.now);
        self.flush_connection(id, turn);
        let Some(session) = self.sessions.get_mut(id.index()) else {
            return;
        };
        let before = self.registry.subscriptions();
        let close = |tenant, room: &_| turn.world.room_closed(tenant, room);
        let looked = self.registry.retain(&mut session.own, keep, close);
        let dropped = before - self.registry.subscriptions();
        self.budget
            .spend(looked as u64 * cost::LOOK + dropped as u64 * cost::DROP);
        self.count_registry();
        self.settle(key, false, turn);
    }
}

/// The connection id of the session in a slot.
pub(super) fn id_of<P>(sessions: &Sessions<P>, slot: u32) -> Uuid {
    sessions[slot as usize].id
}
