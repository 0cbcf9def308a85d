//! Bringing triggers in over one connection, for as long as it lasts.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use ht_proto::trigger::Trigger;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Consumer};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::encoding::Message;
use crate::rabbitmq::cause::Cause;
use crate::rabbitmq::sequence::Sequence;
use crate::rabbitmq::wire::{Exchange, ROUTING_KEY, Wire};
use crate::rabbitmq::{Parsing, RabbitMq, cause, echo, wire};
use crate::{Dispatch, MissedReason};

/// Messages that are dispatched and acknowledged together at most.
const BATCH_MAX: usize = 256;

/// Binding checks in a row that may go unanswered.
const BINDING_SILENCES: u32 = 3;

/// How long a heartbeat may take to come back before the binding is doubted.
const HEARTBEAT_BACK: Duration = Duration::from_millis(500);

/// How long the dispatcher may take, from the moment of shutdown, for what it has in hand.
const SHUTDOWN_DISPATCH: Duration = Duration::from_secs(1);

/// A connection that consumes.
pub(super) struct Intake {
    pub(super) wire: Wire,
    channel: Channel,
    consumer: Consumer,
    pub(super) queue: ShortString,
    /// How the exchange was found.
    pub(super) exchange: Exchange,
}

/// Why consuming ended.
pub(super) enum End {
    /// As wished; what was in hand is done.
    Shutdown,
    /// The connection, the channel or the consumer is gone.
    Lost(Cause),
}

