//! A publisher of RabbitMQ with confirms.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use futures_util::StreamExt;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
    ConfirmSelectOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, Consumer};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::{Publish, body};

/// A stream that nobody reads.
const STREAM: &str = "ht-bench.stream";

/// A stream that its publisher reads.
const READ_BACK: &str = "ht-bench.read-back";

/// Messages that a reader is sent before it acknowledges any.
const PREFETCH: u16 = 1_000;

/// Messages that are acknowledged together.
const ACKNOWLEDGED: u64 = 100;

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
    /// Reads what is published, on a connection of its own.
    reader: Option<Reader>,
}

/// Those who wait for their message to be read, by its number.
type Waiting = Arc<Mutex<HashMap<String, oneshot::Sender<()>>>>;

struct Reader {
    _connection: Connection,
    task: JoinHandle<anyhow::Result<()>>,
    waiting: Waiting,
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Amqp {
    /// Publishes to the exchange of the gateways.
    pub(super) async fn to_exchange(url: &str) -> anyhow::Result<Self> {
        Self::open(url, "hightemplar", "*").await
    }

    /// Publishes into a stream of its own.
    pub(super) async fn to_stream(url: &str) -> anyhow::Result<Self> {
        Self::declared(url, STREAM).await
    }

    /// Publishes into a stream of its own, and waits until it has read each message back.
    pub(super) async fn reading_back(url: &str) -> anyhow::Result<Self> {
        let this = Self::declared(url, READ_BACK).await?;
        let reader = Some(Reader::of(url).await?);
        Ok(Self { reader, ..this })
    }

    async fn declared(url: &str, stream: &'static str) -> anyhow::Result<Self> {
        let this = Self::open(url, "", stream).await?;
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
            .queue_declare(stream.into(), options, arguments)
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
            reader: None,
        })
    }
}

impl Reader {
    async fn of(url: &str) -> anyhow::Result<Self> {
        let connection = Connection::connect(url, ConnectionProperties::default());
        let connection = connection.await.context("RabbitMQ")?;
        let channel = connection.create_channel().await?;
        channel
            .basic_qos(PREFETCH, BasicQosOptions::default())
            .await?;
        let options = BasicConsumeOptions::default();
        let consumer = channel
            .basic_consume(READ_BACK.into(), "".into(), options, FieldTable::default())
            .await?;
        let waiting = Waiting::default();
        let task = tokio::spawn(read(consumer, Arc::clone(&waiting)));
        Ok(Self {
            _connection: connection,
            task,
            waiting,
        })
    }

    /// Ready when the message with this number is read.
    fn expect(&self, number: &str) -> oneshot::Receiver<()> {
        let (sender, read) = oneshot::channel();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.insert(number.to_owned(), sender);
        read
    }
}

/// Reads a stream, and tells those who wait for a message.
async fn read(mut consumer: Consumer, waiting: Waiting) -> anyhow::Result<()> {
    let mut count = 0;
    while let Some(delivery) = consumer.next().await {
        let delivery = delivery?;
        if let Some(number) = delivery.properties.message_id() {
            let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(sender) = waiting.remove(number.as_str()) {
                let _ = sender.send(());
            }
        }
        count += 1;
        if count % ACKNOWLEDGED == 0 {
            delivery.ack(BasicAckOptions { multiple: true }).await?;
        }
    }
    Ok(())
}

impl Publish for Amqp {
    async fn publish(&self, number: u64) -> anyhow::Result<()> {
        let options = BasicPublishOptions {
            mandatory: true,
            ..BasicPublishOptions::default()
        };
        let mut properties = BasicProperties::default().with_delivery_mode(PERSISTENT);
        let body = body(number);
        let mut read = None;
        if let Some(reader) = &self.reader {
            // Numbers are given again in the next turn, when nobody waits any more.
            let number = number.to_string();
            read = Some(reader.expect(&number));
            properties = properties.with_message_id(number.into());
        }
        let sent = self.channel.basic_publish(
            self.exchange.into(),
            self.key.into(),
            options,
            body.as_bytes(),
            properties,
        );
        match sent.await?.await? {
            // A message without a queue is returned.
            Confirmation::Ack(None) => {}
            other @ (Confirmation::Ack(Some(_))
            | Confirmation::Nack(_)
            | Confirmation::NotRequested) => anyhow::bail!("refused: {other:?}"),
        }
        if let Some(read) = read {
            read.await.context("the reader ended")?;
        }
        Ok(())
    }
}
