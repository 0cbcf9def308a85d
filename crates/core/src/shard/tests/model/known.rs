//! Model of a client: what it sent, and what it should receive.

use std::collections::{BTreeMap, VecDeque};

use super::ledger::{Ledger, Missed, Published};
use super::operations::{Message, NAMES, RIGHTS, ROOMS};
use super::page::{Left, Page, plain};
use crate::shard::tests::kit::*;

/// Subscriptions that a client may have.
pub(super) const SUBSCRIPTIONS: usize = 4;

/// Request ids under which a client may have the same room.
pub(super) const NAMES_PER_ROOM: usize = 2;

/// A room and a name, by their indices.
pub(super) type Subscription = (usize, usize);

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

/// How an open client receives publications.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    Live,
    /// Not before the API has answered about it.
    Awaits,
    /// It is sent what it missed, as fast as it takes that.
    CatchesUp,
}

/// Lines that may arrive in any order.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) lines: Vec<String>,
    pub(super) what: What,
}

/// What a group is, for a client that comes back.
#[derive(Clone, Debug)]
pub(super) enum What {
    /// The publication at a position.
    Publication(u64),
    /// It is subscribed, and hears what has a later position.
    Subscribed(Subscription, u64),
    Unsubscribed(usize),
    /// It is sent what it missed, or not: these subscriptions are there.
    Resumed(Vec<(Subscription, u64)>),
    Other,
}

pub(super) struct Known {
    pub(super) client: Client,
    pub(super) state: State,
    /// What the API permits it, as far as the shard knows.
    pub(super) rights: usize,
    pub(super) hold: Hold,
    /// The command for which it was held.
    pub(super) not_before: u64,
    /// What it is sent once it catches up.
    pub(super) missed: VecDeque<Missed>,
    /// Messages that are processed when it is live.
    pub(super) waiting: VecDeque<Message>,
    /// A client of our subprotocol keeps some of what it receives.
    pub(super) page: Option<Page>,
    /// Broken, which the shard may detect at any time.
    pub(super) vanished: bool,
    /// It did not always accept everything: it may have been evicted.
    pub(super) hesitated: bool,
    pub(super) last_message: u64,
    /// The last gap before it connected.
    pub(super) gap: u32,
    pub(super) subscriptions: Vec<Subscription>,
    /// Those that it had when its close began.
    before_close: Vec<Subscription>,
    /// Written but not sent; with what each message is and where it ends.
    pub(super) written: Vec<u8>,
    pub(super) messages: Vec<(Message, usize)>,
    /// Data received after the token.
    pub(super) early: Vec<Message>,
    pub(super) heard: Vec<String>,
    pub(super) expected: Vec<Group>,
    pub(super) hits: u64,
}

impl Known {
    pub(super) fn new(client: Client, state: State, hesitated: bool, now: u64) -> Self {
        Self {
            client,
            state,
            rights: 0,
            hold: Hold::Live,
            not_before: 0,
            missed: VecDeque::new(),
            waiting: VecDeque::new(),
            page: None,
            vanished: false,
            hesitated,
            last_message: now,
            gap: 0,
            subscriptions: Vec::new(),
            before_close: Vec::new(),
            written: Vec::new(),
            messages: Vec::new(),
            early: Vec::new(),
            heard: Vec::new(),
            expected: Vec::new(),
            hits: 0,
        }
    }

    pub(super) fn expect(&mut self, line: impl Into<String>) {
        self.expect_what(line, What::Other);
    }

    fn expect_what(&mut self, line: impl Into<String>, what: What) {
        let line = line.into();
        let line = self.page.as_ref().map(|_| plain(&line)).unwrap_or(line);
        let lines = vec![line];
        self.expected.push(Group { lines, what });
    }

    /// It is to receive a publication for these names. Returns how many messages those are.
    pub(super) fn expect_publication(&mut self, published: &Published, names: &[usize]) -> u64 {
        if !names.is_empty() {
            let lines = names.iter();
            let lines = lines.map(|&name| publish(&published.data, NAMES[name]));
            let is_page = self.page.is_some();
            let lines = lines.map(|line| if is_page { plain(&line) } else { line });
            let lines = lines.collect();
            let what = What::Publication(published.position);
            self.expected.push(Group { lines, what });
        }
        let count = names.len() as u64;
        self.hits += count;
        count
    }

