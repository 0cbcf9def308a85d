//! RabbitMQ with a stream for all nodes.

use std::sync::Arc;

use ht_broker::log::Log;
use ht_broker::rabbitmq::RabbitMqStream;
use ht_testkit::publisher::Publisher;
use ht_testkit::rabbitmq::{RabbitMq as Server, Vhost};

use crate::support::{EXCHANGE, config, stream_config};
use crate::{Engine, broker, log};

struct Stream(Vhost);

impl Engine for Stream {
    fn log(&self) -> Arc<dyn Log> {
        let log = RabbitMqStream::new(&config(self.0.url()), stream_config());
        Arc::new(log.unwrap())
    }

    async fn publish(&self, bodies: Vec<Vec<u8>>) {
        let publisher = Publisher::connect(self.0.url(), EXCHANGE).await;
        publisher.publish_all(bodies).await;
    }
}

#[tokio::test]
async fn a_stream_of_rabbitmq_is_a_log() {
    log::keeps_the_contract(&Stream(Server::shared().vhost())).await;
}

/// On one thread: nothing may block it.
#[tokio::test]
async fn a_stream_of_rabbitmq_carries_a_broker() {
    broker::keeps_the_contract(&Stream(Server::shared().vhost())).await;
}
