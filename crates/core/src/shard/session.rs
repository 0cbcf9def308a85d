//! What clients say, and what they are answered.

use std::sync::Arc;

use ht_frame::{
    CloseCode, DecodeOptions, Event, Inflater, Input, Opcode, Role, put_close, put_frame,
};
use ht_proto::client::{ClientMessage, Envelope, MessageLimits, PING, RequestId};
use ht_proto::close::Close;
use ht_proto::code::ErrorCode;
use ht_proto::room::{Room, RoomLimits};
use ht_proto::server;
use ht_proto::subprotocol::Subprotocol;

use crate::budget::cost;
use crate::connection::State;
use crate::grant::GrantSet;
use crate::peer::{Eviction, Moment, Peer};
use crate::registry::{self, ConnectionId, Names, Subscribed, name_weight};
use crate::shard::Shard;
use crate::shard::behind::Paused;
use crate::world::{Turn, World};

/// What follows a message.
enum Flow {
    /// The next one.
    Continue,
    /// The rest of it, when the connection has its next turn.
    Pause(Paused),
    /// Nothing: the connection is being closed, with this frame if it is not empty.
    Stop(Vec<u8>),
}

/// How many subscriptions of a request id were dropped.
enum Dropped {
    /// There is none.
    Unknown,
    /// All of them.
    All,
    /// Some; the slice is over.
    Some,
}

impl<P: Peer> Shard<P> {
    /// Processes what a client sent, from `paused` on, until all of it is processed or the
    /// connection's slice of the turn is over. What is left stays in `input`. Returns the message
    /// that is done in part, and whether a message was completed.
    pub(super) fn converse(
        &mut self,
        id: ConnectionId,
        input: &mut Input<'_>,
        paused: Option<Paused>,
        turn: &mut Turn<'_, impl World<P>>,
    ) -> (Option<Paused>, bool) {
        self.budget.begin_slice();
        let connection = &mut self.connections[id.index()];
        let deflate = connection.deflate.is_some();
        let mut decoder = std::mem::take(&mut connection.decoder);
        let mut inflater = std::mem::take(&mut self.inflater);
        let mut replies = std::mem::take(&mut self.scratch);
        let options = DecodeOptions {
            role: Role::Server,
            message_bytes_max: self.settings.limits.message_bytes,
        };
        let mut flow = match paused {
            Some(paused) => self.go_on(id, paused, &mut replies, turn),
            None => Flow::Continue,
        };
        let mut anew = false;
        // One message at least, so that every turn brings every connection on.
        let mut first = true;
        while matches!(flow, Flow::Continue)
            && (std::mem::take(&mut first) || !self.budget.is_slice_over())
        {
            let event = if !self.is_open(id) {
                decoder.decode_control(input, &options, deflate)
            } else if deflate {
                decoder.decode_deflated(input, &options, &mut inflater)
            } else {
                decoder.decode(input, &options)
            };
            flow = match event {
                Ok(Some(event)) => {
                    anew |= matches!(event, Event::Text(_) | Event::Binary(_));
                    self.on_event(id, event, &mut replies, turn)
                }
                Ok(None) => break,
                Err(violation) => {
                    self.stats.violations += 1;
                    let mut close = Vec::new();
                    if !self.is_closing(id) {
                        put_close(&mut close, violation.code(), violation.reason());
                    }
                    Flow::Stop(close)
                }
            };
            if deflate && matches!(flow, Flow::Continue | Flow::Pause(_)) {
                flow = self.on_inflated(id, &mut inflater, flow, turn);
            }
        }
        inflater.trim();
        self.inflater = inflater;
        let (paused, close) = match flow {
            Flow::Continue => (None, None),
            Flow::Pause(paused) => (Some(paused), None),
            Flow::Stop(close) => (None, Some(close)),
        };
        if let Some(close) = close {
            // What comes after it has no meaning.
            input.skip();
            self.retire(id, true, turn);
            self.close_frame(id, close, &mut replies);
        } else {
            self.connections[id.index()].decoder = decoder;
        }
        if !replies.is_empty() {
            self.budget.spend(cost::write(replies.len()));
            self.send(id, &replies, turn);
        }
        self.recycle(replies);
        self.shut_down_if_done(id);
        (paused, anew)
    }

