//! Tenants: products with an API of their own that share this gateway.

use ht_backend::config::BackendConfig;
use ht_control::tenants::claims::Claims;
pub use ht_control::tenants::claims::KeyHash;
pub use ht_control::tenants::host::{HostName, HostNameError};
pub use ht_proto::tenant::TenantName;

use crate::config::{Origins, Rights};

/// The tenants of a gateway.
#[derive(Clone, Debug, Default)]
pub struct TenantsConfig {
    /// Whether there may be tenants besides `main`. Otherwise every client and every trigger is of
    /// `main`.
    pub is_enabled: bool,
    /// The tenant of a client that names none; none: it is rejected with 404.
    pub default: Option<TenantName>,
    /// The tenants at the start, without `main`.
    pub list: Vec<TenantConfig>,
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
    /// It is not served for now.
    pub is_suspended: bool,
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
