//! What clients say, and what they are answered.

use std::sync::Arc;

use ht_frame::CloseCode;
use ht_frame::DecodeOptions;
use ht_frame::Event;
use ht_frame::Input;
use ht_frame::Opcode;
use ht_frame::Role;
use ht_frame::put_close;
use ht_frame::put_frame;
use ht_proto::client::ClientMessage;
use ht_proto::client::MessageLimits;
use ht_proto::client::PING;
use ht_proto::client::RequestId;
use ht_proto::close::Close;
use ht_proto::code::ErrorCode;
use ht_proto::room::Room;
use ht_proto::room::RoomLimits;
use ht_proto::server;
use ht_proto::subprotocol::Subprotocol;

use crate::connection::State;
use crate::grant::GrantSet;
use crate::peer::Effects;
use crate::peer::Eviction;
use crate::peer::Moment;
use crate::peer::Peer;
use crate::registry::{self, ConnectionId, Names, Subscribed, name_weight};
use crate::shard::Shard;

/// Whether to read on.
enum Flow {
    Continue,
    Stop,
}

impl<P: Peer> Shard<P> {
    /// Takes bytes that a client sent.
    pub fn receive(
        &mut self,
        id: ConnectionId,
        bytes: &mut [u8],
        now: u64,
        effects: &mut impl Effects<P>,
    ) {
        // What was published before comes before what is answered now.
        self.gather_queued();
        self.flush_connection(id, now, effects);
        let Some(connection) = self.connections.get_mut(id.index()) else {
            return;
        };
        if matches!(connection.state, State::Closing { deaf: true, .. }) {
            return;
        }
        self.keepalive.heard(id.0, now);
        let mut decoder = std::mem::take(&mut connection.decoder);
        let mut inflater = connection
            .deflate
            .map(|_| std::mem::take(&mut self.inflater));
        let mut replies = std::mem::take(&mut self.scratch);
        let mut input = Input::new(bytes);
        let options = DecodeOptions {
            role: Role::Server,
            message_bytes_max: self.settings.limits.message_bytes,
        };
        let mut anew = false;
        loop {
            let event = match &mut inflater {
                Some(inflater) => decoder.decode_deflated(&mut input, &options, inflater),
                None => decoder.decode(&mut input, &options),
            };
            let flow = match event {
                Ok(Some(event)) => {
                    anew |= matches!(event, Event::Text(_) | Event::Binary(_));
                    self.on_event(id, event, &mut replies, now, effects)
                }
                Ok(None) => break,
                Err(violation) => {
                    self.stats.violations += 1;
                    if !self.is_closing(id) {
                        put_close(&mut replies, violation.code(), violation.reason());
                    }
                    self.retire(id, true, now, effects);
                    Flow::Stop
                }
            };
            if matches!(flow, Flow::Stop) {
                decoder = ht_frame::Decoder::new();
                break;
            }
        }
        if let Some(mut inflater) = inflater {
            inflater.trim();
            self.inflater = inflater;
        }
        self.connections[id.index()].decoder = decoder;
        if !replies.is_empty() {
            self.send(id, &replies, now, effects);
        }
        self.recycle(replies);
        if let Some(connection) = self.connections.get_mut(id.index())
            && matches!(connection.state, State::Closing { deaf: true, .. })
            && connection.waiting() == 0
        {
            connection.peer.shutdown();
        }
        self.settle(id, anew, now, effects);
    }

