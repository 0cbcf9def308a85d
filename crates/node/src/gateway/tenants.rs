//! Tenants that come, change and go at run time.

use std::sync::Arc;

use ht_control::tenants::changes::Changes;
use ht_control::tenants::claims::Conflict;
use ht_proto::entry::TenantId;

use super::Gateway;
use crate::config::{TenantConfig, TenantLimits};
use crate::inbox::Input;
use crate::tenants::closer::Cause;

impl Gateway {
    /// Replaces the tenants, except for `main` where the node has an API itself. Clients of those that
    /// are added or changed get what applies from their next handshake on. The connections of those
    /// that are removed are closed in waves, and their APIs get no further call; those of suspended
    /// ones are closed as well.
    ///
    /// # Errors
    /// With everything that two of them claim. Nothing is changed then.
    pub fn set_tenants(
        &self,
        tenants: Vec<TenantConfig>,
    ) -> Result<Changes<TenantConfig>, Vec<Conflict>> {
        let (node, changes) = (&self.node, self.node.tenants.set(tenants)?);
        let limits = changes.added.iter().chain(&changes.changed);
        let limits = limits.map(|it| (it, it.limits));
        let former = changes.removed.iter();
        let former = former.map(|it| (it, TenantLimits::default()));
        for (config, limits) in limits.chain(former) {
            if let Some(id) = node.tenants.id(&config.name) {
                self.set_limits(id, &limits);
            }
        }
        let gone = changes.removed.iter().map(|it| (it, Cause::Removed));
        let suspended = changes.suspended.iter().map(|it| (it, Cause::Suspended));
        for (config, cause) in gone.chain(suspended) {
            if let Some(id) = node.tenants.id(&config.name) {
                node.leaving.add(id, cause);
            }
        }
        if !changes.removed.is_empty() || !changes.suspended.is_empty() {
            node.rechecks.wake();
        }
        Ok(changes)
    }

    /// The tenants in force, without the `main` of the node's own configuration.
    #[must_use]
    pub fn tenants(&self) -> Vec<Arc<TenantConfig>> {
        self.node.tenants.configured()
    }

    /// A tenant has these limits from now on.
    pub(super) fn set_limits(&self, tenant: TenantId, limits: &TenantLimits) {
        let node = &self.node;
        if let Some(bucket) = node.shares.set(tenant, limits, &node.window) {
            self.shards.send(|_| Input::Bucket(tenant, bucket.clone()));
        }
    }
}
