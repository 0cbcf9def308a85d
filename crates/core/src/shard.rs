//! One thread's state: its connections and their subscriptions.
//!
//! The methods come in four families: getters; *events in* ([`Shard::open`],
//! [`Shard::receive`], [`Shard::writable`], [`Shard::gone`], [`Shard::publish`]); *work* that is
//! due ([`Shard::fan_out`], [`Shard::tick`]); and *when* it is due ([`Shard::has_fan_out`],
//! [`Shard::deadline`]). Times are milliseconds of any clock that never goes backwards.

mod alive;
mod authentication;
mod behind;
mod catch_up;
mod commands;
mod cursors;
mod ending;
mod entering;
mod fan_out;
mod gap;
mod held;
mod hold;
mod lag;
mod late;
mod messages;
mod postponed;
mod queue;
mod recheck;
mod refusal;
mod replay;
mod resume;
mod rights;
mod selection;
mod settings;
mod streams;
mod tenants;
mod terms;
mod tickets;
mod timeouts;
mod tokens;
mod waiting;
mod websocket;

use std::collections::VecDeque;

use ht_frame::{Deflater, Inflater};
use ht_proto::close::Close;
use ht_proto::entry::TenantId;

use crate::Hasher;
use crate::budget::{Budget, Phase, SLICE};
use crate::connection::ConnectionId;
use crate::holders::{Holders, Unfinished};
use crate::keepalive::Keepalive;
use crate::peer::Peer;
use crate::recent;
use crate::registry::Registry;
use crate::select::Directory;
use crate::session::{Session, Stage};
use crate::sessions::Sessions;
use crate::shard::behind::Behind;
use crate::shard::ending::{CLOSING, Leaving};
use crate::shard::fan_out::Lanes;
use crate::shard::gap::Gaps;
use crate::shard::hold::Holds;
use crate::shard::lag::Lag;
use crate::shard::postponed::Postponed;
use crate::shard::streams::Streams;
use crate::shard::terms::Terms;
use crate::stats::Stats;
use crate::tally::{Tallies, Tally};
use crate::timer::Queue;
use crate::world::{Turn, World};

pub use crate::connection::SessionKey;
pub use crate::shard::authentication::{FIRST_MESSAGE_BYTES_MAX, Output};
pub use crate::shard::gap::{Gap, Wave};
pub use crate::shard::selection::Search;
pub use crate::shard::settings::{
    Compression, KeepaliveSettings, PermissionSettings, RecoverySettings, Settings, StreamSettings,
};
pub use crate::welcome::{Admission, Handshake, Welcome};

/// How long a refused client has to read the reason, in ms.
const REFUSED: u64 = 100;

/// The connections of one thread.
#[derive(Debug)]
pub struct Shard<P> {
    settings: Settings,
    registry: Registry,
    sessions: Sessions<P>,
    /// The admitted ones, by identity.
    directory: Directory,
    /// Those whose clients are to send a token, and those with a pending API request.
    awaiting: Queue,
    asked: Queue,
    outputs: VecDeque<Output>,
    idle: Queue,
    streams: Streams,
    refused: Queue,
    closing: Queue,
    /// Those with an outbox, by its last progress.
    waiting: Queue,
    keepalive: Keepalive,
    /// Those with an unfinished message, by when it began.
    unfinished: Unfinished,
    holders: Holders,
    /// Memory of the registry's subscriptions, as it was last accounted.
    subscription_bytes: usize,
    /// What is to be delivered, and commands among it.
    lanes: Lanes,
    /// Sessions that are sent nothing for a while.
    holds: Holds,
    /// Their clients' messages.
    postponed: Postponed,
    /// Sessions whose permissions expire.
    terms: Terms,
    gaps: Gaps,
    /// Where the search for the connections of a tenant goes on.
    next_of_tenant: usize,
    /// Sessions whose clients know more of the log than this node.
    lag: Lag,
    /// Where the next search for slow connections of a tenant begins.
    next_late: usize,
    budget: Budget,
    /// Connections with input queued for processing, longest-queued first.
    behind: VecDeque<Behind>,
    /// Ended connections whose subscriptions are queued to be dropped.
    leaving: VecDeque<Leaving>,
    /// One for all connections: no message depends on another.
    deflater: Deflater,
    inflater: Inflater,
    /// Bytes on their way to one connection, and the end of a message.
    scratch: Vec<u8>,
    tail: Vec<u8>,
    stats: Stats,
    tallies: Tallies,
}

impl<P: Peer> Shard<P> {
    /// An empty shard. All shards of a node share the seed of `hasher`.
    #[must_use]
    pub fn new(settings: Settings, hasher: Hasher) -> Self {
        Self {
            registry: Registry::new(settings.matching, hasher.clone()),
            sessions: Sessions::new(),
            directory: Directory::new(hasher),
            awaiting: Queue::new(settings.first_frame_timeout),
            asked: Queue::new(0),
            outputs: VecDeque::new(),
            idle: Queue::new(settings.idle_timeout),
            streams: Streams::new(settings.streams.max_age),
            refused: Queue::new(REFUSED),
            closing: Queue::new(CLOSING),
            waiting: Queue::new(settings.outbox_age),
            keepalive: Keepalive::new(settings.keepalive.interval, settings.keepalive.timeout),
            unfinished: Unfinished::new(settings.limits.message_timeout),
            holders: Holders::default(),
            subscription_bytes: 0,
            lanes: Lanes::after(
                settings.window.view().end(),
                recent::Bounds {
                    commands: settings.permissions.ring,
                    ..recent::Bounds::DEFAULT
                },
            ),
            holds: Holds::default(),
            postponed: Postponed::default(),
            terms: Terms::default(),
            gaps: Gaps::default(),
            next_of_tenant: 0,
            lag: Lag::default(),
            next_late: 0,
            budget: Budget::UNLIMITED,
            behind: VecDeque::new(),
            leaving: VecDeque::new(),
            deflater: Deflater::new(settings.compression.level),
            inflater: Inflater::new(),
            scratch: Vec::new(),
            tail: Vec::new(),
            stats: Stats::default(),
            tallies: Tallies::default(),
            settings,
        }
    }

