//! Processing of received messages by clients.

use ht_frame::{DecodeOptions, Event as Frame, Input, Opcode, Role};
use ht_proto::cursor::Cursor;
use ht_proto::server::{self, GapCause};
use serde_json::Value;

use crate::mutant::Mutant;
use crate::plan::Pace;
use crate::sim::client::{Connection, Request};
use crate::sim::{Event, Sim};

/// Time between two reads of a slow client, in ms.
const SLOW: u64 = 200;

/// A message that a client received.
enum Heard {
    Text(String),
    Ping(Vec<u8>),
    Close(String),
}

impl Sim {
    /// Something may be there for the client to read.
    pub(crate) fn look(&mut self, number: usize) {
        let connection = &mut self.connections[number];
        if connection.wire.borrow().is_shut {
            connection.shut_at.get_or_insert(self.events.now);
        }
        if !std::mem::replace(&mut connection.is_reading, true) {
            let latency = connection.latency;
            self.events.after(latency, Event::Reads(number));
        }
    }

    pub(crate) fn reads(&mut self, number: usize) {
        let connection = &mut self.connections[number];
        connection.is_reading = false;
        if connection.is_over {
            return;
        }
        let mut wire = connection.wire.borrow_mut();
        let len = match self.clients[connection.client].pace {
            Pace::All => usize::MAX,
            Pace::Slow(bytes) => bytes,
            Pace::Stalled => return,
        };
        let len = len.min(wire.to_client.len());
        let mut bytes: Vec<_> = wire.to_client.drain(..len).collect();
        let was_full = std::mem::take(&mut wire.is_full);
        let is_more = !wire.to_client.is_empty();
        let is_end = wire.is_shut && !is_more;
        drop(wire);
        if was_full {
            self.notify(number, |socket| socket.readiness.writable = true);
        }
        for frame in self.decode(number, &mut bytes) {
            self.hear(number, frame);
        }
        if is_end {
            self.over(number);
            self.hang_up(number);
            let (index, within) = self.ended(number);
            self.come_back(index, within);
        } else if is_more {
            self.connections[number].is_reading = true;
            self.events.after(SLOW, Event::Reads(number));
        }
    }

    /// Whose connection it was, and within which time the client is to return.
    fn ended(&self, number: usize) -> (usize, u64) {
        let connection = &self.connections[number];
        let close = connection.close.as_deref().unwrap_or_default();
        let span = close.rsplit(' ').next().and_then(|span| span.parse().ok());
        (connection.client, span.unwrap_or(2_000))
    }

    fn decode(&mut self, number: usize, bytes: &mut [u8]) -> Vec<Heard> {
        let Connection {
            decoder, inflater, ..
        } = &mut self.connections[number];
        let options = DecodeOptions {
            role: Role::Client,
            message_bytes_max: usize::MAX,
        };
        let mut input = Input::new(bytes);
        let mut heard = Vec::new();
        loop {
            let event = match inflater {
                Some(inflater) => decoder.decode_deflated(&mut input, &options, inflater),
                None => decoder.decode(&mut input, &options),
            };
            match event {
                Ok(Some(Frame::Text(text))) => heard.push(Heard::Text(text.into())),
                Ok(Some(Frame::Ping(payload))) => heard.push(Heard::Ping(payload.to_vec())),
                Ok(Some(Frame::Close(why))) => {
                    heard.push(Heard::Close(why.map_or("", |why| why.1).into()));
                }
                Ok(Some(Frame::Pong(_) | Frame::Binary(_))) => {}
                Ok(None) => return heard,
                Err(error) => {
                    self.oracle
                        .violation(|| format!("connection {number}: {error}"));
                    return heard;
                }
            }
        }
    }

    fn hear(&mut self, number: usize, frame: Heard) {
        match frame {
            Heard::Text(text) => self.hear_text(number, &text),
            Heard::Ping(payload) => self.say(number, Opcode::Pong, &payload),
            Heard::Close(reason) => {
                self.note(|| format!("connection {number} is closed: {reason:?}"));
                self.connections[number].close = Some(reason);
                self.say(number, Opcode::Close, &1000u16.to_be_bytes());
            }
        }
    }