    /// Checks that the received lines are a prefix of the expected ones, or all of them.
    pub(super) fn check(&mut self, complete: bool) {
        match &mut self.page {
            None => self.heard.extend(self.client.hears()),
            Some(page) => {
                let lines = self.client.hears_all();
                self.heard.extend(lines.iter().map(|line| page.hears(line)));
            }
        }
        let mut heard = self.heard.iter();
        for Group { lines: group, .. } in &self.expected {
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

    pub(super) fn on_message(&mut self, message: &Message, now: u64, ledger: &Ledger) {
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
                let is_ping = matches!(message, Message::Ping)
                    || matches!(message, Message::JsonPing) && self.page.is_some();
                if self.hold == Hold::Live || is_ping {
                    self.process(message, ledger);
                } else {
                    self.waiting.push_back(message.clone());
                }
            }
            (State::TurnedAway | State::Refused(_) | State::Closing(_) | State::Deaf(_), _) => {}
        }
    }

    /// Processes what its client sent while it was held.
    pub(super) fn process_waiting(&mut self, ledger: &Ledger) {
        while self.hold == Hold::Live
            && let Some(message) = self.waiting.pop_front()
        {
            self.process(&message, ledger);
        }
    }

    /// It sent no token, or none in time.
    pub(super) fn turned_away(&mut self) {
        self.expect(ht_proto::server::NOT_AUTHORIZED);
        self.expect("close 4301 authenticate");
        self.leave(State::TurnedAway);
    }

    /// The API has admitted or refused it: what arrived meanwhile is processed.
    pub(super) fn answered(&mut self, first: String, state: State, now: u64, ledger: &Ledger) {
        self.expect(first);
        (self.state, self.last_message) = (state, now);
        for message in std::mem::take(&mut self.early) {
            self.on_message(&message, now, ledger);
        }
    }

    fn process(&mut self, message: &Message, ledger: &Ledger) {
        let (answer, what) = match *message {
            Message::Ping => ("pong".into(), What::Other),
            Message::JsonPing if self.page.is_some() => {
                let pong = r#"{"code": "success", "requestId": "p"}"#;
                (pong.into(), What::Other)
            }
            Message::Resume => return self.resume(ledger),
            Message::Subscribe(room, name) => match self.subscribe((room, name)) {
                Ok(()) => {
                    let subscribed = What::Subscribed((room, name), ledger.position);
                    (self.success(name), subscribed)
                }
                Err(code) => (self.error(name, code), What::Other),
            },
            Message::Unsubscribe(name) => {
                let before = self.subscriptions.len();
                self.subscriptions.retain(|(_, known)| *known != name);
                if self.subscriptions.len() < before {
                    (self.success(name), What::Unsubscribed(name))
                } else {
                    (self.error(name, "not-subscribed"), What::Other)
                }
            }
            Message::Rubbish => {
                let error = error_of(&self.client, "non-json-message");
                (error, What::Other)
            }
            Message::Authenticate | Message::JsonPing => {
                let error = error_of(&self.client, "message-type-not-allowed");
                (error, What::Other)
            }
            Message::ControlPing | Message::Close => unreachable!("handled by the caller"),
        };
        self.expect_what(answer, what);
    }

