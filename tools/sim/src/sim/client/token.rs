//! Clients that send a token first: their shard has them before the API identifies them, and the
//! response is addressed to their session, whatever its state.

use ht_control::turn::{Arrival, Entry};
use ht_core::shard::{Handshake, SessionKey, Welcome};
use ht_frame::Opcode;

use crate::api::Said;
use crate::mutant::Mutant;
use crate::sim::{Event, Sim};
use crate::wire::token;

/// Duration of an API call, in one-way delays between a client and its shard.
const WAYS: u64 = 4;

/// One client in so many sends a token first.
const EVERY: usize = 3;

/// Whether the client of a connection sends a token first. One that was let in by its ticket need not.
pub(super) fn sends_token(number: usize, said: Said) -> bool {
    number.is_multiple_of(EVERY) && said.resumed.is_none()
}

impl Sim {
    /// How a connection begins, with this response of the API about its client.
    pub(super) fn entry(&mut self, number: usize, said: Said, welcome: Welcome) -> Entry {
        if !sends_token(number, said) {
            return Entry::Welcome(welcome);
        }
        self.send_token(number);
        Entry::AwaitsToken(Handshake {
            id: welcome.id,
            deflate: welcome.deflate,
            subprotocol: welcome.subprotocol,
            events: welcome.events,
        })
    }

    fn send_token(&mut self, number: usize) {
        let text = format!(r#"{{"type":"authenticate","token":"{}"}}"#, token(number));
        self.say(number, Opcode::Text, text.as_bytes());
    }

    /// A shard has the API called about a client.
    pub(crate) fn asked(&mut self, number: usize, key: SessionKey) {
        let connection = &self.connections[number];
        let (node, life, after) = (connection.node, connection.life, connection.latency * WAYS);
        let said = self.said(node, connection.client);
        if self.plan.mutant != Some(Mutant::ForgottenAnswer) {
            let event = Event::Authenticated {
                node,
                life,
                number,
                key,
                said,
            };
            self.events.after(after, event);
        }
    }

    /// The API has answered about the token of a connection's client.
    pub(crate) fn authenticated(&mut self, number: usize, key: SessionKey, said: Said) {
        let connection = &self.connections[number];
        let (node, shard) = (connection.node, connection.shard);
        let (is_admitted, is_over) = (connection.is_admitted, connection.is_over);
        if is_admitted && !is_over {
            self.opens(number, said);
        }
        let welcome = self.welcome(number, said, is_admitted);
        self.nodes[node].shards[shard]
            .around
            .newcomers
            .push_back(Arrival::To(key, welcome));
        self.wake(node, shard, self.events.now + 1);
    }
}
