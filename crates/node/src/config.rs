//! Configuration of the server. Plain values, already validated.

mod build_info;
mod memory;
mod metrics;
mod nodes;
mod permissions;
mod resume;
mod rights;
mod streams;
mod tenant;
mod usage;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

pub use ht_edge::address::{Trusted, TrustedError, TrustedProxies};
pub use ht_edge::config::{Listen, PublicConfig, TcpOptions};
pub use ht_edge::host::{HostPattern, HostPatternError};
pub use ht_edge::origin::{OriginPattern, OriginPatternError, Origins, OriginsWritten};

pub use ht_core::index::Matching;
use ht_core::limits::Limits;
pub use ht_core::shard::{Compression, RecoverySettings};
use ht_core::window::WindowLimits;

pub use crate::config::build_info::BuildInfo;
pub(crate) use crate::config::memory::HEAD_BYTES_MIN;
pub use crate::config::memory::MemoryBounds;
pub use crate::config::metrics::MetricsConfig;
pub use crate::config::nodes::NodesConfig;
pub use crate::config::permissions::{PermissionsConfig, Unreachable};
pub use crate::config::resume::{RESUME_SECRET_BYTES_MIN, RESUME_SECRETS_MAX, ResumeConfig};
pub use crate::config::rights::{RestrictedKey, Right, Rights};
pub use crate::config::streams::StreamsConfig;
pub use crate::config::tenant::{
    HostName, HostNameError, KeyHash, OpenLog, OwnLogsConfig, PublishKey, TenantCaps, TenantConfig,
    TenantLimits, TenantLog, TenantName, TenantsConfig,
};
pub use crate::config::usage::UsageConfig;
use ht_proto::trigger::TriggerLimits;

/// Everything that [`crate::Gateway::start`] takes from the configuration.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// The public listener, for browsers.
    pub listen: Listen,
    /// Number of shards, and so of cores that serve connections. At least 1.
    pub threads: usize,
    /// Trusted proxies and served paths and origins of the public listener.
    pub public: PublicConfig,
    /// The listener for triggers, metrics and health.
    pub internal: InternalConfig,
    /// How `*` is understood in subscriptions and triggers.
    pub matching: Matching,
    /// Whether clients may request `status`.
    pub status_clients: bool,
    /// How publications are compressed for clients that support it. None: compression is never
    /// negotiated.
    pub compression: Option<Compression>,
    /// A connection without a message from its client for this long is closed. Zero: never.
    pub idle_timeout: Duration,
    /// Heartbeat: control pings to idle clients.
    pub keepalive: KeepaliveConfig,
    /// Options of client sockets.
    pub tcp: TcpOptions,
    /// Limits of each session.
    pub session: Limits,
    /// Limits of the listeners and the process.
    pub limits: ServerLimits,
    /// How clients may authenticate.
    pub auth: AuthConfig,
    /// How hooks are queued.
    pub hooks: HookQueueConfig,
    /// The end-to-end probe of trigger delivery.
    pub readiness: ReadinessConfig,
    /// How [`crate::Gateway::drain`] shuts down.
    pub drain: DrainConfig,
    /// Identity of this program, for `/metrics`.
    pub build: BuildInfo,
    /// Bytes that the process has allocated, if its allocator reports them.
    pub allocated: Option<fn() -> Option<u64>>,
    /// Where the window is saved at the end of a graceful shutdown, for the next process. None:
    /// nowhere. Ignored with a broker whose log retains what it carried.
    pub window_file: Option<PathBuf>,
    /// How clients that may have missed publications are handled.
    pub recovery: RecoveryConfig,
    /// How clients are let in again without a call to the API.
    pub resume: ResumeConfig,
    /// How long event streams and long polls last.
    pub streams: StreamsConfig,
    /// How nodes on the same broker know of each other.
    pub nodes: NodesConfig,
    /// How the permissions of open connections are renewed.
    pub permissions: PermissionsConfig,
    /// The tenants besides `main`.
    pub tenants: TenantsConfig,
    /// What `/metrics` shows.
    pub metrics: MetricsConfig,
    /// Where the usage of tenants is written.
    pub usage: UsageConfig,
}

/// The listener that the API and the operator use.
#[derive(Clone, Debug)]
pub struct InternalConfig {
    /// Its address.
    pub listen: Listen,
    /// Keys, one of which `/trigger/` and `/metrics` require as `Authorization: Bearer <key>`; at
    /// most [`API_KEYS_MAX`]. At least one is required if `listen` is not loopback;
    /// [`crate::Gateway::start`] fails otherwise.
    pub api_keys: Vec<Secret>,
    /// Further keys, at most [`RESTRICTED_KEYS_MAX`], each limited to its rights.
    pub keys: Vec<RestrictedKey>,
    /// Names by which a request may address it, beside IP addresses and `localhost`.
    pub hosts: Vec<HostPattern>,
}

impl InternalConfig {
    /// Whether requests must carry an API key.
    #[must_use]
    pub fn has_key(&self) -> bool {
        !self.api_keys.is_empty() || !self.keys.is_empty()
    }
}

/// Maximum number of unrestricted keys of the internal listener.
pub const API_KEYS_MAX: usize = 8;

/// Maximum number of restricted keys of the internal listener.
pub const RESTRICTED_KEYS_MAX: usize = 16;

