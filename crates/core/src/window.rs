//! The window: the last entries of the log, in memory, appended to by one thread and read by all.
//!
//! Entries are kept in segments. A full segment never changes again; the open one only grows: its
//! entries are written once, and readers use its length. So a reader sees what was appended up to
//! some moment, in order and without a hole, and neither side blocks.

mod beginning;
mod quotas;
mod reach;
mod segment;
#[cfg(test)]
mod tests;
mod trim;
mod view;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use ht_proto::cursor::Check;
use ht_proto::entry::{Epoch, TenantId};
use smallvec::SmallVec;

use crate::command::Command;
use crate::window::quotas::Quotas;
use crate::window::trim::Owned;

pub use crate::window::beginning::Beginning;
pub use crate::window::reach::Reach;
pub use crate::window::segment::{Key, Wanted};
use crate::window::segment::{SEGMENT_ENTRIES, Segment};
pub use crate::window::view::{Reader, Step, Unknown, View};
use crate::window::view::{Ring, Shared};

/// Bounds of a window. The first one that is reached drops the oldest entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowLimits {
    /// Entries.
    pub entries: usize,
    /// Bytes of entries, and of the window itself.
    pub bytes: usize,
    /// Age of an entry, in milliseconds.
    pub age: u64,
}

impl Default for WindowLimits {
    fn default() -> Self {
        Self {
            entries: 100_000,
            bytes: 64 << 20,
            age: 5 * 60 * 1_000,
        }
    }
}

/// A segment is closed at this part of the bound of bytes, so that dropping one drops little.
const BYTES_PART: usize = 16;

/// A segment is closed at this part of the bound of age, so that memory does not outlive it long.
const AGE_PART: u64 = 4;

/// An entry as the window keeps it.
#[derive(Debug)]
pub struct Item<T> {
    /// Its position in the log. Positions grow, not always by one.
    pub position: u64,
    /// When it was appended, in milliseconds.
    pub at: u64,
    /// Its check, for cursors.
    pub check: Check,
    /// Whose it is; that of a hole does not matter.
    pub tenant: TenantId,
    /// The entry.
    pub body: Kept<T>,
}

/// The content of a position.
#[derive(Clone, Debug)]
pub enum Kept<T> {
    /// An entry.
    Entry(T),
    /// A command.
    Command(Arc<Command>),
    /// An entry that was dropped because its tenant has too many bytes. Cursors of other tenants
    /// may be of here.
    Trimmed,
    /// Entries are missing here: no reader may read across it.
    Hole,
}

/// Which subscribers an entry may concern.
#[derive(Clone, Copy, Debug)]
pub enum Concerns<'a> {
    /// Subscribers of one of these rooms.
    Rooms(&'a [Key]),
    /// All.
    All,
}

/// The last entries of the log. Its owner appends; [`Self::reader`] is for all others.
#[derive(Debug)]
pub struct Window<T> {
    limits: WindowLimits,
    shared: Arc<Shared<T>>,
    segments: VecDeque<Owned<T>>,
    /// Bytes of all segments.
    bytes: usize,
    /// Of these, of the segments themselves.
    overhead: usize,
    /// Entries after `start`.
    len: usize,
    beginning: Beginning,
    /// The position of the last entry that was dropped, and its check.
    start: u64,
    start_check: Option<Check>,
    /// How many entries of the first segment are dropped already.
    gone: usize,
    /// The position of the last entry.
    end: u64,
    /// When the last entry was appended that was dropped, or behind which some are missing: who
    /// knows everything since then finds everything later here. None: there was none.
    reach: Option<Reach>,
    quotas: Quotas,
}

impl<T: Clone> Window<T> {
    /// Bytes of a segment without its entries' own.
    const SEGMENT_BYTES: usize = Segment::<T>::BYTES;

    /// An empty window of a log.
    #[must_use]
    pub fn new(limits: WindowLimits, beginning: Beginning) -> Self {
        let ring = Ring {
            beginning,
            segments: Box::default(),
            trimmed: Arc::default(),
        };
        let start = beginning.start;
        Self {
            limits,
            shared: Arc::new(Shared {
                ring: ArcSwap::from_pointee(ring),
                start: AtomicU64::new(start),
            }),
            segments: VecDeque::new(),
            bytes: 0,
            overhead: 0,
            len: 0,
            beginning,
            start,
            start_check: beginning.check,
            gone: 0,
            end: start,
            reach: None,
            quotas: Quotas::default(),
        }
    }

    /// Another epoch of the log begins: nothing of the old one is kept. Its positions must be later
    /// than all before.
    pub fn begin_epoch(&mut self, beginning: Beginning) {
        debug_assert!(beginning.start >= self.end, "positions grow");
        self.segments.clear();
        (self.bytes, self.overhead, self.len, self.gone) = (0, 0, 0, 0);
        self.beginning = beginning;
        (self.start, self.end) = (beginning.start, beginning.start);
        self.start_check = beginning.check;
        self.reach = None;
        self.quotas.forget_entries();
        self.publish(true);
    }

    /// The epoch of its entries has this name.
    pub fn rename(&mut self, epoch: Epoch) {
        self.beginning.epoch = epoch;
        self.publish(true);
    }

    /// Where the window of this epoch began.
    #[must_use]
    pub fn beginning(&self) -> Beginning {
        self.beginning
    }

