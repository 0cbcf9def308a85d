//! The broker that the configuration asks for.

use std::sync::Arc;

use bytes::Bytes;
use ht_broker::Broker;
use ht_broker::config::RabbitMqConfig;
use ht_broker::rabbitmq;
use ht_broker::rabbitmq::Parsing;
use ht_broker::rabbitmq::RabbitMq;
use ht_proto::trigger::Trigger;
use ht_server::aside;
use ht_server::live::Live;

use crate::cli::check::Finding;

/// Makes the broker; none means that triggers come over HTTP only.
pub(super) fn make(
    rabbitmq: Option<RabbitMqConfig>,
    live: Live,
) -> anyhow::Result<Option<Arc<dyn Broker>>> {
    let Some(config) = rabbitmq else {
        tracing::info!("no broker: this node delivers what is posted to its /trigger/");
        return Ok(None);
    };
    let endpoint = rabbitmq::describe(&config.url)?;
    tracing::info!("triggers come from RabbitMQ at {endpoint}");
    let parse = move |text: Bytes| {
        let limits = live.now().limits.trigger();
        let parse =
            move |text: &Bytes| Trigger::parse(text, &limits).map_err(|error| error.to_string());
        if aside::is_large(&text) {
            Parsing::Aside(Box::pin(aside::parse(text, parse)))
        } else {
            Parsing::Done(parse(&text))
        }
    };
    Ok(Some(Arc::new(RabbitMq::new(config, Arc::new(parse))?)))
}

/// Whether the broker can be used as configured.
pub(super) async fn probe(rabbitmq: Option<&RabbitMqConfig>) -> Finding {
    let Some(config) = rabbitmq else {
        let text = "none; this node delivers what is posted to its own /trigger/";
        return Finding::Works(text.to_owned());
    };
    let report = match rabbitmq::probe(config).await {
        Ok(report) => report,
        Err(error) => return Finding::Fix(format!("RabbitMQ at {error}")),
    };
    let exchange = if report.exchange_existed {
        "is there"
    } else {
        "is not there yet; serve makes it"
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
