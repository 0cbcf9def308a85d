//! A running node: its parts, and how they are connected.

mod own_logs;
mod shutdown;
mod tenants;

use std::sync::{Arc, Mutex};

use ht_backend::{Backend, ForwardRules, Hook};
use ht_broker::order::Order;
use ht_broker::{Broker, Sequencer as _};
use ht_edge::listener::{InheritedSockets, Listener};
use ht_edge::quotas::Quotas;

use crate::administration::{Freshness, TenantAdmin};
use crate::charge::Charges;
use crate::config::{Listen, ServerConfig, TenantsConfig};
use crate::gateway::own_logs::OwnLogs;
use crate::heartbeat::Heartbeat;
use crate::hooks::{HookCaller, HookSender, hook_queue};
use crate::identity::Identity;
use crate::internal::Internal;
use crate::listeners::{Listeners, StartError, refuse_open};
use crate::live::Live;
use crate::memory::allowance;
use crate::memory_watch::MemoryWatch;
use crate::metrics::Sources;
use crate::node::Node;
use crate::peers::Peers;
use crate::pipeline::Pipeline;
use crate::pipelines::Pipelines;
use crate::public::{Bootstrap, Public};
use crate::readiness::Readiness;
use crate::running::Running;
use crate::services::{Service, ShutdownStage};
use crate::shards::Shards;
use crate::tenants::Tenants;
use crate::tenants::closer::Closer;
use crate::usage::Usage;
use crate::window_file::WindowFile;

/// A running node. It runs until it is [drained](Self::drain); if it is dropped instead, all
/// connections are closed at once.
pub struct Gateway {
    public: Listen,
    internal: Listen,
    node: Arc<Node>,
    live: Live,
    window_file: Option<Box<WindowFile>>,
    /// The pipeline of all tenants without a log of their own. What is of the whole node ends with it.
    main: Running,
    pipelines: Arc<Pipelines>,
    own_logs: Box<OwnLogs>,
}

impl Gateway {
    /// Starts listeners, shards and broker on the current tokio runtime.
    ///
    /// `live` holds the live part of `config`, and what is forwarded to `backend`, which is the API of
    /// the tenant `main`; without it there are only the tenants of `config`. Without a
    /// `broker` the node delivers only what is published over its own HTTP endpoint. `sockets` are
    /// used instead of the configured addresses.
    ///
    /// # Errors
    /// If an address cannot be listened on, the internal one is exposed to the network without an
    /// API key, two tenants claim the same, or the system cannot start another thread.
    pub async fn start(
        config: ServerConfig,
        backend: Option<Arc<dyn Backend>>,
        live: Live,
        broker: Option<Arc<Broker>>,
        sockets: InheritedSockets,
    ) -> Result<Self, StartError> {
        let Listeners { public, internal } = Listeners::open(&config, sockets)?;
        let window = config.limits.window(allowance());
        let mut node = Node {
            peers: Arc::new(Peers::new(&config.nodes)),
            follows_log: broker.is_some(),
            log_retains: broker.as_ref().is_some_and(|broker| broker.retains()),
            ..Node::new(config.threads.max(1), config.matching, window)
        };
        // They are put in force below, when there are shards for them.
        let nobody = TenantsConfig {
            list: Vec::new(),
            ..config.tenants.clone()
        };
        let tenants = Tenants::new(&nobody, backend, node.call_clock());
        node.tenants = Arc::new(tenants.map_err(StartError::Tenants)?);
        let window_file = WindowFile::of(&config, window, broker.as_deref());
        let order = match &window_file {
            Some(file) => file.begin(&mut node, &config, window, broker.is_some()),
            None => Order::new(node.window.epoch(), config.ids()),
        };
        let node = Arc::new(node);
        node.gaps.set_policy(config.recovery.gap_old);
        node.tickets.set(&config.resume);
        node.set_memory_bounds(&config.limits);
        if broker.is_none() {
            node.lifecycle.connected();
            node.peers.close();
        }
        let (hooks, caller) = hooks(&config, &node).unzip();
        let threads = config.threads.max(1);
        let shards = Shards::start(
            threads,
            &config,
            &node,
            &live,
            broker.as_ref(),
            hooks.as_ref(),
        );
        let shards = shards.map_err(StartError::Shard)?;
        let is_alone = broker.is_none();
        let pipeline = Pipeline::new(Arc::clone(&node), broker, &shards, order);
        let pipeline = Arc::new(pipeline);
        let main = Running::new(Arc::clone(&pipeline), shards);
        let pipelines = Arc::new(Pipelines::new(pipeline));
        let gateway = Self {
            public: public.1,
            internal: internal.1,
            window_file: window_file.map(Box::new),
            main,
            own_logs: Box::new(OwnLogs::new(&config, &node, &live, &pipelines, hooks)),
            pipelines,
            node,
            live,
        };
        let order = &gateway.main.pipeline.sequencer;
        tracing::debug!(epoch = %order.epoch(), "the order of publications begins");
        if config.tenants.is_enabled {
            let list = config.tenants.list.clone();
            gateway.set_tenants(list).map_err(StartError::Tenants)?;
        }
        if let Some(prober) = gateway.main.prober(&config) {
            if is_alone {
                // It depends on nothing but the shards: ready from the start.
                prober.probe().await;
            }
            gateway.main.start_prober(prober);
        }
        gateway.main.start(&gateway.live);
        gateway.start_hooks(caller);
        gateway.start_upkeep();
        gateway.start_usage(&config)?;
        gateway.start_internal(&config, internal.0);
        gateway.start_public(&config, public.0);
        Ok(gateway)
    }

