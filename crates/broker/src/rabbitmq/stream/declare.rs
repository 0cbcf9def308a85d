//! The stream and its binding.

use lapin::options::QueueDeclareOptions;
use lapin::types::{AMQPValue, FieldTable, ShortString};

use crate::config::StreamConfig;
use crate::rabbitmq::cause::Cause;
use crate::rabbitmq::stream::RabbitMqStream;
use crate::rabbitmq::wire::{self, ROUTING_KEY, Wire};
use crate::rabbitmq::{ConfigError, QUEUE_NAME_MAX};

/// Members of a cluster that keep a copy, if there are as many.
const COPIES: i32 = 3;

/// The name of the stream.
pub(in crate::rabbitmq) fn queue_name(stream: &StreamConfig) -> Result<ShortString, ConfigError> {
    if (1..=QUEUE_NAME_MAX).contains(&stream.name.len()) {
        Ok(ShortString::from(stream.name.as_str()))
    } else {
        Err(ConfigError::Stream)
    }
}

/// Whether the stream exists.
///
/// # Errors
/// [`Cause::NotYet`] if it does and is not available.
pub(in crate::rabbitmq) async fn exists(wire: &Wire, name: &ShortString) -> Result<bool, Cause> {
    match declare(wire, name, true, FieldTable::default()).await {
        Ok(()) => Ok(true),
        Err(Cause::Missing(text)) if is_absent(&text) => Ok(false),
        Err(Cause::Missing(text)) => Err(Cause::NotYet(text)),
        Err(cause) => Err(cause),
    }
}

/// Whether the broker says that there is no such queue. Of one that exists on a node that is down it
/// says something else with the same code.
fn is_absent(text: &str) -> bool {
    text.contains("no queue")
}

/// On a channel of its own, because a refusal closes the channel.
async fn declare(
    wire: &Wire,
    name: &ShortString,
    passive: bool,
    arguments: FieldTable,
) -> Result<(), Cause> {
    let channel = wire.channel().await?;
    let options = QueueDeclareOptions {
        passive,
        durable: true,
        ..QueueDeclareOptions::default()
    };
    wire::step(channel.queue_declare(name.clone(), options, arguments)).await?;
    wire::step(channel.close(wire::REPLY_SUCCESS, "OK".into())).await
}

fn arguments(stream: &StreamConfig) -> FieldTable {
    let long = |number: u64| AMQPValue::LongLongInt(i64::try_from(number).unwrap_or(i64::MAX));
    let text = |text: &str| AMQPValue::LongString(text.into());
    let age = format!("{}s", stream.age.as_secs().max(1));
    let mut arguments = FieldTable::default();
    for (name, value) in [
        ("x-queue-type", text("stream")),
        ("x-max-age", text(&age)),
        ("x-max-length-bytes", long(stream.bytes)),
        (
            "x-stream-max-segment-size-bytes",
            long(stream.segment_bytes),
        ),
        ("x-initial-cluster-size", AMQPValue::LongInt(COPIES)),
    ] {
        arguments.insert(name.into(), value);
    }
    arguments
}

impl RabbitMqStream {
    /// Makes sure that the stream exists. Returns whether it was there.
    pub(super) async fn declare_stream(&self, wire: &Wire) -> Result<bool, Cause> {
        match exists(wire, &self.name).await {
            Ok(true) => {}
            Ok(false) => match declare(wire, &self.name, false, arguments(&self.config)).await {
                Ok(()) => {
                    tracing::info!(stream = %self.name, "the stream did not exist: declared it");
                    return Ok(false);
                }
                // Another node was faster, with other settings.
                Err(Cause::Different(_)) => {}
                Err(cause) => return Err(self.waited_for(cause)),
            },
            Err(cause) => return Err(self.waited_for(cause)),
        }
        Ok(true)
    }

    fn waited_for(&self, cause: Cause) -> Cause {
        if let Cause::NotYet(text) = cause {
            self.unavailable(text)
        } else {
            cause
        }
    }

    /// Binds the stream; does nothing if it is bound.
    pub(super) async fn bind(&self, wire: &Wire) -> Result<(), Cause> {
        let channel = wire.channel().await?;
        for key in [ROUTING_KEY, self.name.as_str()] {
            wire::bind(&channel, &self.name, &self.exchange, key).await?;
        }
        wire::step(channel.close(wire::REPLY_SUCCESS, "OK".into())).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_queue_that_does_not_exist_is_declared() {
        for (text, absent) in [
            ("NOT_FOUND - no queue 'hightemplar.log' in vhost '/'", true),
            (
                "NOT_FOUND - home node 'rabbit@a' of durable queue 'hightemplar.log' in vhost '/' \
                 is down or inaccessible",
                false,
            ),
            (
                "NOT_FOUND - queue 'hightemplar.log' in vhost '/' process is stopped by supervisor",
                false,
            ),
        ] {
            assert_eq!(is_absent(text), absent, "{text}");
        }
    }
}
