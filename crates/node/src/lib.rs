//! The tokio shell around the pure core: listeners, shards, sequencer, internal HTTP, metrics.
//!
//! Handshakes, backend calls, triggers and hooks run on the caller's tokio runtime, the *control
//! side*. Each shard is a thread of its own with a poll of its own. Only [`Gateway::start`]
//! starts either.

pub mod config;
pub mod identity;
pub mod live;
pub mod metrics;
pub mod offload;

mod counters;
mod delivery;
mod drain;
mod every_metric;
mod gaps;
mod grants;
mod heartbeat;
mod held;
mod hooks;
mod in_flight;
mod inbox;
mod internal;
mod memory;
mod memory_watch;
mod node;
mod public;
mod readiness;
mod recovery;
mod sequencer;
mod shard;
mod socket;
mod throttle;
mod turns;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use ht_backend::{Backend, ForwardRules, Hook};
use ht_broker::{Broker, Sequencer};
use ht_core::Hasher;
use ht_core::shard::Shard;
use ht_edge::listener::Listener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{Listen, Secret, ServerConfig, ServerLimits};
use crate::grants::GrantSets;
use crate::hooks::hook_queue;
use crate::identity::Identity;
use crate::inbox::Input;
use crate::internal::Internal;
use crate::live::{Live, shard_settings};
use crate::node::Node;
use crate::public::{Public, Told};
use crate::readiness::Prober;
use crate::sequencer::NodeSequencer;
use crate::shard::Running;

pub use crate::heartbeat::Heartbeat;
pub use crate::memory::allowance as memory_allowance;
pub use ht_edge::listener::{Inherited, InheritedSockets};

/// A running node. It goes on until it is [drained](Self::drain), whether or not this value is
/// kept.
pub struct Gateway {
    public: Listen,
    internal: Listen,
    node: Arc<Node>,
    live: Live,
    sequencer: Arc<dyn Sequencer>,
    shards: Vec<Running>,
    /// Ends the public listener.
    stop_public: CancellationToken,
    /// Ends the broker.
    stop_broker: CancellationToken,
    /// Ends the internal listener, which answers for health until all else is done.
    stop_internal: CancellationToken,
    broker: Option<JoinHandle<()>>,
    hooks: Option<JoinHandle<()>>,
    public_task: JoinHandle<()>,
    internal_task: JoinHandle<()>,
    triggers: TaskTracker,
}

/// Why a node could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// An address could not be listened on.
    #[error("cannot listen on {listen} ({setting}): {cause}{}", help(cause))]
    Listen {
        /// The setting that names the address.
        setting: &'static str,
        /// The address as configured.
        listen: Listen,
        /// What the system said.
        cause: std::io::Error,
    },
    /// The internal listener would be open to the network.
    #[error(
        "internal.listen is {0}, which others can reach, and internal.api_key is not set: anybody \
         there could publish to every user. Set a key, or listen on 127.0.0.1 or a unix socket"
    )]
    InternalIsOpen(Listen),
    /// A shard could not be started.
    #[error("cannot start a shard: {0}")]
    Shard(std::io::Error),
}

/// What helps where an address is in use.
fn help(cause: &std::io::Error) -> &'static str {
    if cause.kind() == std::io::ErrorKind::AddrInUse {
        "; `high-templar check` finds out who uses it"
    } else {
        ""
    }
}

