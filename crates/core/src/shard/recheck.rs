//! The API's new answers about sessions: each has its turn among the publications.

use std::collections::BTreeSet;
use std::sync::Arc;

use ht_proto::close::Close;
use ht_proto::subprotocol::Subprotocol;

use crate::budget::cost;
use crate::command::{Action, Command};
use crate::connection::{ConnectionId, SessionKey};
use crate::peer::Peer;
use crate::recheck::{RecheckOutcome, RecheckReason, Rechecked, Rights};
use crate::select::{Candidate, Tested};
use crate::session::Stage;
use crate::shard::entering::TOO_OLD;
use crate::shard::hold::{Due, Progress, State};
use crate::shard::queue::Item;
use crate::shard::rights::Change;
use crate::shard::{Admission, Shard};
use crate::world::{Turn, World};

/// Answers to calls that were sent too early before a client that is sent nothing meanwhile is
/// refused.
const STALE: u32 = 3;

/// What is known of the commands that an answer is older than.
enum Superseding {
    /// This one selects the session.
    Command(Arc<Command>),
    /// There may be some, the last of them at this position.
    Unknown(u64),
}

impl<P: Peer> Shard<P> {
    /// Queues the API's new answer about sessions behind all earlier publications.
    pub fn rechecked(&mut self, rechecked: Arc<Rechecked>) {
        let tenants = rechecked.keys.iter().filter_map(|key| {
            let id = self.sessions.find(*key)?;
            self.sessions[id.index()].tenant()
        });
        let tenants: BTreeSet<_> = tenants.collect();
        for tenant in tenants {
            let item = Item::Rechecked(Arc::clone(&rechecked));
            self.lanes.push(tenant, item);
        }
    }

