//! A pipeline: a log, the order of its entries, and the shards whose clients hear them.
//!
//! A node has one for all tenants, and one more for each tenant with a log of its own. Nothing that
//! is numbered by one order is ever compared with another: whoever needs a window, a shard or a
//! position of a client has the pipeline of the client's tenant.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ht_broker::order::Order;
use ht_broker::{Broker, Health, Sequencer};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tracing::Span;

use crate::inbox;
use crate::loads::Load;
use crate::node::Node;
use crate::sequencer::NodeSequencer;
use crate::shards::Shards;

/// Longest wait for the log before clients are first accepted: earlier ones would have a gap at once,
/// and be closed.
const LOG_TIMEOUT: Duration = Duration::from_secs(3);

/// A log, its order and its shards.
pub(crate) struct Pipeline {
    pub(crate) node: Arc<Node>,
    /// None: entries are those of this node alone.
    pub(crate) broker: Option<Arc<Broker>>,
    pub(crate) sequencer: Arc<NodeSequencer>,
    /// Requests with triggers that are not ordered yet.
    pub(crate) triggers: TaskTracker,
    /// By shard.
    pub(crate) inboxes: Vec<inbox::Sender>,
    /// The shard of the next connection if all have equally many.
    next: AtomicUsize,
    /// Clients do not wait for the log any more.
    open_at: Instant,
}

impl Pipeline {
    /// One whose shards run, and that goes on with this order.
    pub(crate) fn new(
        node: Arc<Node>,
        broker: Option<Arc<Broker>>,
        shards: &Shards,
        order: Order,
    ) -> Self {
        let inboxes = shards.inboxes();
        let sequencer = NodeSequencer::continuing(inboxes.clone(), order, &node);
        Self {
            node,
            broker,
            sequencer: Arc::new(sequencer),
            triggers: TaskTracker::new(),
            inboxes,
            next: AtomicUsize::new(0),
            open_at: Instant::now() + LOG_TIMEOUT,
        }
    }

    /// Its sequencer.
    pub(crate) fn order(&self) -> Arc<dyn Sequencer> {
        Arc::<NodeSequencer>::clone(&self.sequencer)
    }

    /// The context of what is logged of it.
    pub(crate) fn span(&self) -> Span {
        match &self.node.owner {
            Some(owner) => tracing::error_span!("tenant", name = %owner.name),
            None => Span::none(),
        }
    }

    /// Room for a connection in the shard that has the fewest; `None` if all shards have ended.
    pub(crate) async fn reserve(&self) -> Option<(Load, inbox::Permit<'_>)> {
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        for shard in self.node.loads.shards_by_load(first) {
            // A shard that has ended takes no connection; if all have, the pipeline shuts down.
            if let Ok(room) = self.inboxes[shard].reserve_connection().await {
                return Some((self.node.loads.assign(shard), room));
            }
        }
        None
    }

    /// Ready when clients may be accepted: the log is read, and the other nodes know this one, or
    /// neither was the case for [`LOG_TIMEOUT`].
    pub(crate) async fn until_open(&self) {
        let connected = async {
            self.node.lifecycle.until_connected().await;
            // A command for every node must not miss the clients of this one.
            self.node.peers.until_announced().await;
        };
        tokio::select! {
            biased;
            () = connected => {}
            () = tokio::time::sleep_until(self.open_at) => {}
        }
    }

    /// Whether its log is read, and what is published to it arrives.
    pub(crate) fn delivers(&self) -> bool {
        let is_read = |broker: &Arc<Broker>| broker.health() == Health::Ready;
        self.broker.as_ref().is_none_or(is_read) && self.node.delivery.trouble().is_none()
    }
}
