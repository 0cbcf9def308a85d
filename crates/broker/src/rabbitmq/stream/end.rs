//! Where the stream begins and ends, which the broker does not report.

use std::time::Duration;

use futures_util::StreamExt;
use lapin::message::Delivery;
use lapin::options::{BasicConsumeOptions, BasicQosOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, Consumer};
use uuid::Uuid;

use crate::log::Bounds;
use crate::rabbitmq::cause::Cause;
use crate::rabbitmq::stream::{RabbitMqStream, position};
use crate::rabbitmq::wire::{self, Wire};

/// The header that a consumer states its start in, and a message its offset.
const OFFSET: &str = "x-stream-offset";

/// Messages under way to a consumer that only looks.
const LOOKED_AT: u16 = 100;

/// Longest time until a message that is there arrives.
const ARRIVES: Duration = Duration::from_millis(500);

/// Longest time until a message is read back that was published to find the end.
const READ_BACK: Duration = Duration::from_secs(10);

/// Where a consumer begins.
#[derive(Clone, Copy, Debug)]
pub(super) enum Start {
    First,
    Next,
    Offset(u64),
    /// So long ago.
    Age(Duration),
}

impl Start {
    fn value(self) -> AMQPValue {
        let text = |text: &str| AMQPValue::LongString(text.into());
        match self {
            Self::First => text("first"),
            Self::Next => text("next"),
            Self::Offset(offset) => {
                AMQPValue::LongLongInt(i64::try_from(offset).unwrap_or(i64::MAX))
            }
            Self::Age(age) => text(&format!("{}s", age.as_secs().saturating_add(1))),
        }
    }
}

/// The offset of a message of a stream.
pub(super) fn offset_of(delivery: &Delivery) -> Option<u64> {
    let headers = delivery.properties.headers().as_ref()?;
    let AMQPValue::LongLongInt(offset) = headers.inner().get(OFFSET)? else {
        return None;
    };
    u64::try_from(*offset).ok()
}

/// A consumer of the stream, on a channel of its own.
pub(super) async fn consume(
    wire: &Wire,
    stream: &ShortString,
    prefetch: u16,
    start: Start,
) -> Result<(Channel, Consumer), Cause> {
    let channel = wire.channel().await?;
    wire::step(channel.basic_qos(prefetch, BasicQosOptions::default())).await?;
    let mut arguments = FieldTable::default();
    arguments.insert(OFFSET.into(), start.value());
    let consumer = wire::step(channel.basic_consume(
        stream.clone(),
        ShortString::default(),
        BasicConsumeOptions::default(),
        arguments,
    ));
    match consumer.await {
        Ok(consumer) => Ok((channel, consumer)),
        // Queues of other types refuse the offset.
        Err(Cause::Different(_)) => Err(Cause::NoStream),
        // It was there a moment ago.
        Err(Cause::Missing(text)) => Err(Cause::NotYet(text)),
        Err(cause) => Err(cause),
    }
}

/// The offset of the next message of a consumer; none if it has none within `limit`.
async fn next_offset(deliveries: &mut Consumer, limit: Duration) -> Result<Option<u64>, Cause> {
    match tokio::time::timeout(limit, deliveries.next()).await {
        Err(_elapsed) => Ok(None),
        Ok(Some(Ok(delivery))) => match offset_of(&delivery) {
            Some(offset) => Ok(Some(offset)),
            None => Err(Cause::NoStream),
        },
        Ok(Some(Err(error))) => Err(error.into()),
        Ok(None) => Err(Cause::Cancelled),
    }
}

/// The offset of the first message from `start` on; none if there is none.
pub(super) async fn first_from(
    wire: &Wire,
    stream: &ShortString,
    start: Start,
) -> Result<Option<u64>, Cause> {
    let (channel, mut deliveries) = consume(wire, stream, 1, start).await?;
    let found = next_offset(&mut deliveries, ARRIVES).await?;
    wire::step(channel.close(wire::REPLY_SUCCESS, "OK".into())).await?;
    Ok(found)
}

impl RabbitMqStream {
    /// The offset of a message that is appended now: all that were appended before have lower ones.
    /// A broker that does not deliver it proves nothing, and is an error.
    pub(super) async fn end(&self, wire: &Wire) -> Result<u64, Cause> {
        let (channel, mut deliveries) = consume(wire, &self.name, LOOKED_AT, Start::Next).await?;
        let key = Uuid::new_v4().simple().to_string();
        if !self.publisher.mark(&key).await? {
            return Err(Cause::Missing(
                "the stream is not bound to the exchange".into(),
            ));
        }
        let found = async {
            loop {
                let delivery = deliveries.next().await.ok_or(Cause::Cancelled)??;
                let offset = offset_of(&delivery).ok_or(Cause::NoStream)?;
                let id = delivery.properties.message_id().as_ref();
                if id.is_some_and(|id| id.as_str() == key) {
                    return Ok::<_, Cause>(offset);
                }
                let options = lapin::options::BasicAckOptions::default();
                wire::step(delivery.acker.ack(options)).await?;
            }
        };
        let found = tokio::time::timeout(READ_BACK, found).await;
        let offset = found.map_err(|_elapsed| Cause::Silent(READ_BACK))??;
        wire::step(channel.close(wire::REPLY_SUCCESS, "OK".into())).await?;
        Ok(offset)
    }

    /// The oldest and the newest message.
    pub(super) async fn ends(&self) -> Result<Bounds, Cause> {
        let wire = Wire::connect(&self.uri, "high-templar reader").await?;
        let last = self.end(&wire).await?;
        let first = first_from(&wire, &self.name, Start::First).await?;
        wire.close(ARRIVES).await;
        Ok(Bounds {
            first: Some(position(first.unwrap_or(last))),
            last: Some(position(last)),
        })
    }
}