    fn on_event(
        &mut self,
        id: ConnectionId,
        event: Event<'_>,
        replies: &mut Vec<u8>,
        turn: &mut Turn<'_, impl World<P>>,
    ) -> Flow {
        self.budget.spend(cost::MESSAGE);
        if let Event::Close(close) = event {
            let mut frame = Vec::new();
            match close {
                _ if self.is_closing(id) => {}
                Some((code, reason)) => put_close(&mut frame, code, reason),
                None => put_frame(&mut frame, Opcode::Close, &[]),
            }
            return Flow::Stop(frame);
        }
        let grants = match (&self.connections[id.index()].state, event) {
            (State::Open(grants), _) => Arc::clone(grants),
            (State::Refused(_), Event::Ping(payload)) => {
                put_frame(replies, Opcode::Pong, payload);
                return Flow::Continue;
            }
            // A refused visitor is not listened to, and after our close frame nothing is sent.
            (State::Refused(_) | State::Closing { .. }, _) => return Flow::Continue,
        };
        let connection = &mut self.connections[id.index()];
        let per_second = self.settings.limits.messages_per_second;
        if !connection.rate.allows(1, per_second, turn.now) {
            return self.limit(id, Eviction::MessagesPerSecond, turn);
        }
        match event {
            Event::Text(PING) => {
                self.touch(id, turn.now);
                put_frame(replies, Opcode::Text, server::PONG.as_bytes());
                turn.world.moment(
                    Moment::Ping,
                    &mut self.connections[id.index()].peer,
                    turn.now,
                );
            }
            Event::Text(text) => {
                self.touch(id, turn.now);
                return self.on_message(id, &grants, text, replies, turn);
            }
            Event::Binary(bytes) => {
                self.touch(id, turn.now);
                // Not UTF-8 is not JSON.
                let text = str::from_utf8(bytes).unwrap_or_default();
                return self.on_message(id, &grants, text, replies, turn);
            }
            Event::Ping(payload) => put_frame(replies, Opcode::Pong, payload),
            Event::Pong(_) | Event::Close(_) => {}
        }
        Flow::Continue
    }

    /// Charges what was inflated for a connection, to the turn and to the connection's own limit.
    fn on_inflated(
        &mut self,
        id: ConnectionId,
        inflater: &mut Inflater,
        flow: Flow,
        turn: &mut Turn<'_, impl World<P>>,
    ) -> Flow {
        let bytes = inflater.take_inflated();
        if bytes == 0 {
            return flow;
        }
        self.budget.spend(cost::inflate(bytes));
        let per_second = self.settings.limits.inflated_bytes_per_second;
        let rate = &mut self.connections[id.index()].inflated;
        if rate.allows(bytes, per_second, turn.now) {
            return flow;
        }
        self.limit(id, Eviction::InflatedBytesPerSecond, turn)
    }

    /// Evicts a connection that exceeds a rate limit.
    fn limit(
        &mut self,
        id: ConnectionId,
        reason: Eviction,
        turn: &mut Turn<'_, impl World<P>>,
    ) -> Flow {
        self.stats.evictions[reason as usize] += 1;
        let connection = &self.connections[id.index()];
        turn.world.evicted(connection.id, &connection.peer, reason);
        let close = Close::TOO_MANY_MESSAGES;
        let mut frame = Vec::new();
        put_close(&mut frame, CloseCode(close.code()), &close.reason());
        Flow::Stop(frame)
    }

    /// Notes a client's message: the connection is not idle.
    fn touch(&mut self, id: ConnectionId, now: u64) {
        self.stats.messages += 1;
        self.idle.remove(&mut self.connections, id.0);
        self.idle.push(&mut self.connections, id.0, now);
    }

    fn message_limits(&self) -> MessageLimits {
        let limits = &self.settings.limits;
        MessageLimits {
            request_id_bytes: limits.request_id_bytes,
            room: RoomLimits {
                bytes: limits.room_bytes,
                depth: limits.room_depth,
            },
        }
    }

    fn on_message(
        &mut self,
        id: ConnectionId,
        grants: &GrantSet,
        text: &str,
        replies: &mut Vec<u8>,
        turn: &mut Turn<'_, impl World<P>>,
    ) -> Flow {
        self.budget.spend(cost::parse(text.len()));
        let limits = self.message_limits();
        let envelope = Envelope::read(text);
        let mut reason = None;
        let done = match envelope.message(&limits) {
            Ok(ClientMessage::Subscribe { room, .. }) if !grants.permits(&room) => {
                reason = self.explain(id, grants, &room, turn);
                Err(ErrorCode::RoomNotFound)
            }
            Ok(ClientMessage::Subscribe { room, request_id }) => self
                .on_subscribe(id, grants, room, &request_id, turn)
                .map(|()| request_id),
            Ok(ClientMessage::Unsubscribe { request_id }) => {
                match self.unsubscribe(id, &request_id, turn) {
                    Dropped::All => Ok(request_id),
                    Dropped::Some => return Flow::Pause(Paused::Unsubscribe(request_id)),
                    Dropped::Unknown => Err(ErrorCode::NotSubscribed),
                }
            }
            Ok(ClientMessage::Status) if self.settings.status_clients => {
                self.budget.spend(cost::STATUS);
                let status = turn.world.status(&self.stats).to_json();
                put_frame(replies, Opcode::Text, status.as_bytes());
                return Flow::Continue;
            }
            Ok(ClientMessage::Status) => Err(ErrorCode::MessageTypeNotAllowed),
            Err(code) => Err(code),
        };
        match done {
            Ok(request_id) => self.put_success(id, &request_id, replies),
            Err(code) => {
                self.stats.errors[code as usize] += 1;
                let connection = &self.connections[id.index()];
                let subprotocol = connection.subprotocol;
                let name = subprotocol.and_then(|_| envelope.request_id(&limits));
                let mut message = Vec::with_capacity(128);
                let (name, reason) = (name.as_ref(), reason.as_deref());
                server::put_error(&mut message, code, &connection.id, name, reason);
                put_frame(replies, Opcode::Text, &message);
            }
        }
        Flow::Continue
    }

