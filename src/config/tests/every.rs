//! Every setting, from the file, from the environment and in the documents.

use std::path::Path;
use std::sync::Arc;

use ht_backend::ForwardRules;
use ht_backend::config::HeaderSource;
use ht_core::window::Reader;
use ht_node::config::{
    GapPolicy, Listen, Matching, OriginsWritten, PermissionsConfig, RecoverySettings, ResumeConfig,
    Right, Secret, ServerConfig, Unreachable, UsageConfig,
};

use ht_node::live::{LiveSettings, shard_settings};

use super::*;
use crate::config::names::variable_of;
use crate::config::sections::SECTIONS;
use crate::config::settings::{KEYS, described};

/// Every setting with a value that is not its default, as TOML.
const EVERY: &[(&str, &str)] = &[
    ("listen", r#""unix:/run/ht.sock""#),
    ("websocket_path", r#""/app/ws/""#),
    ("root_health", "true"),
    ("listen_mode", r#""0600""#),
    ("threads", "3"),
    ("trusted_proxies", r#"["192.0.2.0/24", "unix"]"#),
    ("x_forwarded_for", "true"),
    ("proxy_protocol", "true"),
    ("python_variables", r#""never""#),
    ("origins.allow", r#"["https://*.example", "null"]"#),
    ("origins.require", "true"),
    ("internal.listen", r#""127.0.0.1:9""#),
    ("internal.api_key", r#"["key", "old"]"#),
    ("internal.keys", r#"[{ key = "reader", may = ["read"] }]"#),
    ("internal.hosts", r#"["gateway", "*.svc"]"#),
    ("backend.url", r#""http://api/v1/""#),
    ("backend.socket", r#""/run/api.sock""#),
    ("backend.bootstrap", r#""hello/""#),
    ("backend.timeout", r#""300ms""#),
    ("backend.user_id_path", r#"["who", "id"]"#),
    ("backend.headers", r#"{ X-A = { param = "a" } }"#),
    ("backend.max_in_flight", "7"),
    ("backend.max_waiting", "8"),
    ("backend.coalesce", r#""2s""#),
    ("backend.circuit_failures", "9"),
    ("backend.circuit_backoff", r#""3s""#),
    ("backend.circuit_backoff_max", r#""4s""#),
    ("backend.forward_bytes_max", r#""3KiB""#),
    ("backend.answer_bytes_max", r#""2MiB""#),
    ("backend.tls_verify", "false"),
    ("backend.tls_ca_file", r#""/ca.pem""#),
    ("auth.first_frame", "true"),
    ("auth.first_frame_timeout", r#""3s""#),
    ("hooks.connect", r#""POST c/""#),
    ("hooks.ping", r#""PUT p/""#),
    ("hooks.disconnect", r#""DELETE d/""#),
    ("hooks.timeout", "4"),
    ("hooks.queue", "8"),
    ("hooks.max_in_flight", "9"),
    ("hooks.ping_min_interval", r#""1m""#),
    ("tenants.source", r#""http""#),
    ("tenants.file", r#""tenants""#),
    ("tenants.url", r#""https://registry/tenants/""#),
    ("tenants.registry_key", r#""k""#),
    ("tenants.tls_verify", "false"),
    ("tenants.tls_ca_file", r#""/registry.pem""#),
    ("tenants.copy", r#""/tenants.copy""#),
    ("tenants.interval", r#""1s""#),
    ("tenants.timeout", r#""2s""#),
    ("tenants.secrets", r#""/secrets""#),
    ("tenants.logs", "3"),
    ("tenants.log_threads", "2"),
    ("tenants.hosts", r#"["www.example.com"]"#),
    ("tenants.default", r#""acme""#),
    ("rabbitmq.url", r#""amqp://mq""#),
    ("rabbitmq.username", r#""u""#),
    ("rabbitmq.password", r#""p/""#),
    ("rabbitmq.exchange", r#""other""#),
    ("rabbitmq.durable", "true"),
    ("rabbitmq.log", r#""stream""#),
    ("rabbitmq.stream", r#""other.stream""#),
    ("rabbitmq.stream_age", r#""2h""#),
    ("rabbitmq.stream_bytes", r#""3GiB""#),
    ("rabbitmq.segment_bytes", r#""20MiB""#),
    ("rabbitmq.prefetch", "11"),
    ("rabbitmq.publish_timeout", "1.5"),
    ("postgres.url", r#""postgresql://db/shop""#),
    ("postgres.username", r#""u""#),
    ("postgres.password", r#""p/""#),
    ("postgres.log", r#""other""#),
    ("postgres.publish_timeout", "2.5"),
    ("postgres.retention", r#""2h""#),
    ("postgres.retention_rows", "2000"),
    ("nats.url", r#""nats://one,two""#),
    ("nats.username", r#""u""#),
    ("nats.password", r#""p/""#),
    ("nats.token", r#""t""#),
    ("nats.nkey", r#""SU""#),
    (
        "nats.credentials",
        r#""BEGIN NATS USER JWT BEGIN USER NKEY SEED""#,
    ),
    ("nats.tls_ca_file", r#""/nats.pem""#),
    ("nats.tls_certificate_file", r#""/own.pem""#),
    ("nats.tls_key_file", r#""/own.key""#),
    ("nats.subject", r#""shop.triggers""#),
    ("nats.stream", r#""SHOP""#),
    ("nats.publish_timeout", "3.5"),
    ("nats.retention", r#""3h""#),
    ("nats.retention_bytes", r#""2MiB""#),
    ("nats.replicas", "3"),
    ("redis.url", r#""rediss://cache/2""#),
    ("redis.username", r#""u""#),
    ("redis.password", r#""p/""#),
    ("redis.tls_verify", "false"),
    ("redis.tls_ca_file", r#""/redis.pem""#),
    ("redis.stream", r#""other.log""#),
    ("redis.publish_timeout", "3.5"),
    ("redis.retention", r#""3h""#),
    ("redis.retention_entries", "3000"),
    ("rooms.matching", r#""exact""#),
    ("status.clients", "false"),
    ("compression.enabled", "true"),
    ("compression.threshold", r#""2KiB""#),
    ("compression.level", "9"),
    ("compression.max_bytes", r#""3MiB""#),
    ("limits.connections", "101"),
    ("limits.connections_per_address", "117"),
    ("limits.connections_per_user", "118"),
    ("limits.handshakes_per_second", "119"),
    ("limits.handshakes", "102"),
    ("limits.handshake_timeout", "120"),
    ("limits.head_timeout", "103"),
    ("limits.head_bytes", "10400"),
    ("limits.idle_timeout", "105"),
    ("limits.message_bytes", "10600"),
    ("limits.message_timeout", "106"),
    ("limits.messages_per_second", "1060"),
    ("limits.inflated_bytes_per_second", "1061"),
    ("limits.subscriptions", "107"),
    ("limits.names_per_room", "127"),
    ("limits.request_id_bytes", "108"),
    ("limits.room_bytes", "109"),
    ("limits.room_depth", "10"),
    ("limits.outbox_bytes", "11100"),
    ("limits.outbox_age", "117"),
    ("limits.outbox_total_bytes", "11800"),
    ("limits.client_total_bytes", "11900"),
    ("limits.client_bytes_per_address", "11910"),
    ("limits.client_bytes_per_user", "11920"),
    ("limits.memory_bytes", r#""123MiB""#),
    ("limits.trigger_bytes", "11200"),
    ("limits.triggers_per_request", "113"),
    ("limits.rooms_per_trigger", "114"),
    ("limits.triggers_in_flight", "0"),
    ("limits.trigger_ids", "115"),
    ("limits.inbox", "116"),
    ("limits.inbox_bytes", r#""9MiB""#),
    ("limits.answer_total_bytes", r#""5MiB""#),
    ("limits.grant_total_bytes", r#""6MiB""#),
    ("keepalive.interval", "119"),
    ("keepalive.timeout", "120"),
    ("tcp.send_buffer", "12100"),
    ("tcp.user_timeout", "122"),
    ("sse.enabled", "true"),
    ("sse.max_age", r#""10m""#),
    ("poll.enabled", "true"),
    ("poll.wait_max", r#""20s""#),
    ("drain.delay", r#""4s""#),
    ("drain.period", r#""1s""#),
    ("drain.timeout", r#""2s""#),
    ("recovery.enabled", "false"),
    ("recovery.messages", "131"),
    ("recovery.bytes", r#""2MiB""#),
    ("recovery.gap_old", r#""ignore""#),
    ("recovery.gap_period", r#""4s""#),
    ("resume.enabled", "false"),
    ("resume.max_age", r#""45s""#),
    (
        "resume.secret",
        r#"["new-secret-of-the-tickets-which-is-long", "old-secret-of-the-tickets-which-is-long"]"#,
    ),
    ("permissions.recheck", "false"),
    ("permissions.hold_timeout", r#""5s""#),
    ("permissions.unreachable", r#""keep""#),
    ("permissions.grace", r#""6s""#),
    ("permissions.max_age", r#""1h""#),
    ("permissions.confirm_timeout", r#""3s""#),
    ("permissions.ring", "129"),
    ("nodes.name", r#""gate-1""#),
    ("nodes.beacon", r#""2s""#),
    ("nodes.lease", r#""8s""#),
    ("window.entries", "121"),
    ("window.bytes", r#""8MiB""#),
    ("window.age", r#""9s""#),
    ("window.file", r#""/var/lib/window""#),
    ("metrics.tenants_max", "17"),
    ("usage.file", r#""/var/lib/usage.jsonl""#),
    ("usage.url", r#""http://bills.example/usage?of=ht""#),
    ("usage.receiver_key", r#""bills""#),
    ("usage.tls_ca_file", r#""/bills.pem""#),
    ("usage.timeout", r#""11s""#),
    ("usage.interval", r#""12s""#),
    ("usage.keep", r#""13h""#),
    ("readiness.probe_interval", "6"),
    ("readiness.probe_timeout", "7"),
    ("log.level", r#""debug""#),
    ("log.format", r#""json""#),
];

fn texts(values: &[impl ToString]) -> Vec<String> {
    values.iter().map(ToString::to_string).collect()
}

#[track_caller]
fn assert_every(config: &Config) {
    let server = &config.server;
    let unix = Listen::Unix {
        path: "/run/ht.sock".into(),
        mode: 0o600,
    };
    assert_eq!((&server.listen, server.threads), (&unix, 3));
    let public = &server.public;
    assert_eq!(
        (&*public.websocket_path, public.root_health),
        ("/app/ws/", true)
    );
    let trusted: Vec<_> = public.trusted_proxies.entries();
    assert_eq!(texts(&trusted), ["192.0.2.0/24", "unix"]);
    assert_eq!(texts(&public.origins.allow), ["https://*.example", "null"]);
    assert!(public.x_forwarded_for && public.proxy_protocol && public.origins.require);
    assert_eq!(server.internal.listen.to_string(), "127.0.0.1:9");
    let keys = server.internal.api_keys.iter();
    let keys: Vec<_> = keys.map(|Secret(key)| key.as_str()).collect();
    assert_eq!(keys, ["key", "old"]);
    let [reader] = &server.internal.keys[..] else {
        panic!("one key: {:?}", server.internal.keys);
    };
    assert_eq!(reader.key.0, "reader");
    assert!(reader.may.has(Right::Read) && !reader.may.has(Right::Publish));
    assert_eq!(texts(&server.internal.hosts), ["gateway", "*.svc"]);
    assert_eq!(
        (server.matching, server.status_clients),
        (Matching::Exact, false)
    );
    let compression = server.compression.unwrap();
    assert_eq!((compression.threshold, compression.level), (2 << 10, 9));
    assert_eq!(compression.max_bytes, 3 << 20);
    assert_eq!(server.idle_timeout.as_secs(), 105);
    assert_eq!(server.readiness.probe_interval.as_secs(), 6);
    assert_eq!(server.readiness.probe_timeout.as_secs(), 7);
    assert_eq!(server.drain.delay.as_secs(), 4);
    assert_eq!(server.drain.timeout.as_secs(), 2);
    assert_eq!(server.drain.period.as_secs(), 1);
    assert_eq!(server.recovery.gap_old, GapPolicy::Ignore);
    assert_eq!(server.recovery.gap_period.as_secs(), 4);
    let replay = RecoverySettings {
        enabled: false,
        messages: 131,
        bytes: 2 << 20,
    };
    assert_eq!(server.recovery.replay, replay);
    let secs = std::time::Duration::from_secs;
    let secret = |age: &str| Secret(format!("{age}-secret-of-the-tickets-which-is-long"));
    let resume = ResumeConfig {
        enabled: false,
        max_age: secs(45),
        secrets: vec![secret("new"), secret("old")],
    };
    assert_eq!(server.resume, resume);
    let permissions = PermissionsConfig {
        recheck: false,
        calls_max: 3,
        hold_timeout: secs(5),
        unreachable: Unreachable::Keep,
        grace: secs(6),
        max_age: secs(3_600),
        ring: 129,
        confirm_timeout: secs(3),
    };
    assert_eq!(server.permissions, permissions);
    let session = &server.session;
    assert_eq!(
        [
            session.message_bytes,
            session.subscriptions,
            session.request_id_bytes
        ],
        [10600, 107, 108]
    );
    assert_eq!(
        [session.room_bytes, session.room_depth, session.outbox_bytes],
        [109, 10, 11100]
    );
    assert_eq!(session.messages_per_second, 1060);
    assert_eq!(session.names_per_room, 127);
    assert_eq!(session.inflated_bytes_per_second, 1061);
    let limits = &server.limits;
    assert_eq!(
        [limits.connections, limits.handshakes, limits.head_bytes],
        [101, 102, 10400]
    );
    assert_eq!(
        [
            limits.connections_per_address,
            limits.connections_per_user,
            limits.handshakes_per_second
        ],
        [117, 118, 119]
    );
    assert_eq!(limits.head_timeout.as_secs(), 103);
    assert_eq!(limits.handshake_timeout.as_secs(), 120);
    assert_eq!(
        (limits.outbox_age.as_secs(), limits.outbox_total_bytes),
        (117, Some(11800))
    );
    assert_eq!(
        [
            limits.client_total_bytes,
            limits.client_bytes_per_address,
            limits.client_bytes_per_user
        ],
        [Some(11900), Some(11910), Some(11920)]
    );
    assert_eq!(session.message_timeout, 106_000);
    assert_eq!(limits.memory_bytes, Some(123 << 20));
    assert_eq!(
        [limits.trigger_bytes, limits.triggers_per_request],
        [11200, 113]
    );
    assert_eq!(
        [limits.rooms_per_trigger, limits.trigger_ids, limits.inbox],
        [114, 115, 116]
    );
    assert_eq!(limits.inbox_bytes, Some(9 << 20));
    assert_eq!(limits.answer_total_bytes, Some(5 << 20));
    assert_eq!(limits.grant_total_bytes, Some(6 << 20));
    let nodes = &server.nodes;
    let times = [nodes.beacon.as_secs(), nodes.lease.as_secs()];
    assert_eq!((&*nodes.name, times), ("gate-1", [2, 8]));
    let window = &limits.window;
    assert_eq!((window.entries, window.bytes), (121, Some(8 << 20)));
    assert_eq!(window.age.as_secs(), 9);
    let file = server.window_file.as_deref();
    assert_eq!(file, Some(Path::new("/var/lib/window")));
    assert_eq!(server.metrics.tenants_max, 17);
    let usage = UsageConfig {
        file: Some("/var/lib/usage.jsonl".into()),
        url: Some("http://bills.example/usage?of=ht".into()),
        key: Some(Secret("bills".into())),
        tls_ca_file: Some("/bills.pem".into()),
        timeout: Duration::from_secs(11),
        interval: Duration::from_secs(12),
        keep: Duration::from_hours(13),
    };
    assert_eq!(server.usage, usage);
    let keepalive = &server.keepalive;
    assert_eq!(
        (keepalive.interval.as_secs(), keepalive.timeout.as_secs()),
        (119, 120)
    );
    let tcp = &server.tcp;
    assert_eq!((tcp.send_buffer, tcp.user_timeout.as_secs()), (12100, 122));
    assert_eq!(limits.triggers_in_flight, 0);
    let auth = &server.auth;
    assert_eq!(
        (auth.first_frame, auth.first_frame_timeout.as_secs()),
        (true, 3)
    );
    let hooks = &server.hooks;
    assert_eq!(
        (
            hooks.queue,
            hooks.max_in_flight,
            hooks.ping_min_interval.as_secs()
        ),
        (8, 9, 60)
    );

    let backend = &config.backend;
    assert_eq!(backend.url, "http://api/v1/");
    assert_eq!(backend.socket.as_deref(), Some(Path::new("/run/api.sock")));
    assert_eq!(backend.bootstrap, "hello/");
    assert_eq!(backend.timeout.as_millis(), 300);
    assert_eq!(*backend.user_id_path, ["who", "id"]);
    assert_eq!(
        backend.headers.last().unwrap().source,
        HeaderSource::Param("a".into())
    );
    let guard = &backend.guard;
    assert_eq!((guard.max_in_flight, guard.max_waiting), (7, 8));
    assert_eq!(guard.wait_timeout, backend.timeout);
    assert_eq!((guard.coalesce.as_secs(), guard.circuit_failures), (2, 9));
    assert_eq!(
        [guard.circuit_backoff, guard.circuit_backoff_max].map(|time| time.as_secs()),
        [3, 4]
    );
    assert_eq!(backend.forward_bytes_max, 3 << 10);
    assert_eq!(backend.answer_bytes_max, 2 << 20);
    assert!(!backend.tls_verify);
    assert_eq!(backend.tls_ca_file.as_deref(), Some(Path::new("/ca.pem")));
    assert_eq!(backend.hooks.connect.as_ref().unwrap().path, "c/");
    assert_eq!(
        backend.hooks.ping.as_ref().unwrap().method,
        http::Method::PUT
    );
    assert_eq!(backend.hooks.disconnect.as_ref().unwrap().path, "d/");
    assert_eq!(backend.hooks.timeout.as_secs(), 4);

    let TenantSource::Http {
        url,
        registry_key,
        tls_verify,
        tls_ca_file,
        copy,
        interval,
        timeout,
        secrets,
    } = &config.tenancy.source
    else {
        panic!("another source");
    };
    assert_eq!(url, "https://registry/tenants/");
    assert_eq!(registry_key, &Some(Secret("k".to_owned())));
    assert!(!tls_verify);
    let paths =
        [tls_ca_file, copy, secrets].map(|path| path.as_ref().unwrap().display().to_string());
    assert_eq!(paths, ["/registry.pem", "/tenants.copy", "/secrets"]);
    assert_eq!([interval, timeout].map(Duration::as_secs), [1, 2]);
    assert!(config.server.tenants.is_enabled);
    let logs = &config.server.tenants.logs;
    assert_eq!((logs.max, logs.threads), (3, 2));
    let default = config.server.tenants.default.as_ref().unwrap();
    assert_eq!(default.as_str(), "acme");

    let rabbitmq = config.rabbitmq.as_ref().unwrap();
    assert_eq!(
        (&*rabbitmq.url, &*rabbitmq.exchange),
        ("amqp://u:p%2F@mq", "other")
    );
    let stream = rabbitmq.stream.as_ref().unwrap();
    assert_eq!((rabbitmq.durable, &*stream.name), (true, "other.stream"));
    assert_eq!(
        (stream.age.as_secs(), stream.bytes, stream.segment_bytes),
        (7_200, 3 << 30, 20 << 20)
    );
    assert_eq!(
        (rabbitmq.prefetch, rabbitmq.publish_timeout.as_millis()),
        (11, 1500)
    );
    assert_eq!(
        (config.log.level, config.log.format),
        (Level::Debug, Format::Json)
    );
}

/// All that can be set together: a node has one log.
fn together() -> impl Iterator<Item = &'static (&'static str, &'static str)> {
    let others = ["postgres.", "nats.", "redis."];
    let is_other = move |key: &str| others.iter().any(|section| key.starts_with(section));
    EVERY.iter().filter(move |(key, _)| !is_other(key))
}

/// A file with all settings of a section, but for these.
fn section(name: &str, left_out: &[&str]) -> String {
    let of = EVERY.iter().filter(|(key, _)| {
        *key == "backend.url" || key.starts_with(name) && !left_out.contains(key)
    });
    of.map(|(key, value)| format!("{key} = {value}\n"))
        .collect()
}

#[test]
fn redis_takes_the_place_of_rabbitmq() {
    let config = good(&section("redis.", &[]), &[]);
    assert!(matches!(config.engine(), Some(Engine::Redis(_))));
    let redis = config.redis.unwrap();
    assert_eq!(
        (&*redis.url, redis.username, redis.password),
        ("rediss://cache/2", Some("u".into()), Some("p/".to_owned()))
    );
    assert_eq!(
        (redis.tls_verify, redis.tls_ca_file),
        (false, Some("/redis.pem".into()))
    );
    assert_eq!(
        (&*redis.stream, redis.publish_timeout.as_millis()),
        ("other.log", 3_500)
    );
    assert_eq!(
        (redis.retention.as_secs(), redis.retention_entries),
        (10_800, 3_000)
    );
}

#[test]
fn postgres_takes_the_place_of_rabbitmq() {
    let config = good(&section("postgres.", &[]), &[]);
    assert!(matches!(config.engine(), Some(Engine::Postgres(_))));
    let postgres = config.postgres.unwrap();
    assert_eq!(
        (&*postgres.url, postgres.username, postgres.password),
        (
            "postgresql://db/shop",
            Some("u".into()),
            Some("p/".to_owned())
        )
    );
    assert_eq!(
        (&*postgres.log, postgres.publish_timeout.as_millis()),
        ("other", 2_500)
    );
    assert_eq!(
        (postgres.retention.as_secs(), postgres.retention_rows),
        (7_200, 2_000)
    );
}

#[test]
fn nats_takes_the_place_of_rabbitmq() {
    let of = |login: &[&str]| {
        let logins = ["username", "password", "token", "nkey", "credentials"];
        let others = logins.map(|name| format!("nats.{name}"));
        let others: Vec<_> = others.iter().map(|key| &**key).collect();
        let left_out = others.iter().filter(|key| !login.contains(key));
        let file = section("nats.", &left_out.copied().collect::<Vec<_>>());
        match good(&file, &[]).engine() {
            Some(Engine::Nats(config)) => config,
            _ => panic!("another engine"),
        }
    };
    let nats = of(&["nats.username", "nats.password"]);
    let login = (nats.username.as_deref(), nats.password.as_deref());
    assert_eq!(
        (&*nats.url, login),
        ("nats://one,two", (Some("u"), Some("p/")))
    );
    assert_eq!(of(&["nats.token"]).token.as_deref(), Some("t"));
    assert_eq!(of(&["nats.nkey"]).nkey.as_deref(), Some("SU"));
    assert!(of(&["nats.credentials"]).credentials.is_some());
    let files = [
        nats.tls_ca_file,
        nats.tls_certificate_file,
        nats.tls_key_file,
    ];
    let files = files.map(|file| file.unwrap().display().to_string());
    assert_eq!(files, ["/nats.pem", "/own.pem", "/own.key"]);
    assert_eq!((&*nats.subject, &*nats.stream), ("shop.triggers", "SHOP"));
    assert_eq!(
        (nats.publish_timeout.as_millis(), nats.retention.as_secs()),
        (3_500, 10_800)
    );
    assert_eq!((nats.retention_bytes, nats.replicas), (2 << 20, 3));

    let two = bad(&section("nats.", &["nats.credentials", "nats.token"]), &[]).join("\n");
    assert!(two.contains("there is one login"), "{two}");
    let half = bad(
        "backend.url = 'http://api/'\nnats.tls_key_file = '/k'\n",
        &[],
    )
    .join("\n");
    assert!(
        half.contains("nats.tls_certificate_file is missing"),
        "{half}"
    );
}

#[test]
fn a_node_has_one_log_and_no_login_without_one() {
    let both = "backend.url = 'http://api/'\nrabbitmq.url = 'amqp://mq'\n\
                postgres.url = 'postgresql://u:geheim@db/shop'\n";
    let found = bad(both, &[]).join("\n");
    assert!(found.contains("there is one log"), "{found}");
    assert!(!found.contains("geheim"), "{found}");
    for section in ["rabbitmq", "postgres", "nats", "redis"] {
        let alone = format!("backend.url = 'http://api/'\n{section}.password = 'geheim'\n");
        let found = bad(&alone, &[]).join("\n");
        assert!(
            found.contains(&format!("{section}.url is missing")),
            "{found}"
        );
        assert!(!found.contains("geheim"), "{found}");
    }
}

#[test]
fn every_setting_is_read_from_the_file() {
    let names: Vec<_> = EVERY.iter().map(|(key, _)| *key).collect();
    assert_eq!(names, KEYS, "a setting is missing in this test");
    let file: String = together()
        .map(|(key, value)| format!("{key} = {value}\n"))
        .collect();
    assert_every(&good(&file, &[]));
}

#[test]
fn every_setting_is_read_from_the_environment_and_beats_the_file() {
    let variables: Vec<_> = together()
        .map(|(key, value)| (variable_of(key), value.trim_matches('"')))
        .collect();
    let variables: Vec<_> = variables
        .iter()
        .map(|(name, value)| (&**name, *value))
        .collect();
    assert_every(&good("", &variables));
    let file = "threads = 9\n[limits]\ninbox = 5\n[backend.headers]\nX-B = false\n";
    assert_every(&good(file, &variables));
}

/// No tenants.
fn nobody() -> (Tenancy, Survey) {
    let mut mistakes = Mistakes::default();
    let values = settings::read(&Layers::default(), &mut mistakes);
    let tenancy = Tenancy::of(&values, Vec::new(), BTreeMap::new(), Path::new(""));
    (tenancy, Survey::default())
}

/// A configuration with these lines, without the checks that concern several settings.
fn unchecked(file: &str) -> Config {
    let mut layers = Layers::default();
    let mut mistakes = Mistakes::default();
    layers.file(file, Path::new("x.toml"), &mut mistakes);
    let values = settings::read(&layers, &mut mistakes);
    assert!(mistakes.is_empty(), "{mistakes}");
    build::config(values, Vec::new(), nobody(), Vec::new())
}

/// What is in force after a reload with `new` of a gateway that began with `start`.
fn in_force(start: &Config, new: &Config) -> String {
    let live = LiveSettings::new(&start.server, ForwardRules::of(&start.backend));
    let live = live.reloaded(&new.server, ForwardRules::of(&new.backend));
    let server = ServerConfig {
        permissions: live.permissions,
        ..new.server.clone()
    };
    let (outboxes, accounts) = (Arc::default(), Arc::default());
    let mut shards = shard_settings(&server, &outboxes, &accounts, Reader::default());
    // A shard keeps how it matches rooms: it has an index of them.
    shards.matching = start.server.matching;
    format!("{live:?} {shards:?} {:?}", new.log.level)
}

#[test]
fn a_reload_names_exactly_the_settings_that_need_a_restart() {
    // Defaults of other settings depend on the memory.
    let memory = r#""16GiB""#;
    let start = unchecked(&format!("limits.memory_bytes = {memory}\n"));
    let before = in_force(&start, &start);
    for (key, value) in EVERY {
        // That one is on by default.
        let value = if *key == "compression.enabled" {
            "false"
        } else {
            *value
        };
        let new = match *key {
            "limits.memory_bytes" => unchecked(&format!("{key} = {value}\n")),
            _ => unchecked(&format!(
                "{key} = {value}\nlimits.memory_bytes = {memory}\n"
            )),
        };
        let Changes { live, fixed } = start.changes(&start.written, &new);
        let is_applied = in_force(&start, &new) != before;
        let expected = if is_applied {
            (vec![*key], vec![])
        } else {
            (vec![], vec![*key])
        };
        assert_eq!((live, fixed), expected, "{key}");
    }
}

#[test]
fn the_printed_file_is_valid_and_all_default() {
    let printed = super::toml();
    let config = good(&printed, &[]);
    assert_eq!(config.backend.url, "http://localhost:8000/api/");
    // Uncommented, every default is what the setting reads.
    let plain: String = printed
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(setting) if !setting.starts_with(' ') => format!("{setting}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let mut same = good(&plain, &[]);
    // The list of origins is written now, and empty.
    let origins = &mut same.server.public.origins;
    assert!(
        matches!(&origins.written, OriginsWritten::Line(line) if line.starts_with("high-templar.toml:"))
    );
    origins.written = OriginsWritten::Nowhere;
    assert_eq!(format!("{:?}", same.server), format!("{:?}", config.server));
    assert_eq!(
        format!("{:?}", same.backend),
        format!("{:?}", config.backend)
    );
    assert!(same.engine().is_none());
    assert_eq!(
        printed.matches(" = ").count(),
        KEYS.len()
            + printed.matches("X-Session-Token = ").count()
            + printed.matches("{ param = ").count()
            + 2 * printed.matches("{ key = ").count()
    );
}

#[test]
fn every_setting_is_documented_in_a_section() {
    let page = markdown();
    for setting in described() {
        assert!(
            page.contains(&format!("### `{}`", setting.key)),
            "{}",
            setting.key
        );
        assert!(setting.doc.ends_with('.'), "{}", setting.key);
    }
    for key in KEYS {
        let section = names::section_of(key);
        assert!(SECTIONS.iter().any(|(name, _)| *name == section), "{key}");
    }
}

proptest::proptest! {
    #[test]
    fn no_file_panics(text in proptest::prop_oneof![
        ".{0,80}",
        "([a-z.]{1,6}|limits|backend|headers|listen|\\[|\\]|=|\"|'|\\{|\\}|\n| |,|[0-9]|true|1979-05-27){0,40}",
    ]) {
        let mut layers = Layers::default();
        let mut mistakes = Mistakes::default();
        layers.file(&text, Path::new("x.toml"), &mut mistakes);
        let values = settings::read(&layers, &mut mistakes);
        build::check(&values, &mut mistakes);
        let _ = build::config(values, Vec::new(), nobody(), Vec::new());
        let _ = mistakes.to_string();
    }

    #[test]
    fn no_value_panics(at in 0..EVERY.len(), value in proptest::prop_oneof![
        proptest::sample::select(EVERY.iter().map(|(_, value)| *value).collect::<Vec<_>>()),
        proptest::sample::select(vec!["-1", "nan", "inf", "1e400", "[]", "{}", "[[1]]", "99999999999999999999", "''", "false", "1979-05-27"]),
    ]) {
        let mut layers = Layers::default();
        let mut mistakes = Mistakes::default();
        layers.file(&format!("{} = {value}", EVERY[at].0), Path::new("x.toml"), &mut mistakes);
        let values = settings::read(&layers, &mut mistakes);
        build::check(&values, &mut mistakes);
        let _ = build::config(values, Vec::new(), nobody(), Vec::new());
    }
}
