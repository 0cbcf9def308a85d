//! The configured broker.

use std::sync::Arc;

use bytes::Bytes;
use ht_broker::config::{NatsConfig, PostgresConfig, RabbitMqConfig, Reading, RedisConfig};
use ht_broker::encoding::{self, InflateError, Message};
use ht_broker::log::Log;
use ht_broker::nats::{self, Nats};
use ht_broker::postgres::{self, Postgres};
use ht_broker::rabbitmq::{self, RabbitMq, RabbitMqStream};
use ht_broker::redis::{self, Redis};
use ht_broker::{Broker, Parsing};
use ht_node::config::{OpenLog, ServerConfig};
use ht_node::live::Live;
use ht_node::{offload, records};
use ht_proto::trigger::TriggerLimits;

use crate::cli::finding::Finding;
use crate::config::Engine;

/// So many beacons that do not come back are one too many.
const SILENT_BEACONS: u32 = 2;

/// Creates the broker. None means that triggers arrive over HTTP only.
pub(super) fn make(
    engine: Option<Engine>,
    reading: Reading,
    live: Live,
) -> anyhow::Result<Option<Arc<Broker>>> {
    let Some(engine) = engine else {
        tracing::info!(
            "no broker configured: this node delivers only triggers that are posted to its own /trigger/"
        );
        return Ok(None);
    };
    open(&engine, reading, live).map(Some)
}

/// Opens the logs of tenants' own.
pub(super) fn opener(reading: Reading, live: Live) -> OpenLog {
    Arc::new(move |engine| {
        open(engine, reading, live.clone()).map_err(|error| format!("{error:#}"))
    })
}

/// Creates a broker with this log.
fn open(engine: &Engine, reading: Reading, live: Live) -> anyhow::Result<Arc<Broker>> {
    let (log, publish_timeout): (Arc<dyn Log>, _) = match engine {
        Engine::RabbitMq(config) => {
            let endpoint = rabbitmq::describe(&config.url)?;
            tracing::info!("consuming triggers from RabbitMQ at {endpoint}");
            let log: Arc<dyn Log> = match &config.stream {
                None => Arc::new(RabbitMq::new(config)?),
                Some(stream) => Arc::new(RabbitMqStream::new(config, stream.clone())?),
            };
            (log, config.publish_timeout)
        }
        Engine::Postgres(config) => {
            let endpoint = postgres::describe(&config.url)?;
            tracing::info!("reading triggers from PostgreSQL at {endpoint}");
            (Arc::new(Postgres::new(config)?), config.publish_timeout)
        }
        Engine::Nats(config) => {
            let endpoint = nats::describe(&config.url)?;
            tracing::info!("reading triggers from NATS at {endpoint}");
            (Arc::new(Nats::new(config)?), config.publish_timeout)
        }
        Engine::Redis(config) => {
            let endpoint = redis::describe(&config.url)?;
            tracing::info!("reading triggers from Redis at {endpoint}");
            (Arc::new(Redis::new(config)?), config.publish_timeout)
        }
    };
    let parse = move |message| parse(message, &live.now().limits.trigger());
    let broker = Broker::new(log, Arc::new(parse), publish_timeout).reading(reading);
    Ok(Arc::new(broker))
}

/// How a log that retains its records is read: what a node needs when it starts is its window and
/// the ids of triggers, and one whose own beacons do not come back has lost its tail.
pub(super) fn reading(server: &ServerConfig) -> Reading {
    Reading {
        age: server.limits.window.age,
        positions: server.ids().reach(),
        silence: Some(server.nodes.beacon * SILENT_BEACONS),
    }
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
const NONE: &str = "none: neither rabbitmq.url nor postgres.url nor nats.url nor redis.url is set, so \
                    this node delivers only what is posted to its own /trigger/. If that is not \
                    intended, set one, or start `check` with the service's environment: set -a; . \
                    /etc/high-templar/environment; set +a";

/// Whether the broker can be used as configured. A trigger may have so many bytes.
pub(super) async fn probe(engine: Option<&Engine>, trigger_bytes: usize) -> Finding {
    match engine {
        Some(Engine::RabbitMq(config)) => probe_rabbitmq(config).await,
        Some(Engine::Postgres(config)) => probe_postgres(config).await,
        Some(Engine::Nats(config)) => probe_nats(config, trigger_bytes).await,
        Some(Engine::Redis(config)) => probe_redis(config).await,
        None => Finding::Note(NONE.to_owned()),
    }
}

async fn probe_nats(config: &NatsConfig, trigger_bytes: usize) -> Finding {
    let mut report = match nats::probe(config).await {
        Ok(report) => report,
        Err(error) => return Finding::Fix(format!("NATS at {error}")),
    };
    let max = report.max_payload;
    if max < trigger_bytes {
        report.notes.push(format!(
            "the server takes messages of at most {max} bytes: raise its max_payload, or lower \
             limits.trigger_bytes"
        ));
    }
    let stream = match report.position {
        Some(position) => format!("is at position {position}"),
        None => "does not exist yet; serve makes it".to_owned(),
    };
    let text = format!(
        "NATS at {} works; the stream {} {stream}",
        report.endpoint, report.stream
    );
    works(text, &report.notes)
}

async fn probe_postgres(config: &PostgresConfig) -> Finding {
    match postgres::probe(config).await {
        Ok(report) => works(
            format!(
                "PostgreSQL at {} works; the log in the schema {} is at position {}",
                report.endpoint, config.log, report.position
            ),
            &report.notes,
        ),
        Err(error) => Finding::Fix(format!("PostgreSQL at {error}")),
    }
}

async fn probe_redis(config: &RedisConfig) -> Finding {
    match redis::probe(config).await {
        Ok(report) => works(
            format!(
                "Redis at {} works; the log in the stream {} is at position {}",
                report.endpoint, config.stream, report.position
            ),
            &report.notes,
        ),
        Err(error) => Finding::Fix(format!("Redis at {error}")),
    }
}

async fn probe_rabbitmq(config: &RabbitMqConfig) -> Finding {
    let report = match rabbitmq::probe(config).await {
        Ok(report) => report,
        Err(error) => return Finding::Fix(format!("RabbitMQ at {error}")),
    };
    let exchange = if report.exchange_existed {
        "exists"
    } else {
        "does not exist yet; serve declares it"
    };
    works(
        format!(
            "RabbitMQ at {} works; the exchange {} {exchange}",
            report.endpoint, config.exchange
        ),
        &report.notes,
    )
}

fn works(mut text: String, notes: &[String]) -> Finding {
    for note in notes {
        text.push_str("\n     ");
        text.push_str(note);
    }
    Finding::Works(text)
}
