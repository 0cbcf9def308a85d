//! A publisher of RabbitMQ with confirms.

use anyhow::Context;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties};

use super::{Publish, body};

/// A stream that no node reads.
const STREAM: &str = "ht-bench.stream";

/// As the gateway's own.
const SEGMENT_BYTES: i64 = 16 << 20;

/// Messages that survive a restart of the broker.
const PERSISTENT: u8 = 2;

pub(super) struct Amqp {
    /// Kept open as long as the publisher exists.
    _connection: Connection,
    channel: Channel,
    exchange: &'static str,
    key: &'static str,
}

impl Amqp {
    /// Publishes to the exchange of the gateways.
    pub(super) async fn to_exchange(url: &str) -> anyhow::Result<Self> {
        Self::open(url, "hightemplar", "*").await
    }

    /// Publishes into a stream of its own.
    pub(super) async fn to_stream(url: &str) -> anyhow::Result<Self> {
        let this = Self::open(url, "", STREAM).await?;
        let mut arguments = FieldTable::default();
        for (name, value) in [
            ("x-queue-type", AMQPValue::LongString("stream".into())),
            (
                "x-stream-max-segment-size-bytes",
                AMQPValue::LongLongInt(SEGMENT_BYTES),
            ),
        ] {
            arguments.insert(ShortString::from(name), value);
        }
        let options = QueueDeclareOptions {
            durable: true,
            ..QueueDeclareOptions::default()
        };
        this.channel
            .queue_declare(STREAM.into(), options, arguments)
            .await?;
        Ok(this)
    }

    async fn open(url: &str, exchange: &'static str, key: &'static str) -> anyhow::Result<Self> {
        let connection = Connection::connect(url, ConnectionProperties::default());
        let connection = connection.await.context("RabbitMQ")?;
        let channel = connection.create_channel().await?;
        channel
            .confirm_select(ConfirmSelectOptions::default())
            .await?;
        Ok(Self {
            _connection: connection,
            channel,
            exchange,
            key,
        })
    }
}

impl Publish for Amqp {
    async fn publish(&self, number: u64) -> anyhow::Result<()> {
        let options = BasicPublishOptions {
            mandatory: true,
            ..BasicPublishOptions::default()
        };
        let properties = BasicProperties::default().with_delivery_mode(PERSISTENT);
        let body = body(number);
        let sent = self.channel.basic_publish(
            self.exchange.into(),
            self.key.into(),
            options,
            body.as_bytes(),
            properties,
        );
        match sent.await?.await? {
            // A message without a queue is returned.
            Confirmation::Ack(None) => Ok(()),
            other @ (Confirmation::Ack(Some(_))
            | Confirmation::Nack(_)
            | Confirmation::NotRequested) => anyhow::bail!("refused: {other:?}"),
        }
    }
}
