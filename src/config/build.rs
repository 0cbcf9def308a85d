//! Builds the structs of the crates from single values, and checks rules between settings.

use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use ht_backend::config::{BackendConfig, GuardConfig, HeaderRule, HookCalls};
use ht_backend::tls;
use ht_broker::config::{BINDING_CHECK, PostgresConfig, RabbitMqConfig};
use ht_core::limits::Limits;
use ht_node::config::{
    AuthConfig, Compression, DrainConfig, HookQueueConfig, InternalConfig, KeepaliveConfig, Listen,
    NodesConfig, Origins, OriginsWritten, PermissionsConfig, PublicConfig, ReadinessConfig,
    RecoveryConfig, Secret, ServerConfig, ServerLimits, TcpOptions,
};
use percent_encoding::utf8_percent_encode;

use crate::config::kind::HeaderChange;
use crate::config::legacy::ENCODED;
use crate::config::mistake::{Mistakes, WrittenAt};
use crate::config::settings::Values;
use crate::config::{Config, LogConfig, Written, memory, nodes, reach, sizes};

/// Checks rules between settings.
pub(crate) fn check(values: &Values, mistakes: &mut Mistakes) {
    check_backend(values, mistakes);
    check_rabbitmq(values, mistakes);
    check_postgres(values, mistakes);
    let internal = &values.internal_listen;
    reach::check(values, mistakes);
    memory::check(values, mistakes);
    nodes::check(values, mistakes);
    if same_address(&values.listen.value, &internal.value) {
        mistakes.add(
            &internal.place,
            "internal.listen",
            "this is the address of `listen`; the two need addresses of their own",
        );
    }
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

fn check_rabbitmq(values: &Values, mistakes: &mut Mistakes) {
    if values.rabbitmq_url.value.is_some() || mistakes.about("rabbitmq.url") {
        return;
    }
    let login = [
        ("rabbitmq.username", &values.rabbitmq_username),
        ("rabbitmq.password", &values.rabbitmq_password),
    ];
    for (key, found) in login {
        if found.value.is_some() {
            let what = "rabbitmq.url is missing: without it no RabbitMQ is used";
            mistakes.add(&found.place, key, what);
        }
    }
}

fn check_postgres(values: &Values, mistakes: &mut Mistakes) {
    if values.postgres_url.value.is_some() {
        if values.rabbitmq_url.value.is_some() {
            let what = "rabbitmq.url is set, too, and a node has one log: leave one of them out";
            mistakes.add(&values.postgres_url.place, "postgres.url", what);
        }
        return;
    }
    if mistakes.about("postgres.url") {
        return;
    }
    let login = [
        ("postgres.username", &values.postgres_username),
        ("postgres.password", &values.postgres_password),
    ];
    for (key, found) in login {
        if found.value.is_some() {
            let what = "postgres.url is missing: without it no PostgreSQL is used";
            mistakes.add(&found.place, key, what);
        }
    }
}

fn postgres(values: &Values) -> Option<PostgresConfig> {
    let text = |secret: &Option<Secret>| secret.as_ref().map(|Secret(text)| text.clone());
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

fn ms(period: Duration) -> u64 {
    u64::try_from(period.as_millis()).unwrap_or(u64::MAX)
}

fn check_backend(values: &Values, mistakes: &mut Mistakes) {
    let url = &values.backend_url;
    match &url.value {
        None if mistakes.about("backend.url") => {}
        None => mistakes.add(
            &url.place,
            "backend.url",
            "this setting is missing: set the URL of your HTTP API, such as \
             url = \"http://localhost:8000/api/\" under [backend], or HT_BACKEND__URL",
        ),
        Some(text) if text.starts_with("https://") && values.backend_socket.value.is_some() => {
            mistakes.add(
                &values.backend_socket.place,
                "backend.socket",
                "over a unix socket backend.url must begin with http://, not https://",
            );
        }
        Some(text) if text.starts_with("https://") => check_ca_file(values, mistakes),
        Some(_) => {}
    }
}

/// Reads the certificate authorities.
fn check_ca_file(values: &Values, mistakes: &mut Mistakes) {
    let file = &values.backend_tls_ca_file;
    if let (Some(path), true) = (&file.value, values.backend_tls_verify.value)
        && let Err(problem) = tls::check_ca_file(path)
    {
        mistakes.add(&file.place, "backend.tls_ca_file", problem.to_string());
    }
}

fn same_address(one: &Listen, other: &Listen) -> bool {
    match (one, other) {
        (Listen::Tcp(one), Listen::Tcp(other)) => {
            let meet = one.ip() == other.ip() || one.ip().is_unspecified();
            one.port() != 0 && one.port() == other.port() && (meet || other.ip().is_unspecified())
        }
        (Listen::Unix { path: one, .. }, Listen::Unix { path: other, .. }) => one == other,
        (Listen::Tcp(_), Listen::Unix { .. }) | (Listen::Unix { .. }, Listen::Tcp(_)) => false,
    }
}

/// Builds the configuration from checked values.
pub(crate) fn config(values: Values, legacy: Vec<HeaderChange>, mut notes: Vec<String>) -> Config {
    if let [Secret(key)] = values.internal_api_key.value.as_slice()
        && key.contains(',')
    {
        notes.push(
            "internal.api_key is one key with a comma in it: several keys are written as a list, \
             [\"new\", \"old\"]"
                .to_owned(),
        );
    }
    Config {
        written: Written::new(values.clone(), legacy.clone()),
        server: server(&values),
        rabbitmq: values
            .rabbitmq_url
            .value
            .as_ref()
            .map(|url| RabbitMqConfig {
                url: with_login(
                    url,
                    values.rabbitmq_username.value.as_ref(),
                    values.rabbitmq_password.value.as_ref(),
                ),
                exchange: values.rabbitmq_exchange.value.clone(),
                prefetch: u16::try_from(values.rabbitmq_prefetch.value).unwrap_or(u16::MAX),
                publish_timeout: values.rabbitmq_publish_timeout.value,
                binding_check: BINDING_CHECK,
            }),
        postgres: postgres(&values),
        log: LogConfig {
            level: values.log_level.value,
            format: values.log_format.value,
        },
        backend: backend(values, legacy),
        notes,
    }
}

fn server(values: &Values) -> ServerConfig {
    let mode = values.listen_mode.value;
    ServerConfig {
        listen: with_mode(&values.listen.value, mode),
        threads: match values.threads.value {
            0 => thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        },
        public: PublicConfig {
            websocket_path: values.websocket_path.value.clone(),
            root_health: values.root_health.value,
            origins: Origins {
                allow: values.origins_allow.value.clone(),
                require: values.origins_require.value,
                written: origins_written(&values.origins_allow.place),
            },
            trusted_proxies: values.trusted_proxies.value.iter().copied().collect(),
            x_forwarded_for: values.x_forwarded_for.value,
            proxy_protocol: values.proxy_protocol.value,
        },
        internal: InternalConfig {
            listen: with_mode(&values.internal_listen.value, mode),
            api_keys: values.internal_api_key.value.clone(),
            keys: values.internal_keys.value.clone(),
            hosts: values.internal_hosts.value.clone(),
        },
        matching: values.rooms_matching.value,
        status_clients: values.status_clients.value,
        compression: values.compression_enabled.value.then(|| Compression {
            threshold: values.compression_threshold.value,
            level: u8::try_from(values.compression_level.value).unwrap_or(u8::MAX),
            max_bytes: values.compression_max_bytes.value,
        }),
        idle_timeout: values.limits_idle_timeout.value,
        keepalive: KeepaliveConfig {
            interval: values.keepalive_interval.value,
            timeout: values.keepalive_timeout.value,
        },
        tcp: TcpOptions {
            send_buffer: values.tcp_send_buffer.value,
            user_timeout: values.tcp_user_timeout.value,
        },
        session: Limits {
            message_bytes: sizes::message_bytes(values),
            message_timeout: ms(values.limits_message_timeout.value),
            messages_per_second: values.limits_messages_per_second.value,
            inflated_bytes_per_second: values.limits_inflated_bytes_per_second.value,
            subscriptions: values.limits_subscriptions.value,
            names_per_room: values.limits_names_per_room.value,
            request_id_bytes: values.limits_request_id_bytes.value,
            room_bytes: values.limits_room_bytes.value,
            room_depth: values.limits_room_depth.value,
            outbox_bytes: values.limits_outbox_bytes.value,
        },
        limits: ServerLimits {
            connections: values.limits_connections.value,
            connections_per_address: values.limits_connections_per_address.value,
            connections_per_user: values.limits_connections_per_user.value,
            handshakes_per_second: values.limits_handshakes_per_second.value,
            handshakes: memory::handshakes(values),
            handshake_timeout: values.limits_handshake_timeout.value,
            outbox_age: values.limits_outbox_age.value,
            outbox_total_bytes: values.limits_outbox_total_bytes.value,
            client_total_bytes: values.limits_client_total_bytes.value,
            client_bytes_per_address: values.limits_client_bytes_per_address.value,
            client_bytes_per_user: values.limits_client_bytes_per_user.value,
            memory_bytes: values.limits_memory_bytes.value,
            head_timeout: values.limits_head_timeout.value,
            head_bytes: values.limits_head_bytes.value,
            trigger_bytes: values.limits_trigger_bytes.value,
            triggers_per_request: values.limits_triggers_per_request.value,
            rooms_per_trigger: values.limits_rooms_per_trigger.value,
            triggers_in_flight: memory::triggers_in_flight(values),
            trigger_ids: values.limits_trigger_ids.value,
            inbox: values.limits_inbox.value,
            inbox_bytes: values.limits_inbox_bytes.value,
            window: memory::window(values),
        },
        auth: AuthConfig {
            first_frame: values.auth_first_frame.value,
            first_frame_timeout: values.auth_first_frame_timeout.value,
        },
        hooks: HookQueueConfig {
            queue: values.hooks_queue.value,
            max_in_flight: values.hooks_max_in_flight.value,
            ping_min_interval: values.hooks_ping_min_interval.value,
        },
        readiness: ReadinessConfig {
            probe_interval: values.readiness_probe_interval.value,
            probe_timeout: values.readiness_probe_timeout.value,
        },
        build: crate::process::BUILD,
        allocated: Some(crate::process::allocated),
        drain: DrainConfig {
            delay: values.drain_delay.value,
            period: values.drain_period.value,
            timeout: values.drain_timeout.value,
        },
        nodes: NodesConfig {
            name: values.nodes_name.value.clone(),
            beacon: values.nodes_beacon.value,
            lease: values.nodes_lease.value,
        },
        recovery: RecoveryConfig {
            gap_old: values.recovery_gap_old.value,
            gap_period: values.recovery_gap_period.value,
        },
        permissions: PermissionsConfig {
            recheck: values.permissions_recheck.value,
            // The other half is for clients that connect.
            calls_max: (values.backend_max_in_flight.value / 2).max(1),
            hold_timeout: values.permissions_hold_timeout.value,
            unreachable: values.permissions_unreachable.value,
            grace: values.permissions_grace.value,
            max_age: values.permissions_max_age.value,
            ring: values.permissions_ring.value,
            confirm_timeout: values.permissions_confirm_timeout.value,
        },
    }
}

fn origins_written(place: &WrittenAt) -> OriginsWritten {
    match place {
        WrittenAt::Default => OriginsWritten::Nowhere,
        WrittenAt::File { path, line } => {
            OriginsWritten::Line(format!("{}:{line}", path.display()))
        }
        WrittenAt::Variable(_) | WrittenAt::Dotenv { .. } | WrittenAt::Secret { .. } => {
            OriginsWritten::Variable
        }
    }
}

fn with_mode(listen: &Listen, mode: u32) -> Listen {
    match listen {
        Listen::Tcp(address) => Listen::Tcp(*address),
        Listen::Unix { path, .. } => Listen::Unix {
            path: PathBuf::clone(path),
            mode,
        },
    }
}

fn backend(values: Values, legacy: Vec<HeaderChange>) -> BackendConfig {
    BackendConfig {
        url: values.backend_url.value.unwrap_or_default(),
        socket: values.backend_socket.value,
        bootstrap: values.backend_bootstrap.value,
        timeout: values.backend_timeout.value,
        user_id_path: values.backend_user_id_path.value,
        headers: headers(legacy.into_iter().chain(values.backend_headers.value)),
        guard: GuardConfig {
            max_in_flight: values.backend_max_in_flight.value,
            max_waiting: values.backend_max_waiting.value,
            wait_timeout: values.backend_timeout.value,
            coalesce: values.backend_coalesce.value,
            circuit_failures: u32::try_from(values.backend_circuit_failures.value)
                .unwrap_or(u32::MAX),
            circuit_backoff: values.backend_circuit_backoff.value,
            circuit_backoff_max: values.backend_circuit_backoff_max.value,
        },
        forward_bytes_max: values.backend_forward_bytes_max.value,
        answer_bytes_max: values.backend_answer_bytes_max.value,
        tls_verify: values.backend_tls_verify.value,
        tls_ca_file: values.backend_tls_ca_file.value,
        hooks: HookCalls {
            connect: values.hooks_connect.value,
            ping: values.hooks_ping.value,
            disconnect: values.hooks_disconnect.value,
            timeout: values.hooks_timeout.value,
        },
    }
}

/// The default headers with their changes; each name occurs once.
fn headers(changes: impl Iterator<Item = HeaderChange>) -> Vec<HeaderRule> {
    let mut rules = BackendConfig::default_headers();
    for change in changes {
        let at = rules.iter().position(|rule| rule.name == change.name());
        match (change, at) {
            (HeaderChange::Set(rule), Some(at)) => rules[at] = rule,
            (HeaderChange::Set(rule), None) => rules.push(rule),
            (HeaderChange::Off(_), Some(at)) => drop(rules.remove(at)),
            (HeaderChange::Off(_), None) => {}
        }
    }
    rules
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
