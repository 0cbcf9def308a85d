//! The settings that may change while a node runs, in one place.
//!
//! Code that needs one of these settings reads it here at the moment of use, once per handshake or
//! request, and never keeps a copy. Shards get theirs through their inbox (`Input::Settings`): no
//! shard accesses shared state to deliver.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use ht_backend::ForwardRules;
use ht_core::account::Accounts;
use ht_core::outbox::Outboxes;
use ht_core::publication::Logged;
use ht_core::shard::{KeepaliveSettings, Settings, StreamSettings};
use ht_core::window::Reader;
use ht_proto::client::MessageLimits;
use ht_proto::room::RoomLimits;

use crate::config::{
    AuthConfig, DrainConfig, HostPattern, PermissionsConfig, PublicConfig, RecoveryConfig,
    RestrictedKey, ResumeConfig, Secret, ServerConfig, ServerLimits, StreamsConfig, TcpOptions,
};

/// The settings of the control side that [`crate::Gateway::reload`] changes. Clones share them.
#[derive(Clone, Debug)]
pub struct Live(Arc<ArcSwap<LiveSettings>>);

/// Settings at one moment.
#[derive(Clone, Debug)]
pub struct LiveSettings {
    /// Limits; those that need a restart are those of the start.
    pub limits: ServerLimits,
    /// Trusted proxies and served paths and origins of the public listener.
    pub public: PublicConfig,
    /// `internal.api_key`.
    pub api_keys: Vec<Secret>,
    /// `internal.keys`.
    pub keys: Vec<RestrictedKey>,
    /// `internal.hosts`.
    pub hosts: Vec<HostPattern>,
    /// Whether compression is negotiated with clients that offer it.
    pub compression: bool,
    /// How clients may authenticate.
    pub auth: AuthConfig,
    /// How the node shuts down.
    pub drain: DrainConfig,
    /// How clients that may have missed publications are handled.
    pub recovery: RecoveryConfig,
    /// How clients are let in again without a call to the API.
    pub resume: ResumeConfig,
    /// How long event streams and long polls last.
    pub streams: StreamsConfig,
    /// Bounds of the requests for them.
    pub messages: MessageLimits,
    /// Options of the sockets of clients that are accepted from now on.
    pub tcp: TcpOptions,
    /// What is forwarded to the API.
    pub rules: ForwardRules,
    /// How the permissions of open connections are renewed; what needs a restart is that of the
    /// start.
    pub permissions: PermissionsConfig,
}

impl LiveSettings {
    /// The live part of a configuration.
    #[must_use]
    pub fn new(config: &ServerConfig, rules: ForwardRules) -> Self {
        Self {
            limits: config.limits.clone(),
            public: config.public.clone(),
            api_keys: config.internal.api_keys.clone(),
            keys: config.internal.keys.clone(),
            hosts: config.internal.hosts.clone(),
            compression: config.compression.is_some(),
            auth: config.auth,
            drain: config.drain,
            recovery: config.recovery,
            resume: config.resume.clone(),
            streams: config.streams,
            messages: MessageLimits {
                request_id_bytes: config.session.request_id_bytes,
                room: RoomLimits {
                    bytes: config.session.room_bytes,
                    depth: config.session.room_depth,
                },
            },
            tcp: config.tcp.clone(),
            rules,
            permissions: config.permissions,
        }
    }
}

impl LiveSettings {
    /// The settings that a reload with `config` puts in force: limits that need a restart are kept.
    #[must_use]
    pub fn reloaded(&self, config: &ServerConfig, rules: ForwardRules) -> Self {
        let mut new = Self::new(config, rules);
        new.limits = ServerLimits {
            handshakes: self.limits.handshakes,
            trigger_ids: self.limits.trigger_ids,
            inbox: self.limits.inbox,
            inbox_bytes: self.limits.inbox_bytes,
            window: self.limits.window,
            ..new.limits
        };
        new.permissions = PermissionsConfig {
            recheck: self.permissions.recheck,
            calls_max: self.permissions.calls_max,
            ring: self.permissions.ring,
            ..new.permissions
        };
        new
    }
}

impl Live {
    /// Starts with these settings.
    #[must_use]
    pub fn new(settings: LiveSettings) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(settings)))
    }

    /// The current settings.
    #[must_use]
    pub fn now(&self) -> Arc<LiveSettings> {
        self.0.load_full()
    }

    /// The defaults, with these settings of permissions.
    #[cfg(test)]
    pub(crate) fn of_defaults(permissions: PermissionsConfig) -> Self {
        Self::new(LiveSettings {
            limits: ServerLimits::default(),
            public: PublicConfig::default(),
            api_keys: Vec::new(),
            keys: Vec::new(),
            hosts: Vec::new(),
            compression: false,
            auth: AuthConfig::default(),
            drain: DrainConfig::default(),
            recovery: RecoveryConfig::default(),
            resume: ResumeConfig::default(),
            streams: StreamsConfig::default(),
            messages: MessageLimits {
                request_id_bytes: 64,
                room: ht_proto::room::RoomLimits::TRUSTED,
            },
            tcp: TcpOptions::default(),
            rules: ForwardRules::new(Vec::new()),
            permissions,
        })
    }

    pub(crate) fn set(&self, settings: LiveSettings) {
        self.0.store(Arc::new(settings));
    }
}

/// The part of a configuration that each shard has.
#[must_use]
pub fn shard_settings(
    config: &ServerConfig,
    outboxes: &Arc<Outboxes>,
    accounts: &Arc<Accounts>,
    window: Reader<Logged>,
) -> Settings {
    let ms = |period: Duration| u64::try_from(period.as_millis()).unwrap_or(u64::MAX);
    Settings {
        matching: config.matching,
        limits: config.session.clone(),
        first_frame_timeout: ms(config.auth.first_frame_timeout),
        idle_timeout: ms(config.idle_timeout),
        outbox_age: ms(config.limits.outbox_age),
        outboxes: Arc::clone(outboxes),
        accounts: Arc::clone(accounts),
        keepalive: KeepaliveSettings {
            interval: ms(config.keepalive.interval),
            timeout: ms(config.keepalive.timeout),
        },
        status_clients: config.status_clients,
        compression: config.compression.unwrap_or_default(),
        permissions: config.permissions.of_shard(),
        recovery: config.recovery.replay,
        streams: StreamSettings {
            max_age: ms(config.streams.max_age),
        },
        window,
    }
}
