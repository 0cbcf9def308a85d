//! The side effects of a shard.

mod rechecks;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use ht_broker::Broker;
use ht_control::interest::InterestIndex;
use ht_core::command::Command;
use ht_core::peer::Eviction;
use ht_core::recheck::Recheck;
use ht_core::shard::SessionKey;
use ht_core::stats::Stats;
use ht_core::ticket::Granted;
use ht_core::world::{AuthenticationEnd, Over, World};
use ht_edge::permits::{Permits, Slot};
use ht_edge::rejection::HandshakeError;
use ht_proto::entry::TenantId;
use ht_proto::hook::Hook;
use ht_proto::room::Room;
use ht_proto::server::{Resumption, Status};
use ht_telemetry::throttle::Throttles;
use uuid::Uuid;

use crate::commands::Commands;
use crate::counters::Counters;
use crate::held::Held;
use crate::hooks::HookSender;
use crate::inbox::{Asked, Wait};
use crate::live::Live;
use crate::loads::Loads;
use crate::meters::Meters;
use crate::node::Node;
use crate::shard::outside::rechecks::Rechecks;
use crate::socket::Socket;
use crate::tenants::Tenants;
use crate::tickets::Tickets;
use crate::totals::Totals;

/// Minimum capacity of the table of waits.
const KEPT: usize = 64;

/// The side effects of a shard.
pub(crate) struct Outside {
    pub(super) index: usize,
    pub(super) totals: Arc<Totals>,
    pub(super) meters: Arc<Meters>,
    interest: Arc<InterestIndex>,
    commands: Arc<Commands>,
    permits: Arc<Permits>,
    loads: Arc<Loads>,
    held: Held,
    pub(super) throttles: Arc<Throttles>,
    /// The source of triggers, for `status`.
    broker: Option<Arc<Broker>>,
    hooks: Option<HookSender>,
    counters: Arc<Counters>,
    /// State of clients that are not authenticated.
    waits: HashMap<SessionKey, Wait>,
    rechecks: Rechecks,
    tickets: Arc<Tickets>,
    pub(super) tenants: Arc<Tenants>,
}

impl Outside {
    /// For the shard `index` of a node.
    pub(crate) fn new(
        index: usize,
        node: &Node,
        live: &Live,
        broker: Option<Arc<Broker>>,
        hooks: Option<HookSender>,
    ) -> Self {
        Self {
            index,
            totals: Arc::clone(&node.totals),
            meters: Arc::clone(&node.meters),
            interest: Arc::clone(&node.interest),
            commands: Arc::clone(&node.commands),
            permits: Arc::clone(&node.permits),
            loads: Arc::clone(&node.loads),
            held: Held {
                permits: Arc::clone(&node.permits),
                accounts: Arc::clone(&node.accounts),
                throttles: Arc::clone(&node.throttles),
            },
            throttles: Arc::clone(&node.throttles),
            broker,
            hooks,
            counters: Arc::clone(&node.counters),
            waits: HashMap::new(),
            rechecks: Rechecks::new(index, node, live),
            tickets: Arc::clone(&node.tickets),
            tenants: Arc::clone(&node.tenants),
        }
    }

    /// Everything up to this position is in the inbox of the shard, or does not concern it.
    pub(super) fn handed(&self) -> u64 {
        self.interest.handed()
    }

    /// The client of a session must send its token.
    pub(super) fn begin_wait(&mut self, key: SessionKey, wait: Wait) {
        self.waits.insert(key, wait);
    }

    /// Starts the API call for a client. False: no call will be made any more.
    pub(super) fn ask(&mut self, asked: Asked) -> bool {
        let wait = self.waits.get_mut(&asked.key);
        wait.is_some_and(|wait| wait.ask(asked))
    }

    /// Has the API queried again about a session.
    pub(super) fn recheck(&mut self, recheck: Recheck, peer: &Socket) {
        self.counters.permissions_asked.add(recheck.reason);
        self.rechecks.request(recheck, peer);
    }

    /// The result of that is not needed any more.
    pub(super) fn cancel_recheck(&mut self, key: SessionKey) {
        self.rechecks.cancel(key);
    }

    /// What a client may know of the node where there are several tenants: what is its own tenant's.
    fn status_of(&self, tenant: TenantId) -> Status {
        let (shares, meter) = (&self.permits.shares, self.meters.of(tenant));
        let open = match tenant {
            TenantId::MAIN => {
                let all = self.totals.connections_of_node();
                all.saturating_sub(shares.all())
            }
            other => u64::from(shares.open(other)),
        };
        Status {
            open_connections: open,
            num_rooms: self.interest.rooms_of(tenant),
            online_since: self.totals.online_since().to_owned(),
            // As of the last turns of the shards.
            ws_messages_received: meter.messages.load(Ordering::Relaxed),
            ws_messages_send: meter.deliveries.load(Ordering::Relaxed),
            ..Status::default()
        }
    }

