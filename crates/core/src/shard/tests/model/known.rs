//! Model of a client: what it sent, and what it should receive.

use super::operations::{FORBIDDEN, Message};
use crate::shard::tests::kit::*;

/// Subscriptions that a client may have.
pub(super) const SUBSCRIPTIONS: usize = 4;

/// Request ids under which a client may have the same room.
pub(super) const NAMES_PER_ROOM: usize = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Open,
    /// Its token was not received yet; when it connected.
    Awaiting(u64),
    /// The API query about its token is pending.
    Asked,
    /// Its first message was no token: its further input is ignored.
    TurnedAway,
    /// When it connected.
    Refused(u64),
    /// When the close frame was sent.
    Closing(u64),
    /// When its close frame or violation arrived.
    Deaf(u64),
}

pub(super) struct Known {
    pub(super) client: Client,
    pub(super) state: State,
    /// Broken, which the shard may detect at any time.
    pub(super) vanished: bool,
    /// It did not always accept everything: it may have been evicted.
    pub(super) hesitated: bool,
    pub(super) last_message: u64,
    /// The last gap before it connected.
    pub(super) gap: u32,
    /// Room and name, by their indices.
    pub(super) subscriptions: Vec<(usize, usize)>,
    /// Written but not sent; with what each message is and where it ends.
    pub(super) written: Vec<u8>,
    pub(super) messages: Vec<(Message, usize)>,
    /// Data received after the token.
    pub(super) early: Vec<Message>,
    pub(super) heard: Vec<String>,
    /// Groups of lines; within a group they may arrive in any order.
    pub(super) expected: Vec<Vec<String>>,
    pub(super) hits: u64,
}

impl Known {
    pub(super) fn expect(&mut self, line: impl Into<String>) {
        self.expected.push(vec![line.into()]);
    }

    /// Checks that the received lines are a prefix of the expected ones, or all of them.
    pub(super) fn check(&mut self, complete: bool) {
        self.heard.extend(self.client.hears());
        let mut heard = self.heard.iter();
        for group in &self.expected {
            let mut lines: Vec<_> = heard.by_ref().take(group.len()).collect();
            let mut group: Vec<_> = group.iter().collect();
            if lines.len() < group.len() {
                assert!(!complete, "missing of {group:?}: {lines:?}");
                // Any of them may have arrived; of equal ones as many as were received.
                let mut left = lines.clone();
                group.retain(|line| {
                    let at = left.iter().position(|heard| heard == line);
                    at.map(|at| left.swap_remove(at)).is_some()
                });
            }
            lines.sort();
            group.sort();
            assert_eq!(lines, group);
        }
        assert_eq!(heard.next(), None, "heard too much");
        assert!(!complete || self.client.is_between_frames());
    }

    pub(super) fn on_message(&mut self, message: &Message, now: u64) {
        match (self.state, message) {
            (State::Asked, message) => self.early.push(message.clone()),
            (State::Open | State::Awaiting(_) | State::Refused(_), Message::ControlPing) => {
                self.expect("control pong payload")
            }
            (State::Open | State::Awaiting(_) | State::Refused(_), Message::Close) => {
                self.expect("close 4000");
                self.leave(State::Deaf(now));
            }
            (State::Closing(_), Message::Close) => self.leave(State::Deaf(now)),
            (State::Awaiting(_), Message::Authenticate) => self.state = State::Asked,
            (State::Awaiting(_), _) => self.turned_away(),
            (State::Open, message) => {
                self.last_message = now;
                let answer = self.answer(message);
                self.expect(answer);
            }
            (State::TurnedAway | State::Refused(_) | State::Closing(_) | State::Deaf(_), _) => {}
        }
    }

    /// It sent no token, or none in time.
    pub(super) fn turned_away(&mut self) {
        self.expect(ht_proto::server::NOT_AUTHORIZED);
        self.expect("close 4301 authenticate");
        self.leave(State::TurnedAway);
    }

    /// The API has admitted or refused it: what arrived meanwhile is processed.
    pub(super) fn answered(&mut self, first: String, state: State, now: u64) {
        self.expect(first);
        (self.state, self.last_message) = (state, now);
        for message in std::mem::take(&mut self.early) {
            self.on_message(&message, now);
        }
    }

    fn answer(&mut self, message: &Message) -> String {
        match *message {
            Message::Ping => "pong".into(),
            Message::Authenticate => error_of(&self.client, "message-type-not-allowed"),
            Message::Subscribe(FORBIDDEN, _) => error("room-not-found"),
            Message::Subscribe(room, name) => {
                if self.subscriptions.contains(&(room, name)) {
                    return SUCCESS.into();
                }
                let of_room = self
                    .subscriptions
                    .iter()
                    .filter(|(known, _)| *known == room);
                if of_room.count() == NAMES_PER_ROOM {
                    return error("too-many-names");
                }
                if self.subscriptions.len() == SUBSCRIPTIONS {
                    return error("too-many-subscriptions");
                }
                self.subscriptions.push((room, name));
                SUCCESS.into()
            }
            Message::Unsubscribe(name) => {
                let before = self.subscriptions.len();
                self.subscriptions.retain(|(_, known)| *known != name);
                if self.subscriptions.len() < before {
                    SUCCESS.into()
                } else {
                    error("not-subscribed")
                }
            }
            Message::Rubbish => error_of(&self.client, "non-json-message"),
            Message::ControlPing | Message::Close => unreachable!("handled by the caller"),
        }
    }

    /// It is only being closed from now on.
    pub(super) fn leave(&mut self, state: State) {
        self.state = state;
        self.subscriptions.clear();
    }
}
