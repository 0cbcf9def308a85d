//! New tokens of open sessions: a client replaces the one that it authenticated with.

use std::sync::Arc;

use ht_proto::client::RequestId;
use ht_proto::code::ErrorCode;
use ht_proto::server;
use ht_proto::token::Token;

use crate::connection::{ConnectionId, SessionKey};
use crate::peer::Peer;
use crate::recheck::{Recheck, RecheckOutcome, RecheckReason, Rechecked, Rights};
use crate::shard::hold::Progress;
use crate::shard::{Output, Shard};
use crate::world::{Turn, World};

impl<P: Peer> Shard<P> {
    /// Whether a client may replace its token. Those of 3.1 may not.
    pub(super) fn may_authenticate(&self, id: ConnectionId) -> bool {
        let transport = &self.sessions[id.index()].transport;
        transport.has_token() && transport.subprotocol().is_some()
    }

    /// Has the API queried about a client's new token. It is answered later.
    pub(super) fn on_authenticate(
        &mut self,
        id: ConnectionId,
        token: Option<Token>,
        request_id: RequestId,
    ) -> Result<(), ErrorCode> {
        let token = token.ok_or(ErrorCode::TokenRefused)?;
        let key = self.sessions.key(id.0);
        if !self.settings.permissions.recheck || !self.terms.set_token(key, request_id) {
            return Err(ErrorCode::BackendUnavailable);
        }
        self.outputs.push_back(Output::Recheck(Recheck {
            key,
            not_before: 0,
            is_held: false,
            reason: RecheckReason::Token,
            token: Some(token),
        }));
        Ok(())
    }

    /// Applies the API's answer about a new token, or continues with that. Returns whether it is
    /// done.
    pub(super) fn take_token_answer(
        &mut self,
        key: SessionKey,
        rechecked: &Arc<Rechecked>,
        halfway: bool,
        turn: &mut Turn<'_, impl World<P>>,
    ) -> bool {
        let id = ConnectionId(key.slot);
        let rights = match &rechecked.outcome {
            RecheckOutcome::Permitted(rights) => rights,
            RecheckOutcome::Refused => {
                self.reject_token(id, ErrorCode::TokenRefused, turn);
                return true;
            }
            RecheckOutcome::Unreachable { .. } | RecheckOutcome::Keep => {
                self.reject_token(id, ErrorCode::BackendUnavailable, turn);
                return true;
            }
        };
        if !halfway {
            if !self.is_owner(id, rights) {
                self.reject_token(id, ErrorCode::OtherUser, turn);
                return true;
            }
            let Some(request_id) = self.terms.take_token(key) else {
                return true;
            };
            self.accept_token(id, &request_id, rights, turn);
            if self.sessions.find(key).is_none() {
                return true;
            }
        }
        self.use_token_answer(key, rechecked, rights, halfway, turn)
    }

    /// Applies the permissions of a new token, unless a command makes them void.
    fn use_token_answer(
        &mut self,
        key: SessionKey,
        rechecked: &Arc<Rechecked>,
        rights: &Rights,
        halfway: bool,
        turn: &mut Turn<'_, impl World<P>>,
    ) -> bool {
        let progress = self.holds.get_mut(key).map(|hold| hold.progress);
        match progress {
            Some(Progress::Awaits(not_before)) if rechecked.asked_at >= not_before => {
                let id = ConnectionId(key.slot);
                if !halfway && self.is_void(id, rights, rechecked.asked_at, turn) {
                    return true;
                }
                if !halfway {
                    self.note_answer(key, rights, turn.now);
                }
                self.take_rights(key, &rights.into(), halfway, turn)
            }
            Some(Progress::Awaits(not_before)) => {
                self.await_answer(key, not_before, RecheckReason::Token);
                true
            }
            _ if !halfway && self.is_outdated(key, rights, rechecked.asked_at) => {
                self.ask_again(key, self.lanes.current.recent.last(), RecheckReason::Token);
                true
            }
            _ => {
                if !halfway {
                    self.note_answer(key, rights, turn.now);
                }
                self.change_in_turn(key, rechecked, rights, halfway, turn)
            }
        }
    }

    /// Replies to a token that the API accepted. It replaces the credentials that are kept.
    fn accept_token(
        &mut self,
        id: ConnectionId,
        request_id: &RequestId,
        rights: &Rights,
        turn: &mut Turn<'_, impl World<P>>,
    ) {
        let key = self.sessions.key(id.0);
        self.uncharge_peer(id, turn);
        let peer = &mut self.sessions[id.index()].peer;
        turn.world.token_accepted(key, peer);
        // Its ticket is of the former token.
        self.confirm_ticket(id, true);
        self.charge_peer(id, turn);
        let transport = &self.sessions[id.index()].transport;
        let reply = match transport.subprotocol() {
            Some(_) => server::authenticated(request_id, rights.expires_in.map(|ms| ms / 1_000)),
            None => server::SUCCESS.to_owned(),
        };
        self.put_message(id, reply.as_bytes(), turn);
    }

    /// Replies to a token that is not used. Nothing changes.
    fn reject_token(
        &mut self,
        id: ConnectionId,
        code: ErrorCode,
        turn: &mut Turn<'_, impl World<P>>,
    ) {
        let key = self.sessions.key(id.0);
        let Some(request_id) = self.terms.take_token(key) else {
            return;
        };
        turn.world.token_rejected(key);
        self.stats.errors[code as usize] += 1;
        let session = &self.sessions[id.index()];
        let name = session.transport.subprotocol().map(|_| &request_id);
        let mut message = Vec::with_capacity(128);
        server::put_error(&mut message, code, &session.id, name, None);
        self.put_message(id, &message, turn);
    }
}
