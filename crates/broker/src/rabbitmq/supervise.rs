//! Keeping the broker: connect, consume, and after every loss declare everything again.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::backoff::Backoff;
use crate::rabbitmq::RabbitMq;
use crate::rabbitmq::cause::Cause;
use crate::rabbitmq::intake::{End, Intake};
use crate::rabbitmq::outage::{Outage, Told};
use crate::rabbitmq::wire::Exchange;
use crate::{Dispatch, Health, MissedReason};

/// Shortest wait before the next attempt, after a first failure.
const BACKOFF_LEAST: Duration = Duration::from_millis(200);

/// Longest wait before the next attempt.
const BACKOFF_MOST: Duration = Duration::from_secs(5);

/// A connection that lasted so long makes the next failure a first one again.
const LASTED: Duration = Duration::from_secs(10);

/// How long a connection that is not needed any more may take to be closed in peace. A shutdown
/// has this twice, after at most a second for what is in hand.
const LEAVE: Duration = Duration::from_millis(500);

/// Brings triggers in until `shutdown`.
pub(super) async fn run(broker: &RabbitMq, dispatch: &dyn Dispatch, shutdown: &CancellationToken) {
    let mut backoff = Backoff::new(BACKOFF_LEAST, BACKOFF_MOST);
    let mut outage = Outage::default();
    // Why the next connection comes late: what was published until then does not reach this node.
    let mut missed = (
        MissedReason::Start,
        "the node was not connected to RabbitMQ".to_owned(),
    );
    loop {
        let opened = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            opened = Intake::open(broker) => opened,
        };
        let cause = match opened {
            Ok(mut intake) => {
                tell_connected(broker, &intake.exchange, &mut outage);
                broker.begin_queue();
                broker.missed(missed.0, missed.1.clone(), dispatch);
                broker.echo.connected(&intake.queue);
                broker.set_health(Health::Ready);
                let since = Instant::now();
                let end = intake.run(broker, dispatch, shutdown).await;
                if let End::Lost(cause) = &end {
                    broker.set_health(Health::NotReady(cause.to_string()));
                }
                broker.waiters.lose_all();
                broker.echo.lost();
                intake.wire.close(LEAVE).await;
                if since.elapsed() >= LASTED {
                    backoff.reset();
                }
                match end {
                    End::Shutdown => break,
                    End::Lost(cause) => {
                        missed = (reason(&cause), cause.to_string());
                        cause
                    }
                }
            }
            Err(cause) => cause,
        };
        broker.counts.failed();
        broker.set_health(Health::NotReady(cause.to_string()));
        tell_lost(broker, &cause, &mut outage);
        let wait = backoff.wait(Uuid::new_v4().as_fields().0);
        tokio::select! {
            () = shutdown.cancelled() => break,
            () = tokio::time::sleep(wait) => {}
        }
    }
    broker.set_health(Health::NotReady("shutting down".into()));
    broker.outlet.close(LEAVE).await;
}

/// What a lost connection means for what was published meanwhile.
fn reason(cause: &Cause) -> MissedReason {
    if *cause == Cause::Cancelled {
        MissedReason::QueueDeleted
    } else {
        MissedReason::Reconnect
    }
}

fn tell_connected(broker: &RabbitMq, exchange: &Exchange, outage: &mut Outage) {
    let name = &broker.exchange;
    if let Exchange::AsItIs(cause) = exchange {
        tracing::warn!(
            exchange = %name,
            cause = %cause,
            "the exchange cannot be declared by this user or with these arguments: using the existing one"
        );
    }
    match outage.over(Instant::now()) {
        Some(away) => tracing::info!(
            broker = %broker.endpoint,
            exchange = %name,
            outage_seconds = away.as_secs_f64(),
            "reconnected to RabbitMQ: triggers published during the outage did not reach this node"
        ),
        None => tracing::info!(
            broker = %broker.endpoint,
            exchange = %name,
            "connected to RabbitMQ"
        ),
    }
}

fn tell_lost(broker: &RabbitMq, cause: &Cause, outage: &mut Outage) {
    match outage.note(&cause.to_string(), Instant::now()) {
        Told::Nothing => {}
        Told::Cause => tracing::warn!(
            broker = %broker.endpoint,
            cause = %cause,
            advice = Some(cause.advice()).filter(|advice| !advice.is_empty()),
            "RabbitMQ is unavailable: retrying until it is back"
        ),
        Told::Still { lasting, attempts } => tracing::warn!(
            broker = %broker.endpoint,
            cause = %cause,
            outage_seconds = lasting.as_secs_f64(),
            attempts,
            "RabbitMQ is still unavailable"
        ),
    }
}
