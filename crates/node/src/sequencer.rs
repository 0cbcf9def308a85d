//! The sequencer: the only door to the shards. It orders and numbers what is published.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use ht_broker::order::Order;
use ht_broker::{Missed, Placed, Sequencer, Taken};
use ht_control::interest::InterestIndex;
use ht_core::publication::Publication;
use ht_proto::entry::{Body, Entry, Epoch, Position};
use ht_proto::room::Room;
use ht_telemetry::throttle::Throttles;
use tokio::sync::{Mutex, oneshot};
use uuid::Uuid;

use crate::counters::Counters;
use crate::delivery::Delivery;
use crate::inbox::{self, Batch, Input, Overflow};
use crate::node::Node;
use crate::recovery::GapReports;

/// Gives entries their place in the node's one order and hands them to the shards where they may
/// concern somebody.
pub(crate) struct NodeSequencer {
    epoch: Epoch,
    /// Whoever holds it is next in the order. The lock is fair: first come, first placed.
    order: Mutex<Order>,
    shards: Vec<inbox::Sender>,
    interest: Arc<InterestIndex>,
    delivery: Arc<Delivery>,
    gaps: GapReports,
    counters: Arc<Counters>,
    throttles: Arc<Throttles>,
}

impl NodeSequencer {
    /// A sequencer for the shards of a node, with an order of its own. `ids_max`: how many trigger
    /// ids are remembered.
    pub(crate) fn new(shards: Vec<inbox::Sender>, ids_max: usize, node: &Node) -> Self {
        let epoch = Epoch::from_random(Uuid::new_v4().as_fields().0);
        Self {
            epoch,
            order: Mutex::new(Order::new(epoch, ids_max)),
            shards,
            interest: Arc::clone(&node.interest),
            delivery: Arc::clone(&node.delivery),
            gaps: GapReports::new(node),
            counters: Arc::clone(&node.counters),
            throttles: Arc::clone(&node.throttles),
        }
    }

    async fn place_all(&self, batch: Vec<Entry>) -> Vec<Placed> {
        self.back_pressure(&batch).await;
        let mut batch: Vec<_> = batch.into_iter().map(Placing::new).collect();
        let mut order = self.order.lock().await;
        // Nothing waits after that, so that a caller who is cancelled leaves either no trace or all
        // of it.
        let places: Vec<_> = batch
            .iter_mut()
            .map(|entry| order.place(entry.given, entry.id.take()))
            .collect();
        let placed = batch.into_iter().zip(&places);
        let publications: Vec<_> = placed
            .filter(|(_, placed)| !placed.duplicate)
            .map(|(entry, placed)| entry.publication.at(placed.position.get()))
            .collect();
        self.count(places.len(), publications.len());
        if publications.is_empty() {
            return places;
        }
        let batch = Batch::new(publications);
        let concerned = self.interest.placed(&batch.publications);
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

    /// Waits for shards that are behind, those alone that the batch may concern. Every wait is
    /// bounded, and nothing was placed yet.
    async fn back_pressure(&self, batch: &[Entry]) {
        if !self.shards.iter().any(inbox::Sender::is_full) {
            return;
        }
        let rooms = batch.iter().flat_map(|entry| {
            let rooms = rooms(entry).iter();
            rooms.map(|room| (entry.tenant, room))
        });
        let concerned = self.interest.hearing_any(rooms);
        let shards = self.shards.iter().enumerate();
        let full = shards.filter(|(index, shard)| concerned.contains(*index) && shard.is_full());
        let rooms = full.map(|(index, shard)| async move {
            self.counters.back_pressure.fetch_add(1, Ordering::Relaxed);
            let holds_others = || {
                let mut others = self.shards.iter().enumerate();
                others.any(|(other, shard)| other != index && shard.is_half_empty())
            };
            if shard.room(holds_others).await
                && let Some(suppressed) = self.throttles.allow("stalled-shard")
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
        let batches = overflow.batches();
        let count: usize = batches.map(|batch| batch.publications.len()).sum();
        let counter = &self.counters.publications_missed;
        counter.fetch_add(count as u64, Ordering::Relaxed);
        let cause = format!("thread {index} is too far behind: {count} publications were dropped");
        self.gaps.shard_missed(index, &cause);
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
                let delivery = Arc::clone(&self.delivery);
                async move {
                    if sent.is_ok() {
                        let _ = answer.await;
                    }
                    delivery.taken(index);
                }
            })
            .collect();
        drop(order);
        self.delivery.arrived();
        Taken(join_all(taken).map(drop).boxed())
    }

    fn count(&self, triggers: usize, publications: usize) {
        let counters = &self.counters;
        counters
            .triggers
            .fetch_add(triggers as u64, Ordering::Relaxed);
        let duplicates = (triggers - publications) as u64;
        counters
            .trigger_duplicates
            .fetch_add(duplicates, Ordering::Relaxed);
    }
}

impl Sequencer for NodeSequencer {
    fn epoch(&self) -> Epoch {
        self.epoch
    }

    fn place(&self, batch: Vec<Entry>) -> BoxFuture<'_, Vec<Placed>> {
        Box::pin(self.place_all(batch))
    }

    fn probe(&self) -> BoxFuture<'_, Taken> {
        Box::pin(self.hand_on_probe())
    }

    fn missed(&self, missed: Missed) {
        self.gaps.missed(&missed);
    }
}

/// The rooms that an entry may concern.
fn rooms(entry: &Entry) -> &[Room] {
    match &entry.body {
        Body::Publication(trigger) => &trigger.rooms,
    }
}

/// An entry that waits for its place.
struct Placing {
    given: Option<Position>,
    id: Option<Box<str>>,
    publication: Publication,
}

impl Placing {
    fn new(entry: Entry) -> Self {
        match entry.body {
            Body::Publication(trigger) => Self {
                given: entry.position,
                id: trigger.id,
                publication: Publication::new(0, entry.tenant, trigger.rooms, trigger.data),
            },
        }
    }
}

#[cfg(test)]
mod tests;
