//! Every setting of the gateway, defined once: reading, bounds, defaults, whether a reload applies
//! it, and documentation all come from this table.

mod types;
mod units;

use crate::config::settings::types::*;
use crate::config::settings::units::*;
use crate::config::table::settings;

settings! {
    listen: Listen, restart "listen", Address, Address::tcp("0.0.0.0:5000"),
        "Where browsers connect, at `websocket_path`. Nothing that can publish or inspect is served here.";
    websocket_path: String, live "websocket_path", UrlPath, PublicConfig::default().websocket_path,
        "Path of the WebSocket on `listen`, as the gateway receives it: without a prefix that a proxy removes. It is served with and without the trailing slash.";
    root_health: bool, live "root_health", Flag, PublicConfig::default().root_health,
        "Respond to `GET /` on `listen` with 200, for load balancers that check nothing else, and with 503 during shutdown. `/health` is always available.";
    listen_mode: u32, restart "listen_mode", Mode, 0o660,
        "Permission bits of the unix sockets that `listen` and `internal.listen` create.";
    threads: usize, restart "threads", count(0, 1_024), 0,
        "Network threads (shards). 0: one per core.";
    trusted_proxies: Vec<Trusted>, live "trusted_proxies", Listed::<Trusted>::of("trusted_proxies", r#"["10.0.0.0/8", "192.0.2.1", "unix"]"#), TrustedProxies::default().entries(),
        "Networks of trusted reverse proxies. Their `X-Real-IP` is used as the client address, for limits, rate limits and logs, and forwarded to the API. From other peers it is dropped, and the API gets the peer's address. `unix` stands for unix sockets.";
    x_forwarded_for: bool, live "x_forwarded_for", Flag, false,
        "If a trusted proxy sends no `X-Real-IP`, use the rightmost address of its `X-Forwarded-For` that is not a trusted proxy's.";
    proxy_protocol: bool, live "proxy_protocol", Flag, false,
        "Connections from trusted proxies must begin with a PROXY protocol header, version 1 or 2; others are closed. From other peers no such header is read.";
    python_variables: PythonVariables, restart "python_variables", Choose::<PythonVariables>::one(), PythonVariables::Auto,
        "When the variables of the Python version are used. `auto`: always from the environment and the file that `ENV_FILE` names; from an `.env` file nearby, which may be another program's, only if nothing else sets `backend.url` or `backend.socket`. `always`: in such a file, too. `never`: nowhere.";
    origins_allow: Vec<OriginPattern>, live "origins.allow", Listed::<OriginPattern>::of("origins.allow", r#"["https://app.example", "https://*.example.com"]"#), Vec::new(),
        "Origins whose pages may open a WebSocket, in addition to those of the request's own host, whatever their port. `*` matches everything before the first dot; `[\"*\"]` allows every page of the web. Others get 403. Packaged apps and extensions have origins of their own (`tauri://localhost`, `capacitor://localhost`, `app://*`, `file://`, `chrome-extension://<id>`), and pages without one (sandboxed frames, data: URLs) send `null`, which then stands for such pages of every site. A list called `origins` at the top of the file, or `HT_ORIGINS`, means the same.";
    origins_require: bool, live "origins.require", Flag, false,
        "Also reject clients without an `Origin` header. Browsers always send one, other programs need not.";
    internal_listen: Listen, restart "internal.listen", Address, Address::tcp("127.0.0.1:8002"),
        "Internal listener: triggers, metrics and health checks. On addresses other than loopback it requires `internal.api_key`.";
    internal_api_key: Vec<Secret>, live secret "internal.api_key", ApiKeys::of("internal.api_key"), Vec::new(),
        "API key that requests to `/trigger/`, `/metrics` and `/nodes/` must carry as `Authorization: Bearer <key>`. A list (`[\"new\", \"old\"]`, in a variable as well; in a file one key a line) holds several keys, any of which is accepted, so that a key can be replaced without an interruption: `high_templar_api_key_uses_total` counts the requests by the position of their key. A comma in a variable is part of the key. Empty: no key is required.";
    internal_keys: Vec<RestrictedKey>, live secret "internal.keys", RestrictedKeys { key: "internal.keys" }, Vec::new(),
        "Keys that may do less than `internal.api_key`, which may do everything: `[{ key = \"…\", may = [\"publish\"] }]`. `publish` sends triggers, `command` sends commands, which disconnect clients or change their permissions. `read` reads `/metrics` and `/nodes/`, and counts with `dry_run` whom a command would mean. `admin` reads and changes the list of tenants at `/tenants/`, and implies none of the others. Requests for anything else get 403. If these keys are the only ones, every request to `/trigger/`, `/metrics` and `/nodes/` must carry one.";
    internal_hosts: Vec<HostPattern>, live "internal.hosts", Listed::<HostPattern>::of("internal.hosts", r#"["gateway", "*.svc.cluster.local"]"#), Vec::new(),
        "Host names that requests to `internal.listen` may use, in addition to IP addresses, `localhost` and names below it. A request for any other name gets 421 unless it carries `internal.api_key`, because a web page whose host name is made to resolve to this machine (DNS rebinding) could otherwise read the responses. `*.` matches any subdomain, `[\"*\"]` disables the check. Unix sockets accept every name.";
    backend_url: Option<String>, restart "backend.url", BaseUrl, None,
        "URL of your HTTP API, ending in a slash. The paths below are appended to it unchanged. The only required setting.";
    backend_socket: Option<PathBuf>, restart "backend.socket", File, None,
        "Connect to the API over this unix socket. `backend.url` then begins with `http://` and still determines the path and the `Host`. Empty: TCP.";
    backend_bootstrap: String, restart "backend.bootstrap", RelativePath, "bootstrap/".to_owned(),
        "Called with GET for every client that connects. Status 200 accepts the client, and `allowed_rooms` in the response lists its rooms.";
    backend_timeout: Duration, restart "backend.timeout", period(10 * MS, HOUR), secs(10),
        "Time limit of one bootstrap call, from connecting to the end of the response.";
    backend_user_id_path: Vec<String>, restart "backend.user_id_path", Steps, BackendConfig::default_user_id_path(),
        "Where the user's id, a text or a number, is in the bootstrap response, as a list of keys. A response without it is fine: that client counts towards no limit per user. `[]`: users are not distinguished.";
    backend_headers: Vec<HeaderChange>, live secret "backend.headers", Headers, Vec::new(),
        "Headers to send to the API in addition to the default ones; see below.";
    backend_max_in_flight: usize, restart "backend.max_in_flight", count(1, 100_000), 64,
        "Concurrent bootstrap calls; further clients wait in a fair queue, at most for `backend.timeout`. Match it to the concurrency of the API.";
    backend_max_waiting: usize, restart "backend.max_waiting", count(0, 1_000_000), 10_000,
        "Length of that queue, in which client addresses take turns. Further clients are closed with 1013 and reconnect later, as is the last one of the address with most entries when another address needs the slot.";
    backend_coalesce: Duration, restart "backend.coalesce", period(Duration::ZERO, secs(60)), Duration::ZERO,
        "Clients of one address with exactly the same forwarded headers (the tabs of one browser) share a bootstrap call that waits in the queue. With a time here they also share a call that was sent up to that long ago, and its response: a client that connects right after its permissions changed may then get the old ones. 0: every response is newer than the connection.";
    backend_circuit_failures: usize, restart "backend.circuit_failures", count(0, 1_000_000), 10,
        "Circuit breaker: after so many consecutive calls without a usable response (no connection, timeout, truncated, status 502, 503 or 504) the gateway sends a request of its own, without credentials. If that fails too, the circuit opens: the API is not called, and clients are closed at once with 1013 and reconnect later. One such request is enough if the failures come from so many distinct addresses and credentials, three in a row otherwise. 0: it never opens.";
    backend_circuit_backoff: Duration, restart "backend.circuit_backoff", period(10 * MS, HOUR), secs(1),
        "Time after which the gateway probes the API again, with a request of its own; any response except 502, 503 or 504 closes the circuit. Exponential backoff with jitter: it doubles with each failure, and is shortened at random by up to a half. The delay within which clients reconnect is at least 1 s, even if this is shorter.";
    backend_circuit_backoff_max: Duration, restart "backend.circuit_backoff_max", period(10 * MS, HOUR), secs(30),
        "Maximum backoff of the circuit breaker.";
    backend_forward_bytes_max: usize, live "backend.forward_bytes_max", size(KIB, MIB), FORWARD_BYTES_MAX,
        "Longest request head of a bootstrap call, with forwarded headers, names and line ends; longer ones get 431 before the API is called. Keep it below the limit of the API's server: 4 KiB is the default of uWSGI (`buffer-size`), 8 KiB that of nginx and gunicorn for a line. `high-templar check` tests it.";
    backend_answer_bytes_max: usize, restart "backend.answer_bytes_max", size(KIB, GIB), 4 * MIB,
        "Longest bootstrap response that is accepted.";
    backend_tls_verify: bool, restart "backend.tls_verify", Flag, true,
        "Verify the API's TLS certificate. Disable it in development only.";
    backend_tls_ca_file: Option<PathBuf>, restart "backend.tls_ca_file", File, None,
        "PEM file with the certificate authorities to trust, and no others; a self-signed certificate can be one. Empty: those of the system, or, where the variables `SSL_CERT_FILE` (a PEM file) or `SSL_CERT_DIR` (folders of PEM files) are set, those and not the system's. Read at the start; a file that is missing or not PEM is a configuration error (exit status 78).";
    auth_first_frame: bool, live "auth.first_frame", Flag, AuthConfig::default().first_frame,
        "Whether a client without a cookie and a parameter may send its token in the first frame. It then must send one: the API is not called for clients without credentials.";
    auth_first_frame_timeout: Duration, live "auth.first_frame_timeout", period(100 * MS, HOUR), AuthConfig::default().first_frame_timeout,
        "Time limit for that frame. Meanwhile the client counts towards `limits.handshakes`.";
    hooks_connect: Option<HookCall>, restart "hooks.connect", Call, None,
        "Called after a client was accepted, with the same headers as the bootstrap call. Empty: no call.";
    hooks_ping: Option<HookCall>, restart "hooks.ping", Call, None,
        "Called when a client sends `ping`. Empty: no call.";
    hooks_disconnect: Option<HookCall>, restart "hooks.disconnect", Call, None,
        "Called after a connection ended, for any reason. Empty: no call.";
    hooks_timeout: Duration, restart "hooks.timeout", period(10 * MS, HOUR), secs(10),
        "Time limit of one hook call.";
    hooks_queue: usize, restart "hooks.queue", count(1, 10_000_000), HookQueueConfig::default().queue,
        "Maximum queued hook calls; further ones are dropped and counted.";
    hooks_max_in_flight: usize, restart "hooks.max_in_flight", count(1, 10_000), HookQueueConfig::default().max_in_flight,
        "Concurrent hook calls. Those of one connection never overlap.";
    hooks_ping_min_interval: Duration, restart "hooks.ping_min_interval", period(Duration::ZERO, DAY), HookQueueConfig::default().ping_min_interval,
        "Minimum interval between two ping calls of one connection. 0: every ping is reported.";
    tenants_source: TenantsFrom, restart "tenants.source", Choose::<TenantsFrom>::one(), TenantsFrom::None,
        "Where the [tenants](tenants.md) come from: products with an API, keys and limits of their own that share this gateway. `none`: there is one, `main`, whose API is `backend.url`. `file`: from the tables `[[tenant]]` of this file and from `tenants.file`. `http`: from the registry at `tenants.url`.";
    tenants_file: Option<PathBuf>, restart "tenants.file", File, None,
        "A file of tables `[[tenant]]`, or a folder with a file for each tenant, called `<name>.toml` or `<name>.json`. It is read again when it changes, and at a reload. With a mistake in any tenant nothing changes, and the log has all of them. Empty: only the tables of this file.";
    tenants_url: Option<String>, restart "tenants.url", BaseUrl, None,
        "The registry of tenants, which is asked with `GET <url>?after=<version>` for what has changed: see [its answers](tenants.md#a-registry).";
    tenants_registry_key: Option<Secret>, restart secret "tenants.registry_key", Password, None,
        "Sent to the registry as `Authorization: Bearer <key>`. Empty: none.";
    tenants_tls_verify: bool, restart "tenants.tls_verify", Flag, true,
        "Verify the registry's TLS certificate. Disable it in development only.";
    tenants_tls_ca_file: Option<PathBuf>, restart "tenants.tls_ca_file", File, None,
        "PEM file with the certificate authorities of the registry, as `backend.tls_ca_file`.";
    tenants_copy: Option<PathBuf>, restart "tenants.copy", File, None,
        "A file for the last good list of tenants, written with mode 0600, with which a node starts while the registry is away, or while there is a mistake in the files. Each node needs a file of its own. Empty: none; such a node starts without tenants until the registry answers, or with those whose files have no mistake.";
    tenants_interval: Duration, restart "tenants.interval", period(100 * MS, HOUR), secs(10),
        "How often files are looked at, or the registry is asked.";
    tenants_timeout: Duration, restart "tenants.timeout", period(10 * MS, HOUR), secs(10),
        "Time limit of one call of the registry.";
    tenants_secrets: Option<PathBuf>, restart "tenants.secrets", File, None,
        "A folder of secrets that tenants of a registry, or of the administrative API, may refer to, each to the files of `<this folder>/<name of the tenant>/`. They may refer to variables `HT_TENANT_<NAME>__…` of their own name as well, and to nothing else. Empty: to no file.";
    tenants_logs: usize, restart "tenants.logs", count(0, 64), OwnLogsConfig::default().max,
        "How many tenants may have [a log of their own](tenants.md#a-log-of-its-own). Each takes threads, a window and inboxes of its own, which count towards `limits.memory_bytes`. 0: none.";
    tenants_log_threads: usize, restart "tenants.log_threads", count(1, 64), OwnLogsConfig::default().threads,
        "Network threads for the clients of each tenant with a log of its own.";
    tenants_hosts: Vec<TenantHost>, restart "tenants.hosts", Listed::<TenantHost>::of("tenants.hosts", r#"["www.example.com"]"#), Vec::new(),
        "Hosts of the tenant `main`, whose clients are its own. A request for one of them that names another tenant by its path or key is rejected with 400, so that no page of another tenant has the cookies of these hosts sent to its API. `[]`: `main` has no hosts of its own.";
    tenants_default: TenantDefault, restart "tenants.default", DefaultTenant, TenantDefault(None),
        "The tenant of clients that name none by their host, path or key. `none`: they are rejected with 404. `main`: they are clients of `backend.url`.";
    rabbitmq_url: Option<String>, restart secret "rabbitmq.url", AmqpUrl, None,
        "URL of the RabbitMQ that triggers are consumed from. Empty: no broker; this node delivers only triggers that are posted to its own `/trigger/`.";
    rabbitmq_username: Option<Secret>, restart secret "rabbitmq.username", Password, None,
        "The user, instead of the one in `rabbitmq.url`.";
    rabbitmq_password: Option<Secret>, restart secret "rabbitmq.password", Password, None,
        "The password, instead of the one in `rabbitmq.url`, without percent-encoding.";
    rabbitmq_exchange: String, restart "rabbitmq.exchange", Name { bytes_max: 127 }, "hightemplar".to_owned(),
        "The direct exchange that triggers are published to.";
    rabbitmq_durable: bool, restart "rabbitmq.durable", Flag, false,
        "Declare the exchange as durable, so that it and its bindings outlive a restart of RabbitMQ. One that exists is used as it is: delete it once, when no gateway of version 3 is left, which could not declare it any more.";
    rabbitmq_log: RabbitMqLog, restart "rabbitmq.log", Choose::<RabbitMqLog>::one(), RabbitMqLog::Queue,
        "What carries the log of all triggers. `queue`: a queue of its own for each node; what is published while a node is not connected does not reach it. `stream`: one stream that every node reads (RabbitMQ 3.10 or later), so that a node misses nothing, and a client recovers at any node. The same on every node; a move from one to the other is described in the migration guide.";
    rabbitmq_stream: String, restart "rabbitmq.stream", QueueName, String::new(),
        "The name of the stream. Empty: the name of the exchange and `.log`. Gateways with different exchanges must not share one.";
    rabbitmq_stream_age: Duration, restart "rabbitmq.stream_age", period(secs(60), MONTH), StreamConfig::AGE,
        "How long the stream retains messages, where this node declares it. An existing stream keeps its own retention: change that by a policy of RabbitMQ.";
    rabbitmq_stream_bytes: usize, restart "rabbitmq.stream_bytes", size(16 * MIB, 1024 * GIB), StreamConfig::BYTES,
        "How many bytes it retains at most, where this node declares it.";
    rabbitmq_segment_bytes: usize, restart "rabbitmq.segment_bytes", size(MIB, GIB), StreamConfig::SEGMENT_BYTES,
        "Size of the files of the stream, where this node declares it. RabbitMQ drops whole files, and never the last one.";
    rabbitmq_prefetch: usize, restart "rabbitmq.prefetch", count(1, 65_535), 1_000,
        "Maximum messages that RabbitMQ sends to this node before they are acknowledged (prefetch).";
    rabbitmq_publish_timeout: Duration, restart "rabbitmq.publish_timeout", period(10 * MS, HOUR), secs(5),
        "Time limit for a trigger posted to `/trigger/` to be delivered back by RabbitMQ.";

    postgres_url: Option<String>, restart secret "postgres.url", PostgresUrl, None,
        "URL of the PostgreSQL that holds the log of all triggers, instead of RabbitMQ. Its schema is made with `high-templar postgres schema`. `sslmode` is `disable`, `prefer`, `require` or `verify-full`, as in libpq; `sslrootcert` names the certificate authorities of `verify-full`. Empty: none.";
    postgres_username: Option<Secret>, restart secret "postgres.username", Password, None,
        "The user, instead of the one in `postgres.url`.";
    postgres_password: Option<Secret>, restart secret "postgres.password", Password, None,
        "The password, instead of the one in `postgres.url`, without percent-encoding.";
    postgres_log: String, restart "postgres.log", SchemaName, PostgresConfig::default().log,
        "The schema that holds the log and the outbox. All nodes of a site have the same.";
    postgres_publish_timeout: Duration, restart "postgres.publish_timeout", period(10 * MS, HOUR), PostgresConfig::default().publish_timeout,
        "Time limit for a trigger posted to `/trigger/` to be read back from PostgreSQL.";
    postgres_retention: Duration, restart "postgres.retention", period(secs(60), MONTH), PostgresConfig::default().retention,
        "Records of the log that are older are deleted. A node that was disconnected for longer has a gap.";
    postgres_retention_rows: usize, restart "postgres.retention_rows", count(1_000, 1_000_000_000), PostgresConfig::default().retention_rows as usize,
        "Maximum records of the log; older ones are deleted.";
    nats_url: Option<String>, restart secret "nats.url", NatsUrl, None,
        "URL of the NATS server whose JetStream holds the log of all triggers, instead of RabbitMQ. Several servers of a cluster are separated by commas. `tls://` demands TLS and checks the server's certificate; with `nats://` the server decides. Empty: none.";
    nats_username: Option<Secret>, restart secret "nats.username", Password, None,
        "The user, instead of the one in `nats.url`.";
    nats_password: Option<Secret>, restart secret "nats.password", Password, None,
        "The password, instead of the one in `nats.url`, without percent-encoding.";
    nats_token: Option<Secret>, restart secret "nats.token", Password, None,
        "A token, instead of a user.";
    nats_nkey: Option<Secret>, restart secret "nats.nkey", Password, None,
        "The seed of the user's NKey (`SU…`), instead of a user.";
    nats_credentials: Option<Secret>, restart secret "nats.credentials", Credentials, None,
        "The content of a credentials file (`.creds`) with the user's JWT and NKey, instead of the other logins.";
    nats_tls_ca_file: Option<PathBuf>, restart "nats.tls_ca_file", File, None,
        "Certificate authorities (PEM) of the server, instead of the system's.";
    nats_tls_certificate_file: Option<PathBuf>, restart "nats.tls_certificate_file", File, None,
        "The gateway's certificate (PEM), for a server that wants one.";
    nats_tls_key_file: Option<PathBuf>, restart "nats.tls_key_file", File, None,
        "The key (PEM) of `nats.tls_certificate_file`.";
    nats_subject: String, restart "nats.subject", SubjectName, NatsConfig::default().subject,
        "The subject that publishers use. All nodes of a site have the same. What nodes send each other has subjects below it.";
    nats_stream: String, restart "nats.stream", StreamName, NatsConfig::default().stream,
        "The stream that carries the log. It is made if it does not exist, and never changed after that. Empty: `nats.subject` with a hyphen for each dot.";
    nats_publish_timeout: Duration, restart "nats.publish_timeout", period(10 * MS, HOUR), NatsConfig::default().publish_timeout,
        "Time limit for a trigger posted to `/trigger/` to be read back from the stream.";
    nats_retention: Duration, restart "nats.retention", period(secs(60), MONTH), NatsConfig::default().retention,
        "A stream that is made retains messages of this age. A node that was disconnected for longer has a gap.";
    nats_retention_bytes: usize, restart "nats.retention_bytes", size(MIB, 1 << 40), NatsConfig::default().retention_bytes as usize,
        "A stream that is made retains at most so many bytes; the oldest messages go first.";
    nats_replicas: usize, restart "nats.replicas", count(1, 5), NatsConfig::default().replicas.into(),
        "Servers of the cluster that keep a copy of a stream that is made. 3 survive the loss of one.";
    redis_url: Option<String>, restart secret "redis.url", RedisUrl, None,
        "URL of the Redis (7.0 or later) or Valkey that holds the log of all triggers, instead of RabbitMQ. `rediss://` uses TLS; `unix:///run/redis/redis.sock?db=0` is a unix socket. Empty: none.";
    redis_username: Option<Secret>, restart secret "redis.username", Password, None,
        "The user, instead of the one in `redis.url`.";
    redis_password: Option<Secret>, restart secret "redis.password", Password, None,
        "The password, instead of the one in `redis.url`, without percent-encoding.";
    redis_tls_verify: bool, restart "redis.tls_verify", Flag, RedisConfig::default().tls_verify,
        "Check the server's certificate if `redis.url` begins with `rediss://`.";
    redis_tls_ca_file: Option<PathBuf>, restart "redis.tls_ca_file", File, None,
        "PEM file with the certificate authorities that are trusted for `redis.url`, instead of the system's.";
    redis_stream: String, restart "redis.stream", Name { bytes_max: 255 }, RedisConfig::default().stream,
        "The key of the stream that holds the log. All nodes of a site have the same; different sites on one database need different ones.";
    redis_publish_timeout: Duration, restart "redis.publish_timeout", period(10 * MS, HOUR), RedisConfig::default().publish_timeout,
        "Time limit for a trigger posted to `/trigger/` to be read back from Redis.";
    redis_retention: Duration, restart "redis.retention", period(secs(60), MONTH), RedisConfig::default().retention,
        "Records of the log that are older are dropped. A node that was disconnected for longer has a gap.";
    redis_retention_entries: usize, restart "redis.retention_entries", count(1_000, 1_000_000_000), RedisConfig::default().retention_entries as usize,
        "Maximum records of the log, or a few more; older ones are dropped. They are in the memory of the server.";
    rooms_matching: Matching, restart "rooms.matching", Choose::<Matching>::one(), Matching::default(),
        "`wildcard`: `*` in a subscription or a trigger matches every value. `exact`: it is an ordinary value, as in the Python version.";
    status_clients: bool, live "status.clients", Flag, true,
        "Whether clients may request `status`.";
    compression_enabled: bool, live "compression.enabled", Flag, true,
        "Accept compression from clients that offer it (permessage-deflate; all browsers do). Disable it if the same `data` contains secrets and text that an attacker can choose, and the attacker could observe sizes (BREACH); see \"Compression\" in the protocol.";
    compression_threshold: usize, live "compression.threshold", size(64, MIB), Compression::default().threshold,
        "Shortest publication that is compressed, as JSON text with its envelope.";
    compression_level: usize, live "compression.level", count(1, 9), Compression::default().level.into(),
        "From 1 (fast) to 9 (small). A publication is compressed once, however many clients receive it.";
    compression_max_bytes: usize, live "compression.max_bytes", size(KIB, 64 * MIB), Compression::default().max_bytes,
        "Longest publication that is compressed, as JSON text with its envelope. Compressing blocks its thread: 1 MiB takes about 2 ms at level 2, several times as long at level 9.";

    limits_connections: usize, live "limits.connections", count(0, 10_000_000), ServerLimits::default().connections,
        "Open connections of this node; further ones get 503. 0: no limit.";
    limits_connections_per_address: usize, live "limits.connections_per_address", count(0, 10_000_000), ServerLimits::default().connections_per_address,
        "Open connections of one address, handshakes in progress included; a further one gets 429. An IPv6 network of 64 bits counts as one address. It applies if the address is known: not to clients behind a trusted proxy that does not send it. 0: no limit.";
    limits_connections_per_user: usize, live "limits.connections_per_user", count(0, 10_000_000), ServerLimits::default().connections_per_user,
        "Open connections of one user, if `backend.user_id_path` identifies users; a further one is refused and closed with 4100. 0: no limit.";
    limits_handshakes_per_second: usize, live "limits.handshakes_per_second", count(0, 1_000_000), ServerLimits::default().handshakes_per_second,
        "Rate limit: handshakes of one address per second, on average over ten seconds; a further one gets 429. Addresses are counted as for `limits.connections_per_address`. 0: no limit.";
    limits_handshakes: usize, restart "limits.handshakes", count(1, 1_000_000), ServerLimits::default().handshakes,
        "Handshakes in progress, including the wait for the API; further ones get 503. A connection before the WebSocket handshake takes at least 8 KiB: the memory of these and 1,024 more beyond a quarter of `limits.client_total_bytes` counts towards `limits.memory_bytes`. The default is lower if that is below 552 MiB.";
    limits_handshake_timeout: Duration, live "limits.handshake_timeout", period(100 * MS, HOUR), ServerLimits::default().handshake_timeout,
        "Time limit from a request's head to the WebSocket, the wait for the API included. A client that waits longer is closed with 1013 and reconnects later.";
    limits_head_timeout: Duration, live "limits.head_timeout", period(100 * MS, HOUR), ServerLimits::default().head_timeout,
        "Time limit for a client to send its complete request head.";
    limits_head_bytes: usize, live "limits.head_bytes", size(8 * KIB, MIB), ServerLimits::default().head_bytes,
        "Longest request head.";
    limits_idle_timeout: Duration, live "limits.idle_timeout", period(Duration::ZERO, DAY), secs(300),
        "Idle timeout: a connection without a message from its client for this long is closed. 0: never.";
    limits_message_bytes: usize, live "limits.message_bytes", size(KIB, 2 * MIB), Limits::default().message_bytes,
        "Longest message of a client, before and after decompression; beyond it the connection is closed with 1009. Nothing valid is longer than `limits.room_bytes` and `limits.request_id_bytes` together and 256 bytes: where those are raised, the default grows with them. A message is processed in one go: 1 MiB takes about 8 ms and blocks its thread.";
    limits_message_timeout: Duration, live "limits.message_timeout", period(Duration::ZERO, HOUR), Duration::from_millis(Limits::default().message_timeout),
        "Time from the first byte of a client's message to its last, however many fragments it has. Beyond it the connection is evicted and closed with 4002. 0: no limit.";
    limits_messages_per_second: usize, live "limits.messages_per_second", count(0, 10_000), Limits::default().messages_per_second,
        "Rate limit: messages and control frames of one client per second, with a burst of ten times as many, which must fit the subscriptions of a page that reconnects. Beyond it the connection is closed with 4200. 0: no limit.";
    limits_inflated_bytes_per_second: usize, live "limits.inflated_bytes_per_second", size(0, GIB), Limits::default().inflated_bytes_per_second,
        "Rate limit: bytes that the compressed messages of one client inflate to per second, with a burst of ten times as many. A kilobyte can inflate to a megabyte, so the rate of messages alone does not limit the work. Beyond it the connection is closed with 4200. 0: no limit.";
    limits_subscriptions: usize, live "limits.subscriptions", count(1, 1_000_000), Limits::default().subscriptions,
        "Subscriptions of one connection; a further one is answered `too-many-subscriptions`. One whose room and `requestId` together are longer than 1 KiB counts once for each KiB begun, so this also limits the memory of a client.";
    limits_names_per_room: usize, live "limits.names_per_room", count(1, 1_000), Limits::default().names_per_room,
        "`requestId`s under which one connection may subscribe to the same room; a further one is answered `too-many-names`. Each of them gets a copy of every publication for the room, so this limits the traffic that one trigger can cause. A `requestId` counts once per 64 bytes or part of it; the first always fits.";
    limits_request_id_bytes: usize, live "limits.request_id_bytes", size(38, 64 * KIB), Limits::default().request_id_bytes,
        "Longest `requestId`, as JSON text.";
    limits_room_bytes: usize, live "limits.room_bytes", size(64, MIB), Limits::default().room_bytes,
        "Longest room of a client, as JSON text.";
    limits_room_depth: usize, live "limits.room_depth", count(1, 100), Limits::default().room_depth,
        "How deep the values of a room may nest; 1 is a flat room.";
    limits_outbox_bytes: usize, live "limits.outbox_bytes", size(0, GIB), Limits::default().outbox_bytes,
        "Bytes queued for a slow consumer; beyond it the connection is evicted. A single message may be longer for clients that keep up. 0: no limit.";
    limits_outbox_age: Duration, live "limits.outbox_age", period(Duration::ZERO, HOUR), ServerLimits::default().outbox_age,
        "A connection with queued data is evicted if it accepts neither all nor 16 KiB of it in this time. 0: never.";
    limits_outbox_total_bytes: Option<usize>, live "limits.outbox_total_bytes", Memory { min: 0 }, None,
        "Bytes queued for all slow consumers together; a large publication in several outboxes counts once. Beyond it, the one stalled for longest is evicted first, unless another holds at least twice as much. Keep it well above `limits.trigger_bytes`. `auto`: a quarter of `limits.memory_bytes`, at most 256 MiB. 0: no limit.";
    limits_client_total_bytes: Option<usize>, live "limits.client_total_bytes", Memory { min: 0 }, None,
        "Bytes held for all clients together, apart from outboxes: subscriptions with their rooms, unfinished messages, forwarded headers that are kept (see `permissions.recheck`), request heads and first frames. Connections before the WebSocket handshake count 8 KiB or what they have sent, whichever is more, and together have a quarter of the limit: beyond it, those that send more than 8 KiB are closed, and no others are evicted for them. Beyond the limit, the largest connections of the addresses that hold most are evicted and closed with 1013. Together with `limits.outbox_total_bytes`, `limits.inbox_bytes`, `window.bytes`, `limits.triggers_in_flight`, with tenants `limits.answer_total_bytes`, and what idle connections take (see `limits.handshakes`) it must be below `limits.memory_bytes`, so that what clients hold never turns triggers away. `auto`: half of `limits.memory_bytes`. 0: no limit.";
    limits_client_bytes_per_address: Option<usize>, live "limits.client_bytes_per_address", Memory { min: 0 }, None,
        "Bytes of these for the connections of one address; a subscription counts at least 1 KiB. Beyond it the larger connections of the address are evicted; the largest is refused further subscriptions (`too-many-subscriptions`). A message of up to 32 KiB is still received, however many reads it takes. Addresses are counted like those of `limits.connections_per_address`. `auto`: an eighth of `limits.client_total_bytes`. 0: no limit.";
    limits_client_bytes_per_user: Option<usize>, live "limits.client_bytes_per_user", Memory { min: 0 }, None,
        "The same for the connections of one user, identified by `backend.user_id_path`. `auto`: an eighth of `limits.client_total_bytes`. 0: no limit.";
    limits_memory_bytes: Option<usize>, live "limits.memory_bytes", Memory { min: 0 }, None,
        "Memory of the process above which new clients and triggers are rejected (503, 1013), until a tenth of it is free again: resident memory, but at most 1.25 times the allocated memory. `auto`: four fifths of the machine's memory, or of the control group's if that is less. 0: no limit.";
    limits_trigger_bytes: usize, live "limits.trigger_bytes", size(KIB, GIB), ServerLimits::default().trigger_bytes,
        "Longest body of `POST /trigger/` and longest message of the broker.";
    limits_triggers_per_request: usize, live "limits.triggers_per_request", count(1, 1_000_000), ServerLimits::default().triggers_per_request,
        "Triggers in one request.";
    limits_rooms_per_trigger: usize, live "limits.rooms_per_trigger", count(1, 1_000_000), ServerLimits::default().rooms_per_trigger,
        "Rooms in one trigger.";
    limits_triggers_in_flight: usize, live "limits.triggers_in_flight", size(0, 64 * GIB), ServerLimits::default().triggers_in_flight,
        "Bytes of the bodies of `POST /trigger/` that are being read, parsed or placed, all together; further ones get 503 and `Retry-After`. They count as they arrive. A single one always fits; one without progress for a second is dropped if others need the memory. It counts towards `limits.memory_bytes`, see `limits.client_total_bytes`; if that is below 1 GiB, the default is a sixteenth of it, or less if the other limits leave less. 0: no limit.";
    limits_trigger_ids: usize, restart "limits.trigger_ids", count(0, 100_000_000), ServerLimits::default().trigger_ids,
        "Trigger ids that are kept to detect duplicates (deduplication). With [tenants](tenants.md) and a log that nodes read back each tenant has so many of its own, over four times as many entries of the log; with another one, the tenant that has most of them loses its oldest. 0: none, and every trigger is delivered.";
    limits_inbox: usize, restart "limits.inbox", count(1, 1_000_000), ServerLimits::default().inbox,
        "Requests and messages with publications that may be queued for a thread before publishers wait too (back-pressure): only those whose rooms have a subscriber there, for at most two seconds each, and for half a second if the thread makes no progress.";
    limits_inbox_bytes: Option<usize>, restart "limits.inbox_bytes", Memory { min: MIB }, None,
        "Bytes of publications queued for all threads together, with an equal share for each; one request or message always fits. From half of a share on, publishers wait as with `limits.inbox`. Beyond it, the thread drops its queued publications, which counts as a gap: its clients reconnect and fetch again. It counts towards `limits.memory_bytes`, see `limits.client_total_bytes`. `auto`: an eighth of `limits.memory_bytes` less `window.bytes`, at most 64 MiB.";
    limits_answer_total_bytes: Option<usize>, live "limits.answer_total_bytes", Memory { min: MIB }, None,
        "With [tenants](tenants.md): bytes of bootstrap responses that the APIs of tenants are sending, all together. An API may have as much of it as it leaves free, at most half; a response beyond that is discarded, and its client reconnects later. It counts towards `limits.memory_bytes`, see `limits.client_total_bytes`. `auto`: a 64th of `limits.memory_bytes`, at most 64 MiB.";
    limits_grant_total_bytes: Option<usize>, live "limits.grant_total_bytes", Memory { min: MIB }, None,
        "With [tenants](tenants.md): bytes of the rooms that clients of tenants are permitted, all together; equal lists of a tenant count once. A tenant may have as much of it as it leaves free, at most half; a client whose list does not fit is closed with 1013. Commands are carried out in any case. It is not part of the sum in `limits.client_total_bytes`. `auto`: a quarter of `limits.client_total_bytes`.";

    keepalive_interval: Duration, live "keepalive.interval", period(Duration::ZERO, DAY), KeepaliveConfig::default().interval,
        "A client that sent nothing for this long gets a control ping, which browsers answer automatically. The default is below the minute after which common proxies close idle connections. The answers are not messages, so `limits.idle_timeout` still applies. 0: no pings.";
    keepalive_timeout: Duration, live "keepalive.timeout", period(MS, DAY), KeepaliveConfig::default().timeout,
        "Time limit for a response to the ping, any byte; then the connection is closed with 4001.";

    tcp_send_buffer: usize, live "tcp.send_buffer", size(0, GIB), TcpOptions::default().send_buffer,
        "`SO_SNDBUF` of clients' sockets: bytes that the kernel buffers for a client before data is queued in the gateway. Linux doubles the number. 0: the kernel decides, and lets it grow up to `net.ipv4.tcp_wmem` for fast clients; set about 128 KiB if kernel memory is short.";
    tcp_user_timeout: Duration, live "tcp.user_timeout", period(Duration::ZERO, HOUR), TcpOptions::default().user_timeout,
        "`TCP_USER_TIMEOUT` of clients' sockets: a connection ends if the peer acknowledges no sent data, or has no buffer space, for this long. It is above `limits.outbox_age`, so that slow consumers are evicted and counted first. 0: the kernel's default, about fifteen minutes.";

    sse_enabled: bool, live "sse.enabled", Flag, PublicConfig::default().sse,
        "Serve [event streams](streams.md) at `/sse/`, beside the WebSocket's path.";
    sse_max_age: Duration, live "sse.max_age", period(secs(1), DAY), StreamsConfig::default().max_age,
        "A stream ends after this, or up to a tenth earlier, and its client opens another one at once: so it does not end in the middle because of a limit of a proxy. Keep it below those limits.";

    poll_enabled: bool, live "poll.enabled", Flag, PublicConfig::default().poll,
        "Answer [long polls](streams.md#long-polling) at `/poll/`, beside the WebSocket's path. Enable `recovery.enabled` with it: between two polls nothing is kept of a client.";
    poll_wait_max: Duration, live "poll.wait_max", period(secs(1), HOUR), StreamsConfig::default().wait_max,
        "A long poll is answered after this at the latest, also if its client would wait longer. Keep it below the timeouts of proxies.";

    drain_delay: Duration, live "drain.delay", period(Duration::ZERO, HOUR), DrainConfig::default().delay,
        "How long after SIGTERM `/ready` is 503 while the port stays open and everything is served as before, so that load balancers and Kubernetes endpoints can send new clients elsewhere. A second signal ends it. 0: the port closes at once.";
    drain_period: Duration, live "drain.period", period(Duration::ZERO, HOUR), DrainConfig::default().period,
        "Time over which many connections are closed in waves, so that their clients do not all reconnect at once; at most half of `drain.timeout`. 0: all at once.";
    drain_timeout: Duration, live "drain.timeout", period(Duration::ZERO, HOUR), DrainConfig::default().timeout,
        "Time limit of the shutdown after `drain.delay`: connections are closed, hooks called, the broker's messages acknowledged. After it, the rest is dropped, including hooks that hang, and the process ends within another second. Keep the sum of `drain.delay` and this below the time that your supervisor waits before it kills: 10 seconds for `docker stop`, `TimeoutStopSec` of systemd, `terminationGracePeriodSeconds` of Kubernetes.";

    recovery_enabled: bool, live "recovery.enabled", Flag, RecoverySettings::default().enabled,
        "Send clients that reconnect the publications that they missed, if the window has them and the client selected `high-templar.v1`. Disabled, they are told to fetch.";
    recovery_messages: usize, live "recovery.messages", count(1, 10_000_000), RecoverySettings::default().messages,
        "Messages that one request is sent at most of what the client missed. If there are more, it is told to fetch, which is cheaper.";
    recovery_bytes: usize, live "recovery.bytes", size(KIB, GIB), RecoverySettings::default().bytes,
        "The same in bytes.";
    recovery_gap_old: GapPolicy, live "recovery.gap_old", Choose::<GapPolicy>::one(), GapPolicy::default(),
        "What happens to clients when the node may have missed publications. `reconnect`: the connections that were open are closed with 1012 `gap <ms>`, so that clients reconnect and fetch again. `ignore`: the gap is only logged and counted in `gaps_total`.";
    recovery_gap_period: Duration, live "recovery.gap_period", period(Duration::ZERO, HOUR), RecoveryConfig::default().gap_period,
        "Time over which many connections are closed in waves after a gap, so that their clients do not all call the API at once; few connections take less, at 100 a second. 0: all at once.";

    resume_enabled: bool, live "resume.enabled", Flag, ResumeConfig::default().enabled,
        "Give clients of `high-templar.v1` a resume ticket, which lets them in again without a call to the API: with the same forwarded headers (`X-Real-IP`, `X-Forwarded-For` and `Forwarded` aside), as long as `resume.max_age`, and if no command has selected them meanwhile. For all others, the API is called as ever.";
    resume_max_age: Duration, live "resume.max_age", period(secs(1), HOUR), ResumeConfig::default().max_age,
        "How long after its last `ping` a ticket lets a client in. Clients should send `ping` at least twice in that time, and `window.age` be longer.";
    resume_secret: Vec<Secret>, live secret "resume.secret", ApiKeys::of_tickets("resume.secret"), Vec::new(),
        "The secret of the tickets, of at least 32 characters, for example from `openssl rand -base64 32`; the same on all nodes. A list (`[\"new\", \"old\"]`, in a variable as well; in a file one a line) holds the one that new tickets are signed with, and one that is still accepted: see [rotation](operations.md#rotate-the-secret-of-resume-tickets). Empty: a random one for each process, so that a ticket is good at the node that gave it, until that restarts.";

    permissions_recheck: bool, restart "permissions.recheck", Flag, PermissionsConfig::default().recheck,
        "Keep the headers that were forwarded for a client in memory while its connection is open, to query the API again about it: after the command `invalidate`, and before its permissions expire. They take about half a kilobyte for each client and count towards `limits.client_total_bytes`; connections with the same headers share them, but each counts. Disabled, such connections are closed with 4002 instead, and their clients reconnect.";
    permissions_hold_timeout: Duration, live "permissions.hold_timeout", period(100 * MS, HOUR), PermissionsConfig::default().hold_timeout,
        "How long a connection is sent nothing while the API gives no usable answer about it.";
    permissions_unreachable: Unreachable, live "permissions.unreachable", Choose::<Unreachable>::one(), Unreachable::default(),
        "What happens after that. `close`: the connection is closed with 1013, and its client reconnects later. `keep`: it keeps the permissions that it had, so a client may receive what the API meant to take from it; `permissions_unreachable_total` counts both.";
    permissions_grace: Duration, live "permissions.grace", period(Duration::ZERO, HOUR), PermissionsConfig::default().grace,
        "How long a connection whose permissions have expired is held for the API's answer, before it is closed with 4002.";
    permissions_max_age: Duration, live "permissions.max_age", period(Duration::ZERO, MONTH), PermissionsConfig::default().max_age,
        "Longest time that permissions hold, also if the API sends no `expires_in` or a longer one. In the last fifth of it the API is queried again. 0: no limit.";
    permissions_confirm_timeout: Duration, live "permissions.confirm_timeout", period(10 * MS, HOUR), PermissionsConfig::default().confirm_timeout,
        "How long the response to a command with `\"confirm\": \"everywhere\"` waits for all nodes. After it, the response is 202 and names those that are missing.";
    permissions_ring: usize, restart "permissions.ring", count(1, 1_000_000), PermissionsConfig::default().ring,
        "Number of recent commands that each thread keeps, for clients whose API call was sent before them. If more commands arrive during such a call, the API is queried again.";

    nodes_name: String, restart "nodes.name", NodeName, NodesConfig::default().name,
        "The name of this node in responses and logs of the others. Empty: that of the host.";
    nodes_beacon: Duration, restart "nodes.beacon", period(100 * MS, HOUR), NodesConfig::default().beacon,
        "Interval of the beacons that a node with a broker sends to the others, which are messages to all nodes. The same on every node.";
    nodes_lease: Duration, restart "nodes.lease", period(200 * MS, HOUR), NodesConfig::default().lease,
        "How long a node is expected to be there after a beacon: a command with `\"confirm\": \"everywhere\"` waits for it that long. At least twice `nodes.beacon`.";

    window_entries: usize, restart "window.entries", count(1, 100_000_000), WindowConfig::default().entries,
        "How many publications are kept.";
    window_bytes: Option<usize>, restart "window.bytes", Memory { min: MIB }, None,
        "Bytes of memory of the publications that are kept. A publication counts about three times the length of its data: its message is encoded and compressed once, and kept as well. Publications of one request are dropped together. It counts towards `limits.memory_bytes`, see `limits.client_total_bytes`. `auto`: a 32nd of `limits.memory_bytes`, at least 1 MiB and at most 64 MiB.";
    window_age: Duration, restart "window.age", period(secs(1), DAY), WindowConfig::default().age,
        "How long publications are kept.";
    window_file: Option<PathBuf>, restart "window.file", File, None,
        "A file in which the publications that are kept, and the ids of triggers, survive a graceful restart of a node without a broker: it is written at the end of the shutdown, with mode 0600, and the next process reads and deletes it. Clients recover what they missed meanwhile. A file that is older than `window.age`, damaged, or writable for others is ignored with a line in the log. After a crash there is none. With RabbitMQ only the ids and the epoch survive, because nobody keeps what is published while the node is away. Each node needs a file of its own. Empty: none.";
    metrics_tenants_max: usize, restart "metrics.tenants_max", count(0, 10_000), MetricsConfig::default().tenants_max,
        "How many tenants have a label of their own in `/metrics`, those with most connections; the others are `other` together. Where there are tenants, each one adds some thirty time series.";
    usage_file: Option<PathBuf>, restart "usage.file", File, None,
        "Write what each tenant uses within each hour, a line of JSON each. This names the files: with `/var/lib/high-templar/usage.jsonl` they are `usage.<hour>.<boot>.jsonl` in that folder, one for each hour in UTC and each run of the gateway, with mode 0600. The file of the current hour has `.open` before its ending. Gateways on one machine may share the folder. Empty: nothing is written.";
    usage_url: Option<String>, restart "usage.url", ServiceUrl, None,
        "POST the records of complete hours to this address, as JSON lists of at most 500. A status 2xx accepts them; otherwise they are sent again, with the same `id`, until `usage.keep` is over. Needs `usage.file`. Empty: nowhere.";
    usage_receiver_key: Option<Secret>, restart secret "usage.receiver_key", Password, None,
        "Sent to `usage.url` as `Authorization: Bearer <key>`.";
    usage_tls_ca_file: Option<PathBuf>, restart "usage.tls_ca_file", File, None,
        "PEM file with the certificate authorities that are trusted for `usage.url`, instead of the system's.";
    usage_timeout: Duration, restart "usage.timeout", period(100 * MS, HOUR), UsageConfig::default().timeout,
        "Time limit of one request to `usage.url`.";
    usage_interval: Duration, restart "usage.interval", period(secs(1), HOUR), UsageConfig::default().interval,
        "Interval of the checkpoints, each of which replaces the file of the current hour: after a crash at most so much is missing, and nothing is counted twice.";
    usage_keep: Duration, restart "usage.keep", period(HOUR, secs(366 * 86_400)), UsageConfig::default().keep,
        "How long files are kept, whether they were posted or not.";
    readiness_probe_interval: Duration, restart "readiness.probe_interval", period(Duration::ZERO, HOUR), ReadinessConfig::default().probe_interval,
        "Interval of the probes that the node sends to itself on the path of triggers: through the broker, if there is one, and to every thread. 0: none.";
    readiness_probe_timeout: Duration, restart "readiness.probe_timeout", period(10 * MS, HOUR), ReadinessConfig::default().probe_timeout,
        "Time limit of a probe; beyond it `/ready` is 503.";
    log_level: Level, live "log.level", Choose::<Level>::one(), Level::Info,
        "Minimum level of log lines. The variable `RUST_LOG` takes precedence.";
    log_format: Format, restart "log.format", Choose::<Format>::one(), Format::Text,
        "`text`, or `json`: one object per line. The log is written to stderr.";
}
