//! The one door to the shards: it orders and numbers what is published.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use ht_broker::{Dispatch, Missed, Place, Taken};
use ht_core::publication::Publication;
use ht_proto::trigger::Trigger;
use tokio::sync::{Mutex, oneshot};

use crate::inbox::{self, Batch, Input, Overflow};
use crate::node::Node;

/// Gives triggers their place in the node's one order and hands them to the shards where somebody
/// may hear them.
pub(crate) struct Dispatcher {
    /// Whoever holds it is next in the order. The lock is fair: first come, first placed.
    order: Mutex<Order>,
    shards: Vec<inbox::Sender>,
    node: Arc<Node>,
}

struct Order {
    /// The last position that was given.
    position: u64,
    seen: Seen,
}

impl Dispatcher {
    /// A dispatcher for the shards. `ids_max`: how many trigger ids are remembered.
    pub(crate) fn new(shards: Vec<inbox::Sender>, ids_max: usize, node: Arc<Node>) -> Self {
        let order = Order {
            position: 0,
            seen: Seen::new(ids_max),
        };
        Self {
            order: Mutex::new(order),
            shards,
            node,
        }
    }

    async fn place(&self, triggers: Vec<Trigger>) -> Vec<Place> {
        self.back_pressure(&triggers).await;
        let mut triggers: Vec<_> = triggers.into_iter().map(Placing::new).collect();
        let mut order = self.order.lock().await;
        // Nothing waits after that, so that a caller who is cancelled leaves either no trace or all
        // of it.
        let places: Vec<_> = triggers
            .iter_mut()
            .map(|trigger| order.place(trigger.id.take()))
            .collect();
        let placed = triggers.into_iter().zip(&places);
        let publications: Vec<_> = placed
            .filter(|(_, place)| !place.duplicate)
            .map(|(trigger, place)| trigger.publication.at(place.position))
            .collect();
        self.count(places.len(), publications.len());
        if publications.is_empty() {
            return places;
        }
        let batch = Batch::new(publications);
        let concerned = self.node.census.placed(&batch.publications);
        let mut missed = Vec::new();
        for (index, shard) in self.shards.iter().enumerate() {
            if concerned.contains(index)
                && let Some(overflow) = shard.publish(batch.clone())
            {
                // Before others have their turn: a connection that opens from here on missed none.
                self.missed(index, &overflow);
                missed.push(overflow);
            }
        }
        drop(order);
        // Maybe very many are let go: not while others wait.
        drop(missed);
        places
    }

    /// Waits for shards that are behind, those alone that the triggers may concern. Every wait is
    /// bounded, and nothing was placed yet.
    async fn back_pressure(&self, triggers: &[Trigger]) {
        if !self.shards.iter().any(inbox::Sender::is_full) {
            return;
        }
        let rooms = triggers.iter().flat_map(|trigger| &trigger.rooms);
        let concerned = self.node.census.hearing_any(rooms);
        let shards = self.shards.iter().enumerate();
        let full = shards.filter(|(index, shard)| concerned.contains(*index) && shard.is_full());
        let rooms = full.map(|(index, shard)| async move {
            let counters = &self.node.counters;
            counters.back_pressure.fetch_add(1, Ordering::Relaxed);
            let holds_others = || {
                let mut others = self.shards.iter().enumerate();
                others.any(|(other, shard)| other != index && shard.is_half_empty())
            };
            if shard.room(holds_others).await
                && let Some(suppressed) = self.node.throttles.tell("stalled-shard")
            {
                tracing::warn!(
                    shard = index,
                    waiting = shard.len(),
                    bytes = shard.bytes(),
                    suppressed,
                    "a thread falls behind with publications: publishing continues for the others, \
                     its clients receive theirs late. Look at high_templar_inbox_bytes; give the \
                     node more cores, or raise threads"
                );
            }
        });
        join_all(rooms).await;
    }

    /// A shard was so far behind that it missed publications.
    fn missed(&self, index: usize, overflow: &Overflow) {
        let batches = overflow.batches.iter();
        let count: usize = batches.map(|batch| batch.publications.len()).sum();
        let counter = &self.node.counters.publications_missed;
        counter.fetch_add(count as u64, Ordering::Relaxed);
        let cause = format!("thread {index} is too far behind: {count} publications were dropped");
        self.node.shard_missed(index, &cause);
    }

    async fn hand_on_probe(&self) -> Taken {
        let order = self.order.lock().await;
        let taken: Vec<_> = self
            .shards
            .iter()
            .enumerate()
            .map(|(index, shard)| {
                let (taken, answer) = oneshot::channel();
                // A shard that has ended is reported elsewhere.
                let sent = shard.send(Input::Probe(taken));
                let node = Arc::clone(&self.node);
                async move {
                    if sent.is_ok() {
                        let _ = answer.await;
                    }
                    node.delivery.taken(index);
                }
            })
            .collect();
        drop(order);
        self.node.delivery.arrived();
        Taken(join_all(taken).map(drop).boxed())
    }

    fn count(&self, triggers: usize, publications: usize) {
        let counters = &self.node.counters;
        counters
            .triggers
            .fetch_add(triggers as u64, Ordering::Relaxed);
        let duplicates = (triggers - publications) as u64;
        counters
            .trigger_duplicates
            .fetch_add(duplicates, Ordering::Relaxed);
    }
}

impl Dispatch for Dispatcher {
    fn dispatch(&self, triggers: Vec<Trigger>) -> BoxFuture<'_, Vec<Place>> {
        Box::pin(self.place(triggers))
    }

    fn probe(&self) -> BoxFuture<'_, Taken> {
        Box::pin(self.hand_on_probe())
    }

    fn missed(&self, missed: Missed) {
        self.node.missed(&missed);
    }
}

impl Order {
    fn place(&mut self, id: Option<Box<str>>) -> Place {
        if let Some(position) = id.as_ref().and_then(|id| self.seen.position(id)) {
            return Place {
                position,
                duplicate: true,
            };
        }
        self.position += 1;
        if let Some(id) = id {
            self.seen.remember(id, self.position);
        }
        Place {
            position: self.position,
            duplicate: false,
        }
    }
}

/// A trigger that waits for its place.
struct Placing {
    id: Option<Box<str>>,
    publication: Publication,
}

impl Placing {
    fn new(trigger: Trigger) -> Self {
        Self {
            id: trigger.id,
            publication: Publication::new(0, trigger.rooms, trigger.data),
        }
    }
}

/// The ids of the last triggers that had one.
struct Seen {
    positions: HashMap<Arc<str>, u64>,
    /// Oldest first.
    order: VecDeque<Arc<str>>,
    max: usize,
}

impl Seen {
    fn new(max: usize) -> Self {
        Self {
            positions: HashMap::new(),
            order: VecDeque::new(),
            max,
        }
    }

    fn position(&self, id: &str) -> Option<u64> {
        self.positions.get(id).copied()
    }

    fn remember(&mut self, id: Box<str>, position: u64) {
        if self.max == 0 {
            return;
        }
        if self.order.len() >= self.max
            && let Some(oldest) = self.order.pop_front()
        {
            self.positions.remove(&oldest);
        }
        let id: Arc<str> = id.into();
        self.order.push_back(Arc::clone(&id));
        self.positions.insert(id, position);
    }
}

#[cfg(test)]
mod tests;
