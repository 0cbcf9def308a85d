//! Pages: clients that keep one text, the last cursor that they saw, and come back with it to any
//! node.

use std::collections::BTreeMap;

use ht_frame::Opcode;
use ht_proto::cursor::Cursor;
use serde_json::Value;

use crate::oracle::Recovered;
use crate::rooms::ROOMS;
use crate::sim::Sim;

/// The request for all rooms that were there; those for one room have its name.
const RESUME: u64 = 0;

/// What a page keeps while it is not connected.
#[derive(Debug, Default)]
pub(crate) struct Page {
    cursor: Option<Cursor>,
    /// The one with which it came back last.
    returned: Option<Cursor>,
    rooms: Vec<Followed>,
}

/// A room of a page.
#[derive(Clone, Debug)]
struct Followed {
    name: u64,
    room: usize,
    state: State,
    /// It has a cursor of its own, and so many publications are to come before it is where the others
    /// are, once that is known.
    own: Option<(Cursor, Option<u64>)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It was not confirmed yet.
    Asked,
    There,
    /// The page has asked for what it missed of it.
    Resumed,
    Left,
}

impl Page {
    fn room(&mut self, name: u64) -> Option<&mut Followed> {
        self.rooms.iter_mut().find(|it| it.name == name)
    }

    /// The cursor of the page is that of this room as well.
    fn catches_up(&mut self, is_it: impl Fn(&Followed) -> bool) -> Vec<u64> {
        let rooms = self.rooms.iter_mut().filter(|it| it.own.is_some());
        let complete = rooms.filter(|it| is_it(it));
        complete
            .map(|it| {
                it.own = None;
                it.name
            })
            .collect()
    }
}

fn cursor_of(message: &Value) -> Option<Cursor> {
    message["cursor"].as_str()?.parse().ok()
}

impl Sim {
    pub(crate) fn is_page(&self, client: usize) -> bool {
        self.clients[client].page.is_some()
    }

    /// A page follows a room, or what came since its cursor.
    pub(crate) fn page_follows(&mut self, client: usize, room: usize, is_since: bool) {
        let own = &mut self.clients[client];
        own.names += 1;
        let name = own.names;
        let Some(page) = &mut own.page else {
            return;
        };
        let since = page.cursor.filter(|_| is_since);
        page.rooms.push(Followed {
            name,
            room,
            state: State::Asked,
            own: since.map(|cursor| (cursor, None)),
        });
        self.page_subscribes(client, name);
    }

