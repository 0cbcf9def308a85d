//! Bytes shared by many receivers: kept in memory once, however many slow consumers queue them.

use std::ops::Deref;
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

/// A body kept by outboxes. It is counted once, until the last outbox and its publication drop it.
#[derive(Debug)]
pub(crate) struct Kept {
    bytes: Bytes,
    outboxes: Arc<Outboxes>,
}

impl Body {
    /// What an outbox keeps instead of a copy.
    pub(crate) fn keep(&self, outboxes: &Arc<Outboxes>) -> Arc<Kept> {
        let kept = self.kept.get_or_init(|| {
            outboxes.add(self.bytes.len());
            Arc::new(Kept {
                bytes: self.bytes.clone(),
                outboxes: Arc::clone(outboxes),
            })
        });
        Arc::clone(kept)
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

impl Deref for Kept {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.outboxes.subtract(self.bytes.len());
    }
}