impl Intake {
    /// Connects and declares everything from scratch: exchange, a queue of its own, binding,
    /// consumer.
    pub(super) async fn open(broker: &RabbitMq) -> Result<Self, Cause> {
        let wire = Wire::connect(&broker.uri, "high-templar").await?;
        let exchange = wire::declare_exchange(&wire, &broker.exchange).await?;
        let channel = wire.channel().await?;
        let queue = ShortString::from(format!("hightemplar_{}", Uuid::new_v4()));
        wire::declare_queue(&channel, &queue).await?;
        for key in [ROUTING_KEY, queue.as_str()] {
            wire::bind(&channel, &queue, &broker.exchange, key).await?;
        }
        wire::step(channel.basic_qos(broker.prefetch, BasicQosOptions::default())).await?;
        let consumer = wire::step(channel.basic_consume(
            queue.clone(),
            ShortString::default(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        ))
        .await?;
        Ok(Self {
            wire,
            channel,
            consumer,
            queue,
            exchange,
        })
    }

    /// Consumes until shutdown or loss. What came in before a loss is still dispatched.
    pub(super) async fn run(
        &mut self,
        broker: &RabbitMq,
        dispatch: &dyn Dispatch,
        shutdown: &CancellationToken,
    ) -> End {
        let mut consumer = self.consumer.clone();
        let lost = CancellationToken::new();
        let consuming = self.consume(&mut consumer, broker, dispatch, shutdown, &lost);
        tokio::pin!(consuming);
        tokio::select! {
            end = &mut consuming => end,
            cause = self.keep_bound(broker, dispatch) => {
                // Nothing more comes in; consuming ends after what has come. It is told so, because
                // a connection that breaks in a bad moment leaves lapin's consumers and
                // acknowledgements waiting for ever.
                self.wire.cut();
                lost.cancel();
                match consuming.await {
                    End::Lost(_) => End::Lost(cause),
                    End::Shutdown => End::Shutdown,
                }
            }
        }
    }

    async fn consume(
        &self,
        consumer: &mut Consumer,
        broker: &RabbitMq,
        dispatch: &dyn Dispatch,
        shutdown: &CancellationToken,
        lost: &CancellationToken,
    ) -> End {
        loop {
            let first = tokio::select! {
                biased;
                () = shutdown.cancelled() => return End::Shutdown,
                next = consumer.next() => next,
                () = lost.cancelled() => return End::Lost(self.ended()),
            };
            let mut batch = Batch::default();
            let mut next = Some(first);
            while let Some(item) = next.take() {
                if let Some(Ok(delivery)) = &item
                    && let Some(sequence) = Sequence::of(delivery)
                {
                    broker.note_sequence(&sequence, dispatch);
                }
                match item {
                    Some(Ok(delivery)) if delivery.routing_key == self.queue => {
                        batch.probe(delivery);
                    }
                    Some(Ok(delivery)) if is_probe(&delivery) => batch.last = Some(delivery),
                    Some(Ok(delivery)) => batch.take(delivery, broker).await,
                    Some(Err(error)) => batch.end = Some(error.into()),
                    None => batch.end = Some(self.ended()),
                }
                if batch.takes_more() {
                    next = consumer.next().now_or_never();
                }
            }
            if !batch.deliver(broker, dispatch, shutdown, lost).await {
                return End::Shutdown;
            }
            if let Some(cause) = batch.end {
                return End::Lost(cause);
            }
        }
    }

    /// The stream ended without an error.
    fn ended(&self) -> Cause {
        if self.wire.is_open() && self.channel.status().connected() {
            Cause::Cancelled
        } else {
            Cause::Lost("it was closed".into())
        }
    }

    /// Proves again and again that the queue is bound: a heartbeat that goes to every node comes
    /// back. Binds where it does not, and reports what may have been missed. Ends with the cause
    /// when the broker cannot be worked with any more.
    async fn keep_bound(&self, broker: &RabbitMq, dispatch: &dyn Dispatch) -> Cause {
        let mut channel = None;
        let mut withheld = false;
        let mut silent = 0;
        loop {
            tokio::select! {
                () = tokio::time::sleep(broker.binding_check) => {}
                () = broker.check_binding.notified() => {}
            }
            let outcome = match prove(broker).await {
                Binding::Proven => Ok(()),
                Binding::Lost(cause) => self.bind_anew(broker, cause, dispatch).await,
                Binding::Late => self.bind_and_see(broker, &mut channel).await,
                Binding::Unknown => self.look(broker, dispatch).await,
            };
            match outcome {
                Ok(()) => silent = 0,
                Err(Cause::Permission(text)) => {
                    // The binding that is there goes on working.
                    if !std::mem::replace(&mut withheld, true) {
                        tracing::warn!(cause = text, "the binding can no longer be checked");
                    }
                }
                // A broker that is only slow goes on delivering; heartbeats notice a dead one.
                Err(Cause::Silent(_)) if silent < BINDING_SILENCES => silent += 1,
                Err(Cause::Missing(text)) => {
                    if let Err(cause) = self.bind_anew(broker, text, dispatch).await {
                        return cause;
                    }
                }
                Err(cause) => return cause,
            }
        }
    }

    /// Binds, which does nothing while the binding is there. A heartbeat was routed before and did
    /// not come back: if it was lost, the number of the next one shows it.
    async fn bind_and_see(
        &self,
        broker: &RabbitMq,
        channel: &mut Option<Channel>,
    ) -> Result<(), Cause> {
        *channel = Some(self.bind(broker, channel.take()).await?);
        // Where it fails the next look comes soon enough.
        let _ = tokio::time::timeout(wire::STEP_TIMEOUT, broker.outlet.heartbeat()).await;
        Ok(())
    }

    /// Without a heartbeat nothing is bound, for nobody would see whether it was bound before.
    async fn look(&self, broker: &RabbitMq, dispatch: &dyn Dispatch) -> Result<(), Cause> {
        if wire::exchange_exists(&self.wire, &broker.exchange).await? {
            return Ok(());
        }
        let cause = "the exchange was deleted".to_owned();
        self.bind_anew(broker, cause, dispatch).await
    }

    async fn bind(&self, broker: &RabbitMq, channel: Option<Channel>) -> Result<Channel, Cause> {
        let channel = match channel {
            Some(channel) => channel,
            None => self.wire.channel().await?,
        };
        for key in [ROUTING_KEY, self.queue.as_str()] {
            wire::bind(&channel, &self.queue, &broker.exchange, key).await?;
        }
        Ok(channel)
    }

    /// The binding is gone: declares the exchange, binds, and reports the gap.
    async fn bind_anew(
        &self,
        broker: &RabbitMq,
        cause: String,
        dispatch: &dyn Dispatch,
    ) -> Result<(), Cause> {
        wire::declare_exchange(&self.wire, &broker.exchange).await?;
        self.bind(broker, None).await?;
        tracing::info!(
            exchange = %broker.exchange,
            cause,
            "the binding to the exchange was lost and has been restored"
        );
        broker.missed(MissedReason::BindingLost, cause, dispatch);
        Ok(())
    }
}

/// What a heartbeat says about the binding.
enum Binding {
    /// It came back.
    Proven,
    /// No queue at all is bound to the exchange, or there is no exchange.
    Lost(String),
    /// Another queue is bound; whether this one is, or is only slow, is not known.
    Late,
    /// It could not be published.
    Unknown,
}

/// Sends a heartbeat and waits a moment for it.
async fn prove(broker: &RabbitMq) -> Binding {
    let heartbeat = tokio::time::timeout(wire::STEP_TIMEOUT, broker.outlet.heartbeat());
    match heartbeat.await {
        Ok(Ok(position)) if broker.numbering.is_back(position, HEARTBEAT_BACK).await => {
            Binding::Proven
        }
        // Who may not publish can only bind.
        Ok(Ok(_) | Err(Cause::Permission(_))) => Binding::Late,
        Ok(Err(Cause::Missing(cause))) => Binding::Lost(cause),
        Ok(Err(_)) | Err(_) => Binding::Unknown,
    }
}

/// What is dispatched and acknowledged together.
#[derive(Default)]
struct Batch {
    received: usize,
    triggers: Vec<Trigger>,
    /// For each trigger, the number of our own publisher that waits for it.
    waiting: Vec<Option<u64>>,
    /// The `message_id` of a probe behind the triggers.
    probe: Option<ShortString>,
    last: Option<Delivery>,
    end: Option<Cause>,
}

impl Batch {
    fn takes_more(&self) -> bool {
        // A probe keeps its place in the order by being the last.
        self.end.is_none() && self.probe.is_none() && self.received < BATCH_MAX
    }

