//! Reading the stream over one connection, for as long as it lasts.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use ht_proto::entry::Position;
use lapin::Channel;
use lapin::message::Delivery;
use lapin::options::BasicAckOptions;
use lapin::types::ShortString;

use crate::encoding::Message;
use crate::line::line;
use crate::log::{Batch, From, Kind, Record, Tail, TailError};
use crate::missed::Missed;
use crate::rabbitmq::cause::Cause;
use crate::rabbitmq::publisher::{MARK_TYPE, NOTE_TYPE, PROBE_TYPE};
use crate::rabbitmq::stream::binding::Binding;
use crate::rabbitmq::stream::end::{Start, consume, first_from, offset_of};
use crate::rabbitmq::stream::{RabbitMqStream, offset, position};
use crate::rabbitmq::wire::Wire;

/// Messages that are read and acknowledged together at most.
const BATCH_MAX: usize = 256;

/// Longest wait for the record that a tail begins with, before the end of the stream is looked for.
const ARRIVES: Duration = Duration::from_secs(1);

/// Longest wait for it where the stream is known to have it.
const DELIVERED: Duration = Duration::from_secs(10);

/// Messages of the engine's own that may be at the end.
const MARKS: u64 = 8;

/// A connection that reads the stream.
pub(super) struct StreamTail {
    wire: Arc<Wire>,
    channel: Channel,
    deliveries: lapin::Consumer,
    /// A delivery that was read ahead.
    ahead: Option<Delivery>,
    /// Keeps the stream bound meanwhile: ends with a gap, or with why the connection is of no use
    /// any more.
    keeping: BoxFuture<'static, (Binding, Result<Missed, Cause>)>,
    /// The last message that was read and is not acknowledged: credit for as many more.
    last: Option<Delivery>,
    /// Gaps that the next batch reports.
    missed: Vec<Missed>,
    /// Why no more will be delivered, once everything received is read.
    end: Option<Cause>,
}

impl StreamTail {
    /// Connects, declares what is missing, and attaches.
    pub(super) async fn open(log: Arc<RabbitMqStream>, from: From) -> Result<Self, TailError> {
        let wire = Arc::new(Wire::connect(&log.uri, "high-templar").await?);
        let missed = log.prepare(&wire).await?;
        let start = log.start(&wire, from).await?;
        let (channel, deliveries) = consume(&wire, &log.name, log.prefetch, start).await?;
        log.available();
        let binding = Binding::new(Arc::clone(&log), Arc::clone(&wire));
        let mut tail = Self {
            wire,
            channel,
            deliveries,
            ahead: None,
            keeping: binding.keep().boxed(),
            last: None,
            missed: missed.into_iter().collect(),
            end: None,
        };
        if let From::At(position) = from {
            tail.attach(&log, position).await?;
        }
        log.was_there.store(true, Ordering::Relaxed);
        Ok(tail)
    }

    /// Makes sure that the first message is the one at this position: a broker says nothing if it is
    /// not there.
    async fn attach(&mut self, log: &RabbitMqStream, at: Position) -> Result<(), TailError> {
        let mut first = self.arrives(ARRIVES).await?;
        if first.is_none() {
            if log.end(&self.wire).await? < offset(at) {
                return Err(TailError::Rewound(at));
            }
            first = self.arrives(DELIVERED).await?;
        }
        let delivery = first.ok_or(Cause::Silent(DELIVERED))?;
        let found = position(offset_of(&delivery).ok_or(Cause::NoStream)?);
        if found > at {
            return Err(TailError::Trimmed(at));
        }
        if kind(&delivery).is_none() {
            // It was appended just now, to find the end.
            return Err(TailError::Rewound(at));
        }
        self.ahead = Some(delivery);
        Ok(())
    }

    async fn arrives(&mut self, limit: Duration) -> Result<Option<Delivery>, Cause> {
        match tokio::time::timeout(limit, self.deliveries.next()).await {
            Err(_elapsed) => Ok(None),
            Ok(Some(delivery)) => Ok(Some(delivery?)),
            Ok(None) => Err(Cause::Cancelled),
        }
    }

    /// The next records or gaps, after those before are acknowledged.
    async fn read(&mut self) -> Result<Batch, Cause> {
        loop {
            self.acknowledge().await;
            let mut records = Vec::new();
            let mut next = self.first().await;
            while let Some(item) = next.take() {
                match item {
                    Some(Ok(mut delivery)) => {
                        records.extend(record(&mut delivery)?);
                        self.last = Some(delivery);
                        if records.len() < BATCH_MAX {
                            next = self.deliveries.next().now_or_never();
                        }
                    }
                    Some(Err(error)) => self.end_with(error.into()),
                    None => self.end_with(self.closed()),
                }
            }
            let missed = std::mem::take(&mut self.missed);
            if !records.is_empty() || !missed.is_empty() {
                return Ok(Batch { missed, records });
            }
            if self.last.is_none()
                && let Some(end) = &self.end
            {
                return Err(end.clone());
            }
        }
    }

