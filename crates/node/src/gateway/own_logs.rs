//! The pipelines of tenants' own logs, which come and go with their tenants.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ht_broker::order::Order;
use ht_control::drain::DrainSettings;
use ht_proto::entry::TenantId;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use crate::config::{OwnLogsConfig, ServerConfig, TenantConfig, TenantsConfig};
use crate::drain::{Others, drain};
use crate::hooks::HookSender;
use crate::live::Live;
use crate::node::{Node, Owner};
use crate::pipeline::Pipeline;
use crate::pipelines::Pipelines;
use crate::running::Running;
use crate::shards::Shards;
use crate::tenants::{LogNumber, OwnLog, Tenants};

/// The pipelines of tenants' own logs that run.
pub(super) struct OwnLogs {
    node: Arc<Node>,
    pipelines: Arc<Pipelines>,
    live: Live,
    hooks: Option<HookSender>,
    /// For those that are begun from now on.
    config: Mutex<Arc<ServerConfig>>,
    running: Mutex<HashMap<LogNumber, Running>>,
    last: AtomicU64,
    /// Those that are being shut down.
    ending: TaskTracker,
}

impl OwnLogs {
    /// None yet.
    pub(super) fn new(
        config: &ServerConfig,
        node: &Arc<Node>,
        live: &Live,
        pipelines: &Arc<Pipelines>,
        hooks: Option<HookSender>,
    ) -> Self {
        Self {
            node: Arc::clone(node),
            pipelines: Arc::clone(pipelines),
            live: live.clone(),
            hooks,
            config: Mutex::new(of_all(config, &config.tenants.logs)),
            running: Mutex::default(),
            last: AtomicU64::new(0),
            ending: TaskTracker::new(),
        }
    }

    /// Begins to read the own log of a tenant. `None` if that cannot be, which is logged: the tenant
    /// is not served then.
    pub(super) fn begin(&self, id: TenantId, tenant: &TenantConfig) -> Option<OwnLog> {
        match self.try_begin(id, tenant) {
            Ok(log) => Some(log),
            Err(cause) => {
                tracing::error!(
                    tenant = %tenant.name,
                    cause,
                    "this tenant is not served: the log of its own cannot be used. Correct it, or \
                     remove it from the tenant"
                );
                None
            }
        }
    }

    fn try_begin(&self, id: TenantId, tenant: &TenantConfig) -> Result<OwnLog, String> {
        let config = Arc::clone(&lock(&self.config));
        let logs = &config.tenants.logs;
        let (Some(log), Some(open)) = (&tenant.log, &logs.open) else {
            return Err("this gateway reads no logs of tenants' own".to_owned());
        };
        let mut running = lock(&self.running);
        // Those of the list, and those that they take the place of.
        if running.len() >= logs.max.saturating_mul(2) {
            return Err(format!("tenants.logs permits {} of them", logs.max));
        }
        let broker = open(&log.engine)?;
        if !broker.retains() {
            return Err("it does not retain what it carries".to_owned());
        }
        let owner = Owner {
            id,
            name: tenant.name.clone(),
        };
        let threads = logs.threads.max(1);
        let node = Arc::new(self.node.beside(owner, threads, &config));
        let hooks = self.hooks.as_ref();
        let shards = Shards::start(threads, &config, &node, &self.live, Some(&broker), hooks);
        let shards = shards.map_err(|error| format!("a thread cannot be started: {error}"))?;
        let order = Order::new(node.window.epoch(), config.limits.trigger_ids);
        let clock = node.call_clock();
        let pipeline = Arc::new(Pipeline::new(node, Some(broker), &shards, order));
        let one = Running::new(Arc::clone(&pipeline), shards);
        if let Some(prober) = one.prober(&config) {
            one.start_prober(prober);
        }
        one.start(&self.live);
        let number = LogNumber(self.last.fetch_add(1, Ordering::Relaxed));
        self.pipelines.add(number, pipeline);
        running.insert(number, one);
        tracing::info!(tenant = %tenant.name, log = log.engine.name(), "reading the own log of a tenant");
        Ok(OwnLog { number, clock })
    }

    /// Shuts down those of which no tenant is any more: their connections are closed in waves.
    pub(super) fn end_unused(&self, tenants: &Tenants) {
        let used = tenants.all().into_iter().filter_map(|it| it.log());
        let used: HashSet<_> = used.collect();
        let unused = lock(&self.running)
            .extract_if(|number, _| !used.contains(number))
            .collect();
        let drain = self.live.now().drain;
        let settings = DrainSettings {
            delay: Duration::ZERO,
            period: drain.period,
            timeout: drain.timeout,
        };
        self.end(unused, settings, &CancellationToken::new());
    }

    fn end(
        &self,
        these: Vec<(LogNumber, Running)>,
        settings: DrainSettings,
        hurry: &CancellationToken,
    ) {
        for (number, running) in these {
            let (span, pipelines) = (running.pipeline.span(), Arc::clone(&self.pipelines));
            let hurry = hurry.clone();
            let ending = async move {
                let connections = running.pipeline.node.totals.connections();
                tracing::info!(connections, "the own log of a tenant is not read any more");
                drain(running, settings, hurry, None).await;
                pipelines.remove(number);
            };
            self.ending.spawn(ending.instrument(span));
        }
    }

    /// Applies the settings that need no restart.
    pub(super) fn reconfigure(&self, config: &ServerConfig) {
        let mut known = lock(&self.config);
        *known = of_all(config, &known.tenants.logs);
        drop(known);
        let running = lock(&self.running);
        running.values().for_each(|one| one.reconfigure(config));
    }

    /// Does something with one of them, if it runs.
    pub(super) fn with(&self, number: LogNumber, then: impl FnOnce(&Running)) {
        if let Some(one) = lock(&self.running).get(&number) {
            then(one);
        }
    }

    /// Shuts all of them down, as the node shuts down.
    pub(super) fn shut_down(self, hurry: CancellationToken) -> Others {
        Box::new(move |settings| {
            let all = lock(&self.running).drain().collect();
            self.end(all, settings, &hurry);
            let ending = self.ending.clone();
            ending.close();
            // With the sender of hooks: their queue ends with the last one.
            drop(self);
            Box::pin(async move { ending.wait().await })
        })
    }
}

/// What of a configuration is of all pipelines. What there may be of own logs is of the start.
fn of_all(config: &ServerConfig, logs: &OwnLogsConfig) -> Arc<ServerConfig> {
    let tenants = TenantsConfig {
        is_enabled: config.tenants.is_enabled,
        logs: logs.clone(),
        ..TenantsConfig::default()
    };
    Arc::new(ServerConfig {
        tenants,
        ..config.clone()
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
