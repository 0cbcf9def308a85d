//! A consumer that is asked for messages, and what it delivers, in its order.
//!
//! It belongs to one reader, in the memory of the server. One request at a time is open: it brings so
//! many messages, or ends after a while, and says every second that it is open. So a server that has
//! lost the consumer, or is lost itself, is found within seconds. Deliveries are numbered, and none
//! is left out unseen.

use std::time::{Duration, SystemTime};

use async_nats::{Message, StatusCode, Subscriber};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::line::line;
use crate::nats::Server;
use crate::nats::cause::Cause;
use crate::nats::link::Link;
use crate::nats::stream::nanos;

/// Messages that one request brings at most.
const WANTED: usize = 1_000;

/// Their bytes together.
const WANTED_BYTES: usize = 4 << 20;

/// What a message needs beside its payload: subjects and headers.
const ENVELOPE: usize = 64 << 10;

/// A request ends after this time, and another one follows.
const EXPIRES: Duration = Duration::from_secs(5);

/// A request says so often that it is open.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// Without a sign of life for so long the consumer is lost.
const SILENCE: Duration = Duration::from_millis(2_500);

/// A consumer that nobody asks for so long is deleted by the server.
const ABANDONED: Duration = Duration::from_secs(30);

/// Requests in a row that may end early without a message.
const BARREN_MAX: u32 = 5;

/// Where a consumer begins.
#[derive(Clone, Copy, Debug)]
pub(super) enum Start {
    /// With the message that has this sequence number, or the next one that there is.
    At(u64),
    /// With the first message that is not older than this.
    Age(Duration),
}

/// A message of the stream.
pub(super) struct Delivery {
    pub(super) sequence: u64,
    /// When it was stored, in nanoseconds since 1970.
    pub(super) time: u64,
    pub(super) message: Message,
}

/// A consumer.
pub(super) struct Consumer {
    name: String,
    /// Sequence number of the message before the first.
    pub(super) before: u64,
    stream: String,
    inbox: String,
    deliveries: Subscriber,
    request: Bytes,
    /// Requests that were sent.
    requests: u32,
    /// Messages that the open request can still bring.
    wanted: usize,
    /// The open request has brought a message.
    is_fruitful: bool,
    barren: u32,
    /// Deliveries so far.
    delivered: u64,
}

#[derive(Deserialize)]
struct Made {
    name: String,
    delivered: Delivered,
}

#[derive(Deserialize)]
struct Delivered {
    stream_seq: u64,
}

impl Consumer {
    /// Makes one.
    pub(super) async fn open(link: &Link, server: &Server, start: Start) -> Result<Self, Cause> {
        let stream = server.names.stream().to_owned();
        let inbox = link.client.new_inbox();
        let subscribed = link.client.subscribe(format!("{inbox}.*")).await;
        let deliveries = subscribed.map_err(|error| Cause::Lost(line(error)))?;
        let made = make(link, &stream, start).await?;
        let max_bytes = WANTED_BYTES.max(link.client.max_payload() + ENVELOPE);
        let request = json!({
            "batch": WANTED,
            "max_bytes": max_bytes,
            "expires": nanos(EXPIRES),
            "idle_heartbeat": nanos(HEARTBEAT),
        });
        Ok(Self {
            name: made.name,
            before: made.delivered.stream_seq,
            stream,
            inbox,
            deliveries,
            request: request.to_string().into(),
            requests: 0,
            wanted: 0,
            is_fruitful: true,
            barren: 0,
            delivered: 0,
        })
    }

    /// The next message. Dropping the future loses none.
    pub(super) async fn next(&mut self, link: &Link) -> Result<Delivery, Cause> {
        loop {
            if self.wanted == 0 {
                self.ask(link).await?;
            }
            let message = tokio::select! {
                biased;
                message = timeout(SILENCE, self.deliveries.next()) => message,
                cause = link.lost() => return Err(cause),
            };
            match message {
                Ok(Some(message)) => {
                    if let Some(delivery) = self.take(message)? {
                        return Ok(delivery);
                    }
                }
                Ok(None) => return Err(Cause::Lost("it was closed".into())),
                Err(_elapsed) => return Err(Cause::Silent(SILENCE)),
            }
        }
    }

    /// The next message, if it has been delivered.
    pub(super) fn ready(&mut self) -> Result<Option<Delivery>, Cause> {
        while let Some(Some(message)) = self.deliveries.next().now_or_never() {
            if let Some(delivery) = self.take(message)? {
                return Ok(Some(delivery));
            }
        }
        Ok(None)
    }

    /// Has the server forget it.
    pub(super) async fn delete(self, link: &Link) -> Result<(), Cause> {
        let verb = format!("CONSUMER.DELETE.{}.{}", self.stream, self.name);
        let _: Value = link.request(&verb, &json!({})).await?;
        Ok(())
    }