    /// Takes a message that this node sent to itself.
    fn probe(&mut self, delivery: Delivery) {
        let id = delivery.properties.message_id().clone();
        self.probe = Some(id.unwrap_or_default());
        self.last = Some(delivery);
    }

    async fn take(&mut self, mut delivery: Delivery, broker: &RabbitMq) {
        self.received += 1;
        broker.counts.received();
        let message_id = delivery.properties.message_id().as_ref();
        let own = message_id.and_then(|id| broker.waiters.number(id.as_str()));
        let encoding = delivery.properties.content_encoding().as_ref();
        let message = Message {
            content_encoding: encoding.map(|name| name.as_str().into()),
            body: Bytes::from(std::mem::take(&mut delivery.data)),
        };
        self.last = Some(delivery);
        let parsed = match (broker.parse)(message) {
            Parsing::Done(parsed) => parsed,
            Parsing::Aside(parsing) => parsing.await,
        };
        match parsed {
            Ok(trigger) => {
                self.triggers.push(trigger);
                self.waiting.push(own);
            }
            Err(reason) => {
                broker.reject(&reason, Instant::now());
                if let Some(number) = own {
                    broker.waiters.dropped(number);
                }
            }
        }
    }

    /// Dispatches, tells the publishers, acknowledges. False where the shutdown cut it short.
    async fn deliver(
        &mut self,
        broker: &RabbitMq,
        dispatch: &dyn Dispatch,
        shutdown: &CancellationToken,
        lost: &CancellationToken,
    ) -> bool {
        let triggers = std::mem::take(&mut self.triggers);
        if !triggers.is_empty() {
            let places = tokio::select! {
                biased;
                places = dispatch.dispatch(triggers) => places,
                () = given_up(shutdown) => return false,
            };
            for (place, waiting) in places.into_iter().zip(&self.waiting) {
                if let Some(number) = waiting {
                    broker.waiters.placed(*number, place);
                }
            }
        }
        if let Some(id) = &self.probe {
            let taken = tokio::select! {
                biased;
                taken = dispatch.probe() => taken,
                () = given_up(shutdown) => return false,
            };
            broker.echo.came_back(id.as_str(), taken);
        }
        if let Some(last) = &self.last {
            // Where it fails the connection is lost, and the consumer's stream says why.
            let acked = last.acker.ack(BasicAckOptions { multiple: true });
            tokio::select! {
                acked = acked => if let Err(error) = acked {
                    tracing::debug!(cause = cause::line(error), "not acknowledged");
                },
                () = lost.cancelled() => {}
                () = given_up(shutdown) => return false,
            }
        }
        true
    }
}

/// Whether it is a heartbeat, or another node's probe.
fn is_probe(delivery: &Delivery) -> bool {
    let kind = delivery.properties.kind().as_ref();
    kind.is_some_and(|kind| kind.as_str() == echo::TYPE)
}

async fn given_up(shutdown: &CancellationToken) {
    shutdown.cancelled().await;
    tokio::time::sleep(SHUTDOWN_DISPATCH).await;
}
