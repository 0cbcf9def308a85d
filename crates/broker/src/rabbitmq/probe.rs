//! Trying the broker out without becoming a consumer of it, for `high-templar check`.

use std::time::Duration;

use lapin::BasicProperties;
use lapin::options::{
    BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, ExchangeDeleteOptions,
    QueueDeleteOptions,
};
use lapin::types::ShortString;
use uuid::Uuid;

use crate::config::RabbitMqConfig;
use crate::rabbitmq::address::Endpoint;
use crate::rabbitmq::cause::Cause;
use crate::rabbitmq::wire::{Exchange, Wire};
use crate::rabbitmq::{ConfigError, address, exchange_name, stream, wire};

/// How long closing the connection may take.
const CLOSE: Duration = Duration::from_millis(500);

/// Limits of the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeReport {
    /// The broker that answered.
    pub endpoint: Endpoint,
    /// Whether the exchange existed before; if not, it could be declared (and was deleted again,
    /// unless it was in use already).
    pub exchange_existed: bool,
    /// Unusual findings that work, in sentences.
    pub notes: Vec<String>,
}

/// Why the broker cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A step failed.
    #[error("{endpoint}: cannot {step}: {cause}{}{advice}", if advice.is_empty() { "" } else { "; " })]
    Step {
        /// The broker.
        endpoint: Endpoint,
        /// The step that failed, such as `connect`.
        step: &'static str,
        /// What went wrong.
        cause: String,
        /// What to do about it; may be empty.
        advice: &'static str,
    },
}

/// Checks everything the gateway needs: login, virtual host, exchange, a queue of its own, binding,
/// consuming rights, publishing, and a message that is read back. Leaves nothing behind.
///
/// # Errors
/// With the first step that fails, why, and what to do about it.
pub async fn probe(config: &RabbitMqConfig) -> Result<ProbeReport, ProbeError> {
    let uri = address::parse(&config.url).map_err(ConfigError::Url)?;
    let exchange = exchange_name(config)?;
    let endpoint = address::endpoint(&uri);
    let failed = |step| {
        let endpoint = endpoint.clone();
        move |cause: Cause| ProbeError::Step {
            endpoint,
            step,
            cause: cause.to_string(),
            advice: cause.advice(),
        }
    };
    let wire = Wire::connect(&uri, "high-templar check")
        .await
        .map_err(failed("connect"))?;
    let exchange_existed = wire::exchange_exists(&wire, &exchange)
        .await
        .map_err(failed("look for the exchange"))?;
    let found = wire::declare_exchange(&wire, &exchange, config.durable)
        .await
        .map_err(failed("declare the exchange"))?;
    let stream = match &config.stream {
        None => None,
        Some(stream) => {
            let name = stream::queue_name(stream)?;
            let exists = stream::exists(&wire, &name).await;
            Some((name, exists.map_err(failed("look for the stream"))?))
        }
    };
    let queue = ShortString::from(format!("hightemplar_check_{}", Uuid::new_v4()));
    let round_trip = round_trip(&wire, &exchange, &queue).await;
    take_away(&wire, &queue, (!exchange_existed).then_some(&exchange)).await;
    wire.close(CLOSE).await;
    round_trip.map_err(|(step, cause)| failed(step)(cause))?;
    let mut notes = match found {
        Exchange::AsDeclared => Vec::new(),
        Exchange::AsItIs(cause) => {
            vec![format!("the exchange {exchange} is used as it is: {cause}")]
        }
    };
    notes.extend(stream.map(|(name, exists)| {
        if exists {
            format!("the stream {name} exists")
        } else {
            format!("the stream {name} does not exist yet; serve declares it")
        }
    }));
    Ok(ProbeReport {
        endpoint,
        exchange_existed,
        notes,
    })
}

/// A message with a routing key that only this probe's queue is bound with.
async fn round_trip(
    wire: &Wire,
    exchange: &ShortString,
    queue: &ShortString,
) -> Result<(), (&'static str, Cause)> {
    let at = |step| move |cause| (step, cause);
    let channel = wire.channel().await.map_err(at("open a channel"))?;
    wire::declare_queue(&channel, queue)
        .await
        .map_err(at("declare a queue"))?;
    wire::bind(&channel, queue, exchange, queue.as_str())
        .await
        .map_err(at("bind a queue to the exchange"))?;
    let publish = async {
        wire::step(channel.confirm_select(ConfirmSelectOptions::default())).await?;
        let confirm = wire::step(channel.basic_publish(
            exchange.clone(),
            queue.clone(),
            BasicPublishOptions::default(),
            b"{}",
            BasicProperties::default(),
        ))
        .await?;
        wire::step(confirm).await
    };
    publish.await.map_err(at("publish to the exchange"))?;
    let options = BasicGetOptions { no_ack: true };
    let message = wire::step(channel.basic_get(queue.clone(), options))
        .await
        .map_err(at("read from a queue"))?;
    match message {
        Some(_) => Ok(()),
        None => Err((
            "get a message through the exchange",
            Cause::Other(
                "it was accepted but did not arrive; is the exchange a direct one?".into(),
            ),
        )),
    }
}

/// Deletes the queue, and the exchange if it was declared here and nothing was bound to it
/// meanwhile. If that fails the exchange stays, as the gateway itself would leave it; the queue
/// ends with the connection.
async fn take_away(wire: &Wire, queue: &ShortString, exchange: Option<&ShortString>) {
    let Ok(channel) = wire.channel().await else {
        return;
    };
    let options = QueueDeleteOptions::default();
    let _ = wire::step(channel.queue_delete(queue.clone(), options)).await;
    if let Some(exchange) = exchange {
        let options = ExchangeDeleteOptions {
            if_unused: true,
            ..ExchangeDeleteOptions::default()
        };
        let _ = wire::step(channel.exchange_delete(exchange.clone(), options)).await;
    }
}
