//! How long permissions hold, and when a session is to be held later than the command that
//! requests it.
//!
//! In the last fifth of a term the API is queried again, while the session stays live. Without an
//! answer at the end the session is held for a while, and then closed. Each session with such a
//! moment is listed once, by its next one; others take no memory. They have their turns in the
//! order of their moments, one by one as the budget allows.

use std::collections::{BTreeSet, HashMap};
use std::hash::BuildHasher;

use ht_proto::client::RequestId;
use ht_proto::close::Close;
use ht_proto::server;

use crate::Hasher;
use crate::budget::cost;
use crate::connection::{ConnectionId, SessionKey};
use crate::peer::Peer;
use crate::recheck::{Recheck, RecheckReason};
use crate::shard::hold::State;
use crate::shard::queue::Item;
use crate::shard::{Output, PermissionSettings, Shard};
use crate::world::{Turn, World};

/// The thread is woken for moments no more often than this, in ms: a session's turn comes so much
/// after its moment, or less. Spread over a span, the calls to the API are so, too.
pub(super) const GRAIN: u64 = 20;

/// What the API has at least for its answer before a term ends, in ms.
const MARGIN: u64 = 1_000;

/// The part of a term, from its end, in which it is renewed.
const RENEWED: u64 = 5;

/// The moments of all sessions that have some.
#[derive(Debug, Default)]
pub(super) struct Terms {
    all: HashMap<SessionKey, Box<Moments>, Hasher>,
    /// Sessions by their next moment.
    due: BTreeSet<(u64, SessionKey)>,
}

/// The moments of a session, and what is pending because of them.
#[derive(Debug, Default)]
struct Moments {
    /// When its term is renewed or over.
    term: Option<Term>,
    /// When it is to be held, for an answer to a call that was sent after this position was
    /// ordered.
    hold: Option<(u64, u64)>,
    /// The API is queried about it, without holding it.
    is_asked: bool,
    /// The API is queried about a token that its client sent, by this request.
    token: Option<RequestId>,
}

#[derive(Clone, Copy, Debug)]
struct Term {
    length: u64,
    /// When it is over.
    end: u64,
    next: u64,
    stage: Stage,
}

/// What is done when a term's next moment has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The API is queried again, or the client.
    Renewal,
    /// The session is held.
    End,
    /// The session is closed.
    Grace,
}

impl Moments {
    fn next(&self) -> Option<u64> {
        let term = self.term.map(|term| term.next);
        let hold = self.hold.map(|(at, _)| at);
        term.into_iter().chain(hold).min()
    }

    fn is_empty(&self) -> bool {
        self.next().is_none() && !self.is_asked && self.token.is_none()
    }
}

impl Terms {
    /// Changes the moments of a session.
    fn change<R>(&mut self, key: SessionKey, change: impl FnOnce(&mut Moments) -> R) -> R {
        let moments = self.all.entry(key).or_default();
        let before = moments.next();
        let result = change(moments);
        let (after, is_empty) = (moments.next(), moments.is_empty());
        if before != after {
            if let Some(before) = before {
                self.due.remove(&(before, key));
            }
            if let Some(after) = after {
                self.due.insert((after, key));
            }
        }
        if is_empty {
            self.all.remove(&key);
        }
        result
    }

    fn get(&self, key: SessionKey) -> Option<&Moments> {
        self.all.get(&key).map(|moments| &**moments)
    }

    /// When the next one is due, at the latest.
    pub(super) fn deadline(&self) -> Option<u64> {
        let (moment, _) = self.due.first()?;
        Some(moment.next_multiple_of(GRAIN))
    }

    /// The session whose moment came first.
    pub(super) fn expired(&self, now: u64) -> Option<SessionKey> {
        let (moment, key) = self.due.first()?;
        (*moment <= now).then_some(*key)
    }

    /// How long the permissions of a session still hold, in ms; none: until its connection ends.
    pub(super) fn expires_in(&self, key: SessionKey, now: u64) -> Option<u64> {
        let term = self.get(key)?.term?;
        Some(term.end.saturating_sub(now))
    }

