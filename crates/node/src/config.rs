//! What the server needs to know. Plain values, already checked.

mod memory;
mod rights;

use std::fmt;
use std::time::Duration;

pub use ht_edge::address::{Trusted, TrustedError, TrustedProxies};
pub use ht_edge::config::{Listen, PublicConfig, TcpOptions};
pub use ht_edge::host::{HostPattern, HostPatternError};
pub use ht_edge::origin::{OriginPattern, OriginPatternError, Origins, OriginsWritten};

pub use ht_core::index::Matching;
use ht_core::limits::Limits;
pub use ht_core::shard::Compression;

pub(crate) use crate::config::memory::HEAD_BYTES_MIN;
pub use crate::config::memory::MemoryBounds;
pub use crate::config::rights::{RestrictedKey, Right, Rights};
use ht_proto::trigger::TriggerLimits;

/// Everything that [`crate::Gateway::start`] takes from the configuration.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Where browsers connect.
    pub listen: Listen,
    /// Shards, and so cores, that carry connections. At least 1.
    pub threads: usize,
    /// Whom the public listener believes, and which pages it serves.
    pub public: PublicConfig,
    /// The listener for triggers, metrics and health.
    pub internal: InternalConfig,
    /// How `*` is understood in subscriptions and triggers.
    pub matching: Matching,
    /// Whether clients may ask for `status`.
    pub status_clients: bool,
    /// How publications are compressed for clients that can take it. None: compression is agreed
    /// upon with nobody.
    pub compression: Option<Compression>,
    /// A connection without a client's message for this long is closed. Zero: never.
    pub idle_timeout: Duration,
    /// Control pings to clients that say nothing.
    pub keepalive: KeepaliveConfig,
    /// Options of clients' sockets.
    pub tcp: TcpOptions,
    /// Bounds of each session.
    pub session: Limits,
    /// Bounds of the listeners and the process.
    pub limits: ServerLimits,
    /// How clients may say who they are.
    pub auth: AuthConfig,
    /// How hooks are queued.
    pub hooks: HookQueueConfig,
    /// How the node makes sure that triggers are delivered.
    pub readiness: ReadinessConfig,
    /// How [`crate::Gateway::drain`] leaves.
    pub drain: DrainConfig,
    /// Which program this is, for `/metrics`.
    pub build: BuildInfo,
    /// Bytes that the process has allocated, where its allocator can say.
    pub allocated: Option<fn() -> Option<u64>>,
    /// What becomes of clients that may have missed publications.
    pub recovery: RecoveryConfig,
}

/// What a program was built from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BuildInfo {
    /// The release.
    pub version: &'static str,
    /// The commit of the source.
    pub commit: &'static str,
    /// The version of the compiler.
    pub rustc: &'static str,
}

impl Default for BuildInfo {
    fn default() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            commit: "unknown",
            rustc: "unknown",
        }
    }
}

/// The listener that the API and the operator use.
#[derive(Clone, Debug)]
pub struct InternalConfig {
    /// Its address.
    pub listen: Listen,
    /// Keys, one of which `/trigger/` and `/metrics` ask for as `Authorization: Bearer <key>`; at
    /// most [`API_KEYS_MAX`]. There must be one where `listen` is not loopback;
    /// [`crate::Gateway::start`] refuses otherwise.
    pub api_keys: Vec<Secret>,
    /// Further keys, at most [`RESTRICTED_KEYS_MAX`], that may do only what they say.
    pub keys: Vec<RestrictedKey>,
    /// Names by which a request may address it, beside IP addresses and `localhost`.
    pub hosts: Vec<HostPattern>,
}

impl InternalConfig {
    /// Whether requests must carry a key.
    #[must_use]
    pub fn has_key(&self) -> bool {
        !self.api_keys.is_empty() || !self.keys.is_empty()
    }
}

/// Keys of the internal listener at once that may do everything.
pub const API_KEYS_MAX: usize = 8;

/// Restricted keys of the internal listener at once.
pub const RESTRICTED_KEYS_MAX: usize = 16;

/// A text that `Debug` does not show.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// How clients may say who they are, beyond what comes with the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuthConfig {
    /// Whether a client that brought nothing may send a token in its first frame. The 101 then
    /// comes before the backend is asked.
    pub first_frame: bool,
    /// How long that frame may take. The wait counts as a handshake under way.
    pub first_frame_timeout: Duration,
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self {
            first_frame: false,
            first_frame_timeout: Duration::from_secs(10),
        }
    }
}

