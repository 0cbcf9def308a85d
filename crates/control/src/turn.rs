//! A turn of a shard: what its thread does, in which order, and how much of it at once. Sockets, inbox
//! and clock are around it: the node's thread has real ones, the simulator's are simulated.

mod undelivered;

use std::collections::VecDeque;

use ht_core::budget::Phase;
use ht_core::peer::Peer;
use ht_core::shard::{SessionKey, Shard, Wave, Welcome};
use ht_core::world::{Turn, World};
use ht_proto::close::Close;

use crate::input::Input;
use crate::turn::undelivered::Undelivered;

/// How much is done before the others have their turn.
#[derive(Clone, Copy, Debug)]
pub struct TurnLimits {
    /// Bytes that are read at once; one buffer for all connections of a shard. What does not fit a
    /// connection's slice of a turn is kept, so this also bounds what that is.
    pub read: usize,
    /// Reads of one connection.
    pub reads: usize,
    /// Writes of a fan-out, or other work of it.
    pub writes: usize,
    /// Publications that are taken.
    pub inputs: usize,
    /// Bytes of publications that are taken and not matched before no more are taken.
    pub undelivered: usize,
    /// Connections that are taken.
    pub opens: usize,
}

impl Default for TurnLimits {
    fn default() -> Self {
        Self {
            read: 8 << 10,
            reads: 8,
            writes: 256,
            inputs: 256,
            undelivered: 1 << 20,
            opens: 64,
        }
    }
}

/// What is known of a socket between two turns.
#[derive(Clone, Copy, Debug, Default)]
pub struct Readiness {
    /// Bytes may be there that were not read yet.
    pub unread: bool,
    /// It may take bytes again that it refused before.
    pub writable: bool,
    /// Its end is in sight: no event will tell of it again, so it is read up to there.
    pub ended: bool,
    /// It is in the queue of those that have their turn.
    queued: bool,
}

/// A socket that a turn reads from.
pub trait Readable: Peer {
    /// What is known of it.
    fn readiness(&mut self) -> &mut Readiness;

    /// Reads what is there.
    fn read(&mut self, buffer: &mut [u8]) -> Read;
}

/// What a read came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// So many bytes, at least one.
    Bytes(usize),
    /// Nothing is there now.
    Nothing,
    /// The other end is gone.
    End,
}

/// A connection that is about to open.
#[derive(Debug)]
pub struct Newcomer<P> {
    /// Its socket.
    pub socket: P,
    /// What it is told, and what it may.
    pub welcome: Welcome,
    /// What its client sent since: bytes that were read together with the handshake.
    pub early: Vec<u8>,
    /// The number of the last gap, which does not concern it.
    pub gap: u32,
}

/// What is around a shard: clock, inbox and what the shard causes.
pub trait Around<P> {
    /// What the shard asks and changes outside of itself.
    type World: World<P>;
    /// A connection that waits in the inbox.
    type Connection;
    /// Who waits for a probe.
    type Probe;
    /// Who waits for a wave.
    type Wave;

    /// The time in ms.
    fn now(&self) -> u64;

    /// What the shard asks and changes outside of itself.
    fn world(&mut self) -> &mut Self::World;

    /// Whether there is an input.
    fn has_input(&self) -> bool;

    /// Takes the next input.
    fn next_input(&mut self) -> Option<Input<Self::Probe, Self::Wave>>;

    /// Takes the next connection.
    fn next_connection(&mut self) -> Option<Self::Connection>;

    /// Has the socket of a connection watched under this key. None: that is not possible.
    fn admit(&mut self, connection: Self::Connection, key: SessionKey) -> Option<Newcomer<P>>;

    /// A probe was taken.
    fn probed(&mut self, probe: Self::Probe);

    /// A wave was done.
    fn wave_done(&mut self, done: Self::Wave, wave: Wave);

    /// What the last input caused is done.
    fn input_done(&mut self) {}
}

