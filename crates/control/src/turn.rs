//! A turn of a shard: the work of its thread, its order, and how much of it at once. Sockets, inbox
//! and clock are outside: the node's thread has real ones, the simulator's are simulated.

mod around;
mod inputs;
mod undelivered;

use std::collections::VecDeque;

use ht_core::budget::Phase;
use ht_core::shard::{Output, SessionKey, Shard};
use ht_core::world::Turn;
use ht_proto::close::Close;
use ht_proto::entry::TenantId;

pub use self::around::{Around, Arrival, Entry, Newcomer, Read, Readable, Readiness, TurnLimits};
use crate::turn::undelivered::Undelivered;

/// What may be taken and not matched of all tenants together, where one may have 1.
pub const ALL: usize = 16;

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
    /// Tenants whose inputs were passed over.
    passed_over: Vec<TenantId>,
    /// There is room for some of them again.
    has_room: bool,
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
            passed_over: Vec::new(),
            has_room: false,
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
        closes
            || self.has_room
            || self.closing.is_some()
            || self.shard.has_work()
            || !self.ready.is_empty()
    }

    /// Bytes of publications of tenants that wait in the shard, where they have changed since the last
    /// call: how many they were, and are.
    pub fn report_waiting(&mut self, each: impl FnMut(TenantId, usize, usize)) {
        let Self {
            shard, undelivered, ..
        } = self;
        undelivered.settle(|tenant| shard.backlog_of(tenant));
        undelivered.report(each);
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
        self.look_for_room();
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
