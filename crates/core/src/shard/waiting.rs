//! Slow consumers: their queued data, and when it is too much or too old.

use crate::budget::cost;
use crate::connection::{ConnectionId, SessionKey};
use crate::peer::{Eviction, Peer};
use crate::session::{Broken, Stage};
use crate::sessions::Waiting;
use crate::shard::Shard;
use crate::world::{Turn, World};

/// How much may be queued for a connection before reading from it stops, in bytes.
const READ_AHEAD: usize = 64 << 10;

/// Slow consumers at either end of their list that are compared to choose one for eviction.
const COMPARED: usize = 16;

impl<P: Peer> Shard<P> {
    /// Whether more may be read from a connection (back-pressure): not while its replies are
    /// queued, nor while earlier input is queued for processing.
    #[must_use]
    pub fn may_read(&self, key: SessionKey) -> bool {
        let most = READ_AHEAD.min(self.settings.bounds().each);
        let id = self.sessions.find(key);
        let session = id.and_then(|id| self.sessions.get(id.index()));
        session.is_some_and(|session| {
            let most = match &session.stage {
                Stage::Authenticating(applicant) if applicant.asked => return false,
                // A client that is not admitted gets nothing in advance.
                Stage::Authenticating(_) => 0,
                Stage::Open { .. } | Stage::Refused(_) | Stage::Closing { .. } => most,
            };
            !session.behind && session.waiting() <= most
        }) && id.is_some_and(|id| !self.is_full(id))
    }

    /// The socket is writable again.
    pub fn writable(&mut self, key: SessionKey, turn: &mut Turn<'_, impl World<P>>) {
        let Some(id) = self.sessions.find(key) else {
            return;
        };
        let session = &mut self.sessions[id.index()];
        let Some(outbox) = &session.outbox else {
            return;
        };
        let (queued, waiting) = (outbox.publications(), outbox.waiting());
        let tenant = outbox.tenant;
        self.budget.spend(cost::write(waiting));
        if let Err(broken) = session.flush() {
            return self.broken(id, broken, turn);
        }
        if session.waiting() > 0 {
            return self.note_progress(id, turn.now);
        }
        self.tallies.enter(tenant, &self.stats);
        self.stats.queued -= queued;
        self.stats.deliveries += queued;
        self.unwatch(id);
        let session = &mut self.sessions[id.index()];
        session.outbox = None;
        self.shut_down_if_done(id);
        self.unblock(key);
    }

    /// Sends bytes that are not publications; ends the connection where that fails.
    pub(super) fn send(
        &mut self,
        id: ConnectionId,
        bytes: &[u8],
        turn: &mut Turn<'_, impl World<P>>,
    ) {
        let bounds = self.settings.bounds();
        let Some(session) = self.sessions.get_mut(id.index()) else {
            return;
        };
        if let Some(tenant) = session.tenant() {
            self.tallies.enter(tenant, &self.stats);
            self.stats.sent_bytes += bytes.len() as u64;
        }
        match session.send([bytes], None, 0, &bounds) {
            Ok(true) => {}
            Ok(false) => self.waits(id, turn),
            Err(broken) => self.broken(id, broken, turn),
        }
    }

    /// Data was added to a connection's outbox: lists it as a slow consumer, and enforces the limit
    /// of all outboxes.
    pub(super) fn waits(&mut self, id: ConnectionId, turn: &mut Turn<'_, impl World<P>>) {
        let outbox = self.sessions[id.index()].outbox.as_mut();
        if outbox.is_some_and(|outbox| !std::mem::replace(&mut outbox.watched, true)) {
            let mut waiting = Waiting(&mut self.sessions);
            self.waiting.push(&mut waiting, id.0, turn.now);
        }
        self.relieve(turn);
    }

