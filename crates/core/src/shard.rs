//! One thread's world: its connections and what they hear.
//!
//! The methods come in four families: getters; *events in* ([`Shard::open`],
//! [`Shard::receive`], [`Shard::writable`], [`Shard::gone`], [`Shard::publish`]); *work* that is
//! due ([`Shard::fan_out`], [`Shard::tick`]); and *when* it is due ([`Shard::has_fan_out`],
//! [`Shard::deadline`]). Times are milliseconds of any clock that never goes backwards.

mod fan_out;
mod session;
mod settings;
mod welcome;

use ht_frame::CloseCode;
use ht_frame::Deflater;
use ht_frame::Inflater;
use ht_frame::Opcode;
use ht_proto::close::Close;
use slab::Slab;

use crate::Hasher;
use crate::connection::Broken;
use crate::connection::Connection;
use crate::connection::Pending;
use crate::connection::State;
use crate::peer::Effects;
use crate::peer::Eviction;
use crate::peer::Moment;
use crate::peer::Peer;
use crate::registry::ConnectionId;
use crate::registry::Registry;
use crate::shard::fan_out::FanOut;
use crate::stats::Stats;
use crate::timer::Queue;

pub use crate::shard::settings::Compression;
pub use crate::shard::settings::Settings;
pub use crate::shard::welcome::Admission;
pub use crate::shard::welcome::Welcome;

/// How long a refused visitor has to read why, in ms.
const REFUSED: u64 = 100;

/// How long a peer has to answer our close frame, in ms.
const CLOSING: u64 = 3_000;

/// Connections that are ended in one [`Shard::tick`].
const TICK: usize = 256;

/// The connections of one thread.
#[derive(Debug)]
pub struct Shard<P> {
    settings: Settings,
    registry: Registry,
    connections: Slab<Connection<P>>,
    idle: Queue,
    refused: Queue,
    closing: Queue,
    fan_out: FanOut,
    /// One for all connections: no message depends on another.
    deflater: Deflater,
    inflater: Inflater,
    /// Bytes on their way to one connection.
    scratch: Vec<u8>,
    stats: Stats,
}

impl<P: Peer> Shard<P> {
    /// An empty shard. All shards of a node share the seed of `hasher`.
    #[must_use]
    pub fn new(settings: Settings, hasher: Hasher) -> Self {
        Self {
            registry: Registry::new(settings.matching, hasher),
            connections: Slab::new(),
            idle: Queue::new(settings.idle_timeout),
            refused: Queue::new(REFUSED),
            closing: Queue::new(CLOSING),
            fan_out: FanOut::default(),
            deflater: Deflater::new(settings.compression.level),
            inflater: Inflater::new(),
            scratch: Vec::new(),
            stats: Stats::default(),
            settings,
        }
    }

    /// Behaves like this from now on, for the connections that are open too. What was accepted
    /// before stays: no subscription and no waiting byte is dropped for a lower bound. `matching`
    /// stays as it was.
    pub fn reconfigure(&mut self, settings: Settings) {
        self.idle.set_limit(settings.idle_timeout);
        if settings.compression.level != self.settings.compression.level {
            self.deflater = Deflater::new(settings.compression.level);
        }
        self.settings = Settings {
            matching: self.settings.matching,
            ..settings
        };
    }

    /// The totals.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// How many connections there are, those that are being closed included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// Whether there is no connection.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// The id that the next connection will get.
    #[must_use]
    pub fn next_id(&self) -> ConnectionId {
        ConnectionId(u32::try_from(self.connections.vacant_key()).expect("fewer than 2^32 sockets"))
    }

    /// A connection's peer, while it is there.
    pub fn peer(&mut self, id: ConnectionId) -> Option<&mut P> {
        self.connections
            .get_mut(id.index())
            .map(|connection| &mut connection.peer)
    }

    /// Whether more may be read from a connection: not while its answers pile up.
    #[must_use]
    pub fn may_read(&self, id: ConnectionId) -> bool {
        self.connections
            .get(id.index())
            .is_some_and(|connection| connection.waiting() <= READ_AHEAD.min(self.outbox_bytes()))
    }

