//! Keeps the stream bound to the exchange.
//!
//! The exchange is transient, and an old gateway or a publisher may declare it anew before this node
//! binds the stream: what is published in between reaches no stream, and only publishers that
//! publish as mandatory learn of it. So it is never bound again without a look at whether it was
//! bound: a message with the stream's own key, which no other queue is bound with, is returned if
//! not.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::missed::{Missed, MissedReason};
use crate::rabbitmq::cause::Cause;
use crate::rabbitmq::stream::RabbitMqStream;
use crate::rabbitmq::wire::{self, Exchange, Wire};

/// Checks in a row that may go unanswered.
const SILENCES_MAX: u32 = 3;

/// Checks the binding at intervals.
pub(super) struct Binding {
    log: Arc<RabbitMqStream>,
    wire: Arc<Wire>,
    /// Checks in a row that the broker did not answer.
    silent: u32,
}

impl Binding {
    pub(super) fn new(log: Arc<RabbitMqStream>, wire: Arc<Wire>) -> Self {
        let silent = 0;
        Self { log, wire, silent }
    }

    /// Ends with a gap when the stream had to be bound again, or with the cause when the broker
    /// cannot be worked with any more.
    pub(super) async fn keep(mut self) -> (Self, Result<Missed, Cause>) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(self.log.binding_check) => {
                    if self.log.is_proven.swap(false, Ordering::Relaxed) {
                        continue;
                    }
                }
                () = self.log.check_binding.notified() => {}
            }
            match self.log.restore_binding(&self.wire).await {
                Ok(None) => self.silent = 0,
                Ok(Some(missed)) => return (self, Ok(missed)),
                // Without permission to publish, nothing can be proven.
                Err(Cause::Permission(_)) => {}
                // A broker that is only slow continues to deliver.
                Err(Cause::Silent(_) | Cause::Blocked) if self.silent < SILENCES_MAX => {
                    self.silent += 1;
                }
                Err(cause) => return (self, Err(cause)),
            }
        }
    }
}

impl RabbitMqStream {
    /// Makes sure that the stream is bound. Returns the gap if it was not.
    pub(super) async fn restore_binding(&self, wire: &Wire) -> Result<Option<Missed>, Cause> {
        if self.publisher.mark("").await? {
            return Ok(None);
        }
        self.declare_exchange(wire).await?;
        self.bind(wire).await?;
        let cause = "the stream was not bound to the exchange";
        tracing::info!(exchange = %self.exchange, stream = %self.name, cause, "bound it again");
        Ok(Some(Missed {
            reason: MissedReason::BindingLost,
            cause: cause.to_owned(),
        }))
    }

    /// Declares exchange and stream, and binds. Returns the gap of a connection before, if what
    /// publishers published since may be lost.
    pub(super) async fn prepare(&self, wire: &Wire) -> Result<Option<Missed>, Cause> {
        let had_exchange = wire::exchange_exists(wire, &self.exchange).await?;
        let was_declared = self.declare_stream(wire).await?;
        let was_there = self.was_there.load(Ordering::Relaxed);
        let mut missed = None;
        if had_exchange && was_declared && was_there {
            missed = self.restore_binding(wire).await?;
        } else {
            // Without an exchange every publisher has noticed.
            self.declare_exchange(wire).await?;
            self.bind(wire).await?;
        }
        Ok(missed)
    }

    async fn declare_exchange(&self, wire: &Wire) -> Result<(), Cause> {
        let found = wire::declare_exchange(wire, &self.exchange, self.is_durable).await?;
        if let Exchange::AsItIs(cause) = found {
            tracing::warn!(
                exchange = %self.exchange,
                cause = %cause,
                "the exchange cannot be declared by this user or with these arguments: using the existing one"
            );
        }
        Ok(())
    }
}
