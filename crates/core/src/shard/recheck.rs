//! The API's new answers about sessions: each has its turn among the publications.

use std::sync::Arc;

use ht_proto::close::Close;
use ht_proto::subprotocol::Subprotocol;

use crate::connection::{ConnectionId, SessionKey};
use crate::peer::Peer;
use crate::recheck::{RecheckOutcome, Rechecked, Rights};
use crate::session::Stage;
use crate::shard::entering::TOO_OLD;
use crate::shard::hold::Progress;
use crate::shard::queue::Item;
use crate::shard::rights::Change;
use crate::shard::{Admission, Shard};
use crate::world::{Turn, World};

/// Answers to calls that were sent too early before a client that is sent nothing meanwhile is
/// refused.
const STALE: u32 = 3;

impl<P: Peer> Shard<P> {
    /// Queues the API's new answer about sessions behind all earlier publications.
    pub fn rechecked(&mut self, rechecked: Arc<Rechecked>) {
        self.fan_out.push(Item::Rechecked(rechecked));
    }

    /// Applies the API's answer to a session that awaits it, or continues with that. Returns
    /// whether it is done.
    pub(super) fn take_answer(
        &mut self,
        key: SessionKey,
        rechecked: &Rechecked,
        halfway: bool,
        turn: &mut Turn<'_, impl World<P>>,
    ) -> bool {
        let Some(id) = self.sessions.find(key).filter(|id| self.is_open(*id)) else {
            return true;
        };
        let is_newcomer = self.holds.is_newcomer(key);
        let Some(hold) = self.holds.get_mut(key) else {
            return true;
        };
        let Progress::Awaits(not_before) = hold.progress else {
            return true;
        };
        if rechecked.asked_at < not_before {
            // The call that will be sent for it has an answer of its own.
            hold.stale += 1;
            if is_newcomer && hold.stale >= STALE {
                self.turn_down_newcomer(id, &Admission::Refused(TOO_OLD), turn);
            }
            return true;
        }
        match &rechecked.outcome {
            RecheckOutcome::Permitted(rights) if self.is_owner(id, rights) => {
                return self.take_rights(key, &rights.into(), halfway, turn);
            }
            RecheckOutcome::Permitted(_) => self.end_held(id, Close::PERMISSIONS, turn),
            RecheckOutcome::Refused if is_newcomer => {
                let close = match self.sessions[id.index()].transport.subprotocol() {
                    Some(Subprotocol::V1) => Close::REFUSED,
                    None => Close::NORMAL,
                };
                self.end_held(id, close, turn);
            }
            RecheckOutcome::Refused => self.end_held(id, Close::PERMISSIONS, turn),
            RecheckOutcome::Unreachable { within } => {
                self.end_held(id, Close::BACKEND.within(*within), turn);
            }
            // Its old answer is void: there are no permissions that it could keep.
            RecheckOutcome::Keep if is_newcomer => self.end_held(id, TOO_OLD, turn),
            RecheckOutcome::Keep => self.release(key, &[], turn),
        }
        true
    }

    /// Gives new permissions to a session that awaits them, or continues with that. Returns whether
    /// it is done.
    pub(super) fn take_rights(
        &mut self,
        key: SessionKey,
        change: &Change<'_>,
        halfway: bool,
        turn: &mut Turn<'_, impl World<P>>,
    ) -> bool {
        let done = self.change(key, change, halfway, turn);
        if done && self.holds.get_mut(key).is_some() {
            self.release(key, change.welcome, turn);
        }
        done
    }

    /// Whether the API's answer is about the user of the session.
    fn is_owner(&self, id: ConnectionId, rights: &Rights) -> bool {
        let Stage::Open { group, .. } = self.sessions[id.index()].stage else {
            return false;
        };
        let before = self.directory.who(group).and_then(|who| who.user());
        before == rights.who.as_ref().and_then(|who| who.user())
    }

    /// Closes a held session, or refuses it where it was sent nothing yet.
    fn end_held(&mut self, id: ConnectionId, close: Close, turn: &mut Turn<'_, impl World<P>>) {
        if self.holds.is_newcomer(self.sessions.key(id.0)) {
            self.turn_down_newcomer(id, &Admission::Refused(close), turn);
        } else {
            self.leave(id, close, turn);
        }
    }
}