    /// The position of the last entry; that of the last one before the window if it has none.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.end
    }

    /// A reader, for any thread.
    #[must_use]
    pub fn reader(&self) -> Reader<T> {
        Reader::new(Arc::clone(&self.shared))
    }

    /// Appends an entry of so many bytes. One that is not after the last entry is in the window
    /// already, and is ignored.
    pub fn append(&mut self, item: Item<T>, concerns: Concerns<'_>, bytes: usize) {
        let Item {
            position,
            at,
            check,
            tenant,
            ..
        } = item;
        if position <= self.end {
            return;
        }
        let mut is_changed = self.drop_aged(at);
        let is_kept = self.make_room(at, bytes, &mut is_changed);
        self.end = position;
        if is_kept && let Some(open) = self.segments.back_mut() {
            open.segment.append(item, concerns);
            open.charge(tenant, bytes);
            open.live += 1;
            self.quotas.charge(tenant, bytes);
            self.bytes += bytes;
            self.len += 1;
            if self.quotas.is_over(tenant) {
                is_changed |= self.trim(tenant);
            }
            while self.len > self.limits.entries {
                is_changed |= self.trim_loudest() || self.drop_first();
            }
        } else {
            // Longer than the whole window.
            self.start = position;
            self.start_check = Some(check);
            self.reach = Some(Reach::dropped(at));
        }
        self.publish(is_changed);
    }

    /// Appends a hole: at this position, and possibly before it, entries are missing.
    pub fn append_hole(&mut self, position: u64, at: u64) {
        let item = Item {
            position,
            at,
            check: Check::NONE,
            tenant: TenantId::MAIN,
            body: Kept::Hole,
        };
        self.append(item, Concerns::All, 0);
        self.reach = Some(Reach::missed(at));
    }

    /// Since when it has everything; none: since its epoch began.
    #[must_use]
    pub fn reach(&self) -> Option<Reach> {
        self.reach
    }

    /// Drops what is too old. Every append does so as well.
    pub fn expire(&mut self, now: u64) {
        let is_changed = self.drop_aged(now);
        self.publish(is_changed);
    }

    /// How many entries it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes that it keeps in memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// When its oldest entry was appended.
    #[must_use]
    pub fn oldest_at(&self) -> Option<u64> {
        let first = self.segments.front()?.segment.get(self.gone)?;
        Some(first.at)
    }

    /// Ensures an open segment with room for an entry of so many bytes. Returns false where the
    /// entry alone exceeds the bound.
    fn make_room(&mut self, now: u64, bytes: usize, is_changed: &mut bool) -> bool {
        let mut is_open = self.segments.back().is_some_and(|open| {
            open.segment.len() < SEGMENT_ENTRIES
                && open.bytes - Self::SEGMENT_BYTES < self.limits.bytes / BYTES_PART
                && now.saturating_sub(open.since) < self.limits.age.div_ceil(AGE_PART).max(1)
        });
        loop {
            let needed = bytes + if is_open { 0 } else { Self::SEGMENT_BYTES };
            if self.bytes + needed <= self.limits.bytes {
                break;
            }
            // What is left of trimmed entries goes with the others only.
            let is_full = self.bytes_of_entries() >= self.limits.bytes / 2;
            let has_dropped = is_full && self.trim_loudest() || self.drop_first_segment();
            if !has_dropped {
                return false;
            }
            *is_changed = true;
            is_open &= !self.segments.is_empty();
        }
        if !is_open {
            self.segments.push_back(Owned {
                segment: Arc::new(Segment::new()),
                bytes: Self::SEGMENT_BYTES,
                since: now,
                live: 0,
                tenants: SmallVec::new(),
            });
            self.bytes += Self::SEGMENT_BYTES;
            self.overhead += Self::SEGMENT_BYTES;
            *is_changed = true;
        }
        true
    }

    /// Whether a segment was dropped.
    fn drop_aged(&mut self, now: u64) -> bool {
        let mut is_changed = false;
        while let Some(at) = self.oldest_at()
            && now.saturating_sub(at) > self.limits.age
        {
            is_changed |= self.drop_first();
        }
        is_changed
    }

    /// Drops the first entry; returns whether its segment was dropped with it.
    fn drop_first(&mut self) -> bool {
        let Some(Owned { segment, live, .. }) = self.segments.front_mut() else {
            return false;
        };
        if self.gone + 1 >= segment.len() {
            return self.drop_first_segment();
        }
        if let Some(item) = segment.get(self.gone) {
            self.start = item.position;
            self.start_check = Some(item.check);
            self.reach = Reach::later(self.reach, item.at);
            self.gone += 1;
            if !matches!(item.body, Kept::Trimmed) {
                *live -= 1;
                self.len -= 1;
            }
        }
        false
    }

    /// Drops the first segment, if there is one.
    fn drop_first_segment(&mut self) -> bool {
        let Some(first) = self.segments.pop_front() else {
            return false;
        };
        let Owned { segment, bytes, .. } = &first;
        let len = segment.len();
        if let Some(last) = segment.get(len.wrapping_sub(1)) {
            self.start = last.position;
            self.start_check = Some(last.check);
            self.reach = Reach::later(self.reach, last.at);
        }
        self.len -= first.live;
        self.gone = 0;
        self.bytes -= bytes;
        self.overhead -= segment.bytes();
        for (tenant, bytes) in first.tenants {
            self.quotas.release(tenant, bytes);
        }
        true
    }

    /// Publishes to readers where the window begins, and its segments if they changed.
    fn publish(&self, is_changed: bool) {
        if is_changed {
            let segments = self.segments.iter();
            self.shared.ring.store(Arc::new(Ring {
                beginning: Beginning {
                    start: self.start,
                    check: self.start_check,
                    ..self.beginning
                },
                segments: segments.map(|owned| Arc::clone(&owned.segment)).collect(),
                trimmed: self.quotas.trimmed(),
            }));
        }
        self.shared.start.store(self.start, Ordering::Release);
    }
}
