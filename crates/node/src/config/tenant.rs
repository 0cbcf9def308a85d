//! Tenants: products with an API of their own that share this gateway.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ht_backend::config::BackendConfig;
use ht_broker::Broker;
use ht_broker::config::Engine;
use ht_broker::order::IdLimits;
use ht_control::tenants::claims::Claims;
pub use ht_control::tenants::claims::KeyHash;
pub use ht_control::tenants::host::{HostName, HostNameError};
pub use ht_proto::tenant::TenantName;

use crate::config::{Origins, Rights, ServerConfig};

/// The tenants of a gateway.
#[derive(Clone, Debug, Default)]
pub struct TenantsConfig {
    /// Whether there may be tenants besides `main`. Otherwise every client and every trigger is of
    /// `main`.
    pub is_enabled: bool,
    /// The tenant of a client that names none; none: it is rejected with 404.
    pub default: Option<TenantName>,
    /// Hosts of `main`, on which no other tenant is named by a path or a key.
    pub main_hosts: Vec<HostName>,
    /// The tenants at the start, without `main`.
    pub list: Vec<TenantConfig>,
    /// The most that they may have of the settings of their APIs.
    pub caps: TenantCaps,
    /// What there may be of logs of their own.
    pub logs: OwnLogsConfig,
}

/// Logs that tenants have of their own.
#[derive(Clone)]
pub struct OwnLogsConfig {
    /// How many there may be. 0: none.
    pub max: usize,
    /// Threads for the connections of the tenant of each.
    pub threads: usize,
    /// Prepares one that is not connected yet. None: there are none.
    pub open: Option<OpenLog>,
}

/// Prepares a log, or says what is wrong with its settings.
pub type OpenLog = Arc<dyn Fn(&Engine) -> Result<Arc<Broker>, String> + Send + Sync>;

impl Default for OwnLogsConfig {
    fn default() -> Self {
        Self {
            max: 0,
            threads: 1,
            open: None,
        }
    }
}

impl fmt::Debug for OwnLogsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnLogsConfig")
            .field("max", &self.max)
            .field("threads", &self.threads)
            .finish_non_exhaustive()
    }
}

impl ServerConfig {
    /// How many trigger ids are remembered.
    #[must_use]
    pub fn ids(&self) -> IdLimits {
        let most = self.limits.trigger_ids;
        match self.tenants.is_enabled {
            true => IdLimits::shared(most),
            false => most.into(),
        }
    }
}

/// The most that a tenant may have of settings of its API: what the node allows its own. Higher ones
/// count as these, so that no tenant holds memory and calls for longer than the operator allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TenantCaps {
    /// Timeout of a bootstrap call.
    pub timeout: Duration,
    /// Timeout of the call of a hook.
    pub hooks_timeout: Duration,
    /// Longest answer, in bytes.
    pub answer_bytes_max: usize,
    /// Bootstrap calls at once.
    pub max_in_flight: usize,
    /// Clients that wait for one.
    pub max_waiting: usize,
}

impl Default for TenantCaps {
    /// None.
    fn default() -> Self {
        Self {
            timeout: Duration::MAX,
            hooks_timeout: Duration::MAX,
            answer_bytes_max: usize::MAX,
            max_in_flight: usize::MAX,
            max_waiting: usize::MAX,
        }
    }
}

impl TenantCaps {
    /// Those of a node with this API.
    #[must_use]
    pub fn of(node: &BackendConfig) -> Self {
        Self {
            timeout: node.timeout,
            hooks_timeout: node.hooks.timeout,
            answer_bytes_max: node.answer_bytes_max,
            max_in_flight: node.guard.max_in_flight,
            max_waiting: node.guard.max_waiting,
        }
    }

    /// Lowers what is above them.
    pub fn apply(&self, api: &mut BackendConfig) {
        let Self {
            timeout,
            hooks_timeout,
            answer_bytes_max,
            max_in_flight,
            max_waiting,
        } = *self;
        api.timeout = api.timeout.min(timeout);
        api.hooks.timeout = api.hooks.timeout.min(hooks_timeout);
        api.answer_bytes_max = api.answer_bytes_max.min(answer_bytes_max);
        let guard = &mut api.guard;
        guard.wait_timeout = guard.wait_timeout.min(timeout);
        guard.max_in_flight = guard.max_in_flight.min(max_in_flight);
        guard.max_waiting = guard.max_waiting.min(max_waiting);
    }
}

/// One tenant.
#[derive(Clone, Debug, PartialEq)]
pub struct TenantConfig {
    /// Its name; not `main`.
    pub name: TenantName,
    /// Hosts by which its clients are recognised.
    pub hosts: Vec<HostName>,
    /// Path of its websocket on every host; empty: none.
    pub path: Box<str>,
    /// Public key by which its clients are recognised.
    pub key: Option<Box<str>>,
    /// Its API.
    pub backend: BackendConfig,
    /// Pages that may open a websocket.
    pub origins: Origins,
    /// Keys of its publishers.
    pub publish_keys: Vec<PublishKey>,
    /// Its share of the node.
    pub limits: TenantLimits,
    /// The log of its own; none: that of the node.
    pub log: Option<TenantLog>,
    /// It is not served for now.
    pub is_suspended: bool,
}

/// The log of a tenant's own. It retains its records, so that all nodes read the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantLog {
    /// Where it is.
    pub engine: Engine,
    /// What it is called on its server, without secrets: nobody else may have any of these.
    pub names: Vec<Box<str>>,
}

impl Claims for TenantConfig {
    fn name(&self) -> &str {
        self.name.as_str()
    }

    fn hosts(&self) -> &[HostName] {
        &self.hosts
    }

    fn path(&self) -> &str {
        &self.path
    }

    fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    fn publish_keys(&self) -> impl Iterator<Item = KeyHash> {
        self.publish_keys.iter().map(|key| key.hash)
    }

    fn logs(&self) -> &[Box<str>] {
        self.log.as_ref().map_or(&[], |log| &log.names)
    }

    fn is_suspended(&self) -> bool {
        self.is_suspended
    }
}

/// A key of a tenant's publishers, of which only the hash is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublishKey {
    /// The digest of its bytes.
    pub hash: KeyHash,
    /// Its rights.
    pub may: Rights,
}

/// A tenant's share of each node. 0 is no limit besides those of the node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TenantLimits {
    /// Open connections.
    pub connections: usize,
    /// Open connections of one user. 0: `limits.connections_per_user`.
    pub connections_per_user: usize,
    /// Rate limit: deliveries per second.
    pub messages_per_second: u64,
    /// Rate limit: triggers and commands per second.
    pub publish_per_second: u64,
    /// Rate limit: delivered bytes per second.
    pub bytes_per_second: u64,
    /// Rate limit: handshakes per second, averaged over ten.
    pub handshakes_per_second: usize,
    /// Bytes of the window.
    pub window_bytes: usize,
}
