//! RabbitMQ with a queue for each node.

use std::sync::Arc;

use ht_broker::log::Log;
use ht_broker::rabbitmq::RabbitMq;
use ht_testkit::publisher::Publisher;
use ht_testkit::rabbitmq::{RabbitMq as Server, Vhost};

use crate::support::{EXCHANGE, config};
use crate::{Engine, broker, log};

impl Engine for Vhost {
    fn log(&self) -> Arc<dyn Log> {
        Arc::new(RabbitMq::new(&config(self.url())).unwrap())
    }

    async fn publish(&self, bodies: Vec<Vec<u8>>) {
        let publisher = Publisher::connect(self.url(), EXCHANGE).await;
        publisher.publish_all(bodies).await;
    }
}

#[tokio::test]
async fn rabbitmq_is_a_log() {
    log::keeps_the_contract(&Server::shared().vhost()).await;
}

/// On one thread: nothing may block it.
#[tokio::test]
async fn rabbitmq_carries_a_broker() {
    broker::keeps_the_contract(&Server::shared().vhost()).await;
}