    fn subscribe(&mut self, (room, name): Subscription) -> Result<(), &'static str> {
        if !RIGHTS[self.rights].1.contains(&room) {
            return Err("room-not-found");
        }
        let own = &self.subscriptions;
        if own.contains(&(room, name)) {
            return Ok(());
        }
        if own.iter().filter(|(known, _)| *known == room).count() == NAMES_PER_ROOM {
            return Err("too-many-names");
        }
        if own.len() == SUBSCRIPTIONS {
            return Err("too-many-subscriptions");
        }
        self.subscriptions.push((room, name));
        Ok(())
    }

    fn success(&self, name: usize) -> String {
        match self.page {
            None => SUCCESS.into(),
            Some(_) => format!(r#"{{"code": "success", "requestId": {}}}"#, NAMES[name]),
        }
    }

    fn error(&self, name: usize, code: &str) -> String {
        match self.page {
            None => error(code),
            Some(_) => format!(
                r#"{{"requestId": {}, "code": "error", "message": "{code}"}}"#,
                NAMES[name]
            ),
        }
    }

    /// It asks for what it missed since it left.
    fn resume(&mut self, ledger: &Ledger) {
        let page = self.page.as_ref().expect("of our subprotocol");
        let (place, left) = (page.place, page.left.clone());
        let left = left.expect("it was there");
        let (mut there, mut refused) = (Vec::new(), Vec::new());
        for &(subscription, since) in &left.subscriptions {
            match self.subscribe(subscription) {
                Ok(()) => there.push((subscription, since)),
                Err(code) => refused.push((subscription.1, code)),
            }
        }
        let is_refused = !there.is_empty() && ledger.is_meant(place, left.position());
        let mut replayed = 0;
        if is_refused {
            there
                .iter_mut()
                .for_each(|(_, since)| *since = ledger.position);
        } else {
            for missed in left.owed(&there, place, ledger) {
                replayed += missed.names.len();
                self.missed.push_back(Missed::Again(missed));
            }
        }
        let recovered = match is_refused {
            true => r#""recovered": false, "reason": "permissions""#.to_owned(),
            false => format!(r#""recovered": true, "replayed": {replayed}"#),
        };
        let refused = refused.iter().map(|(name, code)| {
            format!(r#"{{"requestId": {}, "message": "{code}"}}"#, NAMES[*name])
        });
        let refused: Vec<_> = refused.collect();
        let refused = match refused.is_empty() {
            true => String::new(),
            false => format!(r#", "refused": [{}]"#, refused.join(", ")),
        };
        let answer = format!(r#"{{"code": "success", "requestId": "r", {recovered}{refused}}}"#);
        self.expect_what(answer, What::Resumed(there));
        self.hold = Hold::CatchesUp;
    }

    /// The text with which it asks for that.
    pub(super) fn resumption(&self) -> String {
        let left = self.page.as_ref().and_then(|page| page.left.as_ref());
        let left = left.expect("it was there");
        let rooms = left.subscriptions.iter().map(|((room, name), _)| {
            format!(
                r#"{{"requestId": {}, "room": {}}}"#,
                NAMES[*name], ROOMS[*room]
            )
        });
        let rooms: Vec<_> = rooms.collect();
        format!(
            r#"{{"type": "resume", "requestId": "r", "cursor": "{}", "subscriptions": [{}]}}"#,
            left.cursor,
            rooms.join(", ")
        )
    }

    /// It is sent nothing before the API has answered to a call after this position.
    pub(super) fn awaits(&mut self, position: u64) {
        (self.hold, self.not_before) = (Hold::Awaits, position);
    }

    /// It has these rights from now on. Subscriptions without any are dropped.
    pub(super) fn permit(&mut self, rights: usize) {
        self.rights = rights;
        self.keep(rights);
    }

    /// Subscriptions that these rights do not permit are dropped.
    fn keep(&mut self, rights: usize) {
        let permitted = RIGHTS[rights].1;
        self.subscriptions
            .retain(|(room, _)| permitted.contains(room));
    }

    /// It was sent everything up to a position of what it missed. Returns how many messages those
    /// are.
    pub(super) fn catch_up(&mut self, upto: u64, ledger: &Ledger) -> u64 {
        let mut hits = 0;
        while let Some(missed) = self.missed.pop_front_if(|it| it.position() <= upto) {
            match missed {
                Missed::Publication(published) => {
                    let names = ledger.names(&self.subscriptions, &published.rooms);
                    hits += self.expect_publication(&published, &names);
                }
                Missed::Again(again) => {
                    let there = |(_, subscription): &(usize, Subscription)| {
                        self.subscriptions.contains(subscription)
                    };
                    let names = again.names.iter().copied();
                    let names: Vec<_> = names.filter(there).map(|(name, _)| name).collect();
                    hits += self.expect_publication(&again.published, &names);
                }
                Missed::Rights(_, rights) => self.keep(rights),
                Missed::Hold(position) => {
                    self.awaits(position);
                    break;
                }
            }
        }
        hits
    }

    /// It is only being closed from now on.
    pub(super) fn leave(&mut self, state: State) {
        if self.state == State::Open {
            self.before_close.clone_from(&self.subscriptions);
        }
        self.state = state;
        self.hold = Hold::Live;
        self.missed.clear();
        self.waiting.clear();
        self.subscriptions.clear();
    }

    /// What its client keeps when it is not connected any more.
    pub(super) fn into_left(self) -> Option<Left> {
        let there = if self.state == State::Open {
            &self.subscriptions
        } else {
            &self.before_close
        };
        let page = self.page?;
        let mut left = page.left.clone().unwrap_or_default();
        if page.awaits_answer() {
            // Of this connection it keeps nothing.
            return Some(left);
        }
        if !page.has_resumed() {
            left = Left::default();
        }
        left.cursor = page.cursor.clone()?;
        let mut heard = self.heard.iter();
        for Group { lines, what } in &self.expected {
            let heard: Vec<_> = heard.by_ref().take(lines.len()).collect();
            if heard.is_empty() {
                break;
            }
            left.hears(what, &heard);
        }
        left.subscriptions.retain(|(it, _)| there.contains(it));
        Some(left)
    }
}

/// How often a name was heard of each publication.
pub(super) type Heard = BTreeMap<(u64, usize), usize>;
