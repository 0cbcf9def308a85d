//! Hooks: reports connects, pings and disconnects to the API without blocking a shard or delivery.
//!
//! Shards put events into a bounded queue; one task takes them out and calls the API, with a
//! bounded number of calls in progress, and never two for the same connection: its hooks arrive in
//! order. The queue is fair: client addresses take turns, none may use all calls, and if the queue
//! is full the hooks of the address that has most of them queued are dropped.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ht_backend::{FairQueue, Hook, KeptCredentials, QueueKey};
use ht_proto::label::Label as _;
use ht_telemetry::throttle::Throttles;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::config::HookQueueConfig;
use crate::counters::Counters;
use crate::node::Node;
use crate::socket::About;
use crate::tenants::Tenants;

/// One hook that is due.
struct Due {
    connection: Uuid,
    hook: Hook,
    credentials: Arc<KeptCredentials>,
}

/// The sender for shards.
#[derive(Clone)]
pub(crate) struct HookSender {
    sender: mpsc::Sender<Due>,
    wanted: [bool; 3],
    ping_min_interval: u64,
    reports: Reports,
}

/// Creates the queue and the task that calls the hooks in it.
pub(crate) fn hook_queue(config: &HookQueueConfig, node: &Node) -> (HookSender, HookCaller) {
    let (sender, due) = mpsc::channel(config.queue.max(1));
    let reports = Reports {
        counters: Arc::clone(&node.counters),
        throttles: Arc::clone(&node.throttles),
    };
    let wanted = Hook::ALL.map(|hook| node.tenants.have_hook(hook));
    let interval = config.ping_min_interval.as_millis();
    let sender = HookSender {
        sender,
        wanted,
        ping_min_interval: u64::try_from(interval).unwrap_or(u64::MAX),
        reports: reports.clone(),
    };
    let caller = HookCaller {
        due,
        tenants: Arc::clone(&node.tenants),
        reports,
        calls_max: config.max_in_flight.max(1),
        connections: HashMap::new(),
        ready: FairQueue::default(),
        waiting: 0,
        waiting_max: config.queue.max(1),
        calls: JoinSet::new(),
        calls_by: HashMap::new(),
    };
    (sender, caller)
}

impl HookSender {
    /// Queues a hook, if it is configured. `now` is in milliseconds.
    pub(crate) fn queue(&self, hook: Hook, about: &mut About, now: u64) {
        let wanted = self.wanted[hook.index()];
        let Some(credentials) = about.credentials.as_ref().filter(|_| wanted) else {
            return;
        };
        if hook == Hook::Ping {
            if about
                .pinged
                .is_some_and(|last| now < last.saturating_add(self.ping_min_interval))
            {
                return;
            }
            about.pinged = Some(now);
        }
        let due = Due {
            connection: about.id,
            hook,
            credentials: Arc::clone(credentials),
        };
        if self.sender.try_send(due).is_err() {
            self.reports.dropped(1);
        }
    }
}

/// Counts and logs dropped hooks.
#[derive(Clone)]
struct Reports {
    counters: Arc<Counters>,
    throttles: Arc<Throttles>,
}

impl Reports {
    /// Counts and logs hooks for which there is no room.
    fn dropped(&self, hooks: usize) {
        let hooks = u64::try_from(hooks).unwrap_or(u64::MAX);
        let counters = &self.counters;
        counters.hooks_dropped.fetch_add(hooks, Ordering::Relaxed);
        if let Some(suppressed) = self.throttles.allow("hook-dropped") {
            tracing::warn!(
                suppressed,
                "the hook queue is full (hooks.queue): hooks are lost, those of the address that has \
                 most of them first. Raise hooks.max_in_flight if the API can serve more at once"
            );
        }
    }
}

/// Calls the hooks.
pub(crate) struct HookCaller {
    due: mpsc::Receiver<Due>,
    tenants: Arc<Tenants>,
    reports: Reports,
    /// The queued hooks of each connection that has one queued or in progress.
    connections: HashMap<Uuid, VecDeque<Due>>,
    /// Connections that have a hook queued and none in progress. Addresses take turns.
    ready: FairQueue<Uuid>,
    /// Calls in progress.
    calls_max: usize,
    /// Queued hooks.
    waiting: usize,
    waiting_max: usize,
    calls: JoinSet<(Uuid, QueueKey)>,
    /// Calls in progress of each known address.
    calls_by: HashMap<QueueKey, usize>,
}

