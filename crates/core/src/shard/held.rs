//! Memory held by clients of a shard: accounts, bounds, and the eviction of the largest holders.

use ht_proto::close::Close;

use crate::account::Kind;
use crate::connection::{ConnectionId, SessionKey};
use crate::peer::{Eviction, Peer};
use crate::registry::WEIGHT_BYTES;
use crate::session::Stage;
use crate::shard::Shard;
use crate::shard::behind::BEHIND_BYTES;
use crate::world::{self, Turn, World};

/// Connections that are evicted at most to make room for another one.
const RELIEVED: usize = 16;

/// Smallest step by which a connection's charge changes, in bytes.
const STEP: usize = 1 << 10;

/// Bytes by which a connection may exceed its charge where its address or user is at its bound:
/// room for a message that arrives in several reads, so that a subscribe is refused when it is
/// complete.
const HEADROOM: usize = 32 << 10;

impl<P: Peer> Shard<P> {
    /// Bytes that a session holds beside its outbox: subscriptions by their weight, unfinished
    /// input as it is kept, queued input, messages that are kept while it is held.
    fn held(&self, id: ConnectionId) -> usize {
        let session = &self.sessions[id.index()];
        let behind = if session.behind { BEHIND_BYTES } else { 0 };
        let kept = session.transport.kept_bytes();
        let postponed = self.postponed_bytes(id);
        session.own.weight() * WEIGHT_BYTES + kept + behind + postponed
    }

    /// Whether a connection may hold another subscription of this weight. If so it is charged for
    /// it.
    pub(super) fn may_hold(
        &mut self,
        id: ConnectionId,
        weight: usize,
        turn: &mut Turn<'_, impl World<P>>,
    ) -> bool {
        let held = self.held(id) + weight * WEIGHT_BYTES;
        match self.charge_or_relieve(id, held, turn) {
            Ok(()) => true,
            Err(over) => {
                self.uncharge(id, over.by, turn);
                false
            }
        }
    }

    /// Whether a connection is charged for what it holds, and not for much more.
    #[cfg(any(test, fuzzing))]
    pub(super) fn is_charged(&self, id: ConnectionId) -> bool {
        let session = &self.sessions[id.index()];
        let (held, charged) = (self.held(id), session.charged as usize);
        // Subscriptions are never part of the headroom.
        let least = held.saturating_sub(HEADROOM);
        let least = least.max(session.own.weight() * WEIGHT_BYTES);
        (least..=rounded(held) + 3 * step(held)).contains(&charged)
    }

    /// Brings a connection's account up to date after its client has sent something. With `anew` a
    /// message was completed: what is kept now belongs to another.
    pub(super) fn settle(
        &mut self,
        key: SessionKey,
        anew: bool,
        turn: &mut Turn<'_, impl World<P>>,
    ) {
        let Some(id) = self.sessions.find(key) else {
            return;
        };
        let session = &self.sessions[id.index()];
        if matches!(session.stage, Stage::Authenticating(_)) {
            // Accounted as part of its handshake.
            return;
        }
        let kept = session.transport.unfinished_bytes();
        if kept > 0 || session.transport.is_unfinished() {
            self.note_unfinished(id, kept, anew, turn.now);
        }
        let charged = self.sessions[id.index()].charged as usize;
        let held = self.held(id);
        if held > charged {
            if let Err(over) = self.charge_or_relieve(id, held, turn) {
                if held - charged > HEADROOM {
                    return self.evict_holder(id, over.reason, turn);
                }
                self.uncharge(id, over.by, turn);
            }
        } else if charged - held > if held == 0 { 0 } else { 2 * step(held) } {
            self.uncharge(id, charged - rounded(held), turn);
        }
        if self.settings.accounts.is_over() {
            self.relieve_accounts(turn);
            // No connection holds much: the one that adds to the total is evicted.
            let is_over = self.is_over();
            if is_over && self.sessions.contains(id.index()) {
                self.evict_holder(id, Eviction::ClientTotalBytes, turn);
            }
        }
    }

