//! How a shard behaves, as its owner says.

use crate::index::Matching;
use crate::limits::Limits;

/// How a shard behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How `*` is understood in subscriptions and triggers.
    pub matching: Matching,
    /// Bounds of each session.
    pub limits: Limits,
    /// A connection without a client's message for this long is closed, in ms. Zero: never.
    pub idle_timeout: u64,
    /// Whether clients may ask for `status`.
    pub status_clients: bool,
    /// How publications are compressed for those that negotiated it.
    pub compression: Compression,
}

/// Which publications are compressed, and how well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compression {
    /// Shortest head that is compressed, in bytes.
    pub threshold: usize,
    /// From 1 (fast) to 9 (small).
    pub level: u8,
}

impl Default for Compression {
    fn default() -> Self {
        Self {
            threshold: 1 << 10,
            level: 2,
        }
    }
}