    fn hear_text(&mut self, number: usize, text: &str) {
        if text == server::PONG {
            // Also while others of its requests wait.
            return self.reply(number, true, |request| matches!(request, Request::Ping));
        }
        let Ok(message) = serde_json::from_str::<Value>(text) else {
            return self
                .oracle
                .violation(|| format!("connection {number}: {text}"));
        };
        let client = self.connections[number].client;
        self.page_keeps(client, &message);
        if self.is_page(client) && message["type"] != "gap" && message["is_authorized"].is_null() {
            if message["type"] == "permissions" {
                self.told_rights(number, text);
            }
            return self.page_hears(number, &message);
        }
        if let Some(authorized) = message["is_authorized"].as_bool() {
            let connection = &mut self.connections[number];
            connection.is_welcome = authorized;
            let client = connection.client;
            if authorized {
                self.told_rights(number, text);
            }
            for room in self.clients[client].rooms.clone() {
                self.ask_for(client, room);
            }
            if self.is_page(client) {
                self.page_hears(number, &message);
            }
        } else if message["type"] == "publish" {
            let name = message["requestId"].as_u64().unwrap_or(0);
            let trigger = message["data"][0].as_u64();
            let trigger = trigger.and_then(|number| usize::try_from(number).ok());
            let trigger = trigger.unwrap_or(usize::MAX);
            self.note(|| format!("connection {number}: {trigger} for {name}"));
            self.connections[number].last = Some((name, trigger));
            self.oracle.received(number, name, trigger);
        } else if message["type"] == "gap" {
            self.note(|| format!("connection {number} may have missed publications"));
            let cursor = message["cursor"].as_str().and_then(|it| it.parse().ok());
            let order = &self.nodes[self.connections[number].node].order;
            // Its number is the log's own, and the node's positions go on over all logs.
            let upto = cursor.map(|cursor: Cursor| order.base().get() + cursor.position.get());
            let upto = upto.filter(|_| message["reason"] == GapCause::Window.as_str());
            self.oracle.told_gap(number, self.events.now, upto);
            if self.is_page(client) {
                self.page_hears(number, &message);
            }
        } else if message["type"] == "permissions" {
            self.told_rights(number, text);
        } else if message["type"] == "unsubscribed" {
            let name = message["requestId"].as_u64().unwrap_or(0);
            self.note(|| format!("connection {number}: {name} was dropped"));
            let connection = &mut self.connections[number];
            connection.names.retain(|(own, _)| *own != name);
            self.oracle.dropped(number, name);
        } else {
            let success = message["code"] == "success";
            self.reply(number, success, |request| !matches!(request, Request::Ping));
        }
    }

    /// A client learns its grants.
    fn told_rights(&mut self, number: usize, text: &str) {
        let rooms = text.split_once(r#""allowed_rooms": "#);
        // The first message has more behind them.
        let rooms = rooms.and_then(|(_, rooms)| match rooms.split_once(r#", "cursor""#) {
            Some((rooms, _)) => Some(rooms),
            None => rooms.strip_suffix('}'),
        });
        self.note(|| format!("connection {number}: {text}"));
        self.oracle.told_rights(number, rooms.unwrap_or_default());
    }

    /// The reply to the oldest request of this kind.
    fn reply(&mut self, number: usize, success: bool, is_it: impl Fn(&Request) -> bool) {
        let requests = &mut self.connections[number].requests;
        let oldest = requests.iter().position(is_it);
        let request = oldest.and_then(|oldest| requests.remove(oldest));
        self.note(|| format!("connection {number}: {request:?}, success is {success}"));
        match request {
            Some(Request::Subscribe(name)) => {
                if !success {
                    let connection = &mut self.connections[number];
                    connection.names.retain(|(own, _)| *own != name);
                }
                let now = self.events.now;
                self.oracle.subscribed(number, name, success, now);
            }
            Some(Request::Unsubscribe(name)) => {
                self.oracle.unsubscribed(number, name, success);
                if self.plan.mutant == Some(Mutant::AfterUnsubscribe)
                    && let Some((_, trigger)) = self.connections[number].last
                {
                    self.oracle.received(number, name, trigger);
                }
            }
            Some(Request::Ping) => {}
            None => self
                .oracle
                .violation(|| format!("connection {number}: a reply to nothing")),
        }
    }

    /// A connection is over for its client.
    pub(super) fn over(&mut self, number: usize) {
        let connection = &mut self.connections[number];
        connection.is_over = true;
        let reason = connection.close.clone().unwrap_or_default();
        let client = connection.client;
        self.clients[client].connection = None;
        let at = connection.shut_at.unwrap_or(self.events.now);
        self.page_is_cut(client);
        self.oracle.over(number, &reason, at);
    }
}