    async fn ask(&mut self, link: &Link) -> Result<(), Cause> {
        if !std::mem::take(&mut self.is_fruitful) {
            self.barren += 1;
        }
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{}.{}", self.stream, self.name);
        let reply = format!("{}.{}", self.inbox, self.requests + 1);
        let asking = link
            .client
            .publish_with_reply(subject, reply, self.request.clone());
        asking.await.map_err(|error| Cause::Lost(line(error)))?;
        self.requests += 1;
        self.wanted = WANTED;
        Ok(())
    }

    /// Takes what the server sent: a message of the stream, or a word about a request.
    fn take(&mut self, message: Message) -> Result<Option<Delivery>, Cause> {
        // Not by its status: that is a header, which a publisher can set.
        let reply = message.reply.as_deref().unwrap_or_default();
        if let Some(numbers) = numbers(reply) {
            if numbers.delivery != self.delivered + 1 {
                return Err(Cause::Lost(format!(
                    "delivery {} follows {}",
                    numbers.delivery, self.delivered
                )));
            }
            self.delivered = numbers.delivery;
            self.wanted = self.wanted.saturating_sub(1);
            (self.is_fruitful, self.barren) = (true, 0);
            return Ok(Some(Delivery {
                sequence: numbers.sequence,
                time: numbers.time,
                message,
            }));
        }
        let Some(status) = message.status else {
            let text = format_args!("a delivery without numbers: {reply}");
            return Err(Cause::Refused(line(text)));
        };
        let about = message.subject.rsplit('.').next();
        let is_current = about.is_some_and(|about| about == self.requests.to_string());
        if status == StatusCode::IDLE_HEARTBEAT || !is_current {
            return Ok(None);
        }
        let text = message.description.as_deref().unwrap_or_default();
        if status == StatusCode::TIMEOUT || status == StatusCode::NOT_FOUND {
            (self.is_fruitful, self.barren) = (true, 0);
        } else if status != StatusCode::REQUEST_TERMINATED
            || ENDS.iter().any(|end| text.contains(end))
            || self.barren >= BARREN_MAX
        {
            return Err(Cause::Lost(line(format_args!(
                "the consumer ended: {status} {text}"
            ))));
        }
        self.wanted = 0;
        Ok(None)
    }
}

/// Words of a server that ends a request because the consumer is of no use any more.
const ENDS: [&str; 4] = [
    "Consumer Deleted",
    "Leadership Change",
    "Server Shutdown",
    "push based",
];

async fn make(link: &Link, stream: &str, start: Start) -> Result<Made, Cause> {
    let mut config = json!({
        "ack_policy": "none",
        "replay_policy": "instant",
        "inactive_threshold": nanos(ABANDONED),
        "mem_storage": true,
    });
    match start {
        Start::At(sequence) => {
            config["deliver_policy"] = "by_start_sequence".into();
            config["opt_start_seq"] = sequence.into();
        }
        Start::Age(age) => {
            let begin = SystemTime::now().checked_sub(age);
            let begin = begin
                .unwrap_or(SystemTime::UNIX_EPOCH)
                .max(SystemTime::UNIX_EPOCH);
            let begin = Timestamp::try_from(begin).unwrap_or(Timestamp::UNIX_EPOCH);
            config["deliver_policy"] = "by_start_time".into();
            config["opt_start_time"] = begin.to_string().into();
        }
    }
    let request = json!({"stream_name": stream, "config": config});
    link.request(&format!("CONSUMER.CREATE.{stream}"), &request)
        .await
}

/// The numbers of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Numbers {
    /// Of the message in its stream.
    sequence: u64,
    /// Of the delivery among those of its consumer.
    delivery: u64,
    /// When the message was stored, in nanoseconds since 1970.
    time: u64,
}

/// Reads them from the subject for acknowledgements:
/// `$JS.ACK.<stream>.<consumer>.<times>.<sequence>.<delivery>.<time>.<left>`, with domain and account
/// before the stream, and perhaps more at the end.
fn numbers(reply: &str) -> Option<Numbers> {
    let parts: Vec<_> = reply.strip_prefix("$JS.ACK.")?.split('.').collect();
    let skip = match parts.len() {
        7 => 0,
        9.. => 2,
        _ => return None,
    };
    let number = |at: usize| parts.get(at + skip)?.parse().ok();
    Some(Numbers {
        sequence: number(3)?,
        delivery: number(4)?,
        time: number(5)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_in_both_forms() {
        let expected = Some(Numbers {
            sequence: 12,
            delivery: 3,
            time: 1_700_000_000,
        });
        for (reply, expected) in [
            ("$JS.ACK.log.c1.1.12.3.1700000000.0", expected),
            ("$JS.ACK.hub.ACCOUNT.log.c1.1.12.3.1700000000.0", expected),
            (
                "$JS.ACK._.ACCOUNT.log.c1.1.12.3.1700000000.0.token",
                expected,
            ),
            ("$JS.ACK.log.c1.1.x.3.1700000000.0", None),
            ("$JS.ACK.log.c1.1.12.3", None),
            ("_INBOX.12.3", None),
            ("", None),
        ] {
            assert_eq!(numbers(reply), expected, "{reply}");
        }
    }
}