    /// The public listener's address, with the actual port.
    #[must_use]
    pub fn public(&self) -> &Listen {
        &self.public
    }

    /// The internal listener's address: triggers, metrics and health.
    #[must_use]
    pub fn internal(&self) -> &Listen {
        &self.internal
    }

    /// The heartbeat of the shards; valid for as long as the caller keeps it.
    #[must_use]
    pub fn heartbeat(&self) -> Heartbeat {
        let pipelines = Arc::clone(&self.pipelines);
        Heartbeat::new(move || {
            let all = pipelines.all();
            all.iter().map(|pipeline| pipeline.order()).collect()
        })
    }

    /// Applies the settings that need no restart. They apply to everything that starts after that,
    /// and to open connections from their next message on. Everything else in `config` is ignored.
    /// Ready when they are in force.
    ///
    /// # Errors
    /// If the internal listener, whose address is not changed, would be exposed to the network
    /// without an API key. Then nothing is changed.
    pub async fn reload(
        &self,
        config: &ServerConfig,
        rules: ForwardRules,
    ) -> Result<(), StartError> {
        refuse_open(&self.internal, &config.internal)?;
        self.live.set(self.live.now().reloaded(config, rules));
        let node = &self.node;
        node.tickets.set(&self.live.now().resume);
        node.set_memory_bounds(&config.limits);
        let in_force = ServerConfig {
            permissions: self.live.now().permissions,
            ..config.clone()
        };
        self.main.reconfigure(&in_force);
        self.own_logs.reconfigure(&in_force);
        // Queued behind these: once it is taken they are in force.
        self.heartbeat().beat().await;
        Ok(())
    }

    /// From now on this answers requests that read or change the list of tenants.
    pub fn administer_tenants(&self, admin: Arc<dyn TenantAdmin>) {
        self.node.administration.set(admin);
    }

    /// Where to say whether the list of tenants is as its source has it: `/ready` notes it.
    #[must_use]
    pub fn freshness_of_tenants(&self) -> Freshness {
        self.node.administration.freshness().clone()
    }

    /// Starts calling the hooks of APIs.
    fn start_hooks(&self, caller: Option<HookCaller>) {
        if let Some(caller) = caller {
            let run = |shutdown| caller.run(shutdown);
            self.main.services.start(Service::Hooks, run);
        }
    }

    /// Starts writing the usage of tenants, if it is to be written.
    fn start_usage(&self, config: &ServerConfig) -> Result<(), StartError> {
        let usage = Usage::of(&config.usage, &self.pipelines).map_err(StartError::Usage)?;
        if let Some(usage) = usage {
            let run = |shutdown| usage.run(shutdown);
            self.main.services.start(Service::Usage, run);
        }
        Ok(())
    }

    /// Starts what the backends need beside their calls, for as long as clients are admitted.
    fn start_upkeep(&self) {
        let node = &self.node;
        let tenants = Arc::clone(&node.tenants);
        let run = |shutdown| async move { tenants.upkeep(shutdown).await };
        self.main.services.start(Service::Upkeep, run);
        if node.tenants.are_enabled() {
            let closer = Closer {
                leaving: Arc::clone(&node.leaving),
                tenants: Arc::clone(&node.tenants),
                permits: Arc::clone(&node.permits),
                live: self.live.clone(),
            };
            let run = |shutdown| closer.run(shutdown);
            self.main.services.start(Service::TenantCloser, run);
        }
    }

