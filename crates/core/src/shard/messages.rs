//! Messages of clients and the replies to them, whatever transport they take.

use ht_proto::client::{ClientMessage, Envelope, MessageLimits, RequestId, Resumed};
use ht_proto::close::Close;
use ht_proto::code::ErrorCode;
use ht_proto::cursor::Cursor;
use ht_proto::hook::Hook;
use ht_proto::room::{Room, RoomLimits};
use ht_proto::server;
use ht_proto::subprotocol::Subprotocol;
use ht_proto::token::Token;

use crate::budget::cost;
use crate::connection::ConnectionId;
use crate::grant::GrantSet;
use crate::peer::{Eviction, Peer};
use crate::registry::{self, Names, Subscribed, Subscriber, SubscriptionId, name_weight};
use crate::shard::Shard;
use crate::shard::behind::Paused;
use crate::world::{Turn, World};

/// How processing continues after a message.
pub(super) enum Flow {
    /// With the next message.
    Continue,
    /// With the rest of this message, when the connection has its next turn.
    Pause(Paused),
    /// Not at all: the connection is being closed, with this frame if it is not empty.
    Stop(Vec<u8>),
    /// Not before the API has answered about this token.
    Ask(Token),
    /// Not at all: the client has sent no valid token.
    TurnAway,
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
    /// Evicts a connection that exceeds a rate limit.
    pub(super) fn limit(
        &mut self,
        id: ConnectionId,
        reason: Eviction,
        turn: &mut Turn<'_, impl World<P>>,
    ) -> Flow {
        self.stats.evictions[reason as usize] += 1;
        let session = &self.sessions[id.index()];
        turn.world.evicted(session.id, &session.peer, reason);
        Flow::Stop(self.close_message(id, Close::TOO_MANY_MESSAGES))
    }

    /// Replies to the text message `ping`.
    pub(super) fn on_ping(
        &mut self,
        id: ConnectionId,
        replies: &mut Vec<u8>,
        turn: &mut Turn<'_, impl World<P>>,
    ) {
        self.touch(id, turn.now);
        self.reply_pong(id, replies, turn);
    }

    /// Replies to a `ping` that was counted.
    pub(super) fn reply_pong(
        &mut self,
        id: ConnectionId,
        replies: &mut Vec<u8>,
        turn: &mut Turn<'_, impl World<P>>,
    ) {
        self.reply(id, server::PONG.as_bytes(), replies);
        let peer = &mut self.sessions[id.index()].peer;
        turn.world.hook(Hook::Ping, peer, turn.now);
    }

    /// Appends a reply to `replies`.
    pub(super) fn reply(&self, id: ConnectionId, text: &[u8], replies: &mut Vec<u8>) {
        let transport = &self.sessions[id.index()].transport;
        transport.put_message(replies, text, None);
    }

    /// Counts a client's message: the connection is not idle.
    pub(super) fn touch(&mut self, id: ConnectionId, now: u64) {
        self.stats.messages += 1;
        if let Some(tenant) = self.sessions[id.index()].tenant() {
            self.tallies.of(tenant, &self.stats).messages += 1;
        }
        self.idle.remove(&mut self.sessions, id.0);
        self.idle.push(&mut self.sessions, id.0, now);
    }

    pub(super) fn message_limits(&self) -> MessageLimits {
        let limits = &self.settings.limits;
        MessageLimits {
            request_id_bytes: limits.request_id_bytes,
            room: RoomLimits {
                bytes: limits.room_bytes,
                depth: limits.room_depth,
            },
        }
    }

