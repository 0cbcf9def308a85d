//! The log that a tenant has of its own, if its settings name one.

use ht_broker::config::Engine;
use ht_broker::{postgres, redis};
use ht_node::config::{TenantLog, TenantName};

use crate::config::brokers;
use crate::config::log::RabbitMqLog;
use crate::config::mistake::{Mistakes, WrittenAt};
use crate::config::node::Node;
use crate::config::settings::Values;
use crate::config::table::Found;

/// What there may be of logs that tenants have of their own.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogRules {
    /// How many.
    max: usize,
    /// What the log of the node is called.
    of_node: Vec<Box<str>>,
}

impl LogRules {
    /// Those of a configuration.
    pub(super) fn of(values: &Values) -> Self {
        Self {
            max: values.tenants_logs.value,
            of_node: brokers::engine(values).map_or_else(Vec::new, |it| brokers::names(&it)),
        }
    }

    /// What is wrong with a log, which so many others are before.
    pub(super) fn mistakes(&self, log: &TenantLog, before: usize) -> Vec<String> {
        let mut mistakes = Vec::new();
        let max = self.max;
        if before >= max {
            mistakes.push(format!(
                "this is a log of the tenant's own, of which tenants.logs permits {max}: raise that, or \
                 remove this"
            ));
        }
        if let Some(taken) = log.names.iter().find(|name| self.of_node.contains(name)) {
            mistakes.push(format!(
                "{taken} is the log of all other tenants: give this one another, or remove this"
            ));
        }
        mistakes
    }
}

/// The sections that name a log, and the setting that says where it is.
pub(super) const SECTIONS: [(&str, &str); 4] = [
    ("rabbitmq", "rabbitmq.url"),
    ("postgres", "postgres.url"),
    ("nats", "nats.url"),
    ("redis", "redis.url"),
];

/// Whether the settings of a section name a log.
pub(super) fn is_of_log(section: &str) -> bool {
    SECTIONS.iter().any(|(name, _)| *name == section)
}

/// The log of a tenant, if these values of its settings name one. `is_of_operator`: it may name files and
/// sockets of the machine.
pub(super) fn read(
    values: &mut Values,
    name: &TenantName,
    entries: &[(String, Node)],
    is_of_operator: bool,
    mistakes: &mut Mistakes,
) -> Option<TenantLog> {
    for (section, url) in SECTIONS {
        let written = entries.iter().find(|(name, _)| name == section);
        if let Some((_, node)) = written
            && place(values, url) == &WrittenAt::Default
            && !mistakes.about(url)
        {
            let what = "this setting is missing: the log of a tenant names its server, also where that \
                        is the server of the node";
            mistakes.add(&node.place, url, what);
        }
    }
    brokers::check(values, mistakes);
    name_after(values, name);
    let log = &mut values.rabbitmq_log;
    if log.place == WrittenAt::Default {
        log.value = RabbitMqLog::Stream;
    } else if log.value == RabbitMqLog::Queue {
        let what = "the log of a tenant retains what it carries, so that all nodes read the same: set \
                    log = \"stream\", or leave this out";
        mistakes.add(&log.place, "rabbitmq.log", what);
    }
    let engine = brokers::engine(values)?;
    if !is_of_operator && let Some(key) = reaches_machine(&engine) {
        let what =
            "only a tenant in a file of the operator may name a file or a socket of this machine";
        mistakes.add(place(values, key), key, what);
    }
    Some(TenantLog {
        names: brokers::names(&engine),
        engine,
    })
}

fn place<'a>(values: &'a Values, key: &str) -> &'a WrittenAt {
    match key {
        "rabbitmq.url" => &values.rabbitmq_url.place,
        "postgres.url" => &values.postgres_url.place,
        "nats.url" => &values.nats_url.place,
        _ => &values.redis_url.place,
    }
}

/// Names that are not written have that of the tenant in them: no two logs on one server are the same
/// by default, nor one of them that of the node.
fn name_after(values: &mut Values, name: &TenantName) {
    let unless_written = |found: &mut Found<String>, default: String| {
        if found.place == WrittenAt::Default {
            found.value = default;
        }
    };
    let exchange = format!("hightemplar.tenant.{name}");
    unless_written(&mut values.rabbitmq_exchange, exchange);
    // A name has no underscore, so these differ as the names do. Short: so is the longest that there
    // can be.
    let schema = format!("ht_{}", name.as_str().replace('-', "_"));
    unless_written(&mut values.postgres_log, schema);
    let subject = format!("hightemplar.tenant.{name}");
    unless_written(&mut values.nats_subject, subject);
    let stream = format!("high-templar.tenant.{name}.log");
    unless_written(&mut values.redis_stream, stream);
}

/// The setting that names a file or a socket of the machine.
fn reaches_machine(engine: &Engine) -> Option<&'static str> {
    match engine {
        Engine::RabbitMq(_) | Engine::Nats(_) => None,
        Engine::Postgres(config) => {
            let has_file = config.url.contains("sslrootcert");
            let at = postgres::describe(&config.url);
            let is_socket = at.is_ok_and(|at| at.hosts.contains('/'));
            (has_file || is_socket).then_some("postgres.url")
        }
        Engine::Redis(config) => {
            let at = redis::describe(&config.url);
            let is_socket = at.is_ok_and(|at| at.host.contains('/'));
            is_socket.then_some("redis.url")
        }
    }
}