    fn page_subscribes(&mut self, client: usize, name: u64) {
        let Some(number) = self.welcome_connection(client) else {
            return;
        };
        let Some(followed) = self.clients[client]
            .page
            .as_mut()
            .and_then(|it| it.room(name))
        else {
            return;
        };
        let since = followed.own.map(|(cursor, _)| cursor);
        let more = since.map_or(String::new(), |since| format!(r#","since":"{since}""#));
        let room = ROOMS[followed.room].json();
        let text = format!(r#"{{"type":"subscribe","room":{room},"requestId":{name}{more}}}"#);
        if let Some(since) = since {
            let now = self.events.now;
            self.oracle.page_asks((client, number), name, since, now);
        }
        self.say(number, Opcode::Text, text.as_bytes());
    }

    fn welcome_connection(&self, client: usize) -> Option<usize> {
        let number = self.clients[client].connection?;
        self.connections[number].is_welcome.then_some(number)
    }

    pub(crate) fn page_leaves(&mut self, client: usize, which: usize) {
        let Some(number) = self.welcome_connection(client) else {
            return;
        };
        let page = self.clients[client].page.get_or_insert_default();
        let there = page.rooms.iter_mut().filter(|it| it.state == State::There);
        let mut there: Vec<_> = there.collect();
        if there.is_empty() {
            return;
        }
        let which = which % there.len();
        let followed = &mut there[which];
        followed.state = State::Left;
        let name = followed.name;
        self.oracle.page_leaves(client, name, false);
        let text = format!(r#"{{"type":"unsubscribe","requestId":{name}}}"#);
        self.say(number, Opcode::Text, text.as_bytes());
    }

    pub(crate) fn page_pings(&mut self, client: usize) {
        if let Some(number) = self.welcome_connection(client) {
            self.say(number, Opcode::Text, br#"{"type":"ping","requestId":"p"}"#);
        }
    }

    /// The line breaks, and the page comes back.
    pub(crate) fn blink(&mut self, client: usize, silent: bool, within: u64) {
        self.cut(client, silent);
        self.clients[client].returns = true;
        self.come_back(client, within);
    }

    /// Its connection is over.
    pub(super) fn page_is_cut(&mut self, client: usize) {
        let Some(page) = &mut self.clients[client].page else {
            return;
        };
        let left = page.rooms.extract_if(.., |it| it.state == State::Left);
        let left: Vec<_> = left.map(|it| it.name).collect();
        for followed in &mut page.rooms {
            if followed.state == State::Resumed {
                followed.state = State::There;
            }
        }
        for name in left {
            self.oracle.page_leaves(client, name, true);
        }
    }

    /// The first message: the page asks for what it missed, and for the rooms that are new.
    fn page_is_welcome(&mut self, (client, number): (usize, usize), head: Option<Cursor>) {
        let page = self.clients[client].page.get_or_insert_default();
        let there = page.rooms.iter_mut().filter(|it| it.state == State::There);
        let mut there: Vec<_> = there.collect();
        there.iter_mut().for_each(|it| it.state = State::Resumed);
        let (mut own, mut texts) = (BTreeMap::new(), Vec::new());
        for followed in there {
            let Followed { name, room, .. } = *followed;
            let room = ROOMS[room].json();
            let more = match followed.own {
                Some((cursor, _)) => {
                    own.insert(name, cursor);
                    followed.own = Some((cursor, None));
                    format!(r#","since":"{cursor}""#)
                }
                None => String::new(),
            };
            texts.push(format!(r#"{{"requestId":{name},"room":{room}{more}}}"#));
        }
        match page.cursor.filter(|_| !texts.is_empty()) {
            Some(cursor) => {
                page.returned = Some(cursor);
                let least = own.values().copied().chain([cursor]);
                let least = least.min_by_key(|it| it.position).unwrap_or(cursor);
                self.oracle.page_returns(client, &own);
                let now = self.events.now;
                self.oracle.page_asks((client, number), RESUME, least, now);
                let texts = texts.join(",");
                let text = format!(
                    r#"{{"type":"resume","requestId":"r","cursor":"{cursor}","subscriptions":[{texts}]}}"#
                );
                self.say(number, Opcode::Text, text.as_bytes());
            }
            None => {
                page.cursor = head;
                self.oracle.page_begins(client, head);
            }
        }
        let page = self.clients[client].page.get_or_insert_default();
        let asked = page.rooms.iter().filter(|it| it.state == State::Asked);
        for name in asked.map(|it| it.name).collect::<Vec<_>>() {
            self.page_subscribes(client, name);
        }
    }

    /// A message to a page. Its first one, and what it may do, are judged elsewhere as well.
    pub(super) fn page_hears(&mut self, number: usize, message: &Value) {
        let client = self.connections[number].client;
        let (of, cursor) = ((client, number), cursor_of(message));
        self.note(|| format!("page {client} at connection {number}: {}", brief(message)));
        if message["is_authorized"].as_bool() == Some(true) {
            self.page_is_welcome(of, cursor);
        } else if message["type"] == "publish" {
            self.page_hears_publication(of, message, cursor);
        } else if message["type"] == "gap" {
            if let Some(cursor) = cursor {
                self.clients[client].page.get_or_insert_default().cursor = Some(cursor);
                let now = self.events.now;
                self.oracle.page_has_gap(client, number, cursor, now);
            }
        } else if message["type"] == "unsubscribed" {
            let name = message["requestId"].as_u64().unwrap_or(0);
            self.page_loses(client, name);
        } else if message["type"].is_null() && message["requestId"] == "r" {
            self.page_is_answered(of, message, cursor);
        } else if let Some(name) = message["requestId"].as_u64() {
            self.page_is_confirmed(of, name, message, cursor);
        } else if let Some(cursor) = cursor {
            self.page_moves(of, cursor);
        }
    }

    fn page_loses(&mut self, client: usize, name: u64) {
        let page = self.clients[client].page.get_or_insert_default();
        page.rooms.retain(|it| it.name != name);
        self.oracle.page_leaves(client, name, true);
    }

    fn page_moves(&mut self, (client, number): (usize, usize), cursor: Cursor) {
        let page = self.clients[client].page.get_or_insert_default();
        if page.rooms.iter().any(|it| it.state == State::Resumed) {
            // It is of a connection that was sent nothing of these rooms yet.
            return;
        }
        page.cursor = Some(cursor);
        let level = page.catches_up(|it| it.own.is_some_and(|(_, left)| left == Some(0)));
        for name in level {
            self.oracle.page_is_behind(client, name, false);
        }
        self.oracle.page_moves(client, number, cursor);
    }

    fn page_hears_publication(
        &mut self,
        (client, number): (usize, usize),
        message: &Value,
        cursor: Option<Cursor>,
    ) {
        let name = message["requestId"].as_u64().unwrap_or(0);
        let trigger = message["data"][0].as_u64();
        let trigger = trigger.and_then(|it| usize::try_from(it).ok());
        let trigger = trigger.unwrap_or(usize::MAX);
        let of = (client, number);
        self.oracle.page_hears(of, name, trigger, cursor);
        let page = self.clients[client].page.get_or_insert_default();
        if let Some(cursor) = cursor {
            for name in page.catches_up(|it| it.name == name) {
                self.oracle.page_is_behind(client, name, false);
            }
            self.page_moves(of, cursor);
        } else if let Some((_, left)) = page.room(name).and_then(|it| it.own.as_mut()) {
            *left = left.map(|left| left.saturating_sub(1));
        }
    }

    /// The answer to a `resume`.
    fn page_is_answered(&mut self, of: (usize, usize), message: &Value, cursor: Option<Cursor>) {
        let refused = message["refused"].as_array().cloned().unwrap_or_default();
        for name in refused.iter().filter_map(|it| it["requestId"].as_u64()) {
            self.page_loses(of.0, name);
        }
        let page = self.clients[of.0].page.get_or_insert_default();
        let resumed = page
            .rooms
            .iter_mut()
            .filter(|it| it.state == State::Resumed);
        let names: Vec<_> = resumed
            .map(|it| {
                it.state = State::There;
                it.name
            })
            .collect();
        self.page_recovers(of, (RESUME, &names), message, cursor);
    }

    /// These rooms are sent what they missed, or not.
    fn page_recovers(
        &mut self,
        of: (usize, usize),
        (request, names): (u64, &[u64]),
        message: &Value,
        cursor: Option<Cursor>,
    ) {
        let now = self.events.now;
        let reason = message["reason"].as_str().unwrap_or_default();
        let recovered = match message["recovered"].as_bool() {
            Some(true) => Recovered::All,
            _ => Recovered::Nothing(reason),
        };
        let replayed = match recovered {
            Recovered::All => message["replayed"].as_u64().unwrap_or(0),
            Recovered::Nothing(_) => 0,
        };
        let page = self.clients[of.0].page.get_or_insert_default();
        let rooms = page.rooms.iter().filter(|it| names.contains(&it.name));
        let from = rooms.filter_map(|it| it.own.map_or(page.returned, |own| Some(own.0)));
        let Some(from) = from.min_by_key(|it| it.position).or(page.returned) else {
            return;
        };
        self.oracle
            .page_recovers(of, (request, names, from), recovered, cursor, now);
        let page = self.clients[of.0].page.get_or_insert_default();
        let mut level = Vec::new();
        for name in names {
            let Some(followed) = page.room(*name) else {
                continue;
            };
            match followed.own {
                Some((own, _)) if replayed > 0 => followed.own = Some((own, Some(replayed))),
                Some(_) => level.push(*name),
                None => {}
            }
        }
        for name in page.catches_up(|it| level.contains(&it.name)) {
            self.oracle.page_is_behind(of.0, name, false);
        }
        if let Some(cursor) = cursor {
            // The one that was sent, as long as publications follow.
            self.oracle.page_begins(of.0, Some(cursor));
            self.page_moves(of, cursor);
        }
    }

    /// The answer to a subscribe or an unsubscribe.
    fn page_is_confirmed(
        &mut self,
        of: (usize, usize),
        name: u64,
        message: &Value,
        cursor: Option<Cursor>,
    ) {
        let now = self.events.now;
        let page = self.clients[of.0].page.get_or_insert_default();
        let Some(followed) = page.room(name) else {
            return;
        };
        if message["code"] != "success" || followed.state == State::Left {
            return self.page_loses(of.0, name);
        }
        followed.state = State::There;
        let (room, own) = (followed.room, followed.own);
        match own {
            Some((since, _)) => {
                self.oracle
                    .page_enters(of, (name, room), (Some(since), true), now);
                self.oracle.page_is_behind(of.0, name, true);
                self.page_recovers(of, (name, &[name]), message, cursor);
            }
            None => {
                self.oracle
                    .page_enters(of, (name, room), (cursor, false), now);
                if let Some(cursor) = cursor {
                    self.page_moves(of, cursor);
                }
            }
        }
    }
}

/// A message without its padding.
fn brief(message: &Value) -> String {
    let text = message.to_string();
    match text.split_once(r#""xx"#) {
        Some((begin, rest)) => {
            let end = rest.find('"').map_or("", |at| &rest[at..]);
            format!("{begin}{end}")
        }
        None => text,
    }
}