    /// While all clients of the process hold more than they may, evicts the connections of this
    /// shard whose addresses hold most.
    pub(super) fn relieve_accounts(&mut self, turn: &mut Turn<'_, impl World<P>>) {
        while self.is_over()
            && let Some(id) = self.holders.largest()
        {
            self.evict_holder(id, Eviction::ClientTotalBytes, turn);
        }
    }

    /// Whether clients exceed their total bound, without counting what ended connections of this
    /// shard are about to release: no connection is evicted for that.
    fn is_over(&self) -> bool {
        let accounts = &self.settings.accounts;
        if !accounts.is_over() {
            return false;
        }
        let dropping = self.leaving.iter().map(|leaving| leaving.own.weight());
        let dropping = dropping.sum::<usize>() * WEIGHT_BYTES;
        accounts.total().saturating_sub(dropping) > accounts.limit()
    }

    /// Ends a connection for what it holds, and sends its client the reason.
    pub(super) fn evict_holder(
        &mut self,
        id: ConnectionId,
        reason: Eviction,
        turn: &mut Turn<'_, impl World<P>>,
    ) {
        let session = &mut self.sessions[id.index()];
        self.stats.evictions[reason as usize] += 1;
        turn.world.evicted(session.id, &session.peer, reason);
        if !matches!(session.stage, Stage::Open { .. }) {
            return self.remove(id, turn);
        }
        session.transport.forget_input();
        self.note_unfinished(id, 0, false, turn.now);
        self.retire(id, true, turn);
        let close = match reason {
            Eviction::MessageTimeout => Close::MESSAGE_TIMEOUT,
            Eviction::OutboxBytes
            | Eviction::OutboxAge
            | Eviction::OutboxTotalBytes
            | Eviction::MessagesPerSecond
            | Eviction::InflatedBytesPerSecond
            | Eviction::ClientTotalBytes
            | Eviction::ClientBytesPerAddress
            | Eviction::ClientBytesPerUser => Close::OVERLOADED,
            Eviction::TenantBusy => Close::TENANT_BUSY,
        };
        let frame = self.close_message(id, close);
        self.send_close(id, frame, turn);
        self.shut_down_if_done(id);
    }

    /// Charges a connection that was opened for what its peer keeps.
    pub(super) fn charge_peer(&mut self, id: ConnectionId, turn: &mut Turn<'_, impl World<P>>) {
        let peer = &self.sessions[id.index()].peer;
        let bytes = peer.kept_bytes();
        if bytes > 0 {
            // Checked before it was admitted: concurrent handshakes may exceed a bound a little.
            let address = turn
                .world
                .hold(peer, bytes)
                .unwrap_or_else(|over| over.address);
            self.settings.accounts.replace(Kind::Credentials, 0, bytes);
            let charged = self.sessions[id.index()].charged as usize;
            let of = peer.address();
            self.holders.set(id, charged + bytes, of, address);
        }
    }

    /// Releases what an admitted connection was charged for what its peer keeps.
    pub(super) fn uncharge_peer(&mut self, id: ConnectionId, turn: &mut Turn<'_, impl World<P>>) {
        let session = &self.sessions[id.index()];
        let bytes = session.peer.kept_bytes();
        if bytes > 0 {
            let address = turn.world.release(&session.peer, bytes);
            self.settings.accounts.replace(Kind::Credentials, bytes, 0);
            let (charged, of) = (session.charged as usize, session.peer.address());
            self.holders.set(id, charged, of, address);
        }
    }

    /// Releases what an admitted connection was charged for, before its address and user are
    /// forgotten.
    pub(super) fn uncharge_all(&mut self, id: ConnectionId, turn: &mut Turn<'_, impl World<P>>) {
        let peer = &self.sessions[id.index()].peer;
        let bytes = peer.kept_bytes();
        if bytes > 0 {
            turn.world.release(peer, bytes);
            self.settings.accounts.replace(Kind::Credentials, bytes, 0);
        }
        self.uncharge_rest(id, turn);
    }

