//! First-frame authentication: the connection is open, its client has to send a token, and the
//! control side queries the API.
//!
//! A session begins as [`Stage::Authenticating`]. Its first message is read here, within
//! [`Settings::first_frame_timeout`](crate::shard::Settings) and [`FIRST_MESSAGE_BYTES_MAX`]. The
//! token is an output ([`Shard::poll_output`]); after that nothing is read until the answer
//! arrives, by the session's key. Data received after the token is kept, and processed once the
//! session is open.

use ht_frame::{Event, Opcode, put_frame};
use ht_proto::client::first_token;
use ht_proto::close::Close;
use ht_proto::server;
use ht_proto::token::Token;

use crate::budget::cost;
use crate::connection::{ConnectionId, SessionKey};
use crate::peer::Peer;
use crate::recheck::Recheck;
use crate::session::{Applicant, Session, Stage};
use crate::shard::Shard;
use crate::shard::messages::Flow;
use crate::welcome::{Handshake, Welcome};
use crate::world::{AuthenticationEnd, Turn, World};

/// Longest first message, in bytes. It holds one token, whose own bound is half of this.
pub const FIRST_MESSAGE_BYTES_MAX: usize = 64 << 10;

/// An action that a shard requests from its owner, because it may take time. Taken by
/// [`Shard::poll_output`].
#[derive(Debug)]
pub enum Output {
    /// Query the API about a client; [`Shard::answer`] takes the result.
    Ask {
        /// The session awaiting the answer.
        key: SessionKey,
        /// The token that its client sent.
        token: Token,
    },
    /// Query the API again about a session; [`Shard::rechecked`] takes the result.
    Recheck(Recheck),
    /// The result of the last query about a session is not needed any more.
    CancelRecheck(SessionKey),
}

impl<P> Session<P> {
    /// Whether its client is to send a token.
    pub(super) fn awaits_token(&self) -> bool {
        matches!(&self.stage, Stage::Authenticating(applicant) if !applicant.asked)
    }
}

impl<P: Peer> Shard<P> {
    /// Takes a new connection whose client is to send its token.
    pub fn await_token(
        &mut self,
        peer: P,
        handshake: Handshake,
        turn: &mut Turn<'_, impl World<P>>,
    ) -> SessionKey {
        let key = self.next_key();
        self.budget.spend(cost::OPEN);
        let stage = Stage::Authenticating(Box::default());
        self.sessions.insert(Session::new(peer, handshake, stage));
        self.awaiting.push(&mut self.sessions, key.slot, turn.now);
        key
    }

    /// The next output. Its owner takes all of them after every call into the shard that may cause
    /// any, at the end of a turn at the latest.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Whether a session awaits the answer to its token.
    #[must_use]
    pub fn awaits_answer(&self, key: SessionKey) -> bool {
        let session = self.sessions.find(key).map(|id| &self.sessions[id.index()]);
        session.is_some_and(
            |session| matches!(&session.stage, Stage::Authenticating(applicant) if applicant.asked),
        )
    }

    /// Opens or refuses a session that awaits this answer, and processes what its client sent
    /// meanwhile. Its negotiated handshake options do not change. An answer for a session that has
    /// ended, or awaits none, changes nothing.
    pub fn answer(
        &mut self,
        key: SessionKey,
        welcome: Welcome,
        turn: &mut Turn<'_, impl World<P>>,
    ) {
        if !self.awaits_answer(key) {
            return;
        }
        let id = ConnectionId(key.slot);
        let mut early = self.end_authentication(id, AuthenticationEnd::Answered, turn);
        self.welcome(key, welcome, turn);
        if !early.is_empty() {
            self.receive(key, &mut early, turn);
        }
    }

    /// Ends a session whose pending answer will never arrive.
    pub fn abandon(&mut self, key: SessionKey, turn: &mut Turn<'_, impl World<P>>) {
        if self.awaits_answer(key) {
            self.remove(ConnectionId(key.slot), turn);
        }
    }

    /// Whether there are sessions without an answer.
    #[must_use]
    pub fn has_unauthenticated(&self) -> bool {
        self.awaiting.first().is_some() || self.asked.first().is_some()
    }

    /// Closes sessions without an answer, until the budget is spent, but one at least, at shutdown.
    /// Their close frames are not awaited.
    pub fn close_unauthenticated(&mut self, close: Close, turn: &mut Turn<'_, impl World<P>>) {
        let mut closed = 0;
        while let Some(slot) = self.awaiting.first().or(self.asked.first()) {
            if closed > 0 && self.budget.is_spent() {
                return;
            }
            closed += 1;
            self.budget.spend(cost::CLOSE);
            let id = ConnectionId(slot);
            self.end_authentication(id, AuthenticationEnd::Leaving, turn);
            self.sessions[id.index()].stage = Stage::Refused(close);
            self.refused.push(&mut self.sessions, slot, turn.now);
            self.close(id, close, turn);
            if let Some(session) = self.sessions.get_mut(id.index())
                && session.waiting() == 0
            {
                session.peer.shutdown();
                self.remove(id, turn);
            }
        }
    }

