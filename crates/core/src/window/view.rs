//! Reading the window: a view of it at one moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use ht_proto::cursor::{Check, Cursor};
use ht_proto::entry::{Epoch, Position, TenantId};

use crate::window::quotas::Trimmed;
use crate::window::segment::{Segment, Wanted};
use crate::window::{Beginning, Item, Window, WindowLimits};

/// State that the writer shares with readers.
#[derive(Debug)]
pub(super) struct Shared<T> {
    pub(super) ring: ArcSwap<Ring<T>>,
    /// The position of the last entry that was dropped; never before that of the ring.
    pub(super) start: AtomicU64,
}

/// The segments, the oldest first. All but the last are full or closed.
#[derive(Debug)]
pub(super) struct Ring<T> {
    /// Its start is the last entry that was dropped when this was made.
    pub(super) beginning: Beginning,
    pub(super) segments: Box<[Arc<Segment<T>>]>,
    /// Tenants that had too many bytes, each with the position of its last entry that was dropped
    /// for that.
    pub(super) trimmed: Arc<Trimmed>,
}

/// What a reader of a [`View`] comes to next.
#[derive(Debug)]
pub enum Step<'a, T> {
    /// An entry.
    Item(&'a Item<T>),
    /// Entries up to this position, none of which concerns it.
    Skipped(u64),
}

/// Reads a window. Clones read the same one.
#[derive(Debug)]
pub struct Reader<T>(Arc<Shared<T>>);

impl<T> Clone for Reader<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Clone> Default for Reader<T> {
    /// Of a window that stays empty.
    fn default() -> Self {
        let beginning = Beginning::of(Epoch::from_random(0));
        Window::new(WindowLimits::default(), beginning).reader()
    }
}

impl<T> Reader<T> {
    pub(super) fn new(shared: Arc<Shared<T>>) -> Self {
        Self(shared)
    }

    /// The window as it is now, or a little later: every append that this thread knows of is in it.
    /// It keeps its entries in memory: drop it soon.
    #[must_use]
    pub fn view(&self) -> View<T> {
        // The ring first: one that is newer than the start may lack entries after it.
        let ring = self.0.ring.load_full();
        let start = self
            .0
            .start
            .load(Ordering::Acquire)
            .max(ring.beginning.start);
        View { ring, start }
    }
}

/// Why a cursor leads to no position from which a window has everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// It is of another epoch, or another entry has its position.
    Epoch,
    /// Entries after it were dropped.
    Age,
    /// Entries of its tenant after it were dropped, because that had too many bytes.
    Trimmed,
    /// It is after the last entry.
    Ahead,
}

/// The entries of a window after some position, as they were at some moment or a little later.
#[derive(Debug)]
pub struct View<T> {
    ring: Arc<Ring<T>>,
    start: u64,
}

impl<T> View<T> {
    /// The position of the last entry that was dropped. A reader that knows everything up to it, or
    /// to a later entry, finds all later entries here.
    #[must_use]
    pub fn start(&self) -> u64 {
        self.start
    }

    /// The same for a tenant's own entries, of which more may have been dropped.
    #[must_use]
    pub fn start_of(&self, tenant: TenantId) -> u64 {
        let trimmed = &self.ring.trimmed;
        if trimmed.is_empty() {
            return self.start;
        }
        let trimmed = trimmed.get(&tenant).copied().unwrap_or(0);
        trimmed.max(self.start)
    }

    /// The position of the last entry; [`Self::start`] where there is none.
    #[must_use]
    pub fn end(&self) -> u64 {
        let last = self.ring.segments.iter().rev().find_map(|segment| {
            let index = segment.len().checked_sub(1)?;
            segment.get(index)
        });
        last.map_or(self.start, |item| item.position.max(self.start))
    }