    /// Takes a new connection, whose handshake is done, and sends its first message.
    pub fn open(
        &mut self,
        peer: P,
        welcome: Welcome,
        now: u64,
        effects: &mut impl Effects<P>,
    ) -> ConnectionId {
        let id = self.next_id();
        let message = welcome.message.clone();
        let at_once = match welcome.admission {
            Admission::TurnedAway(close) => Some(close),
            Admission::Admitted(_) | Admission::Refused(_) => None,
        };
        let connection = Connection::new(peer, welcome);
        let admitted = matches!(connection.state, State::Open(_));
        self.connections.insert(connection);
        if admitted {
            self.stats.admitted += 1;
            self.stats.connections += 1;
            self.idle.push(&mut self.connections, id.0, now);
            effects.moment(Moment::Connect, &mut self.connections[id.index()].peer, now);
        } else {
            self.stats.refused += 1;
            self.refused.push(&mut self.connections, id.0, now);
        }
        // Never compressed, as no answer is: they are small, and different for every connection.
        let mut scratch = std::mem::take(&mut self.scratch);
        ht_frame::put_frame(&mut scratch, Opcode::Text, &message);
        self.send(id, &scratch, now, effects);
        self.recycle(scratch);
        if let Some(close) = at_once {
            self.leave(id, close, now, effects);
        }
        id
    }

    /// The connection is broken or was ended by its peer: forget it.
    pub fn gone(&mut self, id: ConnectionId, now: u64, effects: &mut impl Effects<P>) {
        if self.connections.contains(id.index()) {
            self.remove(id, now, effects);
        }
    }

    /// The socket takes bytes again.
    pub fn writable(&mut self, id: ConnectionId, now: u64, effects: &mut impl Effects<P>) {
        let Some(connection) = self.connections.get_mut(id.index()) else {
            return;
        };
        if connection.waiting() == 0 {
            return;
        }
        let queued = connection.queued();
        match connection.flush() {
            Ok(true) => {
                self.stats.queued -= queued;
                self.stats.deliveries += queued;
                if matches!(connection.state, State::Closing { deaf: true }) {
                    connection.peer.shutdown();
                }
            }
            Ok(false) => {}
            Err(broken) => self.broken(id, broken, now, effects),
        }
    }

    /// Does what is due by now, or as much of it as may be done at once: then it is due again.
    pub fn tick(&mut self, now: u64, effects: &mut impl Effects<P>) {
        for _ in 0..TICK {
            if let Some(id) = self.idle.expired(&mut self.connections, now) {
                self.stats.idle_timeouts += 1;
                self.leave(ConnectionId(id), Close::IDLE, now, effects);
            } else if let Some(id) = self.refused.expired(&mut self.connections, now)
                && let State::Refused(close) = self.connections[id as usize].state
            {
                self.close(ConnectionId(id), close, now, effects);
            } else if let Some(id) = self.closing.expired(&mut self.connections, now) {
                self.remove(ConnectionId(id), now, effects);
            } else {
                return;
            }
        }
    }

    /// When [`Self::tick`] is due next.
    pub fn deadline(&mut self) -> Option<u64> {
        let Self {
            idle,
            refused,
            closing,
            connections,
            ..
        } = self;
        [&*idle, refused, closing]
            .iter()
            .filter_map(|queue| queue.deadline(connections))
            .min()
    }

    /// Closes up to `count` admitted connections, each after what was published to it; those first
    /// whose clients have been silent for longest.
    pub fn close_some(
        &mut self,
        count: usize,
        close: Close,
        now: u64,
        effects: &mut impl Effects<P>,
    ) {
        for _ in 0..count {
            let Some(id) = self.idle.first() else {
                return;
            };
            self.leave(ConnectionId(id), close, now, effects);
        }
    }

    /// Closes every connection: the node goes.
    pub fn close_all(&mut self, close: Close, now: u64, effects: &mut impl Effects<P>) {
        let all: Vec<_> = self.connections.iter().map(|(key, _)| key).collect();
        for key in all {
            let id = ConnectionId(u32::try_from(key).expect("keys were given as u32"));
            self.leave(id, close, now, effects);
        }
    }

