//! The tenants of this node: each has an API of its own.
//!
//! Every part that calls an API, or decides by a setting of the API's owner, finds the tenant here,
//! by the number that a session, its credentials or an entry has. A tenant that is removed is not
//! found any more: its API gets no further call.

mod api;
pub(crate) mod closer;
mod tenant;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use ht_backend::{Backend, Budget, CallClock, GuardCounts, Hook};
use ht_control::tenants::changes::Changes;
use ht_control::tenants::claims::{Claim, Conflict};
use ht_control::tenants::directory::{Directory, Found};
use ht_control::tenants::ids::TenantIds;
use ht_proto::entry::TenantId;
use ht_proto::record::Record;
use ht_proto::tenant::TenantName;
use ht_proto::trigger::Problem;
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

pub(crate) use crate::tenants::tenant::{Begin, LogNumber, OwnLog, Tenant};

use crate::config::{HostName, Rights, TenantCaps, TenantConfig, TenantsConfig};
use crate::tenants::api::Shared;

/// How often APIs are looked for that nobody uses any more.
const SWEEP: Duration = Duration::from_secs(60);

/// The tenants of a node, and the numbers of their names.
#[derive(Default)]
pub(crate) struct Tenants {
    /// There may be others than `main`.
    is_enabled: bool,
    /// The tenant of clients that name none.
    default: Option<TenantName>,
    /// Hosts of the node's own `main`.
    main_hosts: Vec<HostName>,
    ids: RwLock<TenantIds>,
    table: ArcSwap<Table>,
    /// They are changed by one at a time.
    changing: Mutex<()>,
    shared: Shared,
    /// The most that they may have of the settings of their APIs.
    caps: TenantCaps,
}

/// The tenants at one moment.
#[derive(Default)]
struct Table {
    by_id: HashMap<TenantId, Arc<Tenant>>,
    directory: Directory<TenantId>,
    /// Without the `main` of the node's own configuration.
    list: Vec<Arc<TenantConfig>>,
}

/// A new list of tenants, in force.
#[derive(Debug)]
pub(crate) struct Put {
    pub(crate) changes: Changes<TenantConfig>,
    /// Those that had the log of the node, and have one of their own now.
    pub(crate) moved: Vec<TenantId>,
}

/// Whose client a request is of.
pub(crate) enum Choice {
    /// This tenant's.
    One(Arc<Tenant>),
    /// Nobody's.
    Nobody,
    /// It names two.
    Disagree,
}

impl Tenants {
    /// Those of a node: `main` if it has an API itself, and those that are configured. `clock` numbers
    /// the calls to all APIs.
    ///
    /// # Errors
    /// With everything that two of them claim.
    pub(crate) fn new(
        config: &TenantsConfig,
        main: Option<Arc<dyn Backend>>,
        clock: CallClock,
    ) -> Result<Self, Vec<Conflict>> {
        let main = main.map(|backend| {
            backend.number_calls(Arc::clone(&clock));
            (TenantId::MAIN, Arc::new(Tenant::main(backend)))
        });
        let tenants = Self {
            is_enabled: config.is_enabled,
            default: config.default.clone(),
            main_hosts: config.main_hosts.clone(),
            shared: Shared {
                clock: Some(clock),
                answers: Arc::default(),
            },
            caps: config.caps,
            ..Self::default()
        };
        tenants.table.store(Arc::new(Table {
            by_id: main.into_iter().collect(),
            ..Table::default()
        }));
        if config.is_enabled {
            tenants.put(config.list.clone(), &mut |_, _| None)?;
        }
        Ok(tenants)
    }

    /// Whether there may be others than `main`.
    pub(crate) fn are_enabled(&self) -> bool {
        self.is_enabled
    }

    /// The memory of the answers that their APIs are sending.
    pub(crate) fn answers(&self) -> &Arc<Budget> {
        &self.shared.answers
    }

