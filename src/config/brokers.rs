//! The brokers: which one there is, and how it is reached.

use ht_broker::config::{
    BINDING_CHECK, Engine, NatsConfig, PostgresConfig, RabbitMqConfig, RedisConfig, StreamConfig,
};
use ht_broker::{nats, postgres, rabbitmq, redis};
use ht_node::config::Secret;
use percent_encoding::utf8_percent_encode;

use crate::config::Config;
use crate::config::legacy::ENCODED;
use crate::config::log::RabbitMqLog;
use crate::config::mistake::Mistakes;
use crate::config::settings::Values;

impl Config {
    /// The log; none means that triggers arrive over HTTP only.
    #[must_use]
    pub fn engine(&self) -> Option<Engine> {
        let rabbitmq = self.rabbitmq.clone().map(Engine::RabbitMq);
        let postgres = || self.postgres.clone().map(Engine::Postgres);
        let nats = || self.nats.clone().map(Engine::Nats);
        let redis = || self.redis.clone().map(Engine::Redis);
        rabbitmq.or_else(postgres).or_else(nats).or_else(redis)
    }
}

/// Checks that there is at most one, and that nothing is set for one that there is not.
pub(crate) fn check(values: &Values, mistakes: &mut Mistakes) {
    let urls = [
        ("rabbitmq.url", "RabbitMQ", &values.rabbitmq_url),
        ("postgres.url", "PostgreSQL", &values.postgres_url),
        ("nats.url", "NATS", &values.nats_url),
        ("redis.url", "Redis", &values.redis_url),
    ];
    let mut set = urls.iter().filter(|(_, _, url)| url.value.is_some());
    if let Some((first, ..)) = set.next() {
        for (key, _, url) in set {
            let what = format!("{first} is set, too, and there is one log: leave one of them out");
            mistakes.add(&url.place, key, what);
        }
    }
    let logins = [
        ("rabbitmq.username", &values.rabbitmq_username),
        ("rabbitmq.password", &values.rabbitmq_password),
        ("postgres.username", &values.postgres_username),
        ("postgres.password", &values.postgres_password),
        ("nats.username", &values.nats_username),
        ("nats.password", &values.nats_password),
        ("nats.token", &values.nats_token),
        ("nats.nkey", &values.nats_nkey),
        ("nats.credentials", &values.nats_credentials),
        ("redis.username", &values.redis_username),
        ("redis.password", &values.redis_password),
    ];
    for (url_key, name, url) in urls {
        if url.value.is_some() || mistakes.about(url_key) {
            continue;
        }
        let section = url_key.trim_end_matches("url");
        for (key, found) in logins {
            if found.value.is_some() && key.starts_with(section) {
                let what = format!("{url_key} is missing: without it no {name} is used");
                mistakes.add(&found.place, key, what);
            }
        }
    }
    check_nats(values, mistakes);
}

/// Checks that there is one login, and a key for each certificate.
fn check_nats(values: &Values, mistakes: &mut Mistakes) {
    let logins = [
        ("nats.username", &values.nats_username),
        ("nats.token", &values.nats_token),
        ("nats.nkey", &values.nats_nkey),
        ("nats.credentials", &values.nats_credentials),
    ];
    let mut set = logins.iter().filter(|(_, found)| found.value.is_some());
    if let (Some((first, _)), Some((second, found))) = (set.next(), set.next()) {
        let what = format!("{first} is set, too, and there is one login: leave one of them out");
        mistakes.add(&found.place, second, what);
    }
    let (certificate, key) = (&values.nats_tls_certificate_file, &values.nats_tls_key_file);
    for (one, other, name, missing) in [
        (
            certificate,
            key,
            "nats.tls_certificate_file",
            "nats.tls_key_file",
        ),
        (
            key,
            certificate,
            "nats.tls_key_file",
            "nats.tls_certificate_file",
        ),
    ] {
        if one.value.is_some() && other.value.is_none() {
            let what = format!("{missing} is missing: a certificate is used with its key");
            mistakes.add(&one.place, name, what);
        }
    }
}

