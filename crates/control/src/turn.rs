//! A turn of a shard: the work of its thread, its order, and how much of it at once. Sockets, inbox
//! and clock are outside: the node's thread has real ones, the simulator's are simulated.

mod around;
mod undelivered;

use std::collections::VecDeque;

use ht_core::budget::Phase;
use ht_core::shard::{Output, SessionKey, Shard};
use ht_core::world::Turn;
use ht_proto::close::Close;

use self::around::close_tenant;
pub use self::around::{Around, Arrival, Entry, Newcomer, Read, Readable, Readiness, TurnLimits};
use crate::input::Input;
use crate::turn::undelivered::Undelivered;

/// A shard, and its state between two turns.
#[derive(Debug)]
pub struct ShardLoop<P> {
    /// The shard.
    pub shard: Shard<P>,
    limits: TurnLimits,
    buffer: Vec<u8>,
    /// Connections whose sockets are ready, each of them once, in the order of their turns.
    ready: VecDeque<SessionKey>,
    draining: bool,
    /// The node is about to shut down, and unauthenticated clients are closed with this reason.
    leaving: Option<Close>,
    /// So many connections are closed for this reason once what was placed before is delivered.
    closing: Option<(usize, Close)>,
    undelivered: Undelivered,
}

impl<P: Readable> ShardLoop<P> {
    /// A shard before its first turn.
    #[must_use]
    pub fn new(shard: Shard<P>, limits: TurnLimits) -> Self {
        Self {
            shard,
            limits,
            buffer: vec![0; limits.read],
            ready: VecDeque::new(),
            draining: false,
            leaving: None,
            closing: None,
            undelivered: Undelivered::default(),
        }
    }