/// A text that `Debug` does not show.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// How clients may authenticate, beyond the credentials of the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuthConfig {
    /// Whether a client without credentials may send a token in its first frame. The 101 is then
    /// sent before the backend is called.
    pub first_frame: bool,
    /// Timeout for that frame. The wait counts as a handshake in progress.
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
    /// Open connections of this node. Above it a handshake is rejected with 503.
    pub connections: usize,
    /// Open connections of one address; an IPv6 /64 network counts as one. 0: no limit.
    pub connections_per_address: usize,
    /// Open connections of one user. 0: no limit.
    pub connections_per_user: usize,
    /// Rate limit: handshakes of one address per second, averaged over ten. 0: no limit.
    pub handshakes_per_second: usize,
    /// Handshakes in progress, the wait for the backend included.
    pub handshakes: usize,
    /// Timeout of a whole handshake, the wait for the backend included.
    pub handshake_timeout: Duration,
    /// How long the outbox of a slow consumer may make no progress. Zero: no limit.
    pub outbox_age: Duration,
    /// Bytes queued for all slow consumers together. Zero: no limit. None: a quarter of
    /// `memory_bytes`, at most 256 MiB.
    pub outbox_total_bytes: Option<usize>,
    /// Bytes that all clients may hold beside that: subscriptions, incomplete messages,
    /// credentials, handshakes. Above it the connections that hold most are evicted. Zero: no
    /// limit. None: half of `memory_bytes`.
    pub client_total_bytes: Option<usize>,
    /// Of these, bytes that the connections of one address may hold. Above it subscriptions are
    /// rejected, or the connections of the address that hold most are evicted. Zero: no limit.
    /// None: an eighth of `client_total_bytes`.
    pub client_bytes_per_address: Option<usize>,
    /// The same for the connections of one user.
    pub client_bytes_per_user: Option<usize>,
    /// Resident memory above which new connections and triggers are rejected, in bytes. Zero: no
    /// limit. None: four fifths of what the process may have, as reported by the system.
    pub memory_bytes: Option<usize>,
    /// Timeout for a whole request head.
    pub head_timeout: Duration,
    /// Maximum size of a request head, in bytes.
    pub head_bytes: usize,
    /// Maximum size of a body of `POST /trigger/`, and of a broker's message, in bytes.
    pub trigger_bytes: usize,
    /// Triggers in one request.
    pub triggers_per_request: usize,
    /// Rooms in one trigger.
    pub rooms_per_trigger: usize,
    /// Bytes of the bodies of `POST /trigger/` that are being read, parsed or ordered, all
    /// together. A further request is rejected with 503; a single one is always admitted. 0: no
    /// limit.
    pub triggers_in_flight: usize,
    /// Trigger ids that are remembered for deduplication.
    pub trigger_ids: usize,
    /// Requests or messages with publications queued for a shard before back-pressure applies.
    pub inbox: usize,
    /// Bytes of publications queued for all shards, each with an equal share. Above half of its
    /// share publishers wait for a shard as long as it makes progress; above the share the shard
    /// has missed publications. None: an eighth of `memory_bytes` less the window, at most 64 MiB.
    pub inbox_bytes: Option<usize>,
    /// Bytes of answers that the APIs of tenants are sending, all together. None: a 64th of
    /// `memory_bytes`, at most 64 MiB.
    pub answer_total_bytes: Option<usize>,
    /// Bytes of rooms that clients of tenants are permitted. None: a quarter of what clients may hold.
    pub grant_total_bytes: Option<usize>,
    /// Bounds of the window.
    pub window: WindowConfig,
}

/// Bounds of the window: the publications that a node keeps in memory. The first one that is reached
/// drops the oldest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowConfig {
    /// How many.
    pub entries: usize,
    /// Bytes of memory. None: a 32nd of `memory_bytes`, at least 1 MiB and at most 64 MiB.
    pub bytes: Option<usize>,
    /// Their age.
    pub age: Duration,
}

impl Default for WindowConfig {
    fn default() -> Self {
        let limits = WindowLimits::default();
        Self {
            entries: limits.entries,
            bytes: None,
            age: Duration::from_millis(limits.age),
        }
    }
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
            answer_total_bytes: None,
            grant_total_bytes: None,
            window: WindowConfig::default(),
        }
    }
}

/// Graceful shutdown of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainConfig {
    /// How long the node reports not ready while serving as before. Zero: not at all.
    pub delay: Duration,
    /// Period over which connections are closed. Zero: all at once.
    pub period: Duration,
    /// Timeout of everything after `delay`.
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

/// How clients that may have missed publications are handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecoveryConfig {
    /// For clients that do not support a gap message, which is all of them.
    pub gap_old: GapPolicy,
    /// The period over which their connections are closed, if there are many. Zero: all at once.
    pub gap_period: Duration,
    /// What clients that reconnect are sent of what they missed.
    pub replay: RecoverySettings,
}

/// How a client that may have missed publications and supports no gap message is handled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GapPolicy {
    /// Close it with 1012 `gap <ms>`, so that it reconnects and fetches again.
    #[default]
    Reconnect,
    /// Only count and log the gap.
    Ignore,
}

impl Default for RecoveryConfig {
    fn default() -> Self {
        Self {
            gap_old: GapPolicy::default(),
            gap_period: Duration::from_secs(30),
            replay: RecoverySettings::default(),
        }
    }
}

/// Heartbeat of idle clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeepaliveConfig {
    /// A connection that was idle for this long gets a control ping. Zero: never.
    pub interval: Duration,
    /// Timeout of the pong. Zero: none.
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

/// How hooks are queued for the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookQueueConfig {
    /// Queued hooks; a further one is dropped and counted.
    pub queue: usize,
    /// Calls in progress at once. Those of one connection never overlap.
    pub max_in_flight: usize,
    /// Shortest interval between two ping hooks of one connection. Zero: every ping is reported.
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

/// The end-to-end probe of trigger delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadinessConfig {
    /// Interval between two probes. Zero: none are sent.
    pub probe_interval: Duration,
    /// Timeout for a probe to return and be taken by every shard.
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