    /// Whether the API is queried about a session that is not held. Not any more, after this.
    pub(super) fn take_asked(&mut self, key: SessionKey) -> bool {
        let is_asked = self.get(key).is_some_and(|moments| moments.is_asked);
        is_asked && self.change(key, |moments| std::mem::take(&mut moments.is_asked))
    }

    /// The request with the token about which the API is queried. None any more, after this.
    pub(super) fn take_token(&mut self, key: SessionKey) -> Option<RequestId> {
        self.get(key)?.token.as_ref()?;
        self.change(key, |moments| moments.token.take())
    }

    /// The API is queried about a token. Returns false if it is already queried about another one.
    pub(super) fn set_token(&mut self, key: SessionKey, request_id: RequestId) -> bool {
        self.change(key, |moments| {
            let is_first = moments.token.is_none();
            moments.token.get_or_insert(request_id);
            is_first
        })
    }

    /// Forgets a session. Returns whether the API is queried about it.
    pub(super) fn forget(&mut self, key: SessionKey) -> bool {
        // Most often there is none.
        let Some(moments) = self.all.remove(&key) else {
            return false;
        };
        if let Some(next) = moments.next() {
            self.due.remove(&(next, key));
        }
        moments.is_asked || moments.token.is_some()
    }
}

impl<P: Peer> Shard<P> {
    /// The permissions of a session were given by an answer that holds for so long, in ms. They are
    /// newer than all that was to be queried about.
    pub(super) fn begin_term(&mut self, key: SessionKey, expires_in: Option<u64>, now: u64) {
        let max_age = Some(self.settings.permissions.max_age).filter(|age| *age != 0);
        let length = expires_in.into_iter().chain(max_age).min();
        if length.is_none() && self.terms.get(key).is_none() {
            return;
        }
        let part = length.map_or(0, |length| length / RENEWED);
        // A client that is to send another token has all of the last part for it.
        let spread = match self.asks_client(key) {
            true => 0,
            false => self.random(key, now, part.saturating_sub(MARGIN)),
        };
        self.terms.change(key, |moments| {
            moments.hold = None;
            moments.term = length.map(|length| Term {
                length,
                end: now.saturating_add(length),
                next: now.saturating_add(length - part).saturating_add(spread),
                stage: Stage::Renewal,
            });
        });
    }

    /// The term of a session begins again, as long as it was.
    pub(super) fn repeat_term(&mut self, key: SessionKey, now: u64) {
        let term = self.terms.get(key).and_then(|moments| moments.term);
        self.begin_term(key, term.map(|term| term.length), now);
    }

    /// Has a session held at a random moment within a span, for an answer to a call that was sent
    /// after `position` was ordered. At once where the span is shorter than the thread sleeps.
    pub(super) fn hold_within(
        &mut self,
        key: SessionKey,
        position: u64,
        within: u32,
        turn: &mut Turn<'_, impl World<P>>,
    ) {
        let Some(id) = self.sessions.find(key) else {
            return;
        };
        self.suspend_ticket(id);
        // Its turn comes after its moment, but never after the span.
        let Some(span) = u64::from(within).checked_sub(GRAIN) else {
            return self.hold_or_close(key, position, RecheckReason::Command, turn);
        };
        self.budget.spend(cost::MOMENT);
        let at = turn.now + self.random(key, position, span);
        self.terms.change(key, |moments| {
            let (earlier, _) = moments.hold.unwrap_or((at, position));
            moments.hold = Some((at.min(earlier), position));
        });
    }

    /// Holds a session, or closes it where the API cannot be queried again.
    pub(super) fn hold_or_close(
        &mut self,
        key: SessionKey,
        not_before: u64,
        reason: RecheckReason,
        turn: &mut Turn<'_, impl World<P>>,
    ) {
        if self.settings.permissions.recheck {
            self.hold(key, not_before, reason, turn);
        } else {
            self.end_session(key, Close::PERMISSIONS, turn);
        }
    }

