//! The API's new answers about sessions: each has its turn among the publications.

use std::sync::Arc;

use ht_proto::close::Close;
use ht_proto::subprotocol::Subprotocol;

use crate::budget::cost;
use crate::command::Action;
use crate::connection::{ConnectionId, SessionKey};
use crate::peer::Peer;
use crate::recheck::{RecheckOutcome, RecheckReason, Rechecked, Rights};
use crate::select::{Candidate, Tested};
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
                if !halfway && self.is_void(id, rights, rechecked.asked_at, turn) {
                    return true;
                }
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

    /// Whether a command that was ordered after the API was queried selects who has these
    /// permissions, but did not select the session with those that it had: it is executed for the
    /// session, which has no permissions before the API's next answer.
    fn is_void(
        &mut self,
        id: ConnectionId,
        rights: &Rights,
        asked_at: u64,
        turn: &mut Turn<'_, impl World<P>>,
    ) -> bool {
        let candidate = Candidate {
            id: self.sessions[id.index()].id,
            who: rights.who.as_deref(),
            grants: &rights.grants,
        };
        let (mut tested, mut units, mut missed) = (Tested::default(), 0, None);
        let Some(commands) = self.recent.after(asked_at) else {
            let last = self.recent.last();
            self.await_later_answer(id, last, turn);
            return true;
        };
        for command in commands {
            units += command.selection.units();
            if command.selection.means(candidate, &mut tested) {
                missed = Some(Arc::clone(command));
                if matches!(command.action, Action::Disconnect(_)) {
                    break;
                }
            }
        }
        units += tested.compared as u64 * cost::LOOK;
        self.budget.spend(units);
        let Some(missed) = missed else {
            return false;
        };
        match &missed.action {
            Action::Disconnect(ending) => {
                let key = self.sessions.key(id.0);
                self.disconnect(key, ending, turn);
            }
            Action::Permit(_)
            | Action::Invalidate { .. }
            | Action::Unsubscribe(_)
            | Action::Count => self.await_later_answer(id, missed.position, turn),
        }
        true
    }

    /// The answer that a held session got is too old: it awaits the one to a call that was sent
    /// after this position was ordered.
    fn await_later_answer(
        &mut self,
        id: ConnectionId,
        not_before: u64,
        turn: &mut Turn<'_, impl World<P>>,
    ) {
        let key = self.sessions.key(id.0);
        let is_newcomer = self.holds.is_newcomer(key);
        if let Some(hold) = self.holds.get_mut(key) {
            hold.stale += 1;
            if is_newcomer && hold.stale >= STALE {
                return self.turn_down_newcomer(id, &Admission::Refused(TOO_OLD), turn);
            }
            let reason = match is_newcomer {
                true => RecheckReason::Newcomer,
                false => RecheckReason::Command,
            };
            self.await_answer(key, not_before, reason);
        }
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
