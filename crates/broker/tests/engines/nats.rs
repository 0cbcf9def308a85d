//! NATS JetStream.

use std::sync::Arc;

use ht_broker::log::Log;
use ht_broker::nats::Nats;
use ht_testkit::nats::Nats as Server;

use crate::{Engine, broker, log};

impl Engine for Server {
    fn log(&self) -> Arc<dyn Log> {
        Arc::new(Nats::new(&self.config()).unwrap())
    }

    async fn publish(&self, bodies: Vec<Vec<u8>>) {
        Self::publish(self, bodies).await;
    }
}

#[tokio::test]
async fn nats_is_a_log() {
    log::keeps_the_contract(&Server::start()).await;
}

/// On one thread: nothing may block it.
#[tokio::test]
async fn nats_carries_a_broker() {
    broker::keeps_the_contract(&Server::start()).await;
}
