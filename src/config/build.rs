//! Builds the structs of the crates from single values, and checks rules between settings.

use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use ht_backend::config::{BackendConfig, GuardConfig, HeaderRule, HookCalls};
use ht_backend::tls;
use ht_core::limits::Limits;
use ht_node::config::{
    AuthConfig, Compression, DrainConfig, HookQueueConfig, InternalConfig, KeepaliveConfig, Listen,
    MetricsConfig, NodesConfig, Origins, OriginsWritten, PermissionsConfig, PublicConfig,
    ReadinessConfig, RecoveryConfig, RecoverySettings, ResumeConfig, Secret, ServerConfig,
    ServerLimits, StreamsConfig, TcpOptions, TenantConfig, TenantsConfig,
};

use crate::config::kind::{HeaderChange, TenantsFrom};
use crate::config::log::RabbitMqLog;
use crate::config::mistake::{Mistakes, WrittenAt};
use crate::config::settings::Values;
use crate::config::shared::{caps, main_hosts, own_logs};
use crate::config::{
    Config, LogConfig, Survey, Tenancy, Written, brokers, memory, nodes, reach, sizes, usage,
};

/// Checks rules between settings.
pub(crate) fn check(values: &Values, mistakes: &mut Mistakes) {
    check_backend(values, mistakes);
    brokers::check(values, mistakes);
    let internal = &values.internal_listen;
    reach::check(values, mistakes);
    memory::check(values, mistakes);
    nodes::check(values, mistakes);
    usage::check(values, mistakes);
    if same_address(&values.listen.value, &internal.value) {
        mistakes.add(
            &internal.place,
            "internal.listen",
            "this is the address of `listen`; the two need addresses of their own",
        );
    }
}

fn ms(period: Duration) -> u64 {
    u64::try_from(period.as_millis()).unwrap_or(u64::MAX)
}

fn check_backend(values: &Values, mistakes: &mut Mistakes) {
    let url = &values.backend_url;
    match &url.value {
        None if ["backend", "backend.url", "tenants.source"]
            .into_iter()
            .any(|key| mistakes.about(key)) => {}
        // Then there is no tenant main.
        None if values.tenants_source.value != TenantsFrom::None => {}
        None => mistakes.add(
            &url.place,
            "backend.url",
            "this setting is missing: set the URL of your HTTP API, such as \
             url = \"http://localhost:8000/api/\" under [backend], or HT_BACKEND__URL",
        ),
        Some(_) => check_transport(values, mistakes),
    }
}

/// Checks how the API is reached.
pub(crate) fn check_transport(values: &Values, mistakes: &mut Mistakes) {
    let url = values.backend_url.value.as_deref().unwrap_or_default();
    if !url.starts_with("https://") {
        return;
    }
    if values.backend_socket.value.is_some() {
        mistakes.add(
            &values.backend_socket.place,
            "backend.socket",
            "over a unix socket backend.url must begin with http://, not https://",
        );
    } else {
        check_ca_file(values, mistakes);
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
pub(crate) fn config(
    values: Values,
    legacy: Vec<HeaderChange>,
    (tenancy, survey): (Tenancy, Survey),
    mut notes: Vec<String>,
) -> Config {
    if let [Secret(key)] = values.internal_api_key.value.as_slice()
        && key.contains(',')
    {
        notes.push(
            "internal.api_key is one key with a comma in it: several keys are written as a list, \
             [\"new\", \"old\"]"
                .to_owned(),
        );
    }
    notes.extend(resume_notes(&values));
    notes.extend(stream_notes(&values));
    Config {
        written: Written::new(values.clone(), legacy.clone()),
        server: server(&values, survey.good()),
        tenancy,
        survey,
        rabbitmq: brokers::rabbitmq(&values),
        postgres: brokers::postgres(&values),
        nats: brokers::nats(&values),
        redis: brokers::redis(&values),
        log: LogConfig {
            level: values.log_level.value,
            format: values.log_format.value,
        },
        backend: backend(values, legacy),
        notes,
    }
}

/// What keeps clients from being let in by their resume tickets.
fn resume_notes(values: &Values) -> Vec<String> {
    let mut notes = Vec::new();
    if !values.resume_enabled.value {
        return notes;
    }
    let shares_log = values.postgres_url.value.is_some()
        || values.nats_url.value.is_some()
        || values.redis_url.value.is_some()
        || values.rabbitmq_url.value.is_some() && values.rabbitmq_log.value == RabbitMqLog::Stream;
    if shares_log && values.resume_secret.value.is_empty() {
        notes.push(
            "resume.secret is not set: the API is called for every client that comes from another \
             node, or comes back after a restart. Set the same secret on all nodes"
                .to_owned(),
        );
    }
    if values.window_age.value < values.resume_max_age.value {
        notes.push(
            "window.age is shorter than resume.max_age: the API is called for clients that were away \
             for longer than window.age. Raise window.age"
                .to_owned(),
        );
    }
    notes
}

/// What keeps clients over HTTP from going on where they were.
fn stream_notes(values: &Values) -> Option<String> {
    let is_lossy = values.poll_enabled.value && !values.recovery_enabled.value;
    is_lossy.then(|| {
        "poll.enabled without recovery.enabled: what is published between two polls of a client is \
         lost, and it fetches each time. Enable recovery"
            .to_owned()
    })
}

fn server(values: &Values, tenants: Vec<TenantConfig>) -> ServerConfig {
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
            sse: values.sse_enabled.value,
            poll: values.poll_enabled.value,
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
            answer_total_bytes: values.limits_answer_total_bytes.value,
            grant_total_bytes: values.limits_grant_total_bytes.value,
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
        window_file: values.window_file.value.clone(),
        build: crate::process::BUILD,
        allocated: Some(crate::process::allocated),
        drain: DrainConfig {
            delay: values.drain_delay.value,
            period: values.drain_period.value,
            timeout: values.drain_timeout.value,
        },
        metrics: MetricsConfig {
            tenants_max: values.metrics_tenants_max.value,
        },
        usage: usage::usage(values),
        nodes: NodesConfig {
            name: values.nodes_name.value.clone(),
            beacon: values.nodes_beacon.value,
            lease: values.nodes_lease.value,
        },
        recovery: RecoveryConfig {
            gap_old: values.recovery_gap_old.value,
            gap_period: values.recovery_gap_period.value,
            replay: RecoverySettings {
                enabled: values.recovery_enabled.value,
                messages: values.recovery_messages.value,
                bytes: values.recovery_bytes.value,
            },
        },
        streams: StreamsConfig {
            max_age: values.sse_max_age.value,
            wait_max: values.poll_wait_max.value,
        },
        resume: ResumeConfig {
            enabled: values.resume_enabled.value,
            max_age: values.resume_max_age.value,
            secrets: values.resume_secret.value.clone(),
        },
        tenants: TenantsConfig {
            is_enabled: values.tenants_source.value != TenantsFrom::None,
            default: values.tenants_default.value.0.clone(),
            main_hosts: main_hosts(values),
            list: tenants,
            logs: own_logs(values),
            caps: caps(values),
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

/// The calls to an API.
pub(crate) fn backend(values: Values, legacy: Vec<HeaderChange>) -> BackendConfig {
    BackendConfig {
        url: values.backend_url.value.unwrap_or_default(),
        socket: values.backend_socket.value,
        bootstrap: values.backend_bootstrap.value,
        timeout: values.backend_timeout.value,
        user_id_path: BackendConfig::shared_user_id_path(values.backend_user_id_path.value),
        headers: BackendConfig::shared_headers(headers(
            legacy.into_iter().chain(values.backend_headers.value),
        )),
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
