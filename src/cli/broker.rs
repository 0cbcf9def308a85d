//! The configured broker.

use std::sync::Arc;

use bytes::Bytes;
use ht_broker::config::RabbitMqConfig;
use ht_broker::encoding::{self, InflateError, Message};
use ht_broker::rabbitmq::{self, RabbitMq};
use ht_broker::{Broker, Parsing};
use ht_node::live::Live;
use ht_node::{offload, records};
use ht_proto::trigger::TriggerLimits;

use crate::cli::finding::Finding;

/// Creates the broker. None means that triggers arrive over HTTP only.
pub(super) fn make(
    rabbitmq: Option<RabbitMqConfig>,
    live: Live,
) -> anyhow::Result<Option<Arc<Broker>>> {
    let Some(config) = rabbitmq else {
        tracing::info!(
            "no broker configured: this node delivers only triggers that are posted to its own /trigger/"
        );
        return Ok(None);
    };
    let endpoint = rabbitmq::describe(&config.url)?;
    tracing::info!("consuming triggers from RabbitMQ at {endpoint}");
    let parse = move |message| parse(message, &live.now().limits.trigger());
    let log = Arc::new(RabbitMq::new(&config)?);
    let broker = Broker::new(log, Arc::new(parse), config.publish_timeout);
    Ok(Some(Arc::new(broker)))
}

/// Parses a message; a large one, compressed or not, on another thread.
fn parse(message: Message, limits: &TriggerLimits) -> Parsing {
    let limits = *limits;
    let Some(coding) = message.coding() else {
        let named = message.unknown_encoding();
        return parse_text(message.body, limits, named);
    };
    let body = message.body;
    let inflate = move |body: &Bytes, max: usize| encoding::inflate(body, coding, max);
    // Most are small, and a thread costs more than parsing them.
    let at_once = limits.bytes.min(offload::LARGE);
    match inflate(&body, at_once) {
        Ok(text) => parse_text(text, limits, None),
        Err(InflateError::TooLong(_)) if limits.bytes > at_once => {
            let parsing = offload::parse_offloaded(body, move |body| {
                let text = inflate(body, limits.bytes).map_err(explain)?;
                records::message(&text, &limits).map_err(|error| error.to_string())
            });
            Parsing::Offloaded(Box::pin(parsing))
        }
        Err(error) => Parsing::Done(Err(explain(error))),
    }
}

fn parse_text(text: Bytes, limits: TriggerLimits, encoding: Option<String>) -> Parsing {
    let parse = move |text: &Bytes| {
        records::message(text, &limits).map_err(|error| match encoding {
            None => error.to_string(),
            Some(name) => format!(
                "{error}; its content_encoding {name:?} is not supported: send gzip, deflate or \
                 plain JSON"
            ),
        })
    };
    if offload::is_large(&text) {
        Parsing::Offloaded(Box::pin(offload::parse(text, parse)))
    } else {
        Parsing::Done(parse(&text))
    }
}

fn explain(error: InflateError) -> String {
    match error {
        InflateError::TooLong(_) => format!("{error} (limits.trigger_bytes)"),
        InflateError::Damaged => error.to_string(),
    }
}

/// The finding where no broker is configured. `check` may have been started without the environment
/// of the service, which has the broker's URL.
const NONE: &str = "none: rabbitmq.url is not set, so this node delivers only what is posted to its \
                    own /trigger/. If that is not intended, set it, or start `check` with the \
                    service's environment: set -a; . /etc/high-templar/environment; set +a";

/// Whether the broker can be used as configured.
pub(super) async fn probe(rabbitmq: Option<&RabbitMqConfig>) -> Finding {
    let Some(config) = rabbitmq else {
        return Finding::Note(NONE.to_owned());
    };
    let report = match rabbitmq::probe(config).await {
        Ok(report) => report,
        Err(error) => return Finding::Fix(format!("RabbitMQ at {error}")),
    };
    let exchange = if report.exchange_existed {
        "exists"
    } else {
        "does not exist yet; serve declares it"
    };
    let mut text = format!(
        "RabbitMQ at {} works; the exchange {} {exchange}",
        report.endpoint, config.exchange
    );
    for note in &report.notes {
        text.push_str("\n     ");
        text.push_str(note);
    }
    Finding::Works(text)
}
