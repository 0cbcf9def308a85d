//! Telling the API who came, pinged and went, without ever holding a shard or a delivery.
//!
//! Shards put moments into a bounded queue; one task takes them out and calls the API, a bounded
//! number at once, and never two for the same connection: its hooks arrive in order.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ht_backend::Backend;
use ht_backend::Credentials;
use ht_backend::Hook;
use ht_core::peer::Moment;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::config::HookQueueConfig;
use crate::node::Node;
use crate::socket::About;

/// One hook that is due.
struct Due {
    connection: Uuid,
    hook: Hook,
    credentials: Arc<Credentials>,
}

/// The end of the queue that shards hold.
#[derive(Clone)]
pub(crate) struct HookSender {
    sender: mpsc::Sender<Due>,
    wanted: [bool; 3],
    ping_min_interval: u64,
    node: Arc<Node>,
}

/// Makes the queue; the future calls the hooks until every sender is gone and all are done.
pub(crate) fn hook_queue(
    config: &HookQueueConfig,
    backend: Arc<dyn Backend>,
    node: Arc<Node>,
) -> (HookSender, impl Future<Output = ()> + Send + 'static) {
    let (sender, receiver) = mpsc::channel(config.queue.max(1));
    let wanted = [Hook::Connect, Hook::Ping, Hook::Disconnect].map(|hook| backend.has_hook(hook));
    let interval = config.ping_min_interval.as_millis();
    let sender = HookSender {
        sender,
        wanted,
        ping_min_interval: u64::try_from(interval).unwrap_or(u64::MAX),
        node: Arc::clone(&node),
    };
    let caller = Caller {
        backend,
        node,
        lanes: HashMap::new(),
        ready: VecDeque::new(),
        waiting: 0,
        calls: JoinSet::new(),
    };
    (
        sender,
        caller.run(receiver, config.queue.max(1), config.max_in_flight.max(1)),
    )
}

impl HookSender {
    /// Queues the hook for a moment, if there is one. `now` is in milliseconds.
    pub(crate) fn moment(&self, moment: Moment, about: &mut About, now: u64) {
        let (hook, wanted) = match moment {
            Moment::Connect => (Hook::Connect, self.wanted[0]),
            Moment::Ping => (Hook::Ping, self.wanted[1]),
            Moment::Disconnect => (Hook::Disconnect, self.wanted[2]),
        };
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
            self.node
                .counters
                .hooks_dropped
                .fetch_add(1, Ordering::Relaxed);
            if let Some(suppressed) = self.node.throttles.tell("hook-dropped") {
                tracing::warn!(
                    suppressed,
                    "the hook queue is full (hooks.queue): a hook is lost"
                );
            }
        }
    }
}

/// The task that calls the hooks.
struct Caller {
    backend: Arc<dyn Backend>,
    node: Arc<Node>,
    /// Each connection that has a hook waiting or under way.
    lanes: HashMap<Uuid, VecDeque<Due>>,
    /// Connections that have a hook waiting and none under way, in the order they came.
    ready: VecDeque<Uuid>,
    /// Hooks in all lanes.
    waiting: usize,
    calls: JoinSet<Uuid>,
}

impl Caller {
    async fn run(mut self, mut due: mpsc::Receiver<Due>, waiting_max: usize, calls_max: usize) {
        let mut open = true;
        while open || !self.lanes.is_empty() {
            tokio::select! {
                next = due.recv(), if open && self.waiting < waiting_max => match next {
                    Some(next) => self.add(next),
                    None => open = false,
                },
                Some(done) = self.calls.join_next() => self.done(done),
                // Nothing under way and nothing to come, after a panic: see `done`.
                else => return,
            }
            while self.calls.len() < calls_max && self.start() {}
        }
    }

    fn add(&mut self, due: Due) {
        let connection = due.connection;
        self.waiting += 1;
        if let Some(lane) = self.lanes.get_mut(&connection) {
            if lane.is_empty() || due.hook != Hook::Ping {
                lane.push_back(due);
            } else if lane.back().is_some_and(|last| last.hook == Hook::Ping) {
                // One that waits says as much as two.
                self.waiting -= 1;
            } else {
                lane.push_back(due);
            }
            return;
        }
        self.lanes.insert(connection, VecDeque::from([due]));
        self.ready.push_back(connection);
    }

    /// Starts the call that is next, if there is one.
    fn start(&mut self) -> bool {
        let Some(connection) = self.ready.pop_front() else {
            return false;
        };
        let Some(due) = self
            .lanes
            .get_mut(&connection)
            .and_then(VecDeque::pop_front)
        else {
            return true;
        };
        self.waiting -= 1;
        let (backend, node) = (Arc::clone(&self.backend), Arc::clone(&self.node));
        self.calls.spawn(async move {
            node.counters.hooks.fetch_add(1, Ordering::Relaxed);
            if let Err(failure) = backend.hook(due.hook, &due.credentials).await {
                node.counters.hook_errors.add(failure.kind());
                if let Some(suppressed) = node.throttles.tell("hook-failed") {
                    let hook = due.hook;
                    tracing::warn!(?hook, %connection, %failure, suppressed, "a hook failed");
                }
            }
            connection
        });
        true
    }

    fn done(&mut self, done: Result<Uuid, tokio::task::JoinError>) {
        let Ok(connection) = done else {
            // Only a bug in a backend panics here. Its lane cannot be told from the others any
            // more: let those go on that have nothing under way.
            tracing::error!("a hook call panicked");
            debug_assert!(false, "a hook call panicked");
            return;
        };
        if self.lanes.get(&connection).is_some_and(VecDeque::is_empty) {
            self.lanes.remove(&connection);
        } else {
            self.ready.push_back(connection);
        }
    }
}
