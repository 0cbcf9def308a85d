//! The environment of a shard's turn: sockets, inbox, clock, and limits of the work done at once.

use ht_core::peer::Peer;
use ht_core::recheck::Recheck;
use ht_core::shard::{Handshake, SessionKey, Shard, Wave, Welcome};
use ht_core::world::{Turn, World};
use ht_proto::entry::TenantId;
use ht_proto::token::Token;

use crate::input::{Input, TenantWave};

/// Limits of the work that is done before others have their turn.
#[derive(Clone, Copy, Debug)]
pub struct TurnLimits {
    /// Bytes that are read at once; one buffer for all connections of a shard. The part that does
    /// not fit a connection's slice of a turn is kept, so this bounds that, too.
    pub read: usize,
    /// Reads of one connection.
    pub reads: usize,
    /// Writes of a fan-out, or other work of it.
    pub writes: usize,
    /// Publications that are taken, and of one tenant not matched before no more of it are taken.
    pub inputs: usize,
    /// Bytes of publications of one tenant that are taken and not matched before no more of it are
    /// taken. Of all tenants [`ALL`](super::ALL) times as many.
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

/// The state of a socket between two turns.
#[derive(Clone, Copy, Debug, Default)]
pub struct Readiness {
    /// It may have unread bytes.
    pub unread: bool,
    /// It may be writable again.
    pub writable: bool,
    /// Its end was signalled: there will be no further event, so it is read to the end.
    pub ended: bool,
    /// It is in the queue of those that have their turn.
    pub(super) queued: bool,
}

/// A socket that a turn reads from.
pub trait Readable: Peer {
    /// What is known of it.
    fn readiness(&mut self) -> &mut Readiness;

    /// Reads available bytes.
    fn read(&mut self, buffer: &mut [u8]) -> Read;
}

/// Result of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// So many bytes, at least one.
    Bytes(usize),
    /// Nothing is available now.
    Nothing,
    /// The peer has disconnected.
    End,
}

/// An item in the queue of connections. `C`: a connection; `A`: an answer of the API.
#[derive(Debug)]
pub enum Arrival<C, A> {
    /// A connection whose handshake is done.
    Connection(C),
    /// The API's answer about a session.
    To(SessionKey, A),
}

/// How a connection begins.
#[derive(Debug)]
pub enum Entry {
    /// The API has answered about it: its first message and its permissions.
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
    /// Bytes received since: those that were read together with the handshake.
    pub early: Vec<u8>,
}

/// The environment of a shard: clock, inbox and outputs.
pub trait Around<P> {
    /// The interface to state outside the shard.
    type World: World<P>;
    /// A connection queued in the inbox.
    type Connection;
    /// The API's answer about a session.
    type Answer;
    /// The receiver of a probe's reply.
    type Probe;
    /// The receiver of a wave's result.
    type Wave;

    /// The time in ms.
    fn now(&self) -> u64;

    /// The interface to state outside the shard.
    fn world(&mut self) -> &mut Self::World;

    /// The last position up to which everything that concerns the shard was put into its inbox.
    fn handed(&self) -> u64;

    /// Whether there is an input.
    fn has_input(&self) -> bool;

    /// Takes the next input, but passes over those of tenants of which the shard has enough; see
    /// [`Backlog::pop_unless`](crate::backlog::Backlog::pop_unless).
    fn next_input(
        &mut self,
        is_full: impl Fn(TenantId) -> bool,
        has_others: bool,
    ) -> Option<Input<Self::Probe, Self::Wave>>;

    /// If nothing was placed since [`Self::next_input`] returned none: the tenants that were passed
    /// over.
    fn passed_over(&self) -> Option<Vec<TenantId>>;

    /// Takes the next connection, or the next answer.
    fn next_arrival(&mut self) -> Option<Arrival<Self::Connection, Self::Answer>>;

    /// The first message of a connection, where the API has answered about it.
    fn welcome(connection: &mut Self::Connection) -> Option<&mut Welcome>;

    /// The first message of a client that awaited the answer of the API.
    fn answer(answer: &mut Self::Answer) -> &mut Welcome;

    /// Registers the socket of a connection under this key. None: that is not possible.
    fn admit(&mut self, connection: Self::Connection, key: SessionKey) -> Option<Newcomer<P>>;

    /// Requests an API query about a client that sent its token. Returns false if none will be
    /// made.
    fn ask(&mut self, key: SessionKey, token: Token, peer: &P) -> bool;

    /// Requests another API query about a session, whose client has this socket.
    /// [`Input::Rechecked`] brings the result.
    fn recheck(&mut self, recheck: Recheck, peer: &P);

    /// The result of the last [`Self::recheck`] of a session is not needed any more.
    fn cancel_recheck(&mut self, key: SessionKey);

    /// The number of the last gap, which does not concern connections that open now.
    fn last_gap(&self) -> u32;

    /// The number of the last gap that concerns connections of this shard. Of after a gap nothing is
    /// handed to the shard before this is its number.
    fn own_gap(&self) -> u32;

    /// Gaps that concern connections of one tenant of this shard, since the last call. Of after such a
    /// gap nothing of the tenant is handed to the shard before it is among them.
    fn tenant_gaps(&mut self) -> Vec<(TenantId, u32)> {
        Vec::new()
    }

    /// The API has answered about a session, which has this socket. Returns its first message.
    fn answered(&mut self, answer: Self::Answer, peer: &mut P) -> Welcome;

    /// A probe was taken.
    fn probed(&mut self, probe: Self::Probe);

    /// A wave was done.
    fn wave_done(&mut self, done: Self::Wave, wave: Wave);

    /// Connections are closed now, because of the last input.
    fn closes(&mut self) {}

    /// The effects of the last input are complete.
    fn input_done(&mut self) {}
}

/// Closes connections of a tenant.
pub(super) fn close_tenant<P: Peer>(
    shard: &mut Shard<P>,
    wave: TenantWave,
    around: &mut impl Around<P>,
) {
    let TenantWave {
        tenant,
        count,
        close,
    } = wave;
    let now = around.now();
    shard.close_tenant(tenant, count, close, &mut Turn::new(now, around.world()));
}
