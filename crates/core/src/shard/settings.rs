//! Settings of a shard.

use std::sync::Arc;

use crate::account::Accounts;
use crate::index::Matching;
use crate::limits::Limits;
use crate::outbox::Outboxes;
use crate::publication::Logged;
use crate::session::Bounds;
use crate::window::Reader;

/// Settings of a shard.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How `*` is understood in subscriptions and triggers.
    pub matching: Matching,
    /// Bounds of each session.
    pub limits: Limits,
    /// A client that is to send a token has this long for it, in ms. Zero: for ever.
    pub first_frame_timeout: u64,
    /// A connection without a client's message for this long is closed, in ms. Zero: never.
    pub idle_timeout: u64,
    /// A slow consumer whose socket accepts neither all queued data nor 16 KiB of it for this long
    /// is evicted, in ms. Zero: never.
    pub outbox_age: u64,
    /// Total size of all outboxes of the process, and its limit. All shards share it.
    pub outboxes: Arc<Outboxes>,
    /// Memory held for clients beside outboxes, and its bound. All shards share it.
    pub accounts: Arc<Accounts>,
    /// Heartbeat: when inactive connections are pinged.
    pub keepalive: KeepaliveSettings,
    /// Whether clients may request `status`.
    pub status_clients: bool,
    /// How publications are compressed for clients that negotiated it.
    pub compression: Compression,
    /// How permissions are renewed.
    pub permissions: PermissionSettings,
    /// What clients that were away are sent.
    pub recovery: RecoverySettings,
    /// Sessions over HTTP.
    pub streams: StreamSettings,
    /// The last publications, for sessions that were sent none for a while.
    pub window: Reader<Logged>,
}

/// What clients that were away are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecoverySettings {
    /// Anything at all.
    pub enabled: bool,
    /// Messages that one request is sent at most. Beyond that the client fetches.
    pub messages: usize,
    /// Their bytes, likewise.
    pub bytes: usize,
}

/// Sessions over HTTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamSettings {
    /// A stream ends after this, in ms, or up to a tenth earlier. Zero: never.
    pub max_age: u64,
}

impl Default for RecoverySettings {
    fn default() -> Self {
        Self {
            enabled: true,
            messages: 10_000,
            bytes: 4 << 20,
        }
    }
}

/// How the permissions of open sessions are renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PermissionSettings {
    /// The API can be queried again about a session. Otherwise a session that needs it is closed.
    pub recheck: bool,
    /// How long a session whose permissions have expired is held for the API's answer, in ms.
    pub grace: u64,
    /// Permissions expire after this, in ms, also where the API gives no term. Zero: never.
    pub max_age: u64,
    /// Number of recent commands that are kept for clients that are being admitted.
    pub ring: usize,
}

impl Default for PermissionSettings {
    fn default() -> Self {
        Self {
            recheck: false,
            grace: 10_000,
            max_age: 0,
            ring: 10_000,
        }
    }
}

impl Settings {
    /// Limits of queued data.
    pub(crate) fn bounds(&self) -> Bounds<'_> {
        let each = match self.limits.outbox_bytes {
            0 => usize::MAX,
            bytes => bytes,
        };
        Bounds {
            each,
            all: &self.outboxes,
        }
    }
}

/// Heartbeat: control pings to inactive clients. Any byte received counts as an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeepaliveSettings {
    /// A connection inactive for this long is pinged, in ms. Zero: no pings.
    pub interval: u64,
    /// How long it has to answer before it is closed, in ms. Zero: for ever.
    pub timeout: u64,
}

/// Which publications are compressed, and how well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compression {
    /// Shortest head that is compressed, in bytes.
    pub threshold: usize,
    /// From 1 (fast) to 9 (small).
    pub level: u8,
    /// Longest head that is compressed, in bytes: one run of deflate is not divided.
    pub max_bytes: usize,
}

impl Default for Compression {
    fn default() -> Self {
        Self {
            threshold: 1 << 10,
            level: 2,
            max_bytes: 1 << 20,
        }
    }
}
