//! What requests to `/trigger/` hold in memory, all together.
//!
//! Bytes count as they come, not as they are announced: a body without a length is as long as what
//! of it is there. Where there is no room for more, a body that has stopped coming gives way
//! before one that is coming, so that a publisher's machine that hangs in the middle of a request
//! holds up nobody but itself.

#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ht_edge::quiet;
use slab::Slab;
use tokio::sync::Notify;
use tokio::time::Instant;

/// A body is stalled that made no progress for this long. It is only cut off where others need
/// the room.
const STALLED: Duration = Duration::from_secs(1);

/// Progress is at least so many bytes and the same part of what is there as of this number: what
/// trickles is stalled, too, and the more so the more it holds.
const PROGRESS_BYTES: u64 = 16 << 10;
const PROGRESS_PART: u64 = 16;

/// Bytes of the bodies that are being read, parsed or placed.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    bytes: AtomicU64,
    /// Bodies that did not come at once.
    reading: Mutex<Slab<Reading>>,
}

/// A body of which more is to come.
#[derive(Debug)]
struct Reading {
    bytes: u64,
    /// As of the last progress.
    mark: u64,
    progressed: Instant,
    eviction: Arc<Eviction>,
}

/// Tells a request that its room went to others.
#[derive(Debug, Default)]
struct Eviction {
    done: AtomicBool,
    wake: Notify,
}

/// The part of one request; given back when dropped.
#[derive(Debug)]
pub(crate) struct Share<'a> {
    all: &'a InFlight,
    /// While it is read in pieces, where it stands; then its bytes are counted there.
    slot: Option<(usize, Arc<Eviction>)>,
    bytes: u64,
}

/// Why a body may not become longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoRoom {
    /// All together would be more than the limit.
    Full,
    /// It stalled, and others needed the room.
    Evicted,
}

impl InFlight {
    /// The part of a request of which nothing came yet.
    pub(crate) fn share(&self) -> Share<'_> {
        Share {
            all: self,
            slot: None,
            bytes: 0,
        }
    }

    /// Bytes that are held now.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Acquire)
    }

    /// Whether a body of this length would find room now, also in place of stalled ones. Takes
    /// nothing: what is announced may never come.
    pub(crate) fn has_room(&self, length: u64, limit: u64, now: Instant) -> bool {
        let fits = |held: u64| limit == 0 || held == 0 || held.saturating_add(length) <= limit;
        let held = self.bytes();
        fits(held) || fits(held.saturating_sub(self.stalled(now)))
    }

    /// Bytes of the bodies that give way where others need the room.
    fn stalled(&self, now: Instant) -> u64 {
        let reading = self.lock();
        let stalled = reading.iter().filter(|(_, body)| body.is_stalled(now));
        stalled.map(|(_, body)| body.bytes).sum()
    }

    /// Takes more bytes for a request that has `own`, if all together stay within `limit`; 0 is no
    /// limit. One that is alone always fits.
    fn take(&self, more: u64, own: u64, limit: u64) -> bool {
        let fits = |held: u64| {
            let all = held.saturating_add(more);
            (limit == 0 || held == own || all <= limit).then_some(all)
        };
        let taken = self
            .bytes
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, fits);
        taken.is_ok()
    }

    /// Cuts off the stalled body that holds most. Returns whether there was one.
    fn evict(&self, reading: &mut Slab<Reading>, own: Option<usize>, now: Instant) -> bool {
        let stalled = reading
            .iter()
            .filter(|(slot, body)| Some(*slot) != own && body.is_stalled(now));
        let Some((slot, _)) = stalled.max_by_key(|(_, body)| body.bytes) else {
            return false;
        };
        let Reading {
            bytes, eviction, ..
        } = reading.remove(slot);
        self.bytes.fetch_sub(bytes, Ordering::AcqRel);
        eviction.done.store(true, Ordering::Release);
        // This may be within another connection's turn, whose own wakes are held back.
        quiet::aloud(|| eviction.wake.notify_one());
        true
    }

    fn lock(&self) -> MutexGuard<'_, Slab<Reading>> {
        self.reading.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share<'_> {
    /// Takes the bytes of another piece.
    ///
    /// # Errors
    /// When there is no room for them, or not even for those before.
    pub(crate) fn grow(&mut self, more: u64, limit: u64, now: Instant) -> Result<(), NoRoom> {
        if self.slot.is_none() && self.all.take(more, self.bytes, limit) {
            self.bytes += more;
            return Ok(());
        }
        let mut reading = self.all.lock();
        let own = match &self.slot {
            None => None,
            Some((_, eviction)) if eviction.done.load(Ordering::Acquire) => {
                return Err(NoRoom::Evicted);
            }
            Some((slot, _)) => Some(*slot),
        };
        let held = own.map_or(self.bytes, |slot| reading[slot].bytes);
        while !self.all.take(more, held, limit) {
            if !self.all.evict(&mut reading, own, now) {
                return Err(NoRoom::Full);
            }
        }
        match own {
            None => self.bytes += more,
            Some(slot) => reading[slot].grow(more, now),
        }
        Ok(())
    }

    /// More is to come, and may be long in coming.
    pub(crate) fn wait(&mut self, now: Instant) {
        if self.slot.is_some() {
            return;
        }
        let eviction = Arc::<Eviction>::default();
        let slot = self.all.lock().insert(Reading {
            bytes: self.bytes,
            mark: self.bytes,
            progressed: now,
            eviction: Arc::clone(&eviction),
        });
        self.slot = Some((slot, eviction));
    }

    /// Ready when the room went to others.
    pub(crate) async fn evicted(&self) {
        let Some((_, eviction)) = &self.slot else {
            return std::future::pending().await;
        };
        while !eviction.done.load(Ordering::Acquire) {
            eviction.wake.notified().await;
        }
    }

    /// Everything is there: from now on nobody else gets the room.
    ///
    /// # Errors
    /// When somebody else did.
    pub(crate) fn complete(&mut self) -> Result<(), NoRoom> {
        let Some((slot, eviction)) = self.slot.take() else {
            return Ok(());
        };
        let mut reading = self.all.lock();
        if eviction.done.load(Ordering::Acquire) {
            self.bytes = 0;
            return Err(NoRoom::Evicted);
        }
        self.bytes = reading.remove(slot).bytes;
        Ok(())
    }
}

impl Reading {
    fn is_stalled(&self, now: Instant) -> bool {
        self.bytes > 0 && now >= self.progressed + STALLED
    }

    fn grow(&mut self, more: u64, now: Instant) {
        self.bytes += more;
        if self.bytes - self.mark >= PROGRESS_BYTES + self.mark / PROGRESS_PART {
            self.mark = self.bytes;
            self.progressed = now;
        }
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        // What was evicted was given back when it was.
        let _ = self.complete();
        self.all.bytes.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}
