//! Hooks: reports connects, pings and disconnects to the API without blocking a shard or delivery.
//!
//! Shards put events into a bounded queue; one task takes them out and calls the API, with a
//! bounded number of calls in progress, and never two for the same connection: its hooks arrive in
//! order. The queue is fair: client addresses take turns, none may use all calls, and if the queue
//! is full the hooks of the address that has most of them queued are dropped. Each tenant has a queue
//! and calls of its own.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ht_backend::{FairQueue, Hook, KeptCredentials, QueueKey};
use ht_proto::entry::TenantId;
use ht_proto::label::Label as _;
use ht_telemetry::throttle::Throttles;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;
use uuid::Uuid;

use crate::config::HookQueueConfig;
use crate::counters::Counters;
use crate::node::Node;
use crate::socket::About;
use crate::tenants::{Tenant, Tenants};

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
        lines: HashMap::new(),
        waiting: 0,
        waiting_max: config.queue.max(1),
        calls: JoinSet::new(),
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
            let now = NonZeroU64::MIN.saturating_add(now);
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
    /// By tenant: those that have a hook queued or in progress.
    lines: HashMap<TenantId, Line>,
    /// Calls of one tenant that are in progress at once.
    calls_max: usize,
    /// Queued hooks.
    waiting: usize,
    waiting_max: usize,
    calls: JoinSet<(TenantId, Uuid, QueueKey)>,
}

/// The hooks of a tenant.
#[derive(Default)]
struct Line {
    /// The queued hooks of each connection that has one queued or in progress.
    connections: HashMap<Uuid, VecDeque<Due>>,
    /// Connections that have a hook queued and none in progress. Addresses take turns.
    ready: FairQueue<Uuid>,
    waiting: usize,
    /// Calls in progress, and those of each known address.
    calls: usize,
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
        let mut open = true;
        while open || !self.lines.is_empty() {
            let tenant = tokio::select! {
                next = self.due.recv(), if open => match next {
                    Some(next) => self.add(next),
                    None => {
                        open = false;
                        continue;
                    }
                },
                Some(done) = self.calls.join_next() => match self.done(done) {
                    Some(tenant) => tenant,
                    None => continue,
                },
                // Nothing in progress and nothing queued, after a panic: see `done`.
                else => return,
            };
            self.start_all(tenant);
        }
    }

    /// Queues a hook. Returns its tenant.
    fn add(&mut self, due: Due) -> TenantId {
        let (connection, key, id) = (due.connection, key(&due), due.credentials.tenant());
        let tenant = self.tenants.get(id);
        let calls = |tenant: Arc<Tenant>| !tenant.is_suspended() && tenant.has_hook(due.hook);
        if !tenant.is_some_and(calls) {
            return id;
        }
        let line = self.lines.entry(id).or_default();
        if let Some(own) = line.connections.get(&connection)
            && due.hook == Hook::Ping
            && own.back().is_some_and(|last| last.hook == Hook::Ping)
        {
            // One queued hook carries the same information as two.
            return id;
        }
        if self.waiting >= self.waiting_max && !self.make_room(id, key) {
            self.reports.dropped(1);
            return id;
        }
        self.waiting += 1;
        let line = self.lines.entry(id).or_default();
        line.waiting += 1;
        if let Some(own) = line.connections.get_mut(&connection) {
            own.push_back(due);
            return id;
        }
        line.connections.insert(connection, VecDeque::from([due]));
        line.ready.push(key, connection);
        id
    }

    /// Drops the hooks of a connection of the tenant that has most of them queued, and of its address
    /// that has, unless that is this one.
    fn make_room(&mut self, tenant: TenantId, key: QueueKey) -> bool {
        let lines = self.lines.iter_mut();
        let Some((most, line)) = lines.max_by_key(|(_, line)| line.waiting) else {
            return false;
        };
        let key = if *most == tenant { key } else { None.into() };
        let Some(connection) = line.ready.make_room(key) else {
            return false;
        };
        let hooks = line.connections.remove(&connection).unwrap_or_default();
        line.waiting -= hooks.len();
        self.waiting -= hooks.len();
        self.reports.dropped(hooks.len());
        true
    }

    /// Starts the calls of a tenant that may be made now. Those of one that was removed or suspended
    /// never will.
    fn start_all(&mut self, id: TenantId) {
        let Some(line) = self.lines.get_mut(&id) else {
            return;
        };
        let tenant = self.tenants.get(id).filter(|it| !it.is_suspended());
        if let Some(tenant) = tenant {
            while line.calls < self.calls_max
                && let Some((key, due)) = line.next(self.calls_max)
            {
                self.waiting -= 1;
                let call = call(Arc::clone(&tenant), due, self.reports.clone());
                let span = tenant.span();
                let called = async move { (id, call.await, key) };
                self.calls.spawn(called.instrument(span));
            }
        } else {
            self.waiting -= line.waiting;
            *line = Line {
                calls: line.calls,
                ..Line::default()
            };
        }
        if line.connections.is_empty() && line.calls == 0 {
            self.lines.remove(&id);
        }
    }

    /// A call has ended. Returns its tenant.
    fn done(
        &mut self,
        done: Result<(TenantId, Uuid, QueueKey), tokio::task::JoinError>,
    ) -> Option<TenantId> {
        let Ok((id, connection, key)) = done else {
            // Only a bug in a backend panics here. Which connection it was is no longer known;
            // those that have nothing in progress continue.
            tracing::error!("a hook call panicked");
            debug_assert!(false, "a hook call panicked");
            return None;
        };
        if let Some(line) = self.lines.get_mut(&id) {
            line.done(connection, key);
        }
        Some(id)
    }
}

impl Line {
    /// The next hook to be called, if there is one. `most`: calls at once.
    fn next(&mut self, most: usize) -> Option<(QueueKey, Due)> {
        // One address leaves a quarter of the calls to others: its own may hang.
        let per_address = (most - most / 4).max(1);
        let calls_by = &self.calls_by;
        let may = |key: QueueKey| calls_by.get(&key).is_none_or(|&calls| calls < per_address);
        let (key, connection) = self.ready.pop(may)?;
        let own = self.connections.get_mut(&connection);
        let due = own.and_then(VecDeque::pop_front);
        debug_assert!(due.is_some(), "a connection that is ready has a hook");
        let due = due?;
        self.waiting -= 1;
        self.calls += 1;
        if key.is_known() {
            *self.calls_by.entry(key).or_default() += 1;
        }
        Some((key, due))
    }

    fn done(&mut self, connection: Uuid, key: QueueKey) {
        self.calls = self.calls.saturating_sub(1);
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

/// Calls a hook, unless its tenant is removed or suspended. Returns the connection.
async fn call(tenant: Arc<Tenant>, due: Due, reports: Reports) -> Uuid {
    let Reports {
        counters,
        throttles,
    } = reports;
    let connection = due.connection;
    counters.hooks.fetch_add(1, Ordering::Relaxed);
    let (backend, credentials) = (tenant.backend(), due.credentials.restore());
    let called = tokio::select! {
        called = backend.hook(due.hook, &credentials) => called,
        () = tenant.ended() => return connection,
    };
    if let Err(failure) = called {
        counters.hook_errors.add(failure.kind());
        if let Some(suppressed) = throttles.allow("hook-failed") {
            let (hook, cause, advice) = (due.hook.as_str(), &failure, failure.advice());
            let advice = advice.as_deref();
            tracing::warn!(hook, %connection, %cause, advice, suppressed, "a hook failed");
        }
    }
    connection
}

/// The key of the fair queue for a hook.
fn key(due: &Due) -> QueueKey {
    due.credentials.address().into()
}
