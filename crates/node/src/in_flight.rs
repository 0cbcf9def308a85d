//! Memory held by all requests to `/trigger/` together.
//!
//! Bytes are counted as they arrive, not as they are announced: a body without a length counts with
//! the part that has arrived. If there is no room for more, a stalled body is evicted before one
//! that makes progress, so that a publisher that hangs in the middle of a request blocks no other.

#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ht_edge::quiet;
use slab::Slab;
use tokio::sync::Notify;
use tokio::time::Instant;

/// A body is stalled if it made no progress for this long. It is only evicted if others need the
/// room.
const STALLED: Duration = Duration::from_secs(1);

/// Progress is at least this many bytes plus a fraction of what had arrived (one divided by this
/// number): a body that trickles is stalled, too, and the more so the more it holds.
const PROGRESS_BYTES: u64 = 16 << 10;
const PROGRESS_PART: u64 = 16;

/// Bytes of the bodies that are being read, parsed or ordered.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    bytes: AtomicU64,
    /// Bodies that did not arrive at once.
    reading: Mutex<Slab<Reading>>,
}

/// An incomplete body.
#[derive(Debug)]
struct Reading {
    bytes: u64,
    /// As of the last progress.
    mark: u64,
    progressed: Instant,
    eviction: Arc<Eviction>,
}

/// Notifies a request that its room was given to others.
#[derive(Debug, Default)]
struct Eviction {
    done: AtomicBool,
    wake: Notify,
}

/// The share of one request; released on drop.
#[derive(Debug)]
pub(crate) struct Share<'a> {
    all: &'a InFlight,
    /// While it is read in pieces, its slot; then its bytes are counted there.
    slot: Option<(usize, Arc<Eviction>)>,
    bytes: u64,
}

/// Why a body may not become longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoRoom {
    /// All together would exceed the limit.
    Full,
    /// It stalled, and others needed the room.
    Evicted,
}

impl InFlight {
    /// The share of a request of which nothing has arrived yet.
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

    /// Whether a body of this length would be admitted now, also by evicting stalled ones. Reserves
    /// nothing: an announced body may never arrive.
    pub(crate) fn has_room(&self, length: u64, limit: u64, now: Instant) -> bool {
        let fits = |held: u64| limit == 0 || held == 0 || held.saturating_add(length) <= limit;
        let held = self.bytes();
        fits(held) || fits(held.saturating_sub(self.stalled(now)))
    }

    /// Bytes of the bodies that would be evicted if others need the room.
    fn stalled(&self, now: Instant) -> u64 {
        let reading = self.lock();
        let stalled = reading.iter().filter(|(_, body)| body.is_stalled(now));
        stalled.map(|(_, body)| body.bytes).sum()
    }

    /// Reserves more bytes for a request that has `own`, if all together stay within `limit`; 0
    /// means no limit. A single request is always admitted.
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

    /// Evicts the stalled body that holds most. Returns whether there was one.
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
        // This may be within another connection's poll, whose own wakes are held back.
        quiet::aloud(|| eviction.wake.notify_one());
        true
    }

    fn lock(&self) -> MutexGuard<'_, Slab<Reading>> {
        self.reading.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share<'_> {
    /// Reserves the bytes of another piece.
    ///
    /// # Errors
    /// If there is no room for them, or the body was evicted.
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

    /// The body is incomplete, and the rest may take long to arrive.
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

    /// Ready when the body was evicted.
    pub(crate) async fn evicted(&self) {
        let Some((_, eviction)) = &self.slot else {
            return std::future::pending().await;
        };
        while !eviction.done.load(Ordering::Acquire) {
            eviction.wake.notified().await;
        }
    }

    /// The body is complete: from now on it cannot be evicted.
    ///
    /// # Errors
    /// If it was evicted already.
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
        // The share of an evicted body was released when it was evicted.
        let _ = self.complete();
        self.all.bytes.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}
