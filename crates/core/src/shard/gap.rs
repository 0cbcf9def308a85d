//! Gaps: publications that may not have reached this shard. Connections that were open at the time
//! are told so, or closed, in waves: their clients fetch what they missed.
//!
//! A client that accepts events stays connected. A command may be lost as well as a publication, so
//! it is held, and the API queried again about it, as if every session had been invalidated.

use ht_proto::close::Close;
use ht_proto::server::{self, GapCause};

use crate::connection::{ConnectionId, SessionKey};
use crate::peer::Peer;
use crate::recheck::RecheckReason;
use crate::session::Stage;
use crate::shard::Shard;
use crate::shard::hold::State;
use crate::shard::queue::Item;
use crate::world::{Turn, World};

/// Connections that one wave examines at most. Most of them are skipped, which costs a comparison
/// each.
const EXAMINED_MAX: usize = 16_384;

/// How far the connections of a gap have been closed.
#[derive(Debug, Default)]
pub(super) struct Gaps {
    /// The last gap that does not concern connections opening now.
    current: u32,
    /// The last gap whose connections are being closed.
    told: u32,
    /// Where the next wave begins.
    next: usize,
    /// Slots that were examined since `told` changed.
    examined: usize,
    /// By slot, the last gap before its connection opened. Kept apart from the connections: until
    /// the first gap, which most nodes never see, it is empty and every connection is before it.
    before: Vec<u32>,
}

impl Gaps {
    /// A connection opens in this slot.
    pub(super) fn opened(&mut self, slot: usize) {
        if self.current != 0 {
            let len = self.before.len().max(slot + 1);
            self.before.resize(len, 0);
            self.before[slot] = self.current;
        }
    }

    /// The last gap that does not concern connections opening now.
    pub(super) fn current(&self) -> u32 {
        self.current
    }

    /// The connection in this slot knows of a gap.
    fn told(&mut self, slot: usize, number: u32) {
        let len = self.before.len().max(slot + 1);
        self.before.resize(len, 0);
        self.before[slot] = number;
    }

    /// The last gap before the connection in this slot opened, or that it was told of.
    fn before(&self, slot: usize) -> u32 {
        self.before.get(slot).copied().unwrap_or(0)
    }
}

/// A gap, for the connections that opened before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Its number. Gaps are numbered by the caller, from 1.
    pub number: u32,
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

    /// Closes up to `count` admitted connections that opened before a gap, each after its earlier
    /// publications, or tells their clients. Several gaps are one: a connection is closed once, for
    /// the last of them. Call it again until it is finished.
    pub fn close_missed(
        &mut self,
        gap: &Gap,
        count: usize,
        turn: &mut Turn<'_, impl World<P>>,
    ) -> Wave {
        if gap.number != self.gaps.told {
            self.gaps.told = gap.number;
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
            if !self.missed(index, gap.number) {
                continue;
            }
            let id = ConnectionId(u32::try_from(index).expect("keys were given as u32"));
            if self.stays(id, gap) {
                self.gaps.told(index, gap.number);
                let key = self.sessions.key(id.0);
                self.fan_out.push_own(Item::Gap(key, gap.upto, gap.cause));
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
    /// held finds the gap in the window, if there is one for it.
    pub(super) fn tell_gap(
        &mut self,
        key: SessionKey,
        upto: u64,
        cause: GapCause,
        turn: &mut Turn<'_, impl World<P>>,
    ) {
        let Some(id) = self.sessions.find(key).filter(|id| self.is_open(*id)) else {
            return;
        };
        self.fan_out.passed = self.fan_out.passed.max(upto);
        if self.holds.state(key) == State::Live {
            self.put_gap(id, self.fan_out.passed, cause, turn);
        }
        let may_lack_commands = match cause {
            GapCause::Broker => self.settings.permissions.recheck,
            GapCause::Window | GapCause::Overload => false,
        };
        if may_lack_commands {
            let not_before = upto.max(self.recent.last());
            self.hold(key, not_before, RecheckReason::Gap, turn);
        }
    }

    /// Sends the event about a gap after which a session goes on at a position.
    pub(super) fn put_gap(
        &mut self,
        id: ConnectionId,
        position: u64,
        cause: GapCause,
        turn: &mut Turn<'_, impl World<P>>,
    ) {
        self.stats.gaps_told += 1;
        let cursor = self.settings.window.view().cursor(position);
        let event = server::gap(&cursor, cause);
        self.put_event(id, event.as_bytes(), turn);
    }

    /// Whether an admitted connection is in this slot that opened before the gap.
    fn missed(&self, index: usize, number: u32) -> bool {
        let session = self.sessions.get(index);
        let is_open = session.is_some_and(|known| matches!(known.stage, Stage::Open { .. }));
        is_open && self.gaps.before(index) < number
    }
}