    /// Closes a connection after what was published to it, unless it is being closed.
    fn leave(&mut self, id: ConnectionId, close: Close, now: u64, effects: &mut impl Effects<P>) {
        self.gather_queued();
        self.flush_connection(id, now, effects);
        let connection = self.connections.get(id.index());
        if connection.is_some_and(|known| !matches!(known.state, State::Closing { .. })) {
            self.close(id, close, now, effects);
        }
    }

    /// Sends a close frame and waits for the peer's.
    fn close(&mut self, id: ConnectionId, close: Close, now: u64, effects: &mut impl Effects<P>) {
        self.retire(id, false, now, effects);
        let mut scratch = std::mem::take(&mut self.scratch);
        let code = CloseCode(close.code());
        ht_frame::put_close(&mut scratch, code, &close.reason());
        self.send(id, &scratch, now, effects);
        self.recycle(scratch);
    }

    /// Sends bytes that are no publications; ends the connection where that fails.
    fn send(&mut self, id: ConnectionId, bytes: &[u8], now: u64, effects: &mut impl Effects<P>) {
        let limit = self.outbox_bytes();
        if let Some(connection) = self.connections.get_mut(id.index())
            && let Err(broken) = connection.send([bytes], 0, limit)
        {
            self.broken(id, broken, now, effects);
        }
    }

    fn broken(
        &mut self,
        id: ConnectionId,
        broken: Broken,
        now: u64,
        effects: &mut impl Effects<P>,
    ) {
        if broken == Broken::Slow {
            let connection = &self.connections[id.index()];
            self.stats.evictions[0] += 1;
            effects.evicted(connection.id, &connection.peer, Eviction::SlowConsumer);
        }
        self.remove(id, now, effects);
    }

    /// Whether our close frame was sent.
    fn is_closing(&self, id: ConnectionId) -> bool {
        matches!(self.connections[id.index()].state, State::Closing { .. })
    }

    /// Forgets all that a connection subscribed to; from now on it is only being closed.
    fn retire(&mut self, id: ConnectionId, deaf: bool, now: u64, effects: &mut impl Effects<P>) {
        self.deregister(id, now, effects);
        self.connections[id.index()].state = State::Closing { deaf };
        self.closing.push(&mut self.connections, id.0, now);
    }

    /// Takes a connection out of its queue and, if it was admitted, out of the registry and the
    /// count.
    fn deregister(&mut self, id: ConnectionId, now: u64, effects: &mut impl Effects<P>) {
        match self.connections[id.index()].state {
            State::Refused(_) => self.refused.remove(&mut self.connections, id.0),
            State::Closing { .. } => self.closing.remove(&mut self.connections, id.0),
            State::Open(_) => {
                self.idle.remove(&mut self.connections, id.0);
                let connection = &mut self.connections[id.index()];
                // Hits name subscriptions that are about to go.
                let pending = std::mem::replace(&mut connection.pending, Pending::EMPTY);
                self.stats.undelivered += self.fan_out.pending(pending);
                self.registry
                    .drop_all(&mut connection.own, |room| effects.room_closed(room));
                self.stats.connections -= 1;
                effects.moment(Moment::Disconnect, &mut connection.peer, now);
                self.count_registry();
            }
        }
    }

    fn remove(&mut self, id: ConnectionId, now: u64, effects: &mut impl Effects<P>) {
        self.deregister(id, now, effects);
        let connection = self.connections.remove(id.index());
        self.stats.queued -= connection.queued();
        self.stats.undelivered += connection.queued();
    }

    fn count_registry(&mut self) {
        self.stats.rooms = self.registry.rooms() as u64;
        self.stats.subscriptions = self.registry.subscriptions() as u64;
    }

    fn outbox_bytes(&self) -> usize {
        match self.settings.limits.outbox_bytes {
            0 => usize::MAX,
            bytes => bytes,
        }
    }

    /// Gives the scratch back, unless one large message made it large.
    fn recycle(&mut self, mut scratch: Vec<u8>) {
        scratch.clear();
        scratch.shrink_to(SCRATCH);
        self.scratch = scratch;
    }
}

/// Capacity that the scratch keeps, in bytes.
const SCRATCH: usize = 256 << 10;

/// How much may wait for a connection before it is read no further, in bytes.
const READ_AHEAD: usize = 64 << 10;

#[cfg(any(test, fuzzing))]
pub(crate) mod tests;
