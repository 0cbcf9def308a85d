//! Sessions over a WebSocket: from frames to messages and control frames (RFC 6455 §5).

use std::sync::Arc;

use ht_frame::{
    DecodeOptions, Decoder, Event, Inflater, Input, Opcode, Role, put_close, put_frame,
};
use ht_proto::client::PING;

use crate::budget::cost;
use crate::connection::ConnectionId;
use crate::peer::{Eviction, Peer};
use crate::session::Stage;
use crate::shard::Shard;
use crate::shard::authentication::FIRST_MESSAGE_BYTES_MAX;
use crate::shard::behind::Paused;
use crate::shard::messages::Flow;
use crate::transport::Transport;
use crate::world::{Turn, World};

impl<P: Peer> Shard<P> {
    /// Processes what a client sent, from `paused` on, until all of it is processed or the
    /// connection's slice of the turn is over. The remainder stays in `input`. Returns the
    /// partially processed message, and whether a message was completed.
    pub(super) fn converse(
        &mut self,
        id: ConnectionId,
        input: &mut Input<'_>,
        paused: Option<Paused>,
        turn: &mut Turn<'_, impl World<P>>,
    ) -> (Option<Paused>, bool) {
        self.budget.begin_slice();
        let session = &mut self.sessions[id.index()];
        let awaits_token = session.awaits_token();
        let Transport::WebSocket(websocket) = &mut session.transport else {
            return (self.on_stray(id, input, paused, turn), false);
        };
        let deflate = websocket.deflate.is_some();
        let mut decoder = std::mem::take(&mut websocket.decoder);
        let mut inflater = std::mem::take(&mut self.inflater);
        let mut replies = std::mem::take(&mut self.scratch);
        let options = DecodeOptions {
            role: Role::Server,
            message_bytes_max: match awaits_token {
                true => FIRST_MESSAGE_BYTES_MAX,
                false => self.settings.limits.message_bytes,
            },
        };
        let mut flow = match paused {
            Some(paused) => self.go_on(id, paused, &mut replies, turn),
            None => Flow::Continue,
        };
        let mut anew = false;
        // At least one message, so that every connection makes progress in every turn.
        let mut first = true;
        while matches!(flow, Flow::Continue)
            && (first || !self.budget.is_slice_over())
            && let Some(text) = self.next_postponed(id)
        {
            first = false;
            flow = self.on_postponed(id, &text, &mut replies, turn);
        }
        while matches!(flow, Flow::Continue)
            && !self.awaits_turn(id)
            && (std::mem::take(&mut first) || !self.budget.is_slice_over())
        {
            let event = if !awaits_token && !self.is_open(id) {
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
                Err(_) if awaits_token => Flow::TurnAway,
                Err(violation) => {
                    self.stats.violations += 1;
                    let mut close = Vec::new();
                    if !self.is_closing(id) {
                        put_close(&mut close, violation.code(), violation.reason());
                    }
                    Flow::Stop(close)
                }
            };
            if deflate {
                flow = self.on_inflated(id, &mut inflater, flow, turn);
            }
        }
        inflater.trim();
        self.inflater = inflater;
        let paused = self.conclude(id, input, (flow, decoder), replies, turn);
        (paused, anew)
    }

    /// Sends the replies to what was processed, and continues accordingly. Returns the partially
    /// processed message.
    #[inline]
    fn conclude(
        &mut self,
        id: ConnectionId,
        input: &mut Input<'_>,
        (flow, decoder): (Flow, Decoder),
        mut replies: Vec<u8>,
        turn: &mut Turn<'_, impl World<P>>,
    ) -> Option<Paused> {
        let (mut paused, mut turned_away) = (None, false);
        match flow {
            Flow::Continue => self.keep_decoder(id, decoder),
            Flow::Pause(message) => {
                self.keep_decoder(id, decoder);
                paused = Some(message);
            }
            Flow::Stop(close) => {
                // Later input is ignored.
                input.skip();
                self.retire(id, true, turn);
                self.close_frame(id, close, &mut replies);
            }
            // The message was complete: the decoder keeps nothing that is still to arrive.
            Flow::Ask(token) => self.ask_api(id, token, turn.now),
            Flow::TurnAway => {
                input.skip();
                turned_away = true;
            }
        }
        if !replies.is_empty() {
            self.budget.spend(cost::write(replies.len()));
            self.send(id, &replies, turn);
        }
        self.recycle(replies);
        if turned_away {
            self.turn_away(id, turn);
        }
        self.shut_down_if_done(id);
        paused
    }

    #[inline]
    fn keep_decoder(&mut self, id: ConnectionId, decoder: Decoder) {
        if let Transport::WebSocket(websocket) = &mut self.sessions[id.index()].transport {
            websocket.decoder = decoder;
        }
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
        let grants = match (&self.sessions[id.index()].stage, event) {
            (Stage::Authenticating(_), event) => return self.on_first_event(event, replies),
            (Stage::Open { grants, .. }, _) => Arc::clone(grants),
            (Stage::Refused(_), Event::Ping(payload)) => {
                put_frame(replies, Opcode::Pong, payload);
                return Flow::Continue;
            }
            // Input of a refused client is ignored, and after our close frame nothing is sent.
            (Stage::Refused(_) | Stage::Closing { .. }, _) => return Flow::Continue,
        };
        let session = &mut self.sessions[id.index()];
        let per_second = self.settings.limits.messages_per_second;
        if !session.rate.allows(1, per_second, turn.now) {
            return self.limit(id, Eviction::MessagesPerSecond, turn);
        }
        let key = self.sessions.key(id.0);
        match event {
            // Nothing precedes a client's first message.
            Event::Text(PING) if !self.holds.is_newcomer(key) => self.on_ping(id, replies, turn),
            Event::Text(_) | Event::Binary(_) if self.sessions[id.index()].is_held() => {
                self.touch(id, turn.now);
                if !self.answers_held_ping(id, &event, replies, turn) {
                    self.postpone(id, &event);
                }
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

    /// Processes a message that was kept while the session was held. It was counted when it
    /// arrived.
    fn on_postponed(
        &mut self,
        id: ConnectionId,
        text: &str,
        replies: &mut Vec<u8>,
        turn: &mut Turn<'_, impl World<P>>,
    ) -> Flow {
        self.budget.spend(cost::MESSAGE);
        let Stage::Open { grants, .. } = &self.sessions[id.index()].stage else {
            return Flow::Continue;
        };
        let grants = Arc::clone(grants);
        if text == PING {
            self.reply_pong(id, replies, turn);
            return Flow::Continue;
        }
        self.on_message(id, &grants, text, replies, turn)
    }

    /// Whether input is not decoded for now: messages before it are to be processed, or nothing
    /// more is read while the session is held.
    fn awaits_turn(&self, id: ConnectionId) -> bool {
        self.has_postponed(id) || self.is_full(id)
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
        if !matches!(flow, Flow::Continue | Flow::Pause(_))
            || self.sessions[id.index()].awaits_token()
        {
            return flow;
        }
        let per_second = self.settings.limits.inflated_bytes_per_second;
        let rate = &mut self.sessions[id.index()].inflated;
        if rate.allows(bytes, per_second, turn.now) {
            return flow;
        }
        self.limit(id, Eviction::InflatedBytesPerSecond, turn)
    }
}
