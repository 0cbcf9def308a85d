//! Gaps: publications that may not have reached this shard. Connections that were open at the time
//! are told so, or closed, in waves: their clients fetch what they missed.
//!
//! A client that accepts events stays connected. A command may be lost as well as a publication, so
//! it is held, and the API queried again about it, as if every session had been invalidated.
//!
//! Until a client is told, it gets no cursor: one from after the gap would hide it where the client
//! reconnects meanwhile.

use ht_proto::close::Close;
use ht_proto::entry::TenantId;
use ht_proto::server::{self, GapCause};

use crate::connection::{ConnectionId, SessionKey};
use crate::peer::Peer;
use crate::recheck::RecheckReason;
use crate::shard::Shard;
use crate::shard::queue::Item;
use crate::window::{Kept, Wanted};
use crate::world::{Turn, World};

/// Connections that one wave examines at most. Most of them are skipped, which costs a comparison
/// each.
const EXAMINED_MAX: usize = 16_384;

/// How far the connections of a gap have been closed.
#[derive(Debug, Default)]
pub(super) struct Gaps {
    /// The last gap that does not concern connections opening now.
    current: u32,
    /// The last gap that concerns this shard. Connections that opened before it get no cursor until
    /// they are told.
    known: u32,
    /// The last gap whose connections are being closed.
    wave: u32,
    /// Where the next wave begins.
    next: usize,
    /// Slots that were examined since `wave` changed.
    examined: usize,
    /// By slot. Kept apart from the connections: until the first gap, which most nodes never see, it
    /// is empty and every connection is before it.
    slots: Vec<Slot>,
}

/// The gaps of a connection.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    /// The last one before it opened, or that its client is about to be told of.
    queued: u32,
    /// The last one before it opened, or that its client was told of.
    told: u32,
}

impl Gaps {
    /// A connection opens in this slot.
    pub(super) fn opened(&mut self, slot: usize) {
        if self.current != 0 {
            let current = self.current;
            *self.slot_mut(slot) = Slot {
                queued: current,
                told: current,
            };
        }
    }

    /// The last gap that does not concern connections opening now.
    pub(super) fn current(&self) -> u32 {
        self.current
    }

    /// Whether the client of the connection in this slot may have missed publications and was not
    /// told yet. `own`: the last gap of its tenant alone.
    #[inline]
    pub(super) fn is_untold(&self, slot: usize, own: u32) -> bool {
        let known = self.known.max(own);
        known != 0 && self.slot(slot).told < known
    }

    /// The client of the connection in this slot was told of a gap, or missed nothing of it.
    pub(super) fn told(&mut self, slot: usize, number: u32) {
        let slot = self.slot_mut(slot);
        slot.told = slot.told.max(number);
    }

    /// The connection in this slot was sent nothing yet. `own`: the last gap of its tenant alone.
    pub(super) fn missed_nothing(&mut self, slot: usize, own: u32) {
        if self.is_untold(slot, own) {
            self.told(slot, self.known.max(own));
        }
    }

    fn slot(&self, slot: usize) -> Slot {
        self.slots.get(slot).copied().unwrap_or_default()
    }

    fn slot_mut(&mut self, slot: usize) -> &mut Slot {
        let len = self.slots.len().max(slot + 1);
        self.slots.resize(len, Slot::default());
        &mut self.slots[slot]
    }
}

/// A gap, for the connections that opened before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Its number. Gaps are numbered by the caller, from 1.
    pub number: u32,
    /// Whose clients are concerned; none: those of all tenants.
    pub tenant: Option<TenantId>,
    /// Publications up to this position may be missing.
    pub upto: u64,
    /// Why.
    pub cause: GapCause,
    /// How connections are closed whose clients accept no events; none: they are not.
    pub close: Option<Close>,
}

/// Result of one wave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wave {
    /// Connections that were closed.
    pub closed: usize,
    /// Connections whose clients are told.
    pub told: usize,
    /// No connection is left that opened before the gap.
    pub finished: bool,
}

impl<P: Peer> Shard<P> {
    /// Connections that open from now on missed nothing of the gaps up to this number. Gaps are
    /// numbered by the caller, from 1.
    pub fn set_gap(&mut self, number: u32) {
        self.gaps.current = number;
    }

    /// The last gap that concerns connections which are open now has this number. Call it before
    /// anything of after the gap is taken: cursors would be of after it.
    pub fn note_gap(&mut self, number: u32) {
        self.gaps.known = self.gaps.known.max(number);
    }

    /// The same of connections of this tenant alone.
    pub fn note_gap_of(&mut self, tenant: TenantId, number: u32) {
        // Without a lane it has no connections.
        if self.lanes.get(tenant).is_some() {
            let lane = self.lanes.get_mut(tenant);
            lane.gap = lane.gap.max(number);
        }
    }

    /// Whether the client of a session may have missed publications and was not told yet.
    pub(super) fn is_untold(&self, id: ConnectionId) -> bool {
        let own = self.lanes.gap_of(self.tenant_of(id));
        self.gaps.is_untold(id.index(), own)
    }