    /// A number up to `most`, which depends on the session and `salt` in no obvious way.
    fn random(&self, key: SessionKey, salt: u64, most: u64) -> u64 {
        self.terms.all.hasher().hash_one((key, salt)) % most.saturating_add(1)
    }

    /// Whether it is the client who renews a session, and not the gateway.
    fn asks_client(&self, key: SessionKey) -> bool {
        let id = self.sessions.find(key);
        id.is_some_and(|id| {
            let transport = &self.sessions[id.index()].transport;
            transport.has_events() && transport.has_token()
        })
    }

    /// Does what is due for a session one of whose moments has come.
    pub(super) fn term_is_due(&mut self, key: SessionKey, turn: &mut Turn<'_, impl World<P>>) {
        self.budget.spend(cost::MOMENT);
        let Some(moments) = self.terms.get(key) else {
            return;
        };
        if let Some((at, position)) = moments.hold
            && at <= turn.now
        {
            self.terms.change(key, |moments| moments.hold = None);
            let reason = RecheckReason::Command;
            return self.push_hold(key, position, reason);
        }
        let Some(term) = moments.term else {
            return;
        };
        match term.stage {
            Stage::Renewal => self.renew(key, term, turn),
            Stage::End => self.end_term(key, term, turn),
            Stage::Grace => {
                let close = match self.asks_client(key) {
                    true => Close::AUTHENTICATE,
                    false => Close::PERMISSIONS,
                };
                self.end_session(key, close, turn);
            }
        }
    }

    /// Holds a session in its turn.
    fn push_hold(&mut self, key: SessionKey, position: u64, reason: RecheckReason) {
        if let Some(id) = self.sessions.find(key) {
            let item = Item::Hold(key, position, reason);
            self.lanes.push_own(self.tenant_of(id), item);
        }
    }

    /// Renews the permissions of a session before they end.
    fn renew(&mut self, key: SessionKey, term: Term, turn: &mut Turn<'_, impl World<P>>) {
        let is_client = self.asks_client(key);
        let asks = !is_client && self.settings.permissions.recheck;
        self.terms.change(key, |moments| {
            moments.is_asked |= asks;
            moments.term = Some(Term {
                next: term.end,
                stage: Stage::End,
                ..term
            });
        });
        if is_client {
            let event = server::authenticate(term.end.saturating_sub(turn.now));
            self.put_event(ConnectionId(key.slot), event.as_bytes(), None, turn);
        } else if asks {
            self.ask_again(key, 0, RecheckReason::Expiry);
        }
    }

    /// The term of a session is over: it is held, or closed where nothing can renew it.
    fn end_term(&mut self, key: SessionKey, term: Term, turn: &mut Turn<'_, impl World<P>>) {
        let PermissionSettings { recheck, grace, .. } = self.settings.permissions;
        let has_token = self
            .terms
            .get(key)
            .is_some_and(|moments| moments.token.is_some());
        if self.asks_client(key) && !has_token {
            return self.end_session(key, Close::AUTHENTICATE, turn);
        }
        if !recheck {
            return self.end_session(key, Close::PERMISSIONS, turn);
        }
        self.terms.change(key, |moments| {
            moments.is_asked = false;
            moments.term = Some(Term {
                next: turn.now.saturating_add(grace),
                stage: Stage::Grace,
                ..term
            });
        });
        if self.holds.state(key) != State::Awaiting {
            let reason = RecheckReason::Expiry;
            self.push_hold(key, 0, reason);
        }
    }

    /// Queries the API again about a session that stays live.
    pub(super) fn ask_again(&mut self, key: SessionKey, not_before: u64, reason: RecheckReason) {
        self.terms.change(key, |moments| moments.is_asked = true);
        self.outputs.push_back(Output::Recheck(Recheck {
            key,
            not_before,
            is_held: false,
            reason,
            token: None,
        }));
    }
}