    /// Replaces all tenants but the `main` of the node's own configuration. Those that are removed or
    /// suspended, or have another log, admit nobody any more; their connections are still there.
    /// `begin` is called for each tenant with a log of its own that is not read yet.
    ///
    /// # Errors
    /// With everything that two of them claim. Nothing is changed then.
    pub(crate) fn put(
        &self,
        list: Vec<TenantConfig>,
        begin: &mut Begin<'_>,
    ) -> Result<Put, Vec<Conflict>> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.table.load_full();
        let known: HashMap<_, _> = old.list.iter().map(|it| (&it.name, it)).collect();
        let list: Vec<_> = list
            .into_iter()
            .map(|mut config| {
                self.caps.apply(&mut config.backend);
                match known.get(&config.name) {
                    Some(known) if ***known == config => Arc::clone(known),
                    _ => Arc::new(config),
                }
            })
            .collect();
        let own_main = old.by_id.get(&TenantId::MAIN).filter(|it| it.is_of_node());
        let mut conflicts: Vec<_> = list
            .iter()
            .filter(|config| own_main.is_some() && config.name.is_main())
            .map(|_| Conflict {
                claim: Claim::Name,
                first: TenantName::MAIN.into(),
                second: TenantName::MAIN.into(),
            })
            .collect();
        // First: numbers are given for good, and none is to be used up by what is refused.
        let main_hosts = own_main.is_some().then_some(&*self.main_hosts);
        let unnumbered = list.iter().map(|config| (config, ()));
        if let Err(others) = Directory::beside_main(main_hosts.zip(Some(())), unnumbered) {
            conflicts.extend(others);
        }
        if !conflicts.is_empty() {
            return Err(conflicts);
        }
        let mut numbered = Vec::with_capacity(list.len());
        for config in &list {
            match self.id(&config.name) {
                Some(id) => numbered.push((config, id)),
                None => tracing::error!(
                    tenant = %config.name,
                    "this tenant is not served: too many were named since this node started. \
                     Restart it"
                ),
            }
        }
        let directory = Directory::beside_main(
            main_hosts.zip(Some(TenantId::MAIN)),
            numbered.iter().map(|(config, id)| (*config, *id)),
        )?;
        let changes = Changes::between(&old.list, &list);
        let (mut by_id, mut left, mut moved) = (HashMap::new(), Vec::new(), Vec::new());
        for (config, id) in numbered {
            let former = old.by_id.get(&id);
            let tenant = Tenant::succeeding(former, id, config, &self.shared, begin);
            if let Some(former) = former
                && tenant.as_ref().map(|now| now.log()) != Some(former.log())
            {
                left.push(Arc::clone(former));
                moved.extend(former.log().is_none().then_some(id));
            }
            by_id.extend(tenant.map(|tenant| (id, tenant)));
        }
        if let Some(main) = own_main {
            by_id.insert(TenantId::MAIN, Arc::clone(main));
        }
        self.table.store(Arc::new(Table {
            by_id,
            directory,
            list,
        }));
        let former = |config: &Arc<TenantConfig>| old.by_id.get(&self.find_id(&config.name)?);
        let gone = changes.removed.iter().chain(&changes.suspended);
        let gone = gone.filter_map(former).chain(&left);
        gone.for_each(|tenant| tenant.end());
        Ok(Put { changes, moved })
    }

    /// The tenant with this number; `None` if there is none any more.
    pub(crate) fn get(&self, id: TenantId) -> Option<Arc<Tenant>> {
        self.table.load().by_id.get(&id).cloned()
    }

    /// Whether a tenant has a log of its own.
    pub(crate) fn has_own_log(&self, id: TenantId) -> bool {
        let table = self.table.load();
        table.by_id.get(&id).is_some_and(|it| it.log().is_some())
    }

    /// The tenant with this name.
    pub(crate) fn named(&self, name: &TenantName) -> Option<Arc<Tenant>> {
        self.get(self.find_id(name)?)
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<Arc<Tenant>> {
        self.table.load().by_id.values().cloned().collect()
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.table.load().by_id.len()
    }

    /// Those besides the `main` of the node's own configuration, as they are configured.
    pub(crate) fn configured(&self) -> Vec<Arc<TenantConfig>> {
        self.table.load().list.clone()
    }

    /// Whose client a request is of: by its host, its path and the public keys that it names.
    pub(crate) fn choose<'a>(
        &self,
        host: Option<&str>,
        path: &str,
        keys: impl Iterator<Item = &'a str>,
    ) -> Choice {
        if !self.is_enabled {
            return self.get(TenantId::MAIN).map_or(Choice::Nobody, Choice::One);
        }
        let table = self.table.load();
        let mut found = table.directory.find(host, path, None);
        for key in keys {
            found = match (found, table.directory.find(None, "", Some(key))) {
                (found, Found::Nobody) => found,
                (Found::One(one), Found::One(other)) if one != other => Found::Disagree,
                (Found::Disagree, _) => Found::Disagree,
                (_, by_key) => by_key,
            };
        }
        let id = match found {
            Found::One(id) => Some(id),
            Found::Nobody => self.default.as_ref().and_then(|name| self.find_id(name)),
            Found::Disagree => return Choice::Disagree,
        };
        let tenant = id.and_then(|id| table.by_id.get(&id));
        tenant.map_or(Choice::Nobody, |it| Choice::One(Arc::clone(it)))
    }

    /// Whether a tenant has this path on every host.
    pub(crate) fn have_path(&self, path: &str) -> bool {
        let table = self.table.load();
        self.is_enabled && table.directory.find(None, path, None) != Found::Nobody
    }

    /// Whose secret key this is, and what it may do. Only digests are compared.
    pub(crate) fn of_key(&self, key: &[u8]) -> Option<(TenantId, Rights)> {
        if !self.is_enabled {
            return None;
        }
        let table = self.table.load();
        let (id, at) = table.directory.by_publish_key(Sha256::digest(key).into())?;
        let config = table.by_id.get(&id)?.config()?;
        Some((id, config.publish_keys.get(at)?.may))
    }

    /// The number of a name, also of one that no tenant has yet. `None` if all numbers are given.
    pub(crate) fn id(&self, name: &TenantName) -> Option<TenantId> {
        if let Some(id) = self.find_id(name) {
            return Some(id);
        }
        let mut ids = self.ids.write().unwrap_or_else(PoisonError::into_inner);
        ids.intern(name)
    }

    fn find_id(&self, name: &TenantName) -> Option<TenantId> {
        let ids = self.ids.read().unwrap_or_else(PoisonError::into_inner);
        ids.find(name.as_str())
    }

    /// The name that has a number.
    pub(crate) fn name(&self, id: TenantId) -> Option<TenantName> {
        let ids = self.ids.read().unwrap_or_else(PoisonError::into_inner);
        ids.name(id).cloned()
    }

    /// Whose a record of the log is. Without tenants a trigger may have a member `tenant` that means
    /// nothing, as any other member that is not known; but it has its `rooms`.
    ///
    /// # Errors
    /// If it may not be placed.
    pub(crate) fn of_record(&self, record: &Record) -> Result<TenantId, Problem> {
        match record.tenant() {
            None => Ok(TenantId::MAIN),
            Some(Ok(name)) if name.is_main() => Ok(TenantId::MAIN),
            Some(_) if !self.is_enabled && record.is_scoped() => Err(Problem::NoTenants),
            Some(_) if !self.is_enabled => Ok(TenantId::MAIN),
            Some(Err(error)) => Err((*error).into()),
            // A node without tenants would deliver it to clients of `main`.
            Some(Ok(_)) if !record.is_scoped() => Err(Problem::PlainRooms),
            Some(Ok(name)) => self.id(name).ok_or(Problem::TooManyTenants),
        }
    }

    /// Whether any tenant has this hook, or may have it later.
    pub(crate) fn have_hook(&self, hook: Hook) -> bool {
        let main = self.get(TenantId::MAIN);
        self.is_enabled || main.is_some_and(|main| main.has_hook(hook))
    }

    /// The limiters of the calls to all APIs together.
    pub(crate) fn guards(&self) -> GuardCounts {
        let all = self.all();
        let guards = all.iter().filter_map(|tenant| tenant.guard());
        guards.fold(GuardCounts::default(), |sum, one| GuardCounts {
            in_flight: sum.in_flight + one.in_flight,
            waiting: sum.waiting + one.waiting,
            shared: sum.shared + one.shared,
            circuit_open: sum.circuit_open || one.circuit_open,
            circuit_opened: sum.circuit_opened + one.circuit_opened,
            unreachable: sum.unreachable || one.unreachable,
        })
    }

    /// How many tenants, besides the node's own `main`, have an API whose circuit is open.
    pub(crate) fn open_circuits(&self) -> usize {
        let all = self.all().into_iter().filter(|tenant| !tenant.is_of_node());
        let guards = all.filter_map(|tenant| tenant.guard());
        guards.filter(|guard| guard.circuit_open).count()
    }

    /// The background work of `main`'s API, and of those that tenants use. Those that nobody has used
    /// for long are freed.
    pub(crate) async fn upkeep(&self, shutdown: CancellationToken) {
        let main = self.get(TenantId::MAIN).filter(|main| main.is_of_node());
        let of_main = async {
            match main {
                Some(main) => main.backend().upkeep().await,
                None => std::future::pending().await,
            }
        };
        let sweeps = async {
            loop {
                tokio::time::sleep(SWEEP).await;
                self.all().iter().for_each(|tenant| tenant.free_if_idle());
            }
        };
        tokio::select! {
            () = of_main => {}
            () = sweeps => {}
            () = shutdown.cancelled() => {}
        }
        self.all().iter().for_each(|tenant| tenant.end_upkeep());
    }
}

impl fmt::Debug for Tenants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.all()).finish()
    }
}