/// The log that these values name.
pub(crate) fn engine(values: &Values) -> Option<Engine> {
    let rabbitmq = rabbitmq(values).map(Engine::RabbitMq);
    let postgres = || postgres(values).map(Engine::Postgres);
    let nats = || nats(values).map(Engine::Nats);
    let redis = || redis(values).map(Engine::Redis);
    rabbitmq.or_else(postgres).or_else(nats).or_else(redis)
}

/// What a log is called on its server, without secrets: two with the same name are the same log.
pub(crate) fn names(engine: &Engine) -> Vec<Box<str>> {
    // The addresses were checked when they were read.
    let names = match engine {
        Engine::RabbitMq(config) => {
            let at = rabbitmq::describe(&config.url);
            let shown = |at: rabbitmq::Endpoint| format!("{}:{}/{}", at.host, at.port, at.vhost);
            let at = at.map_or_else(|_| String::new(), shown);
            let stream = config.stream.as_ref();
            let stream = stream.map(|stream| format!("RabbitMQ {at}, stream {}", stream.name));
            let exchange = format!("RabbitMQ {at}, exchange {}", config.exchange);
            [Some(exchange), stream]
        }
        Engine::Postgres(config) => {
            let at = postgres::describe(&config.url);
            let at = at.map_or_else(
                |_| String::new(),
                |at| format!("{}/{}", at.hosts, at.database),
            );
            [
                Some(format!("PostgreSQL {at}, schema {}", config.log)),
                None,
            ]
        }
        Engine::Nats(config) => {
            let at = nats::describe(&config.url);
            let at = at.map_or_else(|_| String::new(), |at| at.hosts);
            let stream = Some(&config.stream).filter(|stream| !stream.is_empty());
            let stream = stream.map(|stream| format!("NATS {at}, stream {stream}"));
            [
                Some(format!("NATS {at}, subject {}", config.subject)),
                stream,
            ]
        }
        Engine::Redis(config) => {
            let at = redis::describe(&config.url);
            let at = at.map_or_else(
                |_| String::new(),
                |at| format!("{}/{}", at.host, at.database),
            );
            [Some(format!("Redis {at}, stream {}", config.stream)), None]
        }
    };
    names.into_iter().flatten().map(Into::into).collect()
}

/// How to reach RabbitMQ, if it is the broker.
pub(crate) fn rabbitmq(values: &Values) -> Option<RabbitMqConfig> {
    let url = values.rabbitmq_url.value.as_ref()?;
    Some(RabbitMqConfig {
        url: with_login(
            url,
            values.rabbitmq_username.value.as_ref(),
            values.rabbitmq_password.value.as_ref(),
        ),
        exchange: values.rabbitmq_exchange.value.clone(),
        durable: values.rabbitmq_durable.value,
        stream: (values.rabbitmq_log.value == RabbitMqLog::Stream).then(|| stream(values)),
        prefetch: u16::try_from(values.rabbitmq_prefetch.value).unwrap_or(u16::MAX),
        publish_timeout: values.rabbitmq_publish_timeout.value,
        binding_check: BINDING_CHECK,
    })
}

/// The stream that carries the log.
fn stream(values: &Values) -> StreamConfig {
    let name = &values.rabbitmq_stream.value;
    StreamConfig {
        name: if name.is_empty() {
            format!("{}.log", values.rabbitmq_exchange.value)
        } else {
            name.clone()
        },
        age: values.rabbitmq_stream_age.value,
        bytes: values.rabbitmq_stream_bytes.value as u64,
        segment_bytes: values.rabbitmq_segment_bytes.value as u64,
    }
}

/// How to reach PostgreSQL, if it is the broker.
pub(crate) fn postgres(values: &Values) -> Option<PostgresConfig> {
    let url = values.postgres_url.value.clone()?;
    Some(PostgresConfig {
        url,
        username: text(&values.postgres_username.value),
        password: text(&values.postgres_password.value),
        log: values.postgres_log.value.clone(),
        publish_timeout: values.postgres_publish_timeout.value,
        retention: values.postgres_retention.value,
        retention_rows: values.postgres_retention_rows.value as u64,
    })
}

