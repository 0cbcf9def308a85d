//! The one door to the shards: it orders, numbers and encodes what is published.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::future::join_all;
use ht_broker::Dispatch;
use ht_broker::Missed;
use ht_broker::Place;
use ht_broker::Taken;
use ht_core::publication::Publication;
use ht_proto::trigger::Trigger;
use tokio::sync::Mutex;
use tokio::sync::oneshot;

use crate::inbox;
use crate::inbox::Input;
use crate::inbox::Permit;
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
        let mut order = self.order.lock().await;
        let permits = self.permits().await;
        let mut publications = Vec::with_capacity(triggers.len());
        let mut places = Vec::with_capacity(triggers.len());
        for trigger in triggers {
            let place = order.place(trigger.id);
            places.push(place);
            if !place.duplicate {
                let position = place.position;
                publications.push(Publication::new(position, trigger.rooms, &trigger.data));
            }
        }
        self.count(places.len(), publications.len());
        if !publications.is_empty() {
            let batch: Arc<[Publication]> = publications.into();
            let concerned = self.node.census.placed(&batch);
            for (index, permit) in permits {
                if concerned.contains(index) {
                    permit.send(Input::Publish(Arc::clone(&batch)));
                }
            }
        }
        places
    }

    /// A place in every inbox. Nothing waits after that, so that a caller who goes away leaves
    /// either no trace or all of it.
    async fn permits(&self) -> Vec<(usize, Permit<'_, Input>)> {
        let mut permits = Vec::with_capacity(self.shards.len());
        for (index, shard) in self.shards.iter().enumerate() {
            // A shard that has ended has nobody to deliver to.
            if let Ok(permit) = shard.reserve().await {
                permits.push((index, permit));
            }
        }
        permits
    }

    async fn hand_on_probe(&self) -> Taken {
        let order = self.order.lock().await;
        let permits = self.permits().await.into_iter();
        let taken = permits.map(|(_, permit)| {
            let (taken, answer) = oneshot::channel();
            permit.send(Input::Probe(taken));
            answer
        });
        // A shard that ends meanwhile is told of elsewhere.
        let all = join_all(taken.collect::<Vec<_>>()).map(drop);
        drop(order);
        self.node.delivery.arrived();
        Taken(all.boxed())
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
mod tests {
    use super::*;

    #[test]
    fn a_repeated_id_keeps_its_first_position_within_the_window() {
        let mut order = Order {
            position: 0,
            seen: Seen::new(2),
        };
        let mut place = |id: Option<&str>| {
            let place = order.place(id.map(Into::into));
            (place.position, place.duplicate)
        };
        assert_eq!(place(Some("a")), (1, false));
        assert_eq!(place(None), (2, false));
        assert_eq!(place(None), (3, false));
        assert_eq!(place(Some("a")), (1, true));
        assert_eq!(place(Some("b")), (4, false));
        assert_eq!(place(Some("c")), (5, false));
        assert_eq!(place(Some("a")), (6, false));
        assert_eq!(place(Some("c")), (5, true));
    }
}
