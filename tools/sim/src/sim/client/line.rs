//! The line between a client and its shard.

use ht_frame::{Opcode, put_masked_frame};

use crate::mutant::Mutant;
use crate::sim::{Event, Sim};

/// A connection whose client hung up is removed after so long, in ms, however slow its shard is.
const RELEASED: u64 = 10_000;

impl Sim {
    /// The client ends its connection politely.
    pub(crate) fn leave(&mut self, index: usize) {
        let client = &mut self.clients[index];
        client.returns = false;
        if let Some(number) = client.connection {
            self.say(number, Opcode::Close, &1000u16.to_be_bytes());
        }
        self.break_off(index);
    }

    /// The line breaks.
    pub(crate) fn cut(&mut self, index: usize, silent: bool) {
        let client = &mut self.clients[index];
        client.returns = false;
        if let Some(number) = client.connection {
            self.over(number);
            if !silent {
                self.hang_up(number);
            }
        }
        self.break_off(index);
    }

    /// The shard learns that the client is not there any more.
    pub(super) fn hang_up(&mut self, number: usize) {
        let latency = self.connections[number].latency;
        if self.plan.mutant != Some(Mutant::LeakedConnection) {
            self.events.after(latency, Event::HungUp(number));
        }
        self.events.after(RELEASED, Event::Released(number));
    }

    pub(crate) fn hung_up(&mut self, number: usize) {
        self.connections[number].wire.borrow_mut().is_cut = true;
        self.notify(number, |socket| {
            socket.readiness.unread = true;
            socket.readiness.writable = true;
            socket.readiness.ended = true;
        });
    }

    /// The shard has dropped a connection whose client hung up.
    pub(crate) fn check_released(&mut self, number: usize) {
        let wire = &self.connections[number].wire;
        if !wire.borrow().is_released {
            self.oracle
                .violation(|| format!("connection {number} is still there, its client is not"));
        }
    }

    pub(in crate::sim) fn say(&mut self, number: usize, opcode: Opcode, payload: &[u8]) {
        let connection = &mut self.connections[number];
        if connection.is_over {
            return;
        }
        let mut bytes = Vec::new();
        put_masked_frame(&mut bytes, opcode, payload, [1, 2, 3, 4]);
        connection.sent.push_back(bytes);
        let latency = connection.latency;
        self.events.after(latency, Event::Arrived(number));
    }

    /// Data that a client sent has arrived.
    pub(crate) fn arrived(&mut self, number: usize) {
        let connection = &mut self.connections[number];
        let bytes = connection.sent.pop_front().unwrap_or_default();
        connection.wire.borrow_mut().to_server.extend(bytes);
        self.notify(number, |socket| socket.readiness.unread = true);
    }
}