    /// Waits for a delivery. `None` if there is something else to return first.
    async fn first(&mut self) -> Option<Option<lapin::Result<Delivery>>> {
        if let Some(ahead) = self.ahead.take() {
            return Some(Some(Ok(ahead)));
        }
        loop {
            if !self.missed.is_empty() {
                return None;
            }
            if self.end.is_some() {
                // Messages received before the loss are still read.
                let left = self.deliveries.next().now_or_never();
                return left.filter(|item| matches!(item, Some(Ok(_))));
            }
            tokio::select! {
                biased;
                next = self.deliveries.next() => return Some(next),
                (binding, kept) = &mut self.keeping => self.kept(binding, kept),
            }
        }
    }

    /// The stream was bound again after a gap, or the connection is of no use any more.
    fn kept(&mut self, binding: Binding, kept: Result<Missed, Cause>) {
        match kept {
            Ok(missed) => {
                self.missed.push(missed);
                self.keeping = binding.keep().boxed();
            }
            Err(cause) => {
                // No more deliveries.
                self.wire.cut();
                self.end_with(cause);
            }
        }
    }

    /// No more deliveries. The first cause is the one that the operator needs.
    fn end_with(&mut self, cause: Cause) {
        self.end.get_or_insert(cause);
    }

    /// Why the deliveries ended without an error.
    fn closed(&self) -> Cause {
        if self.wire.is_open() && self.channel.status().connected() {
            Cause::Cancelled
        } else {
            Cause::Lost("it was closed".into())
        }
    }

    /// Acknowledges the records read before. If it fails the connection is lost, and the deliveries
    /// end with the cause.
    async fn acknowledge(&mut self) {
        let Some(last) = self.last.take() else {
            return;
        };
        let acknowledged = last.acker.ack(BasicAckOptions { multiple: true });
        tokio::pin!(acknowledged);
        while self.end.is_none() {
            tokio::select! {
                acknowledged = &mut acknowledged => {
                    if let Err(error) = acknowledged {
                        tracing::debug!(cause = line(error), "not acknowledged");
                    }
                    return;
                }
                (binding, kept) = &mut self.keeping => self.kept(binding, kept),
            }
        }
    }
}

impl RabbitMqStream {
    /// Where a consumer begins that reads from there.
    async fn start(&self, wire: &Wire, from: From) -> Result<Start, Cause> {
        let (age, positions) = match from {
            From::Head => return Ok(Start::Next),
            From::At(position) => return Ok(Start::Offset(offset(position))),
            From::Back { age, positions } => (age, positions),
        };
        let end = self.end(wire).await?;
        let by_distance = end.saturating_sub(positions.saturating_add(MARKS));
        let by_age = first_from(wire, &self.name, Start::Age(age)).await?;
        let offset = by_age.map_or(by_distance, |by_age| by_age.min(by_distance));
        Ok(Start::Offset(offset))
    }
}

/// How a message travelled; `None` if it is internal to the engine.
fn kind(delivery: &Delivery) -> Option<Kind> {
    let stated = delivery.properties.kind().as_ref();
    match stated.map(ShortString::as_str) {
        Some(MARK_TYPE) => None,
        // Without an id it is a heartbeat of a node with a queue.
        Some(PROBE_TYPE) => delivery
            .properties
            .message_id()
            .as_ref()
            .map(|_| Kind::Probe),
        Some(NOTE_TYPE) => Some(Kind::Note),
        Some(_) | None => Some(Kind::Trigger),
    }
}

/// The record of a message; `None` of one that is internal to the engine.
pub(super) fn record(delivery: &mut Delivery) -> Result<Option<Record>, Cause> {
    let offset = offset_of(delivery).ok_or(Cause::NoStream)?;
    let Some(kind) = kind(delivery) else {
        return Ok(None);
    };
    let key = delivery.properties.message_id().as_ref();
    let encoding = delivery.properties.content_encoding().as_ref();
    Ok(Some(Record {
        position: Some(position(offset)),
        kind,
        key: key.map(|key| key.as_str().into()),
        // Its publisher may say when it was sent; the stream says nothing.
        stamp: delivery.properties.timestamp().unwrap_or(0),
        message: Message {
            content_encoding: encoding.map(|name| name.as_str().into()),
            body: Bytes::from(std::mem::take(&mut delivery.data)),
        },
    }))
}

impl Tail for StreamTail {
    fn next(&mut self) -> BoxFuture<'_, Result<Batch, TailError>> {
        Box::pin(async { self.read().await.map_err(TailError::from) })
    }

    fn close(self: Box<Self>, limit: Duration) -> BoxFuture<'static, ()> {
        Box::pin(async move { self.wire.close(limit).await })
    }
}