    /// Applies the API's answer to a session that awaits it, or continues with that. Returns
    /// whether it is done.
    pub(super) fn take_answer(
        &mut self,
        key: SessionKey,
        rechecked: &Arc<Rechecked>,
        halfway: bool,
        turn: &mut Turn<'_, impl World<P>>,
    ) -> bool {
        let Some(id) = self.sessions.find(key).filter(|id| self.is_open(*id)) else {
            return true;
        };
        if rechecked.has_token {
            return self.take_token_answer(key, rechecked, halfway, turn);
        }
        let is_newcomer = self.holds.is_newcomer(key);
        let awaited = self.holds.get_mut(key).filter(|hold| hold.awaits());
        let Some(hold) = awaited else {
            return self.take_renewal(key, rechecked, halfway, turn);
        };
        let Progress::Awaits(not_before) = hold.progress else {
            return true;
        };
        if rechecked.asked_at < not_before {
            // The call that will be sent for it has an answer of its own.
            self.is_refused_as_stale(id, turn);
            return true;
        }
        match &rechecked.outcome {
            RecheckOutcome::Permitted(rights) if self.is_owner(id, rights) => {
                if !halfway && self.is_void(id, rights, rechecked.asked_at, turn) {
                    return true;
                }
                if !halfway {
                    self.note_answer(key, rights, turn.now);
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
            RecheckOutcome::Keep => {
                self.terms.take_asked(key);
                self.repeat_term(key, turn.now);
                self.release(key, &[], turn);
            }
        }
        true
    }

    /// Applies the API's answer to a session that is not held for it, or continues with that.
    /// Returns whether it is done.
    fn take_renewal(
        &mut self,
        key: SessionKey,
        rechecked: &Arc<Rechecked>,
        halfway: bool,
        turn: &mut Turn<'_, impl World<P>>,
    ) -> bool {
        if !halfway && !self.terms.take_asked(key) {
            return true;
        }
        let id = ConnectionId(key.slot);
        match &rechecked.outcome {
            RecheckOutcome::Permitted(rights) if !self.is_owner(id, rights) => {
                self.end_session(key, Close::PERMISSIONS, turn);
                true
            }
            RecheckOutcome::Permitted(rights)
                if !halfway && self.is_outdated(key, rights, rechecked.asked_at) =>
            {
                self.ask_again(key, self.lanes.current.recent.last(), RecheckReason::Expiry);
                true
            }
            RecheckOutcome::Permitted(rights) => {
                self.note_answer(key, rights, turn.now);
                self.change_in_turn(key, rechecked, rights, halfway, turn)
            }
            RecheckOutcome::Refused => {
                self.end_session(key, Close::PERMISSIONS, turn);
                true
            }
            // When the term is over, it is queried again.
            RecheckOutcome::Unreachable { .. } | RecheckOutcome::Keep => true,
        }
    }

    /// Gives a session new permissions, once it was sent everything before them, or continues with
    /// that. Returns whether it is done.
    pub(super) fn change_in_turn(
        &mut self,
        key: SessionKey,
        rechecked: &Arc<Rechecked>,
        rights: &Rights,
        halfway: bool,
        turn: &mut Turn<'_, impl World<P>>,
    ) -> bool {
        if self.holds.state(key) != State::CatchingUp {
            return self.change(key, &rights.into(), halfway, turn);
        }
        let due = Due::Answer(Arc::clone(rechecked));
        self.change_later(key, &rights.into(), due, turn);
        true
    }

    /// The API has answered about a session: its term begins.
    pub(super) fn note_answer(&mut self, key: SessionKey, rights: &Rights, now: u64) {
        self.terms.take_asked(key);
        self.begin_term(key, rights.expires_in, now);
    }

    /// Whether the API's answer to a call that was sent at a position is older than a command that
    /// selects the session. Such an answer gives no permissions.
    pub(super) fn is_outdated(&mut self, key: SessionKey, rights: &Rights, asked_at: u64) -> bool {
        self.superseding(key, rights, asked_at).is_some()
    }

    /// What is known of the commands after a position that select a session, with the permissions
    /// that it has or with these new ones; none if there are no such commands. The last of them,
    /// but for a `disconnect`, after which none matters.
    fn superseding(
        &mut self,
        key: SessionKey,
        rights: &Rights,
        asked_at: u64,
    ) -> Option<Superseding> {
        let unknown = Superseding::Unknown(self.lanes.current.recent.last());
        let Some(commands) = self.lanes.current.recent.after(asked_at) else {
            return Some(unknown);
        };
        let candidate = Candidate {
            id: self.sessions[key.slot as usize].id,
            who: rights.who.as_deref(),
            grants: &rights.grants,
        };
        let (mut tested, mut units, mut found) = (Tested::default(), 0, None);
        for command in commands {
            let selection = &command.selection;
            units += 2 * selection.units();
            if units > cost::CATCH_UP {
                found = Some(unknown);
                break;
            }
            if self.is_meant(key, selection, &mut tested) || selection.means(candidate, &mut tested)
            {
                found = Some(Superseding::Command(Arc::clone(command)));
                if matches!(command.action, Action::Disconnect(_)) {
                    break;
                }
            }
        }
        let compared = tested.compared as u64 * cost::LOOK;
        self.budget.spend(units + compared);
        found
    }

    /// Closes an admitted session, or refuses it where it was sent nothing yet.
    pub(super) fn end_session(
        &mut self,
        key: SessionKey,
        close: Close,
        turn: &mut Turn<'_, impl World<P>>,
    ) {
        if let Some(id) = self.sessions.find(key).filter(|id| self.is_open(*id)) {
            self.end_held(id, close, turn);
        }
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

    /// Whether the API's answer about a held session is older than a command that selects it. The
    /// command did not select it with the permissions that it had, or it would not await this
    /// answer. It is executed for the session, which has no permissions before the next answer.
    pub(super) fn is_void(
        &mut self,
        id: ConnectionId,
        rights: &Rights,
        asked_at: u64,
        turn: &mut Turn<'_, impl World<P>>,
    ) -> bool {
        let key = self.sessions.key(id.0);
        let not_before = match self.superseding(key, rights, asked_at) {
            None => return false,
            Some(Superseding::Unknown(last)) => last,
            Some(Superseding::Command(command)) => {
                if let Action::Disconnect(ending) = &command.action {
                    self.disconnect(key, ending, turn);
                    return true;
                }
                command.position
            }
        };
        if !self.is_refused_as_stale(id, turn) {
            let reason = match self.holds.is_newcomer(key) {
                true => RecheckReason::Newcomer,
                false => RecheckReason::Command,
            };
            self.await_answer(key, not_before, reason);
        }
        true
    }

    /// A held session got an answer that is too old. Returns whether that was the last one for a
    /// client that is sent nothing meanwhile: it is refused.
    fn is_refused_as_stale(
        &mut self,
        id: ConnectionId,
        turn: &mut Turn<'_, impl World<P>>,
    ) -> bool {
        let key = self.sessions.key(id.0);
        let Some(hold) = self.holds.get_mut(key) else {
            return false;
        };
        hold.stale += 1;
        let is_over = hold.stale >= STALE && self.holds.is_newcomer(key);
        if is_over {
            self.turn_down_newcomer(id, &Admission::Refused(TOO_OLD), turn);
        }
        is_over
    }

    /// Whether the API's answer is about the user of the session.
    pub(super) fn is_owner(&self, id: ConnectionId, rights: &Rights) -> bool {
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