impl Gateway {
    /// Starts listeners, shards and broker on the current tokio runtime.
    ///
    /// `live` holds the live part of `config`, and what is forwarded to `backend`. Without a
    /// `broker` the node delivers what comes over its own HTTP door, and nothing else. `sockets`
    /// are listened on in place of the configured addresses.
    ///
    /// # Errors
    /// When an address cannot be listened on, the internal one is open to the network without a
    /// key, or the system has no threads left.
    pub async fn start(
        config: ServerConfig,
        backend: Arc<dyn Backend>,
        live: Live,
        broker: Option<Arc<Broker>>,
        sockets: InheritedSockets,
    ) -> Result<Self, StartError> {
        let public_listener = listen("listen", &config.listen, sockets.public)?;
        let listen_internal = &config.internal.listen;
        if sockets.internal.is_none() {
            refuse_open(listen_internal, &config.internal.api_keys)?;
        }
        let internal_listener = listen("internal.listen", listen_internal, sockets.internal)?;
        let (public, internal) = (
            public_listener.address(&config.listen),
            internal_listener.address(listen_internal),
        );
        refuse_open(&internal, &config.internal.api_keys)?;

        let threads = config.threads.max(1);
        let node = Node::new(threads, config.matching, broker.clone())
            .with_backend(Arc::clone(&backend))
            .built(config.build);
        let node = Arc::new(node);
        node.gaps.set_policy(config.recovery.gap_old);
        set_memory_bounds(&node, &config.limits);
        let has_hooks = [Hook::Connect, Hook::Ping, Hook::Disconnect]
            .iter()
            .any(|&hook| backend.has_hook(hook));
        let (sender, hooks) = if has_hooks {
            let (sender, calls) =
                hook_queue(&config.hooks, Arc::clone(&backend), Arc::clone(&node));
            (Some(sender), Some(tokio::spawn(calls)))
        } else {
            (None, None)
        };
        let hasher = Hasher::default();
        let mut shards = Vec::with_capacity(threads);
        let waiting = config.limits.memory_bounds(memory_allowance()).inboxes;
        for index in 0..threads {
            let settings = shard_settings(&config, &node.outboxes, &node.accounts);
            let shard = Shard::new(settings, hasher.clone());
            let bounds = inbox::Bounds {
                inputs: config.limits.inbox,
                bytes: waiting / threads,
            };
            let running = shard::start(index, shard, bounds, Arc::clone(&node), sender.clone());
            shards.push(running.map_err(StartError::Shard)?);
        }
        let inboxes: Vec<_> = shards.iter().map(|shard| shard.inbox.clone()).collect();
        let inboxes = node.inboxes.get_or_init(|| inboxes).clone();

        let ids = config.limits.trigger_ids;
        let sequencer: Arc<dyn Sequencer> =
            Arc::new(NodeSequencer::new(inboxes.clone(), ids, Arc::clone(&node)));
        tracing::debug!(epoch = %sequencer.epoch(), "the order of publications begins");
        let [stop_public, stop_broker, stop_internal] =
            std::array::from_fn(|_| CancellationToken::new());
        let triggers = TaskTracker::new();
        let prober = Prober::new(&node, &sequencer, config.readiness);
        if let (Some(prober), None) = (&prober, &broker) {
            // Nothing is needed for it but the shards: ready from the first moment.
            prober.probe().await;
        }
        if let Some(prober) = prober {
            tokio::spawn(prober.run(stop_public.clone()));
        }
        tokio::spawn(recovery::run(
            Arc::clone(&node),
            live.clone(),
            inboxes.clone(),
            stop_public.clone(),
        ));
        let broker = broker
            .map(|broker| tokio::spawn(broker.run(Arc::clone(&sequencer), stop_broker.clone())));
        let (asked, ends) = (Arc::clone(&backend), stop_public.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = asked.upkeep() => {}
                () = ends.cancelled() => {}
            }
        });
        let door = Internal {
            node: Arc::clone(&node),
            sequencer: Arc::clone(&sequencer),
            live: live.clone(),
            triggers: triggers.clone(),
            identity: Identity::new(&public),
        };
        let internal_task = tokio::spawn(internal::serve(
            Arc::new(door),
            internal_listener,
            stop_internal.clone(),
        ));
        let front = Public {
            node: Arc::clone(&node),
            backend,
            live: live.clone(),
            grants: GrantSets::new(hasher),
            shards: inboxes.clone(),
            next_shard: AtomicUsize::new(0),
            handshakes: Arc::new(Semaphore::new(config.limits.handshakes_max())),
            told: Told::default(),
            leaving: stop_public.clone(),
            has_hooks,
        };
        let public_task = tokio::spawn(public::serve(Arc::new(front), public_listener));
        tokio::spawn(memory_watch::run(
            Arc::clone(&node),
            live.clone(),
            inboxes,
            config.allocated,
            stop_internal.clone(),
        ));
        Ok(Self {
            public,
            internal,
            node,
            live,
            sequencer,
            shards,
            stop_public,
            stop_broker,
            stop_internal,
            broker,
            hooks,
            public_task,
            internal_task,
            triggers,
        })
    }

    /// Where browsers connect, with the port that was really taken.
    #[must_use]
    pub fn public(&self) -> &Listen {
        &self.public
    }

    /// Where triggers, metrics and health are served.
    #[must_use]
    pub fn internal(&self) -> &Listen {
        &self.internal
    }

    /// Whether the shards make progress, for as long as anybody wants to know.
    #[must_use]
    pub fn heartbeat(&self) -> Heartbeat {
        Heartbeat::new(Arc::clone(&self.sequencer))
    }

    /// Applies the settings that need no restart. They hold for what begins after that, and open
    /// connections heed them from their next message on.
    /// Everything else in `config` is ignored. Ready when they are in force.
    ///
    /// # Errors
    /// When the internal listener, which stays where it is, would be open to the network without
    /// a key. Then nothing changes.
    pub async fn reload(
        &self,
        config: &ServerConfig,
        rules: ForwardRules,
    ) -> Result<(), StartError> {
        refuse_open(&self.internal, &config.internal.api_keys)?;
        self.live.set(self.live.now().reloaded(config, rules));
        self.node.gaps.set_policy(config.recovery.gap_old);
        set_memory_bounds(&self.node, &config.limits);
        let settings = shard_settings(config, &self.node.outboxes, &self.node.accounts);
        for shard in &self.shards {
            // A shard that has ended has nobody to be bounded.
            let _ = shard
                .inbox
                .send(Input::Settings(Box::new(settings.clone())));
        }
        // Behind these: once it is taken they are in force.
        self.heartbeat().beat().await;
        Ok(())
    }
}

/// Puts the bounds of memory in force.
fn set_memory_bounds(node: &Node, limits: &ServerLimits) {
    let bounds = limits.memory_bounds(memory_allowance());
    node.outboxes.set_limit(bounds.outboxes);
    node.accounts.set_limit(bounds.clients);
    node.accounts.set_shares(bounds.address, bounds.user);
}

/// Waits for a task; a panic in it is a bug that must be seen.
async fn joined(task: JoinHandle<()>) {
    if let Err(error) = task.await {
        tracing::error!(%error, "a task panicked");
    }
}

fn listen(
    setting: &'static str,
    listen: &Listen,
    inherited: Option<Inherited>,
) -> Result<Listener, StartError> {
    let listener = match inherited {
        Some(inherited) => Listener::take(inherited),
        None => Listener::bind(listen),
    };
    listener.map_err(|cause| StartError::Listen {
        setting,
        listen: listen.clone(),
        cause,
    })
}

fn refuse_open(listen: &Listen, api_keys: &[Secret]) -> Result<(), StartError> {
    if let Listen::Tcp(address) = listen
        && !address.ip().is_loopback()
        && api_keys.is_empty()
    {
        return Err(StartError::InternalIsOpen(listen.clone()));
    }
    Ok(())
}