    /// Starts the internal listener, which serves health checks until everything else has ended.
    fn start_internal(&self, config: &ServerConfig, listener: Listener) {
        let node = &self.node;
        let readiness = Readiness {
            administration: Arc::clone(&node.administration),
            window: Arc::clone(&node.window),
            tickets: Arc::clone(&node.tickets),
            lifecycle: Arc::clone(&node.lifecycle),
            memory: Arc::clone(&node.memory),
            descriptors: Arc::clone(&node.descriptors),
            delivery: Arc::clone(&node.delivery),
            peers: Arc::clone(&node.peers),
            broker: self.main.pipeline.broker.clone(),
            tenants: Arc::clone(&node.tenants),
            own_logs_down: {
                let pipelines = Arc::clone(&self.pipelines);
                Box::new(move || pipelines.own_down())
            },
        };
        let sources = Sources {
            node: Arc::clone(node),
            readiness,
            pipelines: Arc::clone(&self.pipelines),
            build: config.build,
            tenants_max: config.metrics.tenants_max,
            labelled: Mutex::default(),
            usage: config.usage.file.as_ref().map(|_| Arc::clone(&node.usage)),
        };
        let internal = Internal {
            live: self.live.clone(),
            counters: Arc::clone(&node.counters),
            throttles: Arc::clone(&node.throttles),
            lifecycle: Arc::clone(&node.lifecycle),
            memory: Arc::clone(&node.memory),
            triggers_in_flight: Arc::clone(&node.triggers_in_flight),
            pipelines: Arc::clone(&self.pipelines),
            sources: Arc::new(sources),
            identity: Identity::new(&self.public),
        };
        let run = |shutdown| internal.run(listener, shutdown);
        self.main.services.start(Service::Internal, run);
        let watch = MemoryWatch {
            memory: Arc::clone(&node.memory),
            accounts: Arc::clone(&node.accounts),
            pipelines: Arc::clone(&self.pipelines),
            live: self.live.clone(),
            allocated: config.allocated,
        };
        let run = |shutdown| watch.run(shutdown);
        self.main.services.start(Service::MemoryWatch, run);
    }

    /// Starts the public listener: from here on clients are accepted.
    fn start_public(&self, config: &ServerConfig, listener: Listener) {
        let node = &self.node;
        let (counters, throttles) = (&node.counters, &node.throttles);
        let handshakes = config.limits.handshakes_max();
        let quotas = Quotas::new(Arc::clone(&node.permits), handshakes, Arc::clone(throttles));
        let charges = Charges {
            accounts: Arc::clone(&node.accounts),
            counters: Arc::clone(counters),
            throttles: Arc::clone(throttles),
        };
        let bootstrap = Bootstrap {
            rechecks: config.permissions.recheck,
            tenants: Arc::clone(&node.tenants),
            interner: Arc::clone(&node.interner),
            tickets: Arc::clone(&node.tickets),
            permits: Arc::clone(&node.permits),
            memory: Arc::clone(&node.memory),
            meters: Arc::clone(&node.meters),
            counters: Arc::clone(counters),
            throttles: Arc::clone(throttles),
        };
        let public = Public {
            live: self.live.clone(),
            counters: Arc::clone(counters),
            throttles: Arc::clone(throttles),
            lifecycle: Arc::clone(&node.lifecycle),
            totals: Arc::clone(&node.totals),
            descriptors: Arc::clone(&node.descriptors),
            quotas,
            charges: Arc::new(charges),
            bootstrap,
            pipelines: Arc::clone(&self.pipelines),
            leaving: self.main.services.shutdown(ShutdownStage::Clients),
        };
        let run = |_| public.run(listener);
        self.main.services.start(Service::Public, run);
    }
}

/// The queue of hooks, if there is any.
fn hooks(config: &ServerConfig, node: &Node) -> Option<(HookSender, HookCaller)> {
    let mut hooks = Hook::ALL.into_iter();
    let is_any = hooks.any(|hook| node.tenants.have_hook(hook));
    is_any.then(|| hook_queue(&config.hooks, node))
}
