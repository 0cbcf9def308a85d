//! Tenants that come, change and go at run time.

use std::sync::Arc;

use ht_control::tenants::changes::Changes;
use ht_control::tenants::claims::Conflict;
use ht_proto::entry::TenantId;

use super::Gateway;
use crate::config::{TenantConfig, TenantLimits};
use crate::tenants::Put;
use crate::tenants::closer::Cause;

impl Gateway {
    /// Replaces the tenants, except for `main` where the node has an API itself. Clients of those that
    /// are added or changed get what applies from their next handshake on. The connections of those
    /// that are removed are closed in waves, and their APIs get no further call; those of suspended
    /// ones, and of those that have another log, are closed as well.
    ///
    /// # Errors
    /// With everything that two of them claim. Nothing is changed then.
    pub fn set_tenants(
        &self,
        tenants: Vec<TenantConfig>,
    ) -> Result<Changes<TenantConfig>, Vec<Conflict>> {
        let node = &self.node;
        let mut begin = |id, tenant: &Arc<TenantConfig>| self.own_logs.begin(id, tenant);
        let Put { changes, moved } = node.tenants.put(tenants, &mut begin)?;
        let limits = changes.added.iter().chain(&changes.changed);
        let limits = limits.map(|it| (it, it.limits));
        let former = changes.removed.iter();
        let former = former.map(|it| (it, TenantLimits::default()));
        for (config, limits) in limits.chain(former) {
            if let Some(id) = node.tenants.id(&config.name) {
                self.set_limits(id, &limits);
            }
        }
        // Their connections are closed with the pipelines of their own logs.
        let gone = changes.removed.iter().filter(|it| it.log.is_none());
        let gone = gone.map(|it| (it, Cause::Removed));
        let suspended = changes.suspended.iter().map(|it| (it, Cause::Suspended));
        let id = |(config, cause): (&Arc<TenantConfig>, _)| {
            let id = node.tenants.id(&config.name)?;
            Some((id, cause))
        };
        let moves = moved.iter().map(|id| (*id, Cause::Moved));
        // A tenant that is suspended as well is told that.
        for (tenant, cause) in moves.chain(gone.chain(suspended).filter_map(id)) {
            let pipeline = match moved.contains(&tenant) {
                true => Arc::clone(self.pipelines.main()),
                false => self.pipelines.of_id(tenant),
            };
            if cause == Cause::Moved {
                self.main.set_limits(tenant, &TenantLimits::default());
            }
            node.leaving.add(tenant, cause, pipeline.inboxes.clone());
        }
        self.own_logs.end_unused(&node.tenants);
        if !changes.removed.is_empty() || !changes.suspended.is_empty() || !moved.is_empty() {
            let all = self.pipelines.all();
            all.iter()
                .for_each(|pipeline| pipeline.node.rechecks.wake());
        }
        Ok(changes)
    }

    /// The tenants in force, without the `main` of the node's own configuration.
    #[must_use]
    pub fn tenants(&self) -> Vec<Arc<TenantConfig>> {
        self.node.tenants.configured()
    }

    /// A tenant has these limits from now on.
    fn set_limits(&self, id: TenantId, limits: &TenantLimits) {
        let tenant = self.node.tenants.get(id);
        match tenant.and_then(|tenant| tenant.log()) {
            Some(log) => self.own_logs.with(log, |own| own.set_limits(id, limits)),
            None => self.main.set_limits(id, limits),
        }
    }
}
