//! Keeps a node's queue bound to the exchange.

use std::sync::Arc;
use std::time::Duration;

use lapin::Channel;
use lapin::types::ShortString;

use crate::missed::{Missed, MissedReason};
use crate::rabbitmq::RabbitMq;
use crate::rabbitmq::cause::Cause;
use crate::rabbitmq::wire::{self, ROUTING_KEY, Wire};

/// Binding checks in a row that may go unanswered.
const SILENCES_MAX: u32 = 3;

/// Time limit for a heartbeat to be read back before the binding is checked.
const HEARTBEAT_BACK: Duration = Duration::from_millis(500);

/// Proves periodically that the queue is bound: a heartbeat that is routed to every node is read
/// back. Binds if it is not.
pub(super) struct Binding {
    broker: Arc<RabbitMq>,
    wire: Arc<Wire>,
    queue: ShortString,
    /// Exchange on which it is bound when that is needed.
    channel: Option<Channel>,
    /// The broker refuses to bind it again, and that was logged.
    withheld: bool,
    /// Checks in a row that the broker did not answer.
    silent: u32,
}

/// What a heartbeat shows about the binding.
enum Proof {
    /// It was read back.
    Bound,
    /// No queue at all is bound to the exchange, or there is no exchange.
    Lost(String),
    /// Another queue is bound; whether this one is, or is only slow, is not known.
    Late,
    /// It could not be published.
    Unknown,
}

impl Binding {
    /// Of this queue, which is bound.
    pub(super) fn new(broker: Arc<RabbitMq>, wire: Arc<Wire>, queue: ShortString) -> Self {
        Self {
            broker,
            wire,
            queue,
            channel: None,
            withheld: false,
            silent: 0,
        }
    }

    /// Checks the binding at intervals. Ends with a gap when it had to be made again, or with the
    /// cause when the broker cannot be worked with any more.
    pub(super) async fn keep(mut self) -> (Self, Result<Missed, Cause>) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(self.broker.binding_check) => {}
                () = self.broker.check_binding.notified() => {}
            }
            match self.check().await {
                Ok(None) => {}
                Ok(Some(missed)) => return (self, Ok(missed)),
                Err(cause) => return (self, Err(cause)),
            }
        }
    }

    async fn check(&mut self) -> Result<Option<Missed>, Cause> {
        let outcome = match prove(&self.broker).await {
            Proof::Bound => Ok(None),
            Proof::Lost(cause) => self.bind_anew(cause).await.map(Some),
            Proof::Late => self.bind_and_see().await.map(|()| None),
            Proof::Unknown => self.look().await,
        };
        match outcome {
            Ok(missed) => {
                self.silent = 0;
                Ok(missed)
            }
            Err(Cause::Permission(text)) => {
                // The existing binding stays in effect.
                if !std::mem::replace(&mut self.withheld, true) {
                    tracing::warn!(cause = text, "the binding can no longer be checked");
                }
                Ok(None)
            }
            // A broker that is only slow continues to deliver; heartbeats detect a dead one.
            Err(Cause::Silent(_)) if self.silent < SILENCES_MAX => {
                self.silent += 1;
                Ok(None)
            }
            Err(Cause::Missing(text)) => self.bind_anew(text).await.map(Some),
            Err(cause) => Err(cause),
        }
    }

    /// Binds, which does nothing while the binding exists. A heartbeat was routed before and was
    /// not read back: if it was lost, the number of the next one shows it, or what that states of
    /// the connection before.
    async fn bind_and_see(&mut self) -> Result<(), Cause> {
        let channel = self.channel.take();
        self.channel = Some(self.bind(channel).await?);
        // If it fails the next check follows soon enough.
        let heartbeat = self.broker.publisher.heartbeat();
        let _ = tokio::time::timeout(wire::STEP_TIMEOUT, heartbeat).await;
        Ok(())
    }

    /// Without a heartbeat it does not bind, for it could not be detected whether it was bound
    /// before.
    async fn look(&self) -> Result<Option<Missed>, Cause> {
        if wire::exchange_exists(&self.wire, &self.broker.exchange).await? {
            return Ok(None);
        }
        let cause = "the exchange was deleted".to_owned();
        self.bind_anew(cause).await.map(Some)
    }

    async fn bind(&self, channel: Option<Channel>) -> Result<Channel, Cause> {
        let channel = match channel {
            Some(channel) => channel,
            None => self.wire.channel().await?,
        };
        for key in [ROUTING_KEY, self.queue.as_str()] {
            wire::bind(&channel, &self.queue, &self.broker.exchange, key).await?;
        }
        Ok(channel)
    }

    /// The binding is lost: declares the exchange and binds. Returns the gap.
    async fn bind_anew(&self, cause: String) -> Result<Missed, Cause> {
        wire::declare_exchange(&self.wire, &self.broker.exchange, self.broker.is_durable).await?;
        self.bind(None).await?;
        tracing::info!(
            exchange = %self.broker.exchange,
            cause,
            "the binding to the exchange was lost and has been restored"
        );
        self.broker.numbering.reported();
        Ok(Missed {
            reason: MissedReason::BindingLost,
            cause,
        })
    }
}

/// Sends a heartbeat and waits briefly for it.
async fn prove(broker: &RabbitMq) -> Proof {
    let heartbeat = tokio::time::timeout(wire::STEP_TIMEOUT, broker.publisher.heartbeat());
    match heartbeat.await {
        Ok(Ok(serial)) if broker.numbering.is_back(serial, HEARTBEAT_BACK).await => Proof::Bound,
        // Without permission to publish, it can only bind.
        Ok(Ok(_) | Err(Cause::Permission(_))) => Proof::Late,
        Ok(Err(Cause::Missing(cause))) => Proof::Lost(cause),
        Ok(Err(_)) | Err(_) => Proof::Unknown,
    }
}
