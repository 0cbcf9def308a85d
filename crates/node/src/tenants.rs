//! The tenants of this node: each has an API of its own.
//!
//! Every part that calls an API, or decides by a setting of the API's owner, finds the tenant here,
//! by the number that a session, its credentials or an entry has. A tenant that is removed is not
//! found any more: its API gets no further call.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use ht_backend::{Backend, ForwardRules, GuardCounts, Hook};
use ht_proto::entry::TenantId;
use ht_proto::tenant::TenantName;

use crate::config::TenantConfig;
use crate::live::LiveSettings;

/// The tenants of a node.
#[derive(Default)]
pub(crate) struct Tenants {
    by_id: ArcSwap<HashMap<TenantId, Arc<Tenant>>>,
}

/// A tenant, with the settings of one moment.
pub(crate) struct Tenant {
    name: TenantName,
    /// None for `main`, whose settings are those of the node.
    config: Option<TenantConfig>,
    rules: ForwardRules,
    backend: Arc<dyn Backend>,
}

impl Tenants {
    /// Those of a node with one API: `main` alone.
    pub(crate) fn of(backend: Arc<dyn Backend>) -> Self {
        let tenants = Self::default();
        let main = Tenant {
            name: TenantName::main(),
            config: None,
            rules: ForwardRules::new(Vec::new()),
            backend,
        };
        let all = HashMap::from([(TenantId::MAIN, Arc::new(main))]);
        tenants.by_id.store(Arc::new(all));
        tenants
    }

    /// The tenant with this number; `None` if there is none any more.
    pub(crate) fn get(&self, id: TenantId) -> Option<Arc<Tenant>> {
        self.by_id.load().get(&id).cloned()
    }

    /// Whether any tenant has this hook.
    pub(crate) fn have_hook(&self, hook: Hook) -> bool {
        let all = self.by_id.load();
        all.values().any(|tenant| tenant.backend.has_hook(hook))
    }

    /// The limiters of the calls to all APIs together.
    pub(crate) fn guards(&self) -> GuardCounts {
        let all = self.by_id.load();
        let guards = all.values().filter_map(|tenant| tenant.backend.guard());
        guards.fold(GuardCounts::default(), |sum, one| GuardCounts {
            in_flight: sum.in_flight + one.in_flight,
            waiting: sum.waiting + one.waiting,
            shared: sum.shared + one.shared,
            circuit_open: sum.circuit_open || one.circuit_open,
            circuit_opened: sum.circuit_opened + one.circuit_opened,
            unreachable: sum.unreachable || one.unreachable,
        })
    }
}

impl Tenant {
    /// Its API.
    pub(crate) fn backend(&self) -> &Arc<dyn Backend> {
        &self.backend
    }

    /// Whether its API has any hook.
    pub(crate) fn has_hooks(&self) -> bool {
        let mut hooks = Hook::ALL.into_iter();
        hooks.any(|hook| self.backend.has_hook(hook))
    }

    /// What is forwarded to its API.
    pub(crate) fn rules<'a>(&'a self, settings: &'a LiveSettings) -> &'a ForwardRules {
        match &self.config {
            None => &settings.rules,
            Some(_) => &self.rules,
        }
    }
}

impl fmt::Debug for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tenant").field(&self.name).finish()
    }
}

impl fmt::Debug for Tenants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.by_id.load().values()).finish()
    }
}