/// How to reach Redis, if it is the broker.
pub(crate) fn redis(values: &Values) -> Option<RedisConfig> {
    let url = values.redis_url.value.clone()?;
    Some(RedisConfig {
        url,
        username: text(&values.redis_username.value),
        password: text(&values.redis_password.value),
        tls_verify: values.redis_tls_verify.value,
        tls_ca_file: values.redis_tls_ca_file.value.clone(),
        stream: values.redis_stream.value.clone(),
        publish_timeout: values.redis_publish_timeout.value,
        retention: values.redis_retention.value,
        retention_entries: values.redis_retention_entries.value as u64,
    })
}

/// How to reach NATS, if it is the broker.
pub(crate) fn nats(values: &Values) -> Option<NatsConfig> {
    let url = values.nats_url.value.clone()?;
    Some(NatsConfig {
        url,
        username: text(&values.nats_username.value),
        password: text(&values.nats_password.value),
        token: text(&values.nats_token.value),
        nkey: text(&values.nats_nkey.value),
        credentials: text(&values.nats_credentials.value),
        tls_ca_file: values.nats_tls_ca_file.value.clone(),
        tls_certificate_file: values.nats_tls_certificate_file.value.clone(),
        tls_key_file: values.nats_tls_key_file.value.clone(),
        subject: values.nats_subject.value.clone(),
        stream: values.nats_stream.value.clone(),
        publish_timeout: values.nats_publish_timeout.value,
        retention: values.nats_retention.value,
        retention_bytes: values.nats_retention_bytes.value as u64,
        replicas: u8::try_from(values.nats_replicas.value).unwrap_or(u8::MAX),
    })
}

fn text(secret: &Option<Secret>) -> Option<String> {
    secret.as_ref().map(|Secret(text)| text.clone())
}

/// The address with another user or password, if one is given.
fn with_login(url: &str, user: Option<&Secret>, password: Option<&Secret>) -> String {
    let Some((scheme, rest)) = url
        .split_once("://")
        .filter(|_| user.or(password).is_some())
    else {
        return url.to_owned();
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let (login, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (old_user, old_password) = login.split_once(':').unwrap_or((login, ""));
    let encoded = |new: Option<&Secret>, old: &str, instead: &str| match new {
        Some(Secret(new)) => utf8_percent_encode(new, ENCODED).to_string(),
        None if old.is_empty() => instead.to_owned(),
        None => old.to_owned(),
    };
    // The default of RabbitMQ's clients.
    let user = encoded(user, old_user, "guest");
    let password = encoded(password, old_password, "guest");
    format!("{scheme}://{user}:{password}@{host}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_of_its_own_takes_the_place_of_the_one_in_the_address() {
        let secret = |text: &str| (!text.is_empty()).then(|| Secret(text.to_owned()));
        for (url, user, password, expected) in [
            ("amqp://mq", "", "", "amqp://mq"),
            ("amqp://u:p@mq/v", "", "", "amqp://u:p@mq/v"),
            (
                "amqp://u:p@mq/v",
                "",
                "p@/:ä",
                "amqp://u:p%40%2F%3A%C3%A4@mq/v",
            ),
            (
                "amqp://u@mq:1?heartbeat=9",
                "",
                "p",
                "amqp://u:p@mq:1?heartbeat=9",
            ),
            ("amqps://mq:5671/%2f", "x", "p", "amqps://x:p@mq:5671/%2f"),
            ("amqp://u:p@mq", "x", "", "amqp://x:p@mq"),
            ("amqp://mq", "", "p", "amqp://guest:p@mq"),
            ("amqp://mq", "x", "", "amqp://x:guest@mq"),
            (
                "amqp://u:p@[::1]:5672/v",
                "",
                "q",
                "amqp://u:q@[::1]:5672/v",
            ),
        ] {
            let (user, password) = (secret(user), secret(password));
            assert_eq!(with_login(url, user.as_ref(), password.as_ref()), expected);
        }
    }
}
