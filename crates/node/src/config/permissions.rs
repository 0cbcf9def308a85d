//! How the permissions of open connections are renewed.

use std::time::Duration;

use ht_core::shard::PermissionSettings;

/// How the permissions of open connections are renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PermissionsConfig {
    /// The credentials of open connections are kept, so that the API can be queried again about
    /// them.
    pub recheck: bool,
    /// Calls to the API in flight at once for open connections: fewer than it serves at once, so
    /// that clients that connect have their turns. At least 1.
    pub calls_max: usize,
    /// How long a connection is held for a usable answer of the API.
    pub hold_timeout: Duration,
    /// What happens to it then.
    pub unreachable: Unreachable,
    /// How long the sender of a command waits until every node has executed it.
    pub confirm_timeout: Duration,
    /// How long a connection whose permissions have expired is held for the API's answer.
    pub grace: Duration,
    /// Permissions expire after this, also where the API gives no term. Zero: never.
    pub max_age: Duration,
    /// Number of recent commands that are kept for clients that are being admitted.
    pub ring: usize,
}

/// What happens to a connection that was held if the API gives no usable answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unreachable {
    /// It is closed with 1013.
    #[default]
    Close,
    /// It keeps the permissions that it had.
    Keep,
}

impl Default for PermissionsConfig {
    fn default() -> Self {
        let shard = PermissionSettings::default();
        Self {
            recheck: true,
            calls_max: 32,
            hold_timeout: Duration::from_secs(30),
            unreachable: Unreachable::default(),
            grace: Duration::from_millis(shard.grace),
            max_age: Duration::from_millis(shard.max_age),
            ring: shard.ring,
            confirm_timeout: Duration::from_secs(5),
        }
    }
}

impl PermissionsConfig {
    /// The part of it that each shard has.
    pub(crate) fn of_shard(&self) -> PermissionSettings {
        let ms = |period: Duration| u64::try_from(period.as_millis()).unwrap_or(u64::MAX);
        PermissionSettings {
            recheck: self.recheck,
            grace: ms(self.grace),
            max_age: ms(self.max_age),
            ring: self.ring,
        }
    }
}
