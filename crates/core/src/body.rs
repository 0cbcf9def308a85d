//! Bytes shared by many receivers: kept in memory once, however many slow consumers queue them.

use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::outboxes::Outboxes;

/// The part of a message that is the same for all its receivers.
#[derive(Debug)]
pub struct Body {
    bytes: Bytes,
    /// Made when the first outbox of the process keeps the bytes.
    kept: OnceLock<Arc<Kept>>,
}

/// The bytes of a body that outboxes keep. They count while there is such an outbox.
#[derive(Debug)]
struct Kept {
    bytes: Bytes,
    outboxes: Arc<Outboxes>,
    /// How many pieces of outboxes they are.
    pieces: AtomicUsize,
}

/// A piece of an outbox: the bytes of a body.
#[derive(Debug)]
pub(crate) struct Piece(Arc<Kept>);

impl Body {
    /// What an outbox keeps instead of a copy.
    pub(crate) fn keep(&self, outboxes: &Arc<Outboxes>) -> Piece {
        let kept = self.kept.get_or_init(|| {
            Arc::new(Kept {
                bytes: self.bytes.clone(),
                outboxes: Arc::clone(outboxes),
                pieces: AtomicUsize::new(0),
            })
        });
        if kept.pieces.fetch_add(1, Ordering::AcqRel) == 0 {
            kept.outboxes.add(kept.bytes.len());
        }
        Piece(Arc::clone(kept))
    }
}

impl From<Box<[u8]>> for Body {
    fn from(bytes: Box<[u8]>) -> Self {
        Self {
            bytes: bytes.into(),
            kept: OnceLock::new(),
        }
    }
}

impl Deref for Body {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Deref for Piece {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let Kept {
            bytes, outboxes, ..
        } = &*self.0;
        if self.0.pieces.fetch_sub(1, Ordering::AcqRel) == 1 {
            outboxes.subtract(bytes.len());
        }
    }
}