    /// The epoch of its positions.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.ring.beginning.epoch
    }

    /// What a position is greater by here than in a cursor.
    #[must_use]
    pub fn base(&self) -> u64 {
        self.ring.beginning.base
    }

    /// The cursor of somebody who knows everything up to this position: that of the last entry up to
    /// there. Where that entry was dropped long ago, so that [`Self::find`] would not find it, a
    /// cursor that is never found.
    #[must_use]
    pub fn cursor(&self, position: u64) -> Cursor {
        let (position, check) = match self.last_up_to(position) {
            Some((position, Some(check))) => (position, check),
            Some(_) | None => (position, Check::UNKNOWN),
        };
        let number = position.saturating_sub(self.base());
        Cursor {
            epoch: self.epoch(),
            position: Position::new(number).unwrap_or(Position::MAX),
            check,
            part: None,
        }
    }

    /// The position up to which somebody with this cursor knows everything; with a
    /// [part](Cursor::part) all but the rest of that entry.
    ///
    /// # Errors
    /// If that is not known, or entries after it are not in the window any more.
    pub fn find(&self, cursor: &Cursor) -> Result<u64, Unknown> {
        if cursor.epoch != self.epoch() {
            return Err(Unknown::Epoch);
        }
        let position = self.base().saturating_add(cursor.position.get());
        if position > self.end() {
            return Err(Unknown::Ahead);
        }
        match self.last_up_to(position) {
            None => Err(Unknown::Age),
            Some((found, None)) if found == position => Err(Unknown::Age),
            // The rest of the entry was dropped with it.
            Some((found, Some(_))) if found == self.start && cursor.part.is_some() => {
                Err(Unknown::Age)
            }
            Some((found, Some(check))) if found == position && check == cursor.check => {
                Ok(position)
            }
            // Another entry had this position when the cursor was given.
            Some(_) => Err(Unknown::Epoch),
        }
    }

    /// The same for a cursor of a tenant's client.
    ///
    /// # Errors
    /// As above, or if entries of the tenant after it were dropped because it had too many bytes.
    pub fn find_of(&self, tenant: TenantId, cursor: &Cursor) -> Result<u64, Unknown> {
        let position = self.find(cursor)?;
        let start = self.start_of(tenant);
        // The rest of an entry was dropped with it.
        let is_cut = position == start && start > self.start && cursor.part.is_some();
        match position < start || is_cut {
            true => Err(Unknown::Trimmed),
            false => Ok(position),
        }
    }

    /// The position and the check of the last entry up to a position; not known of entries that were
    /// dropped before the last one that was.
    fn last_up_to(&self, position: u64) -> Option<(u64, Option<Check>)> {
        if position < self.start {
            return None;
        }
        let segment = self.ring.segments.get(self.segment_of(position));
        let found = segment.and_then(|segment| {
            let index = segment.up_to(position, segment.len()).checked_sub(1)?;
            segment.get(index)
        });
        if let Some(item) = found.filter(|item| item.position >= self.start) {
            return Some((item.position, Some(item.check)));
        }
        let Beginning { start, check, .. } = self.ring.beginning;
        Some((self.start, check.filter(|_| start == self.start)))
    }

    /// The entries after a position, in their order. With `wanted`, some entries that concern none
    /// of the wanted rooms are skipped: holes never are.
    pub fn after<'a>(
        &'a self,
        position: u64,
        wanted: Option<&'a Wanted>,
    ) -> impl Iterator<Item = &'a Item<T>> {
        let steps = self.steps_after(position, wanted);
        steps.filter_map(|step| match step {
            Step::Item(item) => Some(item),
            Step::Skipped(_) => None,
        })
    }

    /// The same, for readers that do some of it at a time: they learn what was skipped, too.
    pub fn steps_after<'a>(
        &'a self,
        position: u64,
        wanted: Option<&'a Wanted>,
    ) -> impl Iterator<Item = Step<'a, T>> {
        let position = position.max(self.start);
        let segments = &self.ring.segments[self.segment_of(position)..];
        segments.iter().flat_map(move |segment| {
            // Before the filter is queried, so that it covers all of them.
            let len = segment.len();
            let is_concerned = wanted.is_none_or(|wanted| segment.may_concern(wanted));
            let end = if is_concerned { len } else { 0 };
            let begin = segment.up_to(position, end);
            let skipped = len.checked_sub(1).filter(|_| !is_concerned);
            let skipped = skipped.and_then(|last| segment.get(last));
            let skipped = skipped.map(|last| Step::Skipped(last.position.max(position)));
            let items = (begin..end).filter_map(|index| segment.get(index));
            skipped.into_iter().chain(items.map(Step::Item))
        })
    }

    /// The index of the segment that has this position, or the first one if none has.
    fn segment_of(&self, position: u64) -> usize {
        let segments = &self.ring.segments;
        let later = segments.partition_point(|segment| {
            let first = segment.first();
            first.is_some_and(|first| first <= position)
        });
        later.saturating_sub(1)
    }
}