/// Bounds of the listeners and the process. All are inclusive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerLimits {
    /// Open connections of this node. Beyond it a handshake is answered with 503.
    pub connections: usize,
    /// Open connections of one address, an IPv6 network of 64 bits counting as one. 0: no bound.
    pub connections_per_address: usize,
    /// Open connections of one user. 0: no bound.
    pub connections_per_user: usize,
    /// Handshakes of one address in a second, on average over ten. 0: no bound.
    pub handshakes_per_second: usize,
    /// Handshakes under way at once, the wait for the backend included.
    pub handshakes: usize,
    /// Time for a whole handshake, the wait for the backend included.
    pub handshake_timeout: Duration,
    /// How long what waits for a slow connection may stand still. Zero: for ever.
    pub outbox_age: Duration,
    /// Bytes that may wait for all slow connections together. Zero: no bound. None: a quarter of
    /// `memory_bytes`, at most 256 MiB.
    pub outbox_total_bytes: Option<usize>,
    /// Bytes that all clients may hold beside that: subscriptions, unfinished messages,
    /// credentials, handshakes. Beyond it the connections that hold most are evicted. Zero: no
    /// bound. None: half of `memory_bytes`.
    pub client_total_bytes: Option<usize>,
    /// Of these, bytes that the connections of one address may hold. Beyond it subscriptions are
    /// refused, or the connections of the address that hold most evicted. Zero: no bound. None: an
    /// eighth of `client_total_bytes`.
    pub client_bytes_per_address: Option<usize>,
    /// The same for the connections of one user.
    pub client_bytes_per_user: Option<usize>,
    /// Resident memory above which newcomers and triggers are turned away, in bytes. Zero: no
    /// bound. None: four fifths of what the process may have, as the system says.
    pub memory_bytes: Option<usize>,
    /// Time to send a whole request head.
    pub head_timeout: Duration,
    /// Longest request head, in bytes.
    pub head_bytes: usize,
    /// Longest body of `POST /trigger/`, and longest message of a broker, in bytes.
    pub trigger_bytes: usize,
    /// Triggers in one request.
    pub triggers_per_request: usize,
    /// Rooms in one trigger.
    pub rooms_per_trigger: usize,
    /// Bytes of the bodies of `POST /trigger/` that are being read, parsed or placed, all together.
    /// A further one is answered with 503; one alone always fits. 0: no bound.
    pub triggers_in_flight: usize,
    /// Trigger ids that are remembered to recognise a repetition.
    pub trigger_ids: usize,
    /// Requests or messages with publications that wait for a shard before publishers wait.
    pub inbox: usize,
    /// Bytes of publications that may wait for all shards, each with an equal part. From half of its
    /// part on publishers wait for a shard, as long as it takes something; beyond it the shard has
    /// missed publications. None: an eighth of `memory_bytes`, at most 64 MiB.
    pub inbox_bytes: Option<usize>,
}

impl ServerLimits {
    /// Those of a trigger.
    #[must_use]
    pub fn trigger(&self) -> TriggerLimits {
        TriggerLimits {
            bytes: self.trigger_bytes,
            triggers: self.triggers_per_request,
            rooms: self.rooms_per_trigger,
        }
    }
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            connections: 100_000,
            connections_per_address: 10_000,
            connections_per_user: 10_000,
            handshakes_per_second: 200,
            handshakes: 10_000,
            handshake_timeout: Duration::from_secs(60),
            outbox_age: Duration::from_secs(30),
            outbox_total_bytes: None,
            client_total_bytes: None,
            client_bytes_per_address: None,
            client_bytes_per_user: None,
            memory_bytes: None,
            head_timeout: Duration::from_secs(10),
            head_bytes: 32 << 10,
            trigger_bytes: 16 << 20,
            triggers_per_request: 10_000,
            rooms_per_trigger: 10_000,
            triggers_in_flight: 64 << 20,
            trigger_ids: 100_000,
            inbox: 1_024,
            inbox_bytes: None,
        }
    }
}

/// How a node leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainConfig {
    /// How long the node is not ready, but serves as before. Zero: not at all.
    pub delay: Duration,
    /// From the first to the last connection that is closed. Zero: all at once.
    pub period: Duration,
    /// How long everything after `delay` may take.
    pub timeout: Duration,
}

impl Default for DrainConfig {
    fn default() -> Self {
        Self {
            delay: Duration::ZERO,
            period: Duration::from_secs(3),
            timeout: Duration::from_secs(7),
        }
    }
}

/// What becomes of clients that may have missed publications.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecoveryConfig {
    /// Of clients without a message for it, which is all of them.
    pub gap_old: GapPolicy,
    /// The time over which their connections are closed, where they are many. Zero: all at once.
    pub gap_period: Duration,
}

/// What happens to a client that may have missed publications and has no message for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GapPolicy {
    /// It is closed with 1012 `gap <ms>`, so that it reconnects and fetches again.
    #[default]
    Reconnect,
    /// Nothing: the gap is counted and logged only.
    Ignore,
}

impl Default for RecoveryConfig {
    fn default() -> Self {
        Self {
            gap_old: GapPolicy::default(),
            gap_period: Duration::from_secs(30),
        }
    }
}

/// How clients that say nothing are asked whether they are there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeepaliveConfig {
    /// A connection that was not heard of for this long gets a control ping. Zero: none does.
    pub interval: Duration,
    /// How long it has to answer. Zero: for ever.
    pub timeout: Duration,
}

impl Default for KeepaliveConfig {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(45),
            timeout: Duration::from_secs(30),
        }
    }
}

/// How hooks wait for the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookQueueConfig {
    /// Hooks that wait; a further one is dropped and counted.
    pub queue: usize,
    /// Calls under way at once. Those of one connection never overlap.
    pub max_in_flight: usize,
    /// Shortest time between two ping hooks of one connection. Zero: every ping is told.
    pub ping_min_interval: Duration,
}

impl Default for HookQueueConfig {
    fn default() -> Self {
        Self {
            queue: 100_000,
            max_in_flight: 32,
            ping_min_interval: Duration::ZERO,
        }
    }
}

/// How the node makes sure that triggers are delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadinessConfig {
    /// Time between two probes. Zero: none are sent.
    pub probe_interval: Duration,
    /// Time for a probe to come back and be taken by every shard.
    pub probe_timeout: Duration,
}

impl Default for ReadinessConfig {
    fn default() -> Self {
        Self {
            probe_interval: Duration::from_secs(3),
            probe_timeout: Duration::from_secs(5),
        }
    }
}