    /// Releases what a connection was charged for beside what its peer keeps.
    pub(super) fn uncharge_rest(&mut self, id: ConnectionId, turn: &mut Turn<'_, impl World<P>>) {
        let session = &mut self.sessions[id.index()];
        let charged = std::mem::take(&mut session.charged) as usize;
        if charged > 0 {
            turn.world.release(&session.peer, charged);
        }
        self.holders.remove(id);
    }

    /// Records a connection's unfinished input.
    pub(super) fn note_unfinished(&mut self, id: ConnectionId, bytes: usize, anew: bool, now: u64) {
        let before = self.unfinished.set(id, bytes, anew, now);
        let accounts = &self.settings.accounts;
        accounts.replace(Kind::Messages, before, bytes);
        let transport = &mut self.sessions[id.index()].transport;
        transport.set_unfinished(bytes > 0);
    }

    /// Records the memory of all subscriptions of the shard.
    pub(super) fn note_subscriptions(&mut self) {
        let bytes = self.registry.bytes();
        let before = std::mem::replace(&mut self.subscription_bytes, bytes);
        let accounts = &self.settings.accounts;
        accounts.replace(Kind::Subscriptions, before, bytes);
    }

    /// Charges a connection for what it holds. Where its address exceeds its bound, larger
    /// connections of this address are evicted.
    fn charge_or_relieve(
        &mut self,
        id: ConnectionId,
        held: usize,
        turn: &mut Turn<'_, impl World<P>>,
    ) -> Result<(), Over> {
        let mut result = self.charge(id, held, turn);
        for _ in 0..RELIEVED {
            let Err(over) = &result else {
                break;
            };
            let of = self.sessions[id.index()].peer.address();
            let larger = self.holders.largest_of(of);
            let larger = larger.filter(|&(other, bytes)| other != id && bytes > held);
            let Some((larger, _)) = larger else {
                break;
            };
            if over.reason != Eviction::ClientBytesPerAddress {
                break;
            }
            self.uncharge(id, over.by, turn);
            self.evict_holder(larger, Eviction::ClientBytesPerAddress, turn);
            result = self.charge(id, held, turn);
        }
        result
    }

    /// Charges a connection for what it holds, and a little ahead, so that a client subscribing to
    /// many rooms does not cause a call each time.
    fn charge(
        &mut self,
        id: ConnectionId,
        held: usize,
        turn: &mut Turn<'_, impl World<P>>,
    ) -> Result<(), Over> {
        let session = &mut self.sessions[id.index()];
        let charged = session.charged as usize;
        if held <= charged {
            return Ok(());
        }
        let by = rounded(held) - charged;
        session.charged = count(charged + by);
        let kept = session.peer.kept_bytes();
        let result = turn.world.hold(&session.peer, by);
        let address = *result.as_ref().unwrap_or_else(|over| &over.address);
        let of = session.peer.address();
        self.holders.set(id, charged + by + kept, of, address);
        let refused = |over: world::Over| Over {
            reason: over.reason,
            by,
        };
        result.map(|_| ()).map_err(refused)
    }

    fn uncharge(&mut self, id: ConnectionId, by: usize, turn: &mut Turn<'_, impl World<P>>) {
        let session = &mut self.sessions[id.index()];
        let charged = session.charged as usize - by;
        session.charged = count(charged);
        let address = turn.world.release(&session.peer, by);
        let bytes = charged + session.peer.kept_bytes();
        let of = session.peer.address();
        self.holders.set(id, bytes, of, address);
    }
}

/// A charge that exceeded a bound.
struct Over {
    reason: Eviction,
    /// The bytes that were charged.
    by: usize,
}

/// The step by which the charge for `held` bytes is rounded: an eighth of it.
fn step(held: usize) -> usize {
    (held / 8).max(STEP)
}

/// The charge for `held` bytes.
fn rounded(held: usize) -> usize {
    held.next_multiple_of(step(held))
}

/// A charge as it is kept: the limits keep it far below.
fn count(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}