impl HookCaller {
    /// Calls the hooks until `shutdown`, and then until all senders are dropped and all calls are
    /// done.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        self.call_all().await;
        shutdown.cancelled().await;
    }

    async fn call_all(&mut self) {
        let calls_max = self.calls_max;
        // One address leaves a quarter of the calls to others: its own may hang.
        let calls_per_address = (calls_max - calls_max / 4).max(1);
        let mut open = true;
        while open || !self.connections.is_empty() {
            tokio::select! {
                next = self.due.recv(), if open => match next {
                    Some(next) => self.add(next),
                    None => open = false,
                },
                Some(done) = self.calls.join_next() => self.done(done),
                // Nothing in progress and nothing queued, after a panic: see `done`.
                else => return,
            }
            while self.calls.len() < calls_max && self.start(calls_per_address) {}
        }
    }

    fn add(&mut self, due: Due) {
        let (connection, key) = (due.connection, key(&due));
        if let Some(own) = self.connections.get(&connection)
            && due.hook == Hook::Ping
            && own.back().is_some_and(|last| last.hook == Hook::Ping)
        {
            // One queued hook carries the same information as two.
            return;
        }
        if self.waiting >= self.waiting_max && !self.make_room(key) {
            return self.reports.dropped(1);
        }
        self.waiting += 1;
        if let Some(own) = self.connections.get_mut(&connection) {
            own.push_back(due);
            return;
        }
        self.connections.insert(connection, VecDeque::from([due]));
        self.ready.push(key, connection);
    }

    /// Drops the hooks of a connection of the address that has most of them queued, unless that is
    /// this one.
    fn make_room(&mut self, key: QueueKey) -> bool {
        let Some(connection) = self.ready.make_room(key) else {
            return false;
        };
        let hooks = self.connections.remove(&connection).unwrap_or_default();
        self.waiting -= hooks.len();
        self.reports.dropped(hooks.len());
        true
    }

    /// Starts the next call, if there is one.
    fn start(&mut self, most: usize) -> bool {
        let calls_by = &self.calls_by;
        let may = |key: QueueKey| calls_by.get(&key).is_none_or(|&calls| calls < most);
        let Some((key, connection)) = self.ready.pop(may) else {
            return false;
        };
        let own = self.connections.get_mut(&connection);
        let Some(due) = own.and_then(VecDeque::pop_front) else {
            debug_assert!(false, "a connection that is ready has a hook");
            return true;
        };
        self.waiting -= 1;
        if key.is_known() {
            *self.calls_by.entry(key).or_default() += 1;
        }
        let tenant = self.tenants.get(due.credentials.tenant());
        let reports = self.reports.clone();
        self.calls.spawn(async move {
            let Reports {
                counters,
                throttles,
            } = reports;
            let Some(tenant) = tenant else {
                return (connection, key);
            };
            counters.hooks.fetch_add(1, Ordering::Relaxed);
            let credentials = due.credentials.restore();
            if let Err(failure) = tenant.backend().hook(due.hook, &credentials).await {
                counters.hook_errors.add(failure.kind());
                if let Some(suppressed) = throttles.allow("hook-failed") {
                    let (hook, cause, advice) = (due.hook.as_str(), &failure, failure.advice());
                    let advice = advice.as_deref();
                    tracing::warn!(hook, %connection, %cause, advice, suppressed, "a hook failed");
                }
            }
            (connection, key)
        });
        true
    }

    fn done(&mut self, done: Result<(Uuid, QueueKey), tokio::task::JoinError>) {
        let Ok((connection, key)) = done else {
            // Only a bug in a backend panics here. Which connection it was is no longer known;
            // those that have nothing in progress continue.
            tracing::error!("a hook call panicked");
            debug_assert!(false, "a hook call panicked");
            return;
        };
        if let Some(calls) = self.calls_by.get_mut(&key) {
            *calls -= 1;
            if *calls == 0 {
                self.calls_by.remove(&key);
            }
        }
        let own = self.connections.get(&connection);
        if own.is_some_and(VecDeque::is_empty) {
            self.connections.remove(&connection);
        } else if own.is_some() {
            self.ready.push(key, connection);
        }
    }
}

/// The key of the fair queue for a hook.
fn key(due: &Due) -> QueueKey {
    due.credentials.address().into()
}