/// A shard, and what is between two of its turns.
#[derive(Debug)]
pub struct ShardLoop<P> {
    /// The shard.
    pub shard: Shard<P>,
    limits: TurnLimits,
    buffer: Vec<u8>,
    /// Connections whose sockets are ready, each of them once, in the order of their turns.
    ready: VecDeque<SessionKey>,
    draining: bool,
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
            undelivered: Undelivered::default(),
        }
    }

    /// Whether everything was closed and nobody is left.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.draining && self.shard.is_empty()
    }

    /// Whether there is work for the next turn, whatever is in the inbox.
    #[must_use]
    pub fn has_work(&self) -> bool {
        self.shard.has_work() || !self.ready.is_empty()
    }

    /// A socket is ready for something: `note` says what for. Its connection is served when it has
    /// its turn. False: there is no such connection.
    pub fn notify(&mut self, key: SessionKey, note: impl FnOnce(&mut P)) -> bool {
        let Some(peer) = self.shard.peer(key) else {
            return false;
        };
        note(peer);
        self.queue(key);
        true
    }

    /// Does a part of everything that is due. Each phase has a budget of its own; what is left of
    /// its work waits for the next turn.
    pub fn turn(&mut self, around: &mut impl Around<P>) {
        self.shard.begin(Phase::Sockets);
        self.serve_sockets(around);
        self.shard.begin(Phase::Resume);
        self.resume(around);
        self.shard.begin(Phase::Newcomers);
        self.take_connections(around);
        self.shard.begin(Phase::Deliveries);
        self.take_inputs(around);
        let now = around.now();
        self.shard
            .fan_out(self.limits.writes, &mut Turn::new(now, around.world()));
        self.shard.begin(Phase::CleanUp);
        self.shard.clean_up(&mut Turn::new(now, around.world()));
        self.shard.begin(Phase::Tick);
        self.shard.tick(&mut Turn::new(now, around.world()));
    }

    /// Has a connection served when it is its turn.
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
            // Where it may not be read now, it is queued again when it may.
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
                    // What was published before the client wrote is delivered before it is answered.
                    if around.has_input() {
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
            match around.next_connection() {
                Some(connection) => self.open(connection, around),
                None => return,
            }
        }
    }

    fn take_inputs(&mut self, around: &mut impl Around<P>) {
        for _ in 0..self.limits.inputs {
            // Delivered before more is taken, so that what waits is bounded here, too.
            let backlog = self.shard.backlog();
            self.undelivered.settle(backlog);
            if backlog >= self.limits.inputs || self.undelivered.bytes >= self.limits.undelivered {
                return;
            }
            let Some(input) = around.next_input() else {
                return;
            };
            self.take_input(input, around);
            around.input_done();
        }
    }

    fn take_input<A: Around<P>>(&mut self, input: Input<A::Probe, A::Wave>, around: &mut A) {
        match input {
            Input::Publish(batch) => {
                self.undelivered.add(batch.bytes);
                self.shard.publish(batch.publications);
            }
            Input::Settings(settings) => {
                let now = around.now();
                self.shard.reconfigure(*settings, now);
            }
            Input::Probe(probe) => around.probed(probe),
            Input::Close { count, close } => {
                let now = around.now();
                self.shard
                    .close_some(count, close, &mut Turn::new(now, around.world()));
            }
            Input::CloseMissed {
                number,
                count,
                close,
                done,
            } => {
                let now = around.now();
                let turn = &mut Turn::new(now, around.world());
                let wave = self.shard.close_missed(number, count, close, turn);
                around.wave_done(done, wave);
            }
            Input::Drain(close) => self.drain(close, around),
        }
    }

    /// Closes everything.
    fn drain(&mut self, close: Close, around: &mut impl Around<P>) {
        // Who came before hears of it, too.
        while let Some(connection) = around.next_connection() {
            self.open(connection, around);
        }
        self.draining = true;
        let now = around.now();
        // Everything published is delivered before its connection is closed.
        self.shard.begin_unlimited();
        self.shard
            .fan_out(usize::MAX, &mut Turn::new(now, around.world()));
        self.shard
            .close_all(close, &mut Turn::new(now, around.world()));
    }

    fn open<A: Around<P>>(&mut self, connection: A::Connection, around: &mut A) {
        if self.draining {
            return;
        }
        let Some(newcomer) = around.admit(connection, self.shard.next_key()) else {
            return;
        };
        let Newcomer {
            socket,
            welcome,
            mut early,
            gap,
        } = newcomer;
        let now = around.now();
        self.shard.set_gap(gap);
        let key = self
            .shard
            .open(socket, welcome, &mut Turn::new(now, around.world()));
        if !early.is_empty() {
            self.shard
                .receive(key, &mut early, &mut Turn::new(now, around.world()));
        }
    }
}
