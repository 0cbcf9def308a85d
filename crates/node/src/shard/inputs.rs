//! What a shard's thread takes from its inbox.

use ht_core::shard::Admission;
use ht_core::world::Turn;
use ht_proto::close::Close;

use crate::inbox::{Input, NewConnection};
use crate::shard::{ShardThread, token};

/// Publications that are taken before the others have their turn.
const INPUTS: usize = 256;

/// Bytes of publications that are taken and not matched before no more are taken.
const UNDELIVERED: usize = 1 << 20;

/// Connections that are taken before the others have their turn.
const OPENS: usize = 64;

impl ShardThread {
    /// Takes connections, until the budget is spent.
    pub(super) fn take_connections(&mut self) {
        for _ in 0..OPENS {
            if self.shard.budget().is_spent() {
                return;
            }
            match self.inbox.next_connection() {
                Some(new) => self.open(*new),
                None => return,
            }
        }
    }

    /// Takes inputs, unless too much of what was taken waits.
    pub(super) fn take_inputs(&mut self) {
        for _ in 0..INPUTS {
            // Delivered before more is taken, so that what waits is bounded here, too.
            let backlog = self.shard.backlog();
            self.undelivered.settle(backlog);
            if backlog >= INPUTS || self.undelivered.bytes >= UNDELIVERED {
                return;
            }
            let Some(input) = self.inbox.next() else {
                return;
            };
            self.take(input);
        }
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Publish(batch) => {
                self.undelivered.add(batch.bytes);
                self.shard.publish(batch.publications);
            }
            Input::Settings(settings) => {
                let now = self.now();
                self.shard.reconfigure(*settings, now);
            }
            Input::Probe(taken) => {
                // Nobody waits any more where it came too late.
                let _ = taken.send(());
            }
            Input::Close { count, close } => {
                let now = self.now();
                self.shard
                    .close_some(count, close, &mut Turn::new(now, &mut self.outside));
            }
            Input::CloseMissed {
                number,
                count,
                close,
                done,
            } => {
                let now = self.now();
                let outside = &mut self.outside;
                let wave =
                    self.shard
                        .close_missed(number, count, close, &mut Turn::new(now, outside));
                // Nobody waits any more once the node drains.
                let _ = done.send(wave);
            }
            Input::Drain(close) => self.drain(close),
        }
    }

    /// Closes all connections, those included that came before.
    fn drain(&mut self, close: Close) {
        // Who came before hears of it, too.
        while let Some(new) = self.inbox.next_connection() {
            self.open(*new);
        }
        self.draining = true;
        let now = self.now();
        // Everything published is delivered before its connection is closed.
        self.shard.begin_unlimited();
        self.shard
            .fan_out(usize::MAX, &mut Turn::new(now, &mut self.outside));
        self.shard
            .close_all(close, &mut Turn::new(now, &mut self.outside));
    }

    fn open(&mut self, new: NewConnection) {
        let NewConnection {
            mut socket,
            welcome,
            mut early,
            permit,
        } = new;
        if self.draining {
            return;
        }
        let token = token(self.shard.next_key());
        if let Err(error) = socket.register(self.poll.registry(), token) {
            if let Some(suppressed) = self.outside.throttles.allow("watch") {
                let connection = welcome.id;
                tracing::error!(%connection, %error, suppressed, "a socket could not be watched: it is closed");
            }
            return;
        }
        let now = self.now();
        if matches!(welcome.admission, Admission::Admitted(_)) {
            // Given back when it is told that the connection is not counted any more.
            socket.address = permit.keep();
            self.outside
                .log_event(welcome.id, &socket, "connection opened");
        }
        self.shard.set_gap(self.gaps.last());
        let key = self
            .shard
            .open(socket, welcome, &mut Turn::new(now, &mut self.outside));
        if !early.is_empty() {
            self.shard
                .receive(key, &mut early, &mut Turn::new(now, &mut self.outside));
        }
    }
}