    fn on_event(
        &mut self,
        id: ConnectionId,
        event: Event<'_>,
        replies: &mut Vec<u8>,
        now: u64,
        effects: &mut impl Effects<P>,
    ) -> Flow {
        if let Event::Close(close) = event {
            // Deregistered before it is echoed: who asks for the status right after must not
            // count this connection.
            let answered = self.is_closing(id);
            self.retire(id, true, now, effects);
            match close {
                _ if answered => {}
                Some((code, reason)) => put_close(replies, code, reason),
                None => put_frame(replies, Opcode::Close, &[]),
            }
            return Flow::Stop;
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
        if !connection.rate.allows(per_second, now) {
            let reason = Eviction::MessagesPerSecond;
            self.stats.evictions[reason as usize] += 1;
            effects.evicted(connection.id, &connection.peer, reason);
            let close = Close::TOO_MANY_MESSAGES;
            put_close(replies, CloseCode(close.code()), &close.reason());
            self.retire(id, true, now, effects);
            return Flow::Stop;
        }
        match event {
            Event::Text(PING) => {
                self.touch(id, now);
                put_frame(replies, Opcode::Text, server::PONG.as_bytes());
                effects.moment(Moment::Ping, &mut self.connections[id.index()].peer, now);
            }
            Event::Text(text) => {
                self.touch(id, now);
                self.on_message(id, &grants, text, replies, now, effects);
            }
            Event::Binary(bytes) => {
                self.touch(id, now);
                // Not UTF-8 is not JSON.
                let text = str::from_utf8(bytes).unwrap_or_default();
                self.on_message(id, &grants, text, replies, now, effects);
            }
            Event::Ping(payload) => put_frame(replies, Opcode::Pong, payload),
            Event::Pong(_) | Event::Close(_) => {}
        }
        Flow::Continue
    }

    /// Notes a client's message: the connection is not idle.
    fn touch(&mut self, id: ConnectionId, now: u64) {
        self.stats.messages += 1;
        self.idle.remove(&mut self.connections, id.0);
        self.idle.push(&mut self.connections, id.0, now);
    }

    fn on_message(
        &mut self,
        id: ConnectionId,
        grants: &GrantSet,
        text: &str,
        replies: &mut Vec<u8>,
        now: u64,
        effects: &mut impl Effects<P>,
    ) {
        let limits = &self.settings.limits;
        let limits = MessageLimits {
            request_id_bytes: limits.request_id_bytes,
            room: RoomLimits {
                bytes: limits.room_bytes,
                depth: limits.room_depth,
            },
        };
        let done = match ClientMessage::parse(text, &limits) {
            Ok(ClientMessage::Subscribe { room, request_id }) => self
                .on_subscribe(id, grants, room, &request_id, now, effects)
                .map(|()| request_id),
            Ok(ClientMessage::Unsubscribe { request_id }) => self
                .on_unsubscribe(id, &request_id, effects)
                .map(|()| request_id),
            Ok(ClientMessage::Status) if self.settings.status_clients => {
                let status = effects.status(&self.stats).to_json();
                put_frame(replies, Opcode::Text, status.as_bytes());
                return;
            }
            Ok(ClientMessage::Status) => Err(ErrorCode::MessageTypeNotAllowed),
            Err(code) => Err(code),
        };
        let connection = &self.connections[id.index()];
        match (done, connection.subprotocol) {
            (Ok(_), None) => put_frame(replies, Opcode::Text, server::SUCCESS.as_bytes()),
            (Ok(name), Some(Subprotocol::V1)) => {
                put_frame(replies, Opcode::Text, server::success(&name).as_bytes());
            }
            (Err(code), subprotocol) => {
                self.stats.errors[code as usize] += 1;
                let name = subprotocol.and_then(|_| RequestId::of_message(text, &limits));
                let mut message = Vec::with_capacity(128);
                server::put_error(&mut message, code, &connection.id, name.as_ref());
                put_frame(replies, Opcode::Text, &message);
            }
        }
    }

    fn on_subscribe(
        &mut self,
        id: ConnectionId,
        grants: &GrantSet,
        room: Room,
        name: &RequestId,
        now: u64,
        effects: &mut impl Effects<P>,
    ) -> Result<(), ErrorCode> {
        if !grants.permits(&room) {
            return Err(ErrorCode::RoomNotFound);
        }
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
        let own = &mut connection.own;
        if limits.subscriptions != 0 && own.weight() >= limits.subscriptions {
            return Err(ErrorCode::TooManySubscriptions);
        }
        // Who shares the combinations of `*`; nobody needs to know without.
        let client = match room.wildcards() {
            0 => 0,
            _ => effects.client(&connection.peer),
        };
        // Each combination of keys with `*` makes publications slower for everybody, and a grant
        // of `*` for many keys permits very many. Those that the API itself names are few.
        if !self.registry.admits_wildcards(id, client, &room) && !grants.contains(&room) {
            return Err(ErrorCode::TooManyWildcards);
        }
        let weight = registry::weight(&room, name);
        if !self.may_hold(id, weight, now, effects) {
            return Err(ErrorCode::TooManySubscriptions);
        }
        let own = &mut self.connections[id.index()].own;
        if let Subscribed::Opened(room) = self.registry.subscribe(id, client, own, room, name) {
            let since = effects.room_opened(self.registry.room(room));
            self.registry.hear_since(room, since);
        }
        self.count_registry();
        Ok(())
    }

    fn on_unsubscribe(
        &mut self,
        id: ConnectionId,
        name: &RequestId,
        effects: &mut impl Effects<P>,
    ) -> Result<(), ErrorCode> {
        let own = &mut self.connections[id.index()].own;
        let closed = |room: &Room| effects.room_closed(room);
        if self.registry.unsubscribe(id, own, name, closed) == 0 {
            return Err(ErrorCode::NotSubscribed);
        }
        self.count_registry();
        Ok(())
    }
}