    /// Applies new settings, also to open connections. What was accepted before stays: no
    /// subscription and no queued byte is dropped for a lower bound. `matching` does not change.
    pub fn reconfigure(&mut self, settings: Settings, now: u64) {
        self.awaiting.set_limit(settings.first_frame_timeout);
        self.idle.set_limit(settings.idle_timeout);
        self.streams.set_max_age(settings.streams.max_age);
        self.waiting.set_limit(settings.outbox_age);
        self.unfinished.set_timeout(settings.limits.message_timeout);
        let KeepaliveSettings { interval, timeout } = settings.keepalive;
        if self.keepalive.set_limits(interval, timeout) {
            self.ask_all(now);
        }
        if settings.compression.level != self.settings.compression.level {
            self.deflater = Deflater::new(settings.compression.level);
        }
        self.settings = Settings {
            matching: self.settings.matching,
            ..settings
        };
    }

    /// A phase of a turn begins, with a budget of its own. Without this nothing is limited.
    pub fn begin(&mut self, phase: Phase) {
        self.budget.begin(phase.units(), SLICE);
    }

    /// The rest of the phase is not limited: the node shuts down.
    pub fn begin_unlimited(&mut self) {
        self.budget.begin(u64::MAX, u64::MAX);
        self.lanes.lift();
    }

    /// What is left of the budget of the phase.
    #[must_use]
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Charges work that the caller did for this shard, in units.
    pub fn spend(&mut self, units: u64) {
        self.budget.spend(units);
    }

    /// Whether there is work that does not depend on a socket or a deadline: the next turn must
    /// follow at once.
    #[must_use]
    pub fn has_work(&self) -> bool {
        self.has_fan_out() || self.is_behind() || self.has_clean_up() || self.has_excess()
    }

    /// The totals.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Takes what was counted for tenants since the last call.
    pub fn take_tallies(&mut self, each: impl FnMut(TenantId, Tally)) {
        self.tallies.take(&self.stats, each);
    }

    /// How many connections there are, those that are being closed included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether there is no connection.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// The key that the next session will get.
    #[must_use]
    pub fn next_key(&self) -> SessionKey {
        self.sessions.next_key()
    }

    /// A session's peer, while it exists.
    pub fn peer(&mut self, key: SessionKey) -> Option<&mut P> {
        let id = self.sessions.find(key)?;
        self.sessions
            .get_mut(id.index())
            .map(|session| &mut session.peer)
    }

    /// Takes a new connection, whose handshake is done, and sends its first message.
    pub fn open(
        &mut self,
        peer: P,
        mut welcome: Welcome,
        turn: &mut Turn<'_, impl World<P>>,
    ) -> SessionKey {
        let key = self.next_key();
        // The answer determines the next stage at once.
        let stage = Stage::Refused(Close::NORMAL);
        let mut session = Session::new(peer, welcome.handshake(), stage);
        if let Some(opening) = welcome.stream.take() {
            session = session.over_http(*opening);
        }
        self.sessions.insert(session);
        self.welcome(key, welcome, turn);
        key
    }

    /// The connection is broken or was ended by its peer: forget it.
    pub fn gone(&mut self, key: SessionKey, turn: &mut Turn<'_, impl World<P>>) {
        if let Some(id) = self.sessions.find(key) {
            self.remove(id, turn);
        }
    }

    /// The tenant of a session; where it is not admitted any of them.
    #[inline]
    fn tenant_of(&self, id: ConnectionId) -> TenantId {
        let current = self.lanes.current.tenant;
        if self.lanes.is_alone() {
            return current;
        }
        let session = self.sessions.get(id.index());
        session
            .and_then(|session| session.tenant())
            .unwrap_or(current)
    }

    /// Whether a session is admitted and of a tenant.
    fn is_of(&self, key: SessionKey, tenant: TenantId) -> bool {
        let session = self.sessions.find(key);
        let session = session.and_then(|id| self.sessions.get(id.index()));
        session.is_some_and(|session| session.is_of(tenant))
    }

    fn count_registry(&mut self) {
        self.stats.rooms = self.registry.rooms() as u64;
        self.stats.subscriptions = self.registry.subscriptions() as u64;
        self.note_subscriptions();
    }

    /// Shrinks the scratch buffer if one large message made it large.
    fn recycle(&mut self, mut scratch: Vec<u8>) {
        scratch.clear();
        scratch.shrink_to(SCRATCH);
        self.scratch = scratch;
    }
}

/// Capacity that the scratch keeps, in bytes.
const SCRATCH: usize = 256 << 10;

#[cfg(any(test, fuzzing))]
pub(crate) mod tests;
