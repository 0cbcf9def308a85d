//! A publisher as backends have it: it has the exchange's name and declares nothing.

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};

/// One connection with publisher confirms.
#[derive(Debug)]
pub struct Publisher {
    /// Open as long as the publisher lives.
    _connection: Connection,
    channel: Channel,
    exchange: String,
}

impl Publisher {
    /// Connects to the server at `url`.
    ///
    /// # Panics
    /// When the server does not answer as it should.
    pub async fn connect(url: &str, exchange: &str) -> Self {
        let connection = Connection::connect(url, ConnectionProperties::default())
            .await
            .expect("a connection to RabbitMQ");
        let channel = connection.create_channel().await.expect("a channel");
        channel
            .confirm_select(ConfirmSelectOptions::default())
            .await
            .expect("publisher confirms");
        Self {
            _connection: connection,
            channel,
            exchange: exchange.to_owned(),
        }
    }

    /// Publishes with the routing key `*`; ready when the server has routed it.
    ///
    /// # Panics
    /// When the server refuses, as when the exchange does not exist.
    pub async fn publish(&self, body: impl AsRef<[u8]>) {
        self.publish_to("*", body).await;
    }

    /// Publishes with any routing key.
    ///
    /// # Panics
    /// When the server refuses, as when the exchange does not exist.
    pub async fn publish_to(&self, routing_key: &str, body: impl AsRef<[u8]>) {
        let confirm = self
            .channel
            .basic_publish(
                self.exchange.as_str().into(),
                routing_key.into(),
                BasicPublishOptions::default(),
                body.as_ref(),
                BasicProperties::default(),
            )
            .await
            .expect("a published message");
        assert!(confirm.await.expect("a confirm").is_ack());
    }

    /// Publishes many in order and waits for the confirms at the end only.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn publish_all<B: AsRef<[u8]>>(&self, bodies: impl IntoIterator<Item = B>) {
        let mut confirms = Vec::new();
        for body in bodies {
            let confirm = self
                .channel
                .basic_publish(
                    self.exchange.as_str().into(),
                    "*".into(),
                    BasicPublishOptions::default(),
                    body.as_ref(),
                    BasicProperties::default(),
                )
                .await
                .expect("a published message");
            confirms.push(confirm);
        }
        for confirm in confirms {
            assert!(confirm.await.expect("a confirm").is_ack());
        }
    }
}
