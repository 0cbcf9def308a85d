//! Consuming over one connection, for as long as it lasts.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use lapin::Channel;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::{FieldTable, ShortString};
use uuid::Uuid;

use crate::encoding::Message;
use crate::line::line;
use crate::log::{Batch, Kind, Record, Tail, TailError};
use crate::missed::Missed;
use crate::rabbitmq::RabbitMq;
use crate::rabbitmq::binding::Binding;
use crate::rabbitmq::cause::Cause;
use crate::rabbitmq::publisher::{NOTE_TYPE, PROBE_TYPE};
use crate::rabbitmq::wire::{self, Exchange, ROUTING_KEY, Wire};

/// Messages that are read and acknowledged together at most.
const BATCH_MAX: usize = 256;

/// A connection that consumes.
pub(super) struct Consumer {
    broker: Arc<RabbitMq>,
    wire: Arc<Wire>,
    channel: Channel,
    deliveries: lapin::Consumer,
    queue: ShortString,
    /// Keeps the queue bound meanwhile: ends with a gap, or with why the connection is of no use
    /// any more.
    keeping: BoxFuture<'static, (Binding, Result<Missed, Cause>)>,
    /// The last message that was read and is not acknowledged.
    last: Option<Delivery>,
    /// Gaps that the next batch reports.
    missed: Vec<Missed>,
    /// Why no more will be delivered, once everything received is read.
    end: Option<Cause>,
}

impl Consumer {
    /// Connects and declares everything from scratch: exchange, a queue of its own, binding,
    /// consumer.
    pub(super) async fn open(broker: Arc<RabbitMq>) -> Result<Self, Cause> {
        let wire = Arc::new(Wire::connect(&broker.uri, "high-templar").await?);
        let exchange = wire::declare_exchange(&wire, &broker.exchange, broker.is_durable).await?;
        let channel = wire.channel().await?;
        let queue = ShortString::from(format!("hightemplar_{}", Uuid::new_v4()));
        wire::declare_queue(&channel, &queue).await?;
        for key in [ROUTING_KEY, queue.as_str()] {
            wire::bind(&channel, &queue, &broker.exchange, key).await?;
        }
        wire::step(channel.basic_qos(broker.prefetch, BasicQosOptions::default())).await?;
        let deliveries = wire::step(channel.basic_consume(
            queue.clone(),
            ShortString::default(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        ))
        .await?;
        if let Exchange::AsItIs(cause) = exchange {
            tracing::warn!(
                exchange = %broker.exchange,
                cause = %cause,
                "the exchange cannot be declared by this user or with these arguments: using the existing one"
            );
        }
        broker.numbering.queue_bound();
        let mut own = broker.queue.lock().unwrap_or_else(PoisonError::into_inner);
        own.clone_from(&queue);
        drop(own);
        let binding = Binding::new(Arc::clone(&broker), Arc::clone(&wire), queue.clone());
        Ok(Self {
            broker,
            wire,
            channel,
            deliveries,
            queue,
            keeping: binding.keep().boxed(),
            last: None,
            missed: Vec::new(),
            end: None,
        })
    }

    /// The next records or gaps, after those before are acknowledged.
    async fn read(&mut self) -> Result<Batch, Cause> {
        loop {
            self.acknowledge().await;
            let mut records = Vec::new();
            let mut next = self.first().await;
            while let Some(item) = next.take() {
                match item {
                    Some(Ok(delivery)) => {
                        records.extend(self.take(delivery));
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

    /// Reads a message. `None` for one that is internal to a node's own connection.
    fn take(&mut self, mut delivery: Delivery) -> Option<Record> {
        self.missed.extend(self.broker.numbering.arrived(&delivery));
        let stated = delivery.properties.kind().as_ref();
        let kind = match stated.map(ShortString::as_str) {
            _ if delivery.routing_key == self.queue => Some(Kind::Probe),
            // A heartbeat, or another node's probe.
            Some(PROBE_TYPE) => None,
            Some(NOTE_TYPE) => Some(Kind::Note),
            Some(_) | None => Some(Kind::Trigger),
        };
        let record = kind.map(|kind| {
            let key = delivery.properties.message_id().as_ref();
            let encoding = delivery.properties.content_encoding().as_ref();
            Record {
                position: None,
                kind,
                key: key.map(|key| key.as_str().into()),
                stamp: 0,
                message: Message {
                    content_encoding: encoding.map(|name| name.as_str().into()),
                    body: Bytes::from(std::mem::take(&mut delivery.data)),
                },
            }
        });
        self.last = Some(delivery);
        record
    }

    /// The queue was bound again after a gap, or the connection is of no use any more.
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

    /// Why the stream of deliveries ended without an error.
    fn closed(&self) -> Cause {
        if self.wire.is_open() && self.channel.status().connected() {
            Cause::Cancelled
        } else {
            Cause::Lost("it was closed".into())
        }
    }

    /// Acknowledges the records read before. If it fails the connection is lost, and the stream of
    /// deliveries returns the cause.
    async fn acknowledge(&mut self) {
        let Some(last) = self.last.take() else {
            return;
        };
        let acknowledged = last.acker.ack(BasicAckOptions { multiple: true });
        tokio::pin!(acknowledged);
        // A connection that breaks at a bad moment leaves lapin's acknowledgements pending for
        // ever: the binding check detects it.
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

impl Tail for Consumer {
    fn next(&mut self) -> BoxFuture<'_, Result<Batch, TailError>> {
        Box::pin(async { self.read().await.map_err(TailError::from) })
    }

    fn close(self: Box<Self>, limit: Duration) -> BoxFuture<'static, ()> {
        Box::pin(async move { self.wire.close(limit).await })
    }
}
