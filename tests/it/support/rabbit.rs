//! Publishing over a real RabbitMQ from tests that have no runtime.

use futures_util::{StreamExt, TryStreamExt};
use ht_testkit::publisher::Publisher;
use lapin::options::{
    BasicConsumeOptions, BasicPublishOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Connection, ConnectionProperties};
use tokio::runtime::Runtime;

/// The exchange of the wire contract.
pub(crate) const EXCHANGE: &str = "hightemplar";

/// A publisher as backends have it: it declares nothing.
pub(crate) struct Rabbit {
    url: String,
    runtime: Runtime,
    publisher: Publisher,
}

impl Rabbit {
    /// Connects to the server at `url`.
    pub(crate) fn connect(url: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let publisher = runtime.block_on(Publisher::connect(url, EXCHANGE));
        Self {
            url: url.to_owned(),
            runtime,
            publisher,
        }
    }

    /// Publishes with the routing key `*`; done when the server has routed it.
    pub(crate) fn publish(&self, body: impl AsRef<[u8]>) {
        self.runtime.block_on(self.publisher.publish(body));
    }

    /// Publishes with any routing key.
    pub(crate) fn publish_to(&self, key: &str, body: impl AsRef<[u8]>) {
        self.runtime.block_on(self.publisher.publish_to(key, body));
    }

    /// Publishes many in order.
    pub(crate) fn publish_all(&self, bodies: impl IntoIterator<Item = String>) {
        self.runtime.block_on(self.publisher.publish_all(bodies));
    }

    /// Publishes with properties, on a connection of its own that is closed behind it, as
    /// backends do it for every trigger.
    pub(crate) fn publish_with(&self, properties: BasicProperties, body: impl AsRef<[u8]>) {
        let publishing = async {
            let connection =
                Connection::connect(&self.url, ConnectionProperties::default()).await?;
            let channel = connection.create_channel().await?;
            let options = BasicPublishOptions::default();
            let body = body.as_ref();
            channel
                .basic_publish(EXCHANGE.into(), "*".into(), options, body, properties)
                .await?
                .await?;
            connection.close(200, "done".into()).await
        };
        let published = self.runtime.block_on(publishing);
        published.expect("a published message");
    }

    /// The next messages that are routed to every node.
    pub(crate) fn next_messages(&self, count: usize) -> Vec<Vec<u8>> {
        let consuming = async {
            let connection =
                Connection::connect(&self.url, ConnectionProperties::default()).await?;
            let channel = connection.create_channel().await?;
            let options = QueueDeclareOptions {
                exclusive: true,
                ..QueueDeclareOptions::default()
            };
            let queue = channel
                .queue_declare("".into(), options, FieldTable::default())
                .await?;
            let name = queue.name().clone();
            channel
                .queue_bind(
                    name.clone(),
                    EXCHANGE.into(),
                    "*".into(),
                    QueueBindOptions::default(),
                    FieldTable::default(),
                )
                .await?;
            let options = BasicConsumeOptions::default();
            let consumer = channel
                .basic_consume(name, "".into(), options, FieldTable::default())
                .await?;
            let bodies = consumer.take(count).map(|delivery| Ok(delivery?.data));
            bodies.try_collect().await
        };
        let bodies: lapin::Result<_> = self.runtime.block_on(consuming);
        bodies.expect("messages")
    }
}