    /// Processes an event of a client that is to send its token.
    pub(super) fn on_first_event(&mut self, event: Event<'_>, replies: &mut Vec<u8>) -> Flow {
        match event {
            Event::Text(text) => self.on_first_message(text),
            // Not UTF-8 is not JSON.
            Event::Binary(bytes) => {
                self.on_first_message(str::from_utf8(bytes).unwrap_or_default())
            }
            Event::Ping(payload) => {
                put_frame(replies, Opcode::Pong, payload);
                Flow::Continue
            }
            Event::Pong(_) | Event::Close(_) => Flow::Continue,
        }
    }

    fn on_first_message(&mut self, text: &str) -> Flow {
        self.budget.spend(cost::parse(text.len()));
        match first_token(text).map(|text| Token::new(&text)) {
            Some(Ok(Some(token))) => Flow::Ask(token),
            Some(Ok(None) | Err(_)) | None => Flow::TurnAway,
        }
    }

    /// Requests an API query about a client. Nothing is read from it until the answer arrives.
    pub(super) fn ask_api(&mut self, id: ConnectionId, token: Token, now: u64) {
        let Some(session) = self.sessions.get_mut(id.index()) else {
            return;
        };
        let Stage::Authenticating(applicant) = &mut session.stage else {
            return;
        };
        applicant.asked = true;
        self.awaiting.remove(&mut self.sessions, id.0);
        self.asked.push(&mut self.sessions, id.0, now);
        let key = self.sessions.key(id.0);
        self.outputs.push_back(Output::Ask { key, token });
    }

    /// Accounts for data of an unauthenticated client. Returns whether it is to be processed now.
    #[cold]
    pub(super) fn hold_first_frame(
        &mut self,
        key: SessionKey,
        bytes: &[u8],
        turn: &mut Turn<'_, impl World<P>>,
    ) -> bool {
        if !turn.world.hold_first_frame(key, bytes.len()) {
            self.remove(ConnectionId(key.slot), turn);
            return false;
        }
        !self.keep_early(key, bytes)
    }

    /// Keeps data received after a token. Returns false if the session awaits no answer.
    pub(super) fn keep_early(&mut self, key: SessionKey, bytes: &[u8]) -> bool {
        let waits = self.awaits_answer(key);
        if waits
            && let Stage::Authenticating(applicant) = &mut self.sessions[key.slot as usize].stage
        {
            applicant.early.extend_from_slice(bytes);
        }
        waits
    }

    /// Refuses a client that sent no valid token. Its further input is ignored.
    pub(super) fn turn_away(&mut self, id: ConnectionId, turn: &mut Turn<'_, impl World<P>>) {
        let awaits = |session: &Session<P>| matches!(session.stage, Stage::Authenticating(_));
        if !self.sessions.get(id.index()).is_some_and(awaits) {
            return;
        }
        self.end_authentication(id, AuthenticationEnd::Invalid, turn);
        self.refuse(id, Close::AUTHENTICATE, turn.now);
        self.send_first(id, server::NOT_AUTHORIZED.as_bytes(), turn);
        self.leave(id, Close::AUTHENTICATE, turn);
    }

    /// Times out a client whose token is late.
    pub(super) fn token_is_late(&mut self, id: ConnectionId, turn: &mut Turn<'_, impl World<P>>) {
        // It may have accepted part of a reply, and accepts no more: nothing can follow.
        if self.sessions[id.index()].waiting() > 0 {
            self.remove(id, turn);
        } else {
            self.turn_away(id, turn);
        }
    }

    /// Removes a session from its queue, and returns the data received after its token. The caller
    /// sets its next stage.
    fn end_authentication(
        &mut self,
        id: ConnectionId,
        end: AuthenticationEnd,
        turn: &mut Turn<'_, impl World<P>>,
    ) -> Vec<u8> {
        let stage = &mut self.sessions[id.index()].stage;
        let Stage::Authenticating(applicant) = stage else {
            return Vec::new();
        };
        let Applicant { asked, early } = std::mem::take(&mut **applicant);
        let queue = if asked {
            &mut self.asked
        } else {
            &mut self.awaiting
        };
        queue.remove(&mut self.sessions, id.0);
        turn.world
            .authentication_ended(self.sessions.key(id.0), end);
        let transport = &mut self.sessions[id.index()].transport;
        let kept = transport.unfinished_bytes();
        if end == AuthenticationEnd::Invalid {
            // The client's further input is ignored.
            transport.forget_input();
        } else if kept > 0 {
            // It is no longer part of a handshake.
            self.note_unfinished(id, kept, true, turn.now);
        }
        early
    }

    /// Removes a session that ends before it is authenticated from its queue.
    pub(super) fn applicant_left(&mut self, id: ConnectionId, turn: &mut Turn<'_, impl World<P>>) {
        self.end_authentication(id, AuthenticationEnd::Left, turn);
    }
}
