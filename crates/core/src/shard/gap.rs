//! Gaps: publications that may not have reached this shard. Connections that were open at the time
//! are closed in waves, so that their clients reconnect and fetch what they missed.

use ht_proto::close::Close;

use crate::connection::ConnectionId;
use crate::peer::Peer;
use crate::session::Stage;
use crate::shard::Shard;
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

    /// The last gap before the connection in this slot opened.
    fn before(&self, slot: usize) -> u32 {
        self.before.get(slot).copied().unwrap_or(0)
    }
}

/// Result of one wave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wave {
    /// Connections that were closed.
    pub closed: usize,
    /// No connection is left that opened before the gap.
    pub finished: bool,
}

impl<P: Peer> Shard<P> {
    /// Connections that open from now on missed nothing of the gaps up to this number. Gaps are
    /// numbered by the caller, from 1.
    pub fn set_gap(&mut self, number: u32) {
        self.gaps.current = number;
    }

    /// Closes up to `count` admitted connections that opened before the gap `number`, each after
    /// its earlier publications. Several gaps are one: a connection is closed once, for the last of
    /// them. Call it again until it is finished.
    pub fn close_missed(
        &mut self,
        number: u32,
        count: usize,
        close: Close,
        turn: &mut Turn<'_, impl World<P>>,
    ) -> Wave {
        if number != self.gaps.told {
            self.gaps.told = number;
            self.gaps.examined = 0;
        }
        // Later slots were never used.
        let slots = self.sessions.capacity();
        let mut closed = 0;
        for _ in 0..EXAMINED_MAX {
            let over = closed > 0 && self.budget.is_spent();
            if self.gaps.examined >= slots || closed >= count || over {
                break;
            }
            let index = self.gaps.next % slots;
            self.gaps.next = index + 1;
            self.gaps.examined += 1;
            if self.missed(index, number) {
                let id = ConnectionId(u32::try_from(index).expect("keys were given as u32"));
                self.leave(id, close, turn);
                closed += 1;
            }
        }
        Wave {
            closed,
            finished: self.gaps.examined >= slots,
        }
    }

    /// Whether an admitted connection is in this slot that opened before the gap.
    fn missed(&self, index: usize, number: u32) -> bool {
        let session = self.sessions.get(index);
        let is_open = session.is_some_and(|known| matches!(known.stage, Stage::Open { .. }));
        is_open && self.gaps.before(index) < number
    }
}
