//! The judge of what sessions are permitted that the API is asked about because of a gap: a command
//! may be lost, so no command says from where their permissions are others. But nothing that is placed
//! after the question arrives before the answer, or against it.

use crate::oracle::change::{Applied, Change, Held, Reply};
use crate::oracle::session::Session;
use crate::oracle::{Life, Oracle};
use crate::rooms::{GRANTS, is_permitted};

impl Life {
    /// The place and the position of the last entry that was placed.
    fn last_placed(&self) -> (usize, u64) {
        let position = self.positions.last_key_value().map_or(0, |last| *last.0);
        (self.placed.len().saturating_sub(1), position)
    }
}

impl Session {
    /// What forbids to send it a publication with this place.
    pub(super) fn forbids(&self, place: usize, room: usize) -> Option<&'static str> {
        if self.rights_from.is_none_or(|from| place < from) {
            return None;
        }
        if self.held.is_some_and(|held| held.place < place) {
            return Some("placed after a command or a gap, and the API has not answered since");
        }
        let may = is_permitted(GRANTS[self.grants_at(place)], room);
        (!may).then_some("without a grant")
    }

    /// The same where it came in later, or may have: with one of the permissions that it had.
    pub(super) fn forbids_again(&self, room: usize) -> Option<&'static str> {
        self.rights_from?;
        let mut grants = (0..=self.applied.len()).map(|changes| self.grants_after(changes));
        let may = grants.any(|grants| is_permitted(GRANTS[grants], room));
        (!may).then_some("again, without a grant")
    }

    /// It is not welcome yet, and has this answer instead of the one with which it came in.
    pub(super) fn has_instead(&mut self, reply: Reply, life: &Life, now: u64) {
        self.is_unjudged = true;
        let from = self.rights_from.map(|from| from.max(life.placed.len()));
        self.rights_from = from;
        if let Reply::Grants(grants) = reply {
            let (place, position) = life.last_placed();
            self.change(Applied {
                place,
                position,
                at: now,
                change: Change::Grants(grants),
            });
        }
    }
}

impl Oracle {
    /// The API is asked about a session because commands for it may be lost.
    pub(crate) fn asks_for_gap(&mut self, session: usize, not_before: u64, now: u64) {
        let Some(known) = self.sessions.get_mut(&session) else {
            return;
        };
        let life = &self.lives[known.life];
        let (place, position) = life.last_placed();
        known.is_unjudged = true;
        let from = known.rights_from.map(|from| from.max(life.placed.len()));
        known.rights_from = from;
        let held = known.held.get_or_insert(Held {
            place,
            position,
            at: now,
            not_before,
            is_gap: true,
        });
        held.not_before = held.not_before.max(not_before);
    }

    /// No answer about a session is needed any more: a command has its permissions, or it is over.
    pub(crate) fn asks_no_more(&mut self, session: usize) {
        if let Some(known) = self.sessions.get_mut(&session)
            && known.held.is_some_and(|held| held.is_gap)
        {
            known.held = None;
        }
    }
}
