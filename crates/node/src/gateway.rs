//! A running node: its parts, and how they are connected.

mod tenants;

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};

use ht_backend::{Backend, ForwardRules, Hook};
use ht_broker::order::Order;
use ht_broker::{Broker, Sequencer};
use ht_edge::listener::{InheritedSockets, Listener};
use ht_edge::quotas::Quotas;
use tokio_util::task::TaskTracker;

use crate::administration::{Freshness, TenantAdmin};
use crate::charge::Charges;
use crate::config::{Listen, ServerConfig};
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
use crate::permissions::{Rechecker, Reports};
use crate::public::{Bootstrap, Destinations, Public};
use crate::readiness::{Prober, Readiness};
use crate::recovery::GapCloser;
use crate::reporter::Reporter;
use crate::sequencer::NodeSequencer;
use crate::services::{Service, Services, ShutdownStage};
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
    pub(crate) node: Arc<Node>,
    pub(crate) live: Live,
    pub(crate) broker: Option<Arc<Broker>>,
    pub(crate) sequencer: Arc<NodeSequencer>,
    pub(crate) window_file: Option<Box<WindowFile>>,
    /// Requests with triggers that are not ordered yet.
    pub(crate) triggers: TaskTracker,
    pub(crate) shards: Shards,
    pub(crate) services: Services,
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
        let tenants = Tenants::new(&config.tenants, backend, node.call_clock());
        node.tenants = Arc::new(tenants.map_err(StartError::Tenants)?);
        let window_file = WindowFile::of(&config, window, broker.as_deref());
        let order = match &window_file {
            Some(file) => file.begin(&mut node, &config, window, broker.is_some()),
            None => Order::new(node.window.epoch(), config.limits.trigger_ids),
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
        let shards = Shards::start(&config, &node, &live, broker.as_ref(), hooks.as_ref());
        let shards = shards.map_err(StartError::Shard)?;
        let sequencer = NodeSequencer::continuing(shards.inboxes(), order, &node);
        let gateway = Self {
            public: public.1,
            internal: internal.1,
            node,
            live,
            broker,
            sequencer: Arc::new(sequencer),
            window_file: window_file.map(Box::new),
            triggers: TaskTracker::new(),
            shards,
            services: Services::default(),
        };
        tracing::debug!(epoch = %gateway.sequencer.epoch(), "the order of publications begins");
        for tenant in &config.tenants.list {
            if let Some(id) = gateway.node.tenants.id(&tenant.name) {
                gateway.set_limits(id, &tenant.limits);
            }
        }
        gateway.start_prober(&config).await;
        gateway.start_delivery(caller);
        gateway.start_upkeep();
        gateway.start_usage(&config)?;
        gateway.start_rechecker();
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
        Heartbeat::new(self.order())
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
        node.gaps.set_policy(config.recovery.gap_old);
        node.tickets.set(&self.live.now().resume);
        node.set_memory_bounds(&config.limits);
        let in_force = ServerConfig {
            permissions: self.live.now().permissions,
            ..config.clone()
        };
        let settings = node.shard_settings(&in_force);
        self.shards.reconfigure(&settings);
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

    /// The sequencer of the node.
    fn order(&self) -> Arc<dyn Sequencer> {
        Arc::<NodeSequencer>::clone(&self.sequencer)
    }

    async fn start_prober(&self, config: &ServerConfig) {
        let broker = self.broker.clone();
        let is_alone = broker.is_none();
        let prober = Prober::new(&self.node, broker, &self.order(), config.readiness.clone());
        let Some(prober) = prober else {
            return;
        };
        if is_alone {
            // It depends on nothing but the shards: ready from the start.
            prober.probe().await;
        }
        let run = |shutdown| prober.run(shutdown);
        self.services.start(Service::Prober, run);
    }

    /// Starts the services that bring publications to the shards, and hooks to the API.
    fn start_delivery(&self, hooks: Option<HookCaller>) {
        let closer = GapCloser {
            gaps: Arc::clone(&self.node.gaps),
            totals: Arc::clone(&self.node.totals),
            live: self.live.clone(),
            inboxes: self.shards.inboxes(),
        };
        let run = |shutdown| closer.run(shutdown);
        self.services.start(Service::GapCloser, run);
        if let Some(broker) = self.broker.clone() {
            let sequencer = self.order();
            let reporter = Reporter {
                peers: Arc::clone(&self.node.peers),
                broker: Arc::clone(&broker),
                sequencer: Arc::clone(&self.sequencer),
                totals: Arc::clone(&self.node.totals),
                throttles: Arc::clone(&self.node.throttles),
            };
            let run = |shutdown| reporter.run(shutdown);
            self.services.start(Service::Reporter, run);
            let run = |shutdown| broker.run(sequencer, shutdown);
            self.services.start(Service::Broker, run);
        }
        if let Some(caller) = hooks {
            let run = |shutdown| caller.run(shutdown);
            self.services.start(Service::Hooks, run);
        }
    }

    /// Starts writing the usage of tenants, if it is to be written.
    fn start_usage(&self, config: &ServerConfig) -> Result<(), StartError> {
        let usage = Usage::of(&config.usage, &self.node).map_err(StartError::Usage)?;
        if let Some(usage) = usage {
            let run = |shutdown| usage.run(shutdown);
            self.services.start(Service::Usage, run);
        }
        Ok(())
    }

    /// Starts what the backends need beside their calls, for as long as clients are admitted.
    fn start_upkeep(&self) {
        let node = &self.node;
        let tenants = Arc::clone(&node.tenants);
        let run = |shutdown| async move { tenants.upkeep(shutdown).await };
        self.services.start(Service::Upkeep, run);
        if node.tenants.are_enabled() {
            let closer = Closer {
                leaving: Arc::clone(&node.leaving),
                tenants: Arc::clone(&node.tenants),
                permits: Arc::clone(&node.permits),
                live: self.live.clone(),
                inboxes: self.shards.inboxes(),
            };
            let run = |shutdown| closer.run(shutdown);
            self.services.start(Service::TenantCloser, run);
        }
    }

    /// Starts what queries the API again about clients that are connected, for as long as they are.
    fn start_rechecker(&self) {
        let node = &self.node;
        let rechecker = Rechecker {
            mailbox: Arc::clone(&node.rechecks),
            tenants: Arc::clone(&node.tenants),
            interner: Arc::clone(&node.interner),
            clock: node.call_clock(),
            reports: Reports {
                meters: Arc::clone(&node.meters),
                counters: Arc::clone(&node.counters),
                throttles: Arc::clone(&node.throttles),
            },
            live: self.live.clone(),
            inboxes: self.shards.inboxes(),
        };
        let run = |shutdown| rechecker.run(shutdown);
        self.services.start(Service::Rechecker, run);
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
            broker: self.broker.clone(),
            tenants: Arc::clone(&node.tenants),
        };
        let sources = Sources {
            node: Arc::clone(node),
            readiness,
            inboxes: self.shards.inboxes(),
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
            sequencer: Arc::clone(&self.sequencer),
            broker: self.broker.clone(),
            sources: Arc::new(sources),
            triggers: self.triggers.clone(),
            identity: Identity::new(&self.public),
            peers: Arc::clone(&node.peers),
        };
        let run = |shutdown| internal.run(listener, shutdown);
        self.services.start(Service::Internal, run);
        let watch = MemoryWatch {
            memory: Arc::clone(&node.memory),
            accounts: Arc::clone(&node.accounts),
            window: Arc::clone(&node.window),
            live: self.live.clone(),
            shards: self.shards.inboxes(),
            allocated: config.allocated,
        };
        let run = |shutdown| watch.run(shutdown);
        self.services.start(Service::MemoryWatch, run);
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
            clock: node.call_clock(),
            tickets: Arc::clone(&node.tickets),
            window: Arc::clone(&node.window),
            permits: Arc::clone(&node.permits),
            memory: Arc::clone(&node.memory),
            meters: Arc::clone(&node.meters),
            counters: Arc::clone(counters),
            throttles: Arc::clone(throttles),
        };
        let destinations = Destinations {
            loads: Arc::clone(&node.loads),
            inboxes: self.shards.inboxes(),
            next: AtomicUsize::new(0),
        };
        let public = Public {
            live: self.live.clone(),
            counters: Arc::clone(counters),
            throttles: Arc::clone(throttles),
            lifecycle: Arc::clone(&node.lifecycle),
            totals: Arc::clone(&node.totals),
            peers: Arc::clone(&node.peers),
            descriptors: Arc::clone(&node.descriptors),
            quotas,
            charges: Arc::new(charges),
            bootstrap,
            destinations,
            leaving: self.services.shutdown(ShutdownStage::Clients),
        };
        let run = |_| public.run(listener);
        self.services.start(Service::Public, run);
    }
}

/// The queue of hooks, if there is any.
fn hooks(config: &ServerConfig, node: &Node) -> Option<(HookSender, HookCaller)> {
    let mut hooks = Hook::ALL.into_iter();
    let is_any = hooks.any(|hook| node.tenants.have_hook(hook));
    is_any.then(|| hook_queue(&config.hooks, node))
}
