//! Probes in the order.

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use ht_broker::Taken;
use tokio::sync::oneshot;

use super::NodeSequencer;
use crate::inbox::Input;

impl NodeSequencer {
    /// Hands a probe to every shard, after everything that was placed.
    pub(super) async fn hand_on_probe(&self) -> Taken {
        let mut order = self.order.lock().await;
        if !self.log_retains {
            self.settle(&mut order, None);
        }
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
}