    /// The client of a session was sent nothing yet, so it missed nothing.
    pub(super) fn missed_nothing(&mut self, id: ConnectionId) {
        let own = self.lanes.gap_of(self.tenant_of(id));
        self.gaps.missed_nothing(id.index(), own);
    }

    /// Closes up to `count` admitted connections that opened before a gap, each after its earlier
    /// publications, or tells their clients. Several gaps are one: a connection is closed once, for
    /// the last of them. Call it again until it is finished.
    pub fn close_missed(
        &mut self,
        gap: &Gap,
        count: usize,
        turn: &mut Turn<'_, impl World<P>>,
    ) -> Wave {
        if gap.number != self.gaps.wave {
            self.gaps.wave = gap.number;
            self.gaps.examined = 0;
        }
        // Later slots were never used.
        let slots = self.sessions.capacity();
        let (mut closed, mut told) = (0, 0);
        for _ in 0..EXAMINED_MAX {
            let concerned = closed + told;
            let over = concerned > 0 && self.budget.is_spent();
            if self.gaps.examined >= slots || concerned >= count || over {
                break;
            }
            let index = self.gaps.next % slots;
            self.gaps.next = index + 1;
            self.gaps.examined += 1;
            if !self.missed(index, gap) {
                continue;
            }
            let id = ConnectionId(u32::try_from(index).expect("keys were given as u32"));
            if self.stays(id, gap) {
                self.gaps.slot_mut(index).queued = gap.number;
                let key = self.sessions.key(id.0);
                let item = Item::Gap(key, gap.number, gap.upto, gap.cause);
                self.lanes.push_own(self.tenant_of(id), item);
                told += 1;
            } else if let Some(close) = gap.close {
                self.leave(id, close, turn);
                closed += 1;
            }
        }
        Wave {
            closed,
            told,
            finished: self.gaps.examined >= slots,
        }
    }

    /// Whether a connection stays open at a gap: its client is told, and the API can be queried
    /// about it where a command may be lost.
    fn stays(&self, id: ConnectionId, gap: &Gap) -> bool {
        let may_ask = self.settings.permissions.recheck || gap.close.is_none();
        may_ask && self.sessions[id.index()].transport.has_events()
    }

    /// Tells the client of a session, in its turn, that it may have missed publications. One that is
    /// held and was not sent everything before the gap finds it in the window, if it is there.
    pub(super) fn tell_gap(
        &mut self,
        key: SessionKey,
        (number, upto, cause): (u32, u64, GapCause),
        turn: &mut Turn<'_, impl World<P>>,
    ) {
        let Some(id) = self.sessions.find(key).filter(|id| self.is_open(*id)) else {
            return;
        };
        if cause == GapCause::Broker {
            self.suspend_ticket(id);
        }
        self.lanes.current.passed = self.lanes.passed().max(upto);
        let held = self.holds.get(key).map(|hold| hold.upto);
        match held {
            Some(held) if self.has_hole(id, held, upto) => {
                if let Some(hold) = self.holds.get_mut(key) {
                    hold.gap = number;
                }
            }
            // It was sent nothing yet, so it missed nothing.
            Some(_) if self.holds.is_newcomer(key) => self.missed_nothing(id),
            Some(_) | None => {
                self.gaps.told(id.index(), number);
                self.put_gap(id, cause, turn);
            }
        }
        let may_lack_commands = match cause {
            GapCause::Broker => self.settings.permissions.recheck,
            GapCause::Window | GapCause::Overload => false,
        };
        if may_lack_commands {
            let not_before = upto.max(self.lanes.current.recent.last());
            self.hold(key, not_before, RecheckReason::Gap, turn);
        }
    }

    /// Whether somebody who reads the window after a position learns that something is missing up to
    /// another one.
    fn has_hole(&self, id: ConnectionId, after: u64, upto: u64) -> bool {
        let (view, nothing) = (self.settings.window.view(), Wanted::default());
        let items = view.after(after, Some(&nothing));
        let mut items = items.take_while(|item| item.position <= upto);
        after < view.start_of(self.tenant_of(id))
            || items.any(|item| matches!(item.body, Kept::Hole))
    }

    /// Sends the event about a gap after which a session goes on where it is.
    pub(super) fn put_gap(
        &mut self,
        id: ConnectionId,
        cause: GapCause,
        turn: &mut Turn<'_, impl World<P>>,
    ) {
        self.stats.gaps_told += 1;
        let cursor = self.reached(id);
        let event = server::gap(&cursor, cause);
        self.put_event(id, event.as_bytes(), Some(cursor), turn);
    }

    /// Whether an admitted connection is in this slot that opened before the gap.
    fn missed(&self, index: usize, gap: &Gap) -> bool {
        let session = self.sessions.get(index);
        let tenant = session.and_then(|known| known.tenant());
        let is_meant = tenant.is_some() && (gap.tenant.is_none() || gap.tenant == tenant);
        is_meant && self.gaps.slot(index).queued < gap.number
    }
}