    /// While all outboxes of the process exceed their limit, evicts the connection that has stalled
    /// for longest: one that accepts its data at once is not in the list, and one that makes
    /// progress is at its end.
    ///
    /// At least one is evicted; the others when the budget allows.
    pub(super) fn relieve(&mut self, turn: &mut Turn<'_, impl World<P>>) {
        while self.settings.outboxes.is_over()
            && let Some(id) = self.heaviest()
        {
            self.evict(ConnectionId(id), Eviction::OutboxTotalBytes, turn);
            if self.budget.is_spent() {
                break;
            }
        }
    }

    /// The slow consumer that has stalled for longest, unless another address holds twice as much,
    /// or another connection of its address: by age alone, clients that hold much and accept a
    /// little now and then would outlast those that stall only briefly. So those with the most
    /// recent progress are compared as well as those with the oldest.
    fn heaviest(&mut self) -> Option<u32> {
        let mut waiting = Waiting(&mut self.sessions);
        let ends = self.waiting.ends(&mut waiting, COMPARED);
        let of = |id: u32| {
            let session = &self.sessions[id as usize];
            (session.peer.address(), session.waiting())
        };
        let mut addresses: Vec<(u32, usize)> = Vec::new();
        for (address, bytes) in ends.iter().map(|&id| of(id)) {
            match addresses.iter_mut().find(|known| known.0 == address) {
                Some((_, sum)) => *sum += bytes,
                None => addresses.push((address, bytes)),
            }
        }
        let size = |id: &u32| {
            let (address, bytes) = of(*id);
            let sum = addresses.iter().find(|known| known.0 == address);
            let sum = sum.map_or(0, |known| known.1);
            (sum.checked_ilog2(), bytes.checked_ilog2())
        };
        // Of equal ones `max_by_key` takes the last.
        ends.into_iter().rev().max_by_key(size)
    }

    /// Whether all outboxes exceed their limit, and this shard has one.
    pub(super) fn has_excess(&self) -> bool {
        self.waiting.first().is_some() && self.settings.outboxes.is_over()
    }

    /// A connection that has stalled for too long.
    pub(super) fn late(&mut self, now: u64) -> Option<u32> {
        let mut waiting = Waiting(&mut self.sessions);
        self.waiting.expired(&mut waiting, now)
    }

    /// Removes a connection whose outbox is about to be dropped from the list.
    pub(super) fn unwatch(&mut self, id: ConnectionId) {
        let outbox = self.sessions[id.index()].outbox.as_mut();
        if outbox.is_some_and(|outbox| std::mem::take(&mut outbox.watched)) {
            let mut waiting = Waiting(&mut self.sessions);
            self.waiting.remove(&mut waiting, id.0);
        }
    }

    /// Restarts the time of a connection that made progress.
    fn note_progress(&mut self, id: ConnectionId, now: u64) {
        let outbox = self.sessions[id.index()].outbox.as_mut();
        if outbox.is_some_and(|outbox| outbox.watched && outbox.progressed()) {
            let mut waiting = Waiting(&mut self.sessions);
            self.waiting.remove(&mut waiting, id.0);
            self.waiting.push(&mut waiting, id.0, now);
        }
    }

    pub(super) fn broken(
        &mut self,
        id: ConnectionId,
        broken: Broken,
        turn: &mut Turn<'_, impl World<P>>,
    ) {
        match broken {
            Broken::Slow => self.evict(id, Eviction::OutboxBytes, turn),
            Broken::Gone => self.remove(id, turn),
        }
    }

    /// Ends a connection to protect the others. No close frame is sent: its socket accepts nothing,
    /// and may be in the middle of a frame.
    pub(super) fn evict(
        &mut self,
        id: ConnectionId,
        reason: Eviction,
        turn: &mut Turn<'_, impl World<P>>,
    ) {
        let session = &self.sessions[id.index()];
        self.stats.evictions[reason as usize] += 1;
        turn.world.evicted(session.id, &session.peer, reason);
        self.remove(id, turn);
    }
}