    fn put_success(&self, id: ConnectionId, request_id: &RequestId, replies: &mut Vec<u8>) {
        match self.connections[id.index()].subprotocol {
            None => put_frame(replies, Opcode::Text, server::SUCCESS.as_bytes()),
            Some(Subprotocol::V1) => {
                put_frame(
                    replies,
                    Opcode::Text,
                    server::success(request_id).as_bytes(),
                );
            }
        }
    }

    /// Continues with a message that is done in part.
    fn go_on(
        &mut self,
        id: ConnectionId,
        paused: Paused,
        replies: &mut Vec<u8>,
        turn: &mut Turn<'_, impl World<P>>,
    ) -> Flow {
        let Paused::Unsubscribe(request_id) = paused;
        if !self.is_open(id) {
            return Flow::Continue;
        }
        match self.unsubscribe(id, &request_id, turn) {
            Dropped::Some => Flow::Pause(Paused::Unsubscribe(request_id)),
            Dropped::All | Dropped::Unknown => {
                self.put_success(id, &request_id, replies);
                Flow::Continue
            }
        }
    }

    /// Subscribes to a room that the grants permit.
    fn on_subscribe(
        &mut self,
        id: ConnectionId,
        grants: &GrantSet,
        room: Room,
        name: &RequestId,
        turn: &mut Turn<'_, impl World<P>>,
    ) -> Result<(), ErrorCode> {
        let limits = &self.settings.limits;
        let connection = &mut self.connections[id.index()];
        match self.registry.names(id, &room, name) {
            Names::Subscribed => return Ok(()),
            Names::Weight(0) => {}
            Names::Weight(held) => {
                if held + name_weight(name.as_json().len()) > limits.names_per_room {
                    return Err(ErrorCode::TooManyNames);
                }
            }
        }
        self.budget.spend(cost::SUBSCRIBE);
        let own = &mut connection.own;
        if limits.subscriptions != 0 && own.weight() >= limits.subscriptions {
            return Err(ErrorCode::TooManySubscriptions);
        }
        // Who shares the combinations of `*`; nobody needs to know without.
        let client = match room.wildcards() {
            0 => 0,
            _ => turn.world.client(&connection.peer),
        };
        // Each combination of keys with `*` makes publications slower for everybody, and a grant
        // of `*` for many keys permits very many. Those that the API itself names are few.
        if !self.registry.admits_wildcards(id, client, &room) && !grants.contains(&room) {
            return Err(ErrorCode::TooManyWildcards);
        }
        let weight = registry::weight(&room, name);
        if !self.may_hold(id, weight, turn) {
            return Err(ErrorCode::TooManySubscriptions);
        }
        let own = &mut self.connections[id.index()].own;
        if let Subscribed::Opened(room) = self.registry.subscribe(id, client, own, room, name) {
            let since = turn.world.room_opened(self.registry.room(room));
            self.registry.hear_since(room, since);
        }
        self.count_registry();
        Ok(())
    }

    /// Drops the subscriptions that a connection has under a request id, until its slice is over,
    /// but one of them at least.
    fn unsubscribe(
        &mut self,
        id: ConnectionId,
        name: &RequestId,
        turn: &mut Turn<'_, impl World<P>>,
    ) -> Dropped {
        let own = &mut self.connections[id.index()].own;
        let mut dropped = Dropped::Unknown;
        while self
            .registry
            .unsubscribe_one(id, own, name, |room| turn.world.room_closed(room))
        {
            dropped = Dropped::All;
            self.budget.spend(cost::DROP);
            if self.budget.is_slice_over() && self.registry.has_name(id, name) {
                dropped = Dropped::Some;
                break;
            }
        }
        self.count_registry();
        dropped
    }
}