    /// Whether everything was closed and no connection is left.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.draining && self.shard.is_empty()
    }

    /// Whether there is work for the next turn, whatever is in the inbox.
    #[must_use]
    pub fn has_work(&self) -> bool {
        let closes = self.leaving.is_some() && self.shard.has_unauthenticated();
        closes || self.closing.is_some() || self.shard.has_work() || !self.ready.is_empty()
    }

    /// A socket is ready for something; `note` records for what. Its connection is served when it
    /// has its turn. Returns false if there is no such connection.
    pub fn notify(&mut self, key: SessionKey, note: impl FnOnce(&mut P)) -> bool {
        let Some(peer) = self.shard.peer(key) else {
            return false;
        };
        note(peer);
        self.queue(key);
        true
    }

    /// Does a part of everything that is due. Each phase has a budget of its own; the rest of its
    /// work is left for the next turn.
    pub fn turn(&mut self, around: &mut impl Around<P>) {
        self.note_handed(around);
        self.shard.begin(Phase::Sockets);
        self.serve_sockets(around);
        self.shard.begin(Phase::Resume);
        self.resume(around);
        self.shard.begin(Phase::Newcomers);
        self.take_connections(around);
        self.close_unauthenticated(around);
        self.shard.begin(Phase::Deliveries);
        self.take_inputs(around);
        let now = around.now();
        self.shard
            .fan_out(self.limits.writes, &mut Turn::new(now, around.world()));
        self.shard.begin(Phase::CleanUp);
        self.shard.clean_up(&mut Turn::new(now, around.world()));
        self.shard.begin(Phase::Tick);
        self.shard.tick(&mut Turn::new(now, around.world()));
        self.take_outputs(around);
    }

    /// Performs the actions that the shard requests.
    fn take_outputs(&mut self, around: &mut impl Around<P>) {
        while let Some(output) = self.shard.poll_output() {
            match output {
                Output::Ask { key, token } => {
                    // For a session that ended in the same turn the API is not queried.
                    let Some(peer) = self.shard.peer(key) else {
                        continue;
                    };
                    if !around.ask(key, token, peer) {
                        let now = around.now();
                        self.shard.abandon(key, &mut Turn::new(now, around.world()));
                    }
                }
                Output::Recheck(recheck) => {
                    if let Some(peer) = self.shard.peer(recheck.key) {
                        around.recheck(recheck, peer);
                    }
                }
                Output::CancelRecheck(key) => around.cancel_recheck(key),
            }
        }
    }

    /// Queues a connection for its turn.
    fn queue(&mut self, key: SessionKey) {
        if let Some(peer) = self.shard.peer(key)
            && !std::mem::replace(&mut peer.readiness().queued, true)
        {
            self.ready.push_back(key);
        }
    }

    /// Serves those that are ready now, round robin, until the budget is spent.
    fn serve_sockets(&mut self, around: &mut impl Around<P>) {
        for _ in 0..self.ready.len() {
            if self.shard.budget().is_spent() {
                return;
            }
            let Some(key) = self.ready.pop_front() else {
                return;
            };
            let Some(peer) = self.shard.peer(key) else {
                continue;
            };
            let readiness = peer.readiness();
            readiness.queued = false;
            if std::mem::take(&mut readiness.writable) {
                let now = around.now();
                self.shard
                    .writable(key, &mut Turn::new(now, around.world()));
            }
            self.read(key, around);
        }
    }

    /// Continues with connections whose bytes were read in an earlier turn.
    fn resume(&mut self, around: &mut impl Around<P>) {
        while self.shard.is_behind() && !self.shard.budget().is_spent() {
            let now = around.now();
            if let Some(key) = self.shard.resume(&mut Turn::new(now, around.world())) {
                self.queue(key);
            }
        }
    }

    /// Reads what a connection sent.
    fn read(&mut self, key: SessionKey, around: &mut impl Around<P>) {
        let now = around.now();
        for _ in 0..self.limits.reads {
            let may_read = self.shard.may_read(key);
            let Some(peer) = self.shard.peer(key) else {
                return;
            };
            let Readiness { unread, ended, .. } = *peer.readiness();
            // If it may not be read now, it is queued again when it may.
            if !unread || !may_read {
                return;
            }
            match peer.read(&mut self.buffer) {
                Read::Nothing => {
                    peer.readiness().unread = false;
                    return;
                }
                Read::End => {
                    return self.shard.gone(key, &mut Turn::new(now, around.world()));
                }
                Read::Bytes(len) => {
                    peer.readiness().unread = len == self.buffer.len() || ended;
                    // Earlier publications are delivered before the client is answered.
                    if !self.note_handed(around) {
                        self.take_inputs(around);
                    }
                    let bytes = &mut self.buffer[..len];
                    self.shard
                        .receive(key, bytes, &mut Turn::new(now, around.world()));
                    if self.shard.budget().is_spent() {
                        break;
                    }
                }
            }
        }
        if self
            .shard
            .peer(key)
            .is_some_and(|peer| peer.readiness().unread)
        {
            self.queue(key);
        }
    }

    fn take_connections(&mut self, around: &mut impl Around<P>) {
        for _ in 0..self.limits.opens {
            if self.shard.budget().is_spent() {
                return;
            }
            match around.next_arrival() {
                Some(arrival) => self.take_arrival(arrival, around),
                None => return,
            }
        }
    }

    /// If the inbox is empty, everything that was handed to the shard is in its queue. Returns
    /// whether that is so.
    fn note_handed(&mut self, around: &impl Around<P>) -> bool {
        // First: what is sent later is not part of it.
        let handed = around.handed();
        let is_empty = !around.has_input() && self.closing.is_none();
        if is_empty {
            self.shard.note_gap(around.own_gap());
            self.shard.handed(handed);
        }
        is_empty
    }

    fn take_inputs(&mut self, around: &mut impl Around<P>) {
        let handed = around.handed();
        for _ in 0..self.limits.inputs {
            // Delivered before more is taken, so that the backlog is bounded here, too.
            let backlog = self.shard.backlog();
            self.undelivered.settle(backlog);
            if backlog >= self.limits.inputs || self.undelivered.bytes >= self.limits.undelivered {
                return;
            }
            if self.closing.is_none() {
                let input = around.next_input();
                // Afterwards: what was taken may be of after it.
                self.shard.note_gap(around.own_gap());
                let Some(input) = input else {
                    self.shard.handed(handed);
                    return;
                };
                self.take_input(input, around);
            }
            if !self.close_some(around) {
                return;
            }
            around.input_done();
        }
    }

    /// Closes connections, if an input said so. Returns false where this has to wait, also for
    /// publications behind a command, which closing a connection does not deliver.
    fn close_some(&mut self, around: &mut impl Around<P>) -> bool {
        let Some((count, close)) = self.closing else {
            return true;
        };
        if self.shard.has_tasks() {
            return false;
        }
        self.closing = None;
        around.closes();
        let now = around.now();
        self.shard
            .close_some(count, close, &mut Turn::new(now, around.world()));
        true
    }

    fn take_input<A: Around<P>>(&mut self, input: Input<A::Probe, A::Wave>, around: &mut A) {
        match input {
            Input::Publish(batch) => {
                self.undelivered.add(batch.bytes);
                self.shard.publish(batch.publications);
            }
            Input::Command(command) => {
                self.undelivered.add(command.bytes);
                self.shard.command(command);
            }
            Input::Rechecked(rechecked) => {
                self.undelivered.add(0);
                self.shard.rechecked(rechecked);
            }
            Input::CommandsLost(tenant, position) => {
                self.undelivered.add(0);
                self.shard.lose_commands(tenant, position);
            }
            Input::Settings(settings) => {
                let now = around.now();
                self.shard.reconfigure(*settings, now);
            }
            Input::Probe(probe) => around.probed(probe),
            Input::Close { count, close } => self.closing = Some((count, close)),
            Input::CloseMissed { gap, count, done } => {
                let now = around.now();
                let turn = &mut Turn::new(now, around.world());
                let wave = self.shard.close_missed(&gap, count, turn);
                around.wave_done(done, wave);
            }
            Input::CloseTenant(wave) => close_tenant(&mut self.shard, wave, around),
            Input::CloseUnauthenticated(close) => self.leaving = Some(close),
            Input::Abandon(key) => {
                let now = around.now();
                self.shard.abandon(key, &mut Turn::new(now, around.world()));
            }
            Input::Drain(close) => self.drain(close, around),
        }
    }

    /// Closes everything.
    fn drain(&mut self, close: Close, around: &mut impl Around<P>) {
        // Connections opened before are closed with a reason, too.
        while let Some(arrival) = around.next_arrival() {
            self.take_arrival(arrival, around);
        }
        self.draining = true;
        around.closes();
        let now = around.now();
        // All earlier publications are delivered before a connection is closed.
        self.shard.begin_unlimited();
        self.shard
            .fan_out(usize::MAX, &mut Turn::new(now, around.world()));
        self.shard
            .close_all(close, &mut Turn::new(now, around.world()));
    }

    fn take_arrival<A: Around<P>>(
        &mut self,
        arrival: Arrival<A::Connection, A::Answer>,
        around: &mut A,
    ) {
        match arrival {
            Arrival::Connection(connection) => self.open(connection, around),
            Arrival::To(key, answer) => self.answer(key, answer, around),
        }
    }

    /// Opens or refuses a session that the API has answered about. What is kept for one that has
    /// ended meanwhile is released.
    fn answer<A: Around<P>>(&mut self, key: SessionKey, mut answer: A::Answer, around: &mut A) {
        if !self.shard.awaits_answer(key) {
            return;
        }
        self.shard.set_gap(around.last_gap());
        self.shard.catch_up(A::answer(&mut answer));
        let Some(peer) = self.shard.peer(key) else {
            return;
        };
        let welcome = around.answered(answer, peer);
        let now = around.now();
        self.shard
            .answer(key, welcome, &mut Turn::new(now, around.world()));
        // What its client sent meanwhile was not read.
        self.queue(key);
    }

    /// Closes some of the unauthenticated sessions, once the node is about to shut down.
    fn close_unauthenticated(&mut self, around: &mut impl Around<P>) {
        if let Some(close) = self.leaving {
            let now = around.now();
            self.shard
                .close_unauthenticated(close, &mut Turn::new(now, around.world()));
        }
    }

    fn open<A: Around<P>>(&mut self, mut connection: A::Connection, around: &mut A) {
        if self.draining {
            return;
        }
        self.shard.set_gap(around.last_gap());
        if let Some(welcome) = A::welcome(&mut connection) {
            self.shard.catch_up(welcome);
        }
        let Some(newcomer) = around.admit(connection, self.shard.next_key()) else {
            return;
        };
        let Newcomer {
            socket,
            entry,
            mut early,
        } = newcomer;
        let now = around.now();
        let turn = &mut Turn::new(now, around.world());
        let key = match entry {
            Entry::Welcome(welcome) => self.shard.open(socket, welcome, turn),
            Entry::AwaitsToken(handshake) => self.shard.await_token(socket, handshake, turn),
        };
        if !early.is_empty() {
            self.shard.receive(key, &mut early, turn);
        }
    }
}