    /// A line of a connection's lifecycle, for operators that enable per-connection logs.
    pub(super) fn log_event(&self, connection: Uuid, peer: &Socket, event: &str) {
        tracing::debug!(%connection, user = peer.user(), address = self.address(peer), "{event}");
    }

    /// The client's address, for the log.
    fn address(&self, peer: &Socket) -> String {
        self.held.address(peer)
    }
}

impl World<Socket> for Outside {
    fn hook(&mut self, hook: Hook, peer: &mut Socket, now: u64) {
        match hook {
            Hook::Connect => {
                self.totals.opened();
            }
            Hook::Disconnect => {
                if let Some(about) = &peer.about {
                    self.log_event(about.id, peer, "connection closed");
                }
                // In this order: a connection that is no longer counted holds no permit.
                let address = std::mem::replace(&mut peer.address, Slot::NONE);
                let user = peer.about.as_ref().and_then(|about| about.user.as_ref());
                self.permits.release(peer.tenant(), address, user);
                self.loads.release(self.index);
                self.totals.ended();
            }
            Hook::Ping => {}
        }
        if let (Some(hooks), Some(about)) = (&self.hooks, &mut peer.about)
            && about.is_reported
        {
            hooks.queue(hook, about, now);
        }
    }

    fn client(&mut self, peer: &Socket) -> u64 {
        peer.client()
    }

    fn room_opened(&mut self, tenant: TenantId, room: &Room) -> u64 {
        self.interest.opened(self.index, tenant, room)
    }

    fn room_closed(&mut self, tenant: TenantId, room: &Room) {
        self.interest.closed(self.index, tenant, room);
    }

    fn status(&mut self, tenant: TenantId, own: &Stats) -> Status {
        if self.tenants.are_enabled() {
            return self.status_of(tenant);
        }
        let sum = self.totals.sum_for(self.index, own);
        let broker = self.broker.as_ref();
        Status {
            open_connections: self.totals.connections(),
            num_rooms: self.interest.rooms_of(tenant),
            online_since: self.totals.online_since().to_owned(),
            rabbitmq_messages_received: broker.map_or(0, |broker| broker.counts().received),
            ws_messages_received: sum.messages,
            ws_messages_send: sum.deliveries,
            ws_messages_send_error: sum.undelivered,
            ws_messages_send_queued: sum.queued,
        }
    }

    fn hold_first_frame(&mut self, key: SessionKey, bytes: usize) -> bool {
        let wait = self.waits.get_mut(&key);
        wait.is_none_or(|wait| wait.hold(bytes))
    }

    fn authentication_ended(&mut self, key: SessionKey, end: AuthenticationEnd) {
        self.waits.remove(&key);
        if self.waits.capacity() > KEPT && self.waits.len() * 4 < self.waits.capacity() {
            self.waits.shrink_to(self.waits.len() * 2);
        }
        let reason = match end {
            AuthenticationEnd::Invalid => HandshakeError::Authenticate,
            AuthenticationEnd::Leaving => HandshakeError::Leaving,
            AuthenticationEnd::Answered | AuthenticationEnd::Left => return,
        };
        self.counters.handshake_errors.add(reason);
    }

    fn hold(&mut self, peer: &Socket, bytes: usize) -> Result<usize, Over> {
        self.held.hold(peer, bytes)
    }

    fn release(&mut self, peer: &Socket, bytes: usize) -> usize {
        self.held.release(peer, bytes)
    }

    fn logs_refused_rooms(&self) -> bool {
        tracing::enabled!(tracing::Level::DEBUG)
    }

    fn room_refused(&mut self, connection: Uuid, peer: &Socket, reason: &str) {
        if let Some(suppressed) = self.throttles.allow("room-refused") {
            tracing::debug!(
                %connection,
                user = peer.user(),
                address = self.address(peer),
                reason,
                suppressed,
                "refused a room. Compare it with the API's allowed_rooms for this user"
            );
        }
    }

    fn token_accepted(&mut self, key: SessionKey, peer: &mut Socket) {
        self.rechecks.token_accepted(key, peer);
    }

    fn token_rejected(&mut self, key: SessionKey) {
        self.rechecks.token_rejected(key);
    }

    fn resumption(&mut self, peer: &mut Socket, granted: &Granted<'_>, anew: bool) -> Resumption {
        let about = peer.about.as_mut();
        let Some(holder) = about.and_then(|about| about.holder.as_mut()) else {
            return Resumption::default();
        };
        self.tickets.give(holder, granted, anew, SystemTime::now())
    }

    fn caught_up(&mut self, ms: u64) {
        self.totals.caught_up(Duration::from_millis(ms));
    }

    fn carried_out(&mut self, command: &Command, matched: usize) {
        self.commands.carried_out(command, matched);
    }

    fn evicted(&mut self, connection: Uuid, peer: &Socket, reason: Eviction) {
        if let Some(suppressed) = self.throttles.allow(reason.as_str()) {
            tracing::warn!(
                %connection,
                user = peer.user(),
                address = self.address(peer),
                reason = reason.as_str(),
                suppressed,
                "evicted a connection"
            );
        }
    }
}
