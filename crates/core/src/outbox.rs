//! Outbox: a queue of data that a socket has not accepted yet.
//!
//! Small data is copied into pieces that grow up to `PIECE` bytes; a large publication is kept by
//! reference, so that all slow consumers share its bytes. Sent data is released piece by piece, and
//! nothing is ever moved.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;

use ht_proto::entry::TenantId;
use smallvec::SmallVec;

use crate::body::{self, Body};
use crate::peer::{Peer, Sent};
use crate::timer::Link;

pub use crate::outboxes::Outboxes;

/// Largest piece of copied bytes, in bytes: the largest that jemalloc packs side by side. It adds a
/// page to each larger one, which would be a quarter of 16 KiB.
const PIECE: usize = 14 << 10;

/// Pieces that are offered to the socket at once.
const VECTORED: usize = 32;

/// So many bytes are progress: a client that accepts fewer within `outbox_age`, and not all that is
/// queued, has stalled.
const PROGRESS: usize = 16 << 10;

/// The peer is gone.
#[derive(Debug)]
pub(crate) struct Gone;

/// Data that one socket has not accepted.
#[derive(Debug)]
pub(crate) struct Outbox {
    pieces: VecDeque<Piece>,
    /// Bytes of the first piece that were sent.
    sent: usize,
    /// Queued bytes.
    waiting: usize,
    /// Queued publish frames.
    publications: u64,
    /// Capacity of the copied pieces.
    copied: usize,
    /// Bytes of memory that were counted in `all`.
    counted: usize,
    all: Arc<Outboxes>,
    /// The tenant of the publications.
    pub(crate) tenant: TenantId,
    /// Its position in the list of slow consumers, ordered by their last progress.
    pub(crate) link: Link,
    /// Whether it is in the list.
    pub(crate) watched: bool,
    /// Bytes that were accepted since.
    progress: usize,
}

#[derive(Debug)]
enum Piece {
    Copied(Vec<u8>),
    Kept(body::Piece),
}

impl Outbox {
    pub(crate) fn new(all: Arc<Outboxes>, tenant: TenantId) -> Self {
        Self {
            pieces: VecDeque::new(),
            sent: 0,
            waiting: 0,
            publications: 0,
            copied: 0,
            counted: 0,
            all,
            tenant,
            link: Link::new(),
            watched: false,
            progress: 0,
        }
    }

    /// Queued bytes.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Queued publish frames.
    pub(crate) fn publications(&self) -> u64 {
        self.publications
    }

    /// Whether enough was accepted to count as progress; if so, counting restarts.
    pub(crate) fn progressed(&mut self) -> bool {
        let progressed = self.progress >= PROGRESS;
        if progressed {
            self.progress = 0;
        }
        progressed
    }

    /// Adds `parts`, which are `publications` frames, without their first `taken` bytes; `taken` is
    /// zero unless the queue is empty. The second part is the bytes of `body`, if there is one.
    pub(crate) fn append(
        &mut self,
        parts: &[&[u8]],
        body: Option<&Body>,
        mut taken: usize,
        publications: u64,
    ) {
        debug_assert!(taken == 0 || self.pieces.is_empty());
        for (at, part) in parts.iter().enumerate() {
            let skipped = taken.min(part.len());
            taken -= skipped;
            let rest = &part[skipped..];
            if rest.is_empty() {
                continue;
            }
            self.waiting += rest.len();
            match body {
                Some(body) if at == 1 => {
                    if skipped > 0 {
                        self.sent = skipped;
                    }
                    self.pieces.push_back(Piece::Kept(body.keep(&self.all)));
                }
                _ => self.copy(rest),
            }
        }
        self.publications += publications;
        self.count();
    }

    /// Sends what the peer accepts now.
    pub(crate) fn flush(&mut self, peer: &mut impl Peer) -> Result<(), Gone> {
        while self.waiting > 0 {
            let slices = self.slices();
            let sent = match slices.as_slice() {
                [slice] => peer.send(slice),
                slices => peer.send_vectored(slices),
            };
            drop(slices);
            match sent {
                Sent::Bytes(0) => break,
                Sent::Bytes(taken) => self.advance(taken),
                Sent::Gone => return Err(Gone),
            }
        }
        self.count();
        Ok(())
    }

    fn copy(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let last = match self.pieces.back_mut() {
                Some(Piece::Copied(last)) if last.len() < PIECE => last,
                last => {
                    // A connection that filled a piece will fill another: growing it step by step
                    // would leave the allocator with all the smaller ones.
                    let full = matches!(last, Some(Piece::Copied(_)));
                    let piece = Vec::with_capacity(if full { PIECE } else { 0 });
                    self.copied += piece.capacity();
                    self.pieces.push_back(Piece::Copied(piece));
                    continue;
                }
            };
            let (now, later) = bytes.split_at(bytes.len().min(PIECE - last.len()));
            let needed = last.len() + now.len();
            if needed > last.capacity() {
                let before = last.capacity();
                let capacity = (2 * before).clamp(needed, PIECE);
                last.reserve_exact(capacity - last.len());
                self.copied += last.capacity() - before;
            }
            last.extend_from_slice(now);
            bytes = later;
        }
    }

    /// The first pieces, as they are to be sent.
    fn slices(&self) -> SmallVec<[IoSlice<'_>; VECTORED]> {
        let pieces = self.pieces.iter().take(VECTORED).enumerate();
        pieces
            .map(|(at, piece)| {
                let sent = if at == 0 { self.sent } else { 0 };
                IoSlice::new(&piece.bytes()[sent..])
            })
            .collect()
    }

    /// Releases `taken` bytes, which were sent.
    fn advance(&mut self, taken: usize) {
        self.waiting -= taken;
        self.progress = self.progress.saturating_add(taken);
        self.sent += taken;
        while let Some(first) = self.pieces.front()
            && self.sent >= first.bytes().len()
        {
            self.sent -= first.bytes().len();
            if let Piece::Copied(bytes) = first {
                self.copied -= bytes.capacity();
            }
            self.pieces.pop_front();
        }
    }

    /// Adds its size to the total of all outboxes.
    fn count(&mut self) {
        let list = self.pieces.capacity() * size_of::<Piece>();
        let holds = size_of::<Self>() + list + self.copied;
        if holds > self.counted {
            self.all.add(holds - self.counted);
        } else if holds < self.counted {
            self.all.subtract(self.counted - holds);
        }
        self.counted = holds;
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.all.subtract(self.counted);
    }
}

impl Piece {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Copied(bytes) => bytes,
            Self::Kept(kept) => kept,
        }
    }
}

#[cfg(test)]
mod tests;
