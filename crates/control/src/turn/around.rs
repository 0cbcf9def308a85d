//! What is around a shard in its turn: sockets, inbox, clock, and how much is done at once.

use ht_core::peer::Peer;
use ht_core::shard::{Handshake, SessionKey, Wave, Welcome};
use ht_core::world::World;
use ht_proto::token::Token;

use crate::input::Input;

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
    pub(super) queued: bool,
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

/// What waits in the queue of connections. `C`: a connection; `A`: an answer of the API.
#[derive(Debug)]
pub enum Arrival<C, A> {
    /// A connection whose handshake is done.
    Connection(C),
    /// What the API has answered about a session.
    To(SessionKey, A),
}

/// How a connection begins.
#[derive(Debug)]
pub enum Entry {
    /// The API has answered about it: what it is told, and what it may.
    Welcome(Welcome),
    /// Its client is to send a token.
    AwaitsToken(Handshake),
}

/// A connection that is about to open.
#[derive(Debug)]
pub struct Newcomer<P> {
    /// Its socket.
    pub socket: P,
    /// How it begins.
    pub entry: Entry,
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
    /// What the API has answered about a session.
    type Answer;
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

    /// Takes the next connection, or the next answer.
    fn next_arrival(&mut self) -> Option<Arrival<Self::Connection, Self::Answer>>;

    /// What a connection is told, where the API has answered about it.
    fn welcome(connection: &mut Self::Connection) -> Option<&mut Welcome>;

    /// What a client is told that waited for the answer of the API.
    fn answer(answer: &mut Self::Answer) -> &mut Welcome;

    /// Has the socket of a connection watched under this key. None: that is not possible.
    fn admit(&mut self, connection: Self::Connection, key: SessionKey) -> Option<Newcomer<P>>;

    /// Has the API asked about a client that sent its token. False: nobody will ask it.
    fn ask(&mut self, key: SessionKey, token: Token, peer: &P) -> bool;

    /// The API has answered about a session, whose socket this is. Returns what it is told, and the
    /// number of the last gap, which does not concern it.
    fn answered(&mut self, answer: Self::Answer, peer: &mut P) -> (Welcome, u32);

    /// A probe was taken.
    fn probed(&mut self, probe: Self::Probe);

    /// A wave was done.
    fn wave_done(&mut self, done: Self::Wave, wave: Wave);

    /// What the last input caused is done.
    fn input_done(&mut self) {}
}
