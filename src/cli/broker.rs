//! The broker that the configuration asks for.

use std::sync::Arc;

use anyhow::bail;
use ht_broker::Broker;
use ht_broker::config::RabbitMqConfig;

use crate::cli::check::Finding;

/// Makes the broker; none means that triggers come over HTTP only.
pub(super) fn make(rabbitmq: Option<RabbitMqConfig>) -> anyhow::Result<Option<Arc<dyn Broker>>> {
    match rabbitmq {
        None => Ok(None),
        Some(_) => bail!("this build knows no RabbitMQ: leave rabbitmq.url empty"),
    }
}

/// Whether the broker can be used as configured.
pub(super) async fn probe(rabbitmq: Option<&RabbitMqConfig>) -> Finding {
    match rabbitmq {
        None => {
            Finding::Works("none: this node delivers what is posted to its /trigger/".to_owned())
        }
        Some(_) => {
            Finding::Fix("this build knows no RabbitMQ: leave rabbitmq.url empty".to_owned())
        }
    }
}