    pub(super) fn on_message(
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
            Ok(ClientMessage::Subscribe {
                room,
                request_id,
                since,
            }) => {
                // Others ignore it.
                let since = match self.has_subprotocol(id) {
                    true => since,
                    false => Ok(None),
                };
                if let Ok(Some(cursor)) = since
                    && self.awaits_log(id, text, [cursor].into_iter(), turn.now)
                {
                    return Flow::Continue;
                }
                let subscribed = since.and_then(|since| {
                    let subscribed = self.on_subscribe(id, grants, room, &request_id, turn);
                    subscribed.map(|subscription| (subscription, since))
                });
                match subscribed {
                    // It is answered when it is known how much there is to send.
                    Ok((subscription, Some(since))) => {
                        self.recover(id, subscription, request_id, since, turn.now);
                        return Flow::Continue;
                    }
                    Ok((_, None)) => {
                        self.put_success_at(id, &request_id, replies);
                        return Flow::Continue;
                    }
                    Err(code) => Err(code),
                }
            }
            Ok(ClientMessage::Resume {
                request_id,
                cursor,
                subscriptions,
            }) if self.has_subprotocol(id) => {
                let asked = request_id.and_then(|name| Ok((name, cursor?, subscriptions?)));
                match asked {
                    Ok((_, cursor, subscriptions))
                        if self.awaits_log(id, text, cursors(cursor, &subscriptions), turn.now) =>
                    {
                        return Flow::Continue;
                    }
                    Ok((name, cursor, subscriptions)) => {
                        return self.on_resume(id, name, cursor, subscriptions, turn);
                    }
                    Err(code) => Err(code),
                }
            }
            Ok(ClientMessage::Unsubscribe { request_id }) => {
                match self.unsubscribe(id, &request_id, turn) {
                    Dropped::All => Ok(request_id),
                    Dropped::Some => return Flow::Pause(Paused::Unsubscribe(request_id)),
                    Dropped::Unknown => Err(ErrorCode::NotSubscribed),
                }
            }
            Ok(ClientMessage::Status) if self.settings.status_clients => {
                self.budget.spend(cost::STATUS);
                let status = turn.world.status(grants.tenant(), &self.stats).to_json();
                self.reply(id, status.as_bytes(), replies);
                return Flow::Continue;
            }
            Ok(ClientMessage::Authenticate { token, request_id }) if self.may_authenticate(id) => {
                let asked = request_id.and_then(|name| self.on_authenticate(id, token, name));
                match asked {
                    // It is answered when the API has answered.
                    Ok(()) => return Flow::Continue,
                    Err(code) => Err(code),
                }
            }
            Ok(ClientMessage::Ping { request_id }) if self.has_subprotocol(id) => {
                match request_id {
                    Ok(name) => {
                        self.on_json_ping(id, name.as_ref(), replies, turn);
                        return Flow::Continue;
                    }
                    Err(code) => Err(code),
                }
            }
            Ok(
                ClientMessage::Status
                | ClientMessage::Authenticate { .. }
                | ClientMessage::Resume { .. }
                | ClientMessage::Ping { .. },
            ) => Err(ErrorCode::MessageTypeNotAllowed),
            Err(code) => Err(code),
        };
        match done {
            Ok(request_id) => self.put_success(id, &request_id, replies),
            Err(code) => {
                self.stats.errors[code as usize] += 1;
                let session = &self.sessions[id.index()];
                let subprotocol = session.transport.subprotocol();
                let name = subprotocol.and_then(|_| envelope.request_id(&limits));
                let mut message = Vec::with_capacity(128);
                let (name, reason) = (name.as_ref(), reason.as_deref());
                server::put_error(&mut message, code, &session.id, name, reason);
                self.reply(id, &message, replies);
            }
        }
        Flow::Continue
    }

    /// Whether the client chose our subprotocol.
    pub(super) fn has_subprotocol(&self, id: ConnectionId) -> bool {
        self.sessions[id.index()].transport.subprotocol().is_some()
    }

    /// The answer to a subscribe.
    fn put_success_at(&self, id: ConnectionId, request_id: &RequestId, replies: &mut Vec<u8>) {
        match self.sessions[id.index()].transport.subprotocol() {
            None => self.reply(id, server::SUCCESS.as_bytes(), replies),
            Some(Subprotocol::V1) => {
                let answer = server::success_at(Some(request_id), self.cursor(id));
                self.reply(id, answer.as_bytes(), replies);
            }
        }
    }

    fn put_success(&self, id: ConnectionId, request_id: &RequestId, replies: &mut Vec<u8>) {
        match self.sessions[id.index()].transport.subprotocol() {
            None => self.reply(id, server::SUCCESS.as_bytes(), replies),
            Some(Subprotocol::V1) => {
                self.reply(id, server::success(request_id).as_bytes(), replies);
            }
        }
    }

    /// Continues with a partially processed message.
    pub(super) fn go_on(
        &mut self,
        id: ConnectionId,
        paused: Paused,
        replies: &mut Vec<u8>,
        turn: &mut Turn<'_, impl World<P>>,
    ) -> Flow {
        if !self.is_open(id) {
            return Flow::Continue;
        }
        let request_id = match paused {
            Paused::Unsubscribe(request_id) => request_id,
            Paused::Resume(registering) => return self.register(id, *registering, turn),
        };
        match self.unsubscribe(id, &request_id, turn) {
            Dropped::Some => Flow::Pause(Paused::Unsubscribe(request_id)),
            Dropped::All | Dropped::Unknown => {
                self.put_success(id, &request_id, replies);
                Flow::Continue
            }
        }
    }

    /// Subscribes to a room that the grants permit.
    pub(super) fn on_subscribe(
        &mut self,
        id: ConnectionId,
        grants: &GrantSet,
        room: Room,
        name: &RequestId,
        turn: &mut Turn<'_, impl World<P>>,
    ) -> Result<SubscriptionId, ErrorCode> {
        let limits = &self.settings.limits;
        let session = &mut self.sessions[id.index()];
        match self.registry.names(id, (grants.tenant(), &room), name) {
            Names::Subscribed(subscription) => return Ok(subscription),
            Names::Weight(0) => {}
            Names::Weight(held) => {
                if held + name_weight(name.as_json().len()) > limits.names_per_room {
                    return Err(ErrorCode::TooManyNames);
                }
            }
        }
        self.budget.spend(cost::SUBSCRIBE);
        let own = &mut session.own;
        if limits.subscriptions != 0 && own.weight() >= limits.subscriptions {
            return Err(ErrorCode::TooManySubscriptions);
        }
        // The client for fair shares of `*` combinations; not needed without `*`.
        let client = match room.wildcards() {
            0 => 0,
            _ => turn.world.client(&session.peer),
        };
        // Each combination of keys with `*` makes every publication slower, and a grant of `*` for
        // many keys permits very many. Those that the API itself names are few.
        let subscriber = Subscriber {
            connection: id,
            tenant: grants.tenant(),
            client,
        };
        if !self.registry.admits_wildcards(subscriber, &room) && !grants.contains(&room) {
            return Err(ErrorCode::TooManyWildcards);
        }
        let weight = registry::weight(&room, name);
        if !self.may_hold(id, weight, turn) {
            return Err(ErrorCode::TooManySubscriptions);
        }
        let own = &mut self.sessions[id.index()].own;
        if let Subscribed::Opened(room) = self.registry.subscribe(subscriber, own, room, name) {
            let opened = self.registry.room(room);
            let since = turn.world.room_opened(subscriber.tenant, opened);
            self.registry.hear_since(room, since);
        }
        let subscription = self.registry.newest(&self.sessions[id.index()].own);
        self.count_registry();
        Ok(subscription)
    }

    /// Drops the subscriptions that a connection has under a request id, until its slice is over,
    /// but one of them at least.
    fn unsubscribe(
        &mut self,
        id: ConnectionId,
        name: &RequestId,
        turn: &mut Turn<'_, impl World<P>>,
    ) -> Dropped {
        let own = &mut self.sessions[id.index()].own;
        let mut dropped = Dropped::Unknown;
        while self
            .registry
            .unsubscribe_one(id, own, name, |tenant, room| {
                turn.world.room_closed(tenant, room)
            })
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

/// All cursors of a `resume`.
fn cursors(own: Cursor, subscriptions: &[Resumed]) -> impl Iterator<Item = Cursor> {
    let each = subscriptions.iter();
    let each = each.filter_map(|resumed| resumed.since.ok().flatten());
    each.chain([own])
}
