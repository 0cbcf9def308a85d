//! Settings of the broker adapters.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Time between two looks at the binding.
pub const BINDING_CHECK: Duration = Duration::from_secs(2);

/// How a log that retains its records is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// A node that starts reads records of this age.
    pub age: Duration,
    /// And so many of the last positions: as far as ids of triggers are remembered.
    pub positions: u64,
    /// A tail that brings nothing for so long is opened anew, because each node's beacons come back
    /// to it; `None` without beacons.
    pub silence: Option<Duration>,
}

impl Default for Reading {
    fn default() -> Self {
        Self {
            age: Duration::from_secs(300),
            positions: 0,
            silence: None,
        }
    }
}

/// A log, and how it is reached.
#[derive(Clone, PartialEq, Eq)]
pub enum Engine {
    /// RabbitMQ, with queues or a stream.
    RabbitMq(RabbitMqConfig),
    /// PostgreSQL.
    Postgres(PostgresConfig),
    /// NATS JetStream.
    Nats(NatsConfig),
    /// Redis.
    Redis(RedisConfig),
}

impl Engine {
    /// Its name, as the sections of the configuration have it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::RabbitMq(_) => "rabbitmq",
            Self::Postgres(_) => "postgres",
            Self::Nats(_) => "nats",
            Self::Redis(_) => "redis",
        }
    }
}

/// Only its name: the rest has secrets.
impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How to reach RabbitMQ.
#[derive(Clone, PartialEq, Eq)]
pub struct RabbitMqConfig {
    /// `amqp://user:password@host:port/vhost?heartbeat=10`, or `amqps://`. A secret: it is never
    /// logged whole.
    pub url: String,
    /// The direct exchange that triggers are published to.
    pub exchange: String,
    /// The exchange outlives a restart of the broker. One that exists is used as it is.
    pub durable: bool,
    /// The stream that carries the log; without one each node has a queue of its own.
    pub stream: Option<StreamConfig>,
    /// Messages that the broker may have under way to us unacknowledged.
    pub prefetch: u16,
    /// Timeout for a published trigger to be read back through the broker.
    pub publish_timeout: Duration,
    /// Interval of the binding checks; [`BINDING_CHECK`] by default. An exchange that is deleted
    /// takes its bindings along, and the queue's consumer is not notified.
    pub binding_check: Duration,
}

/// How to reach a PostgreSQL that holds the log.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresConfig {
    /// `postgresql://user:password@host:port/database?sslmode=verify-full`. A secret: it is never
    /// logged whole.
    pub url: String,
    /// The user, instead of the one in the url.
    pub username: Option<String>,
    /// The password, instead of the one in the url. A secret.
    pub password: Option<String>,
    /// The schema of log and outbox.
    pub log: String,
    /// Timeout for a published trigger to be read back from the log.
    pub publish_timeout: Duration,
    /// Records older than this are deleted.
    pub retention: Duration,
    /// So many records are kept at most.
    pub retention_rows: u64,
}

impl Default for PostgresConfig {
    fn default() -> Self {
        Self {
            url: String::new(),
            username: None,
            password: None,
            log: "high_templar".to_owned(),
            publish_timeout: Duration::from_secs(5),
            retention: Duration::from_secs(3_600),
            retention_rows: 1_000_000,
        }
    }
}

/// How to reach a NATS server whose JetStream holds the log. Login, key and credentials are secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct NatsConfig {
    /// `nats://user:password@host:4222`, or `tls://`; several servers of a cluster separated by
    /// commas. A secret: it is never logged whole.
    pub url: String,
    /// The user, instead of the one in the url.
    pub username: Option<String>,
    /// The password, instead of the one in the url.
    pub password: Option<String>,
    /// The token, instead of a user.
    pub token: Option<String>,
    /// The seed of an `NKey`.
    pub nkey: Option<String>,
    /// The content of a credentials file.
    pub credentials: Option<String>,
    /// Certificate authorities of the server, instead of the system's.
    pub tls_ca_file: Option<PathBuf>,
    /// The gateway's own certificate.
    pub tls_certificate_file: Option<PathBuf>,
    /// Its key.
    pub tls_key_file: Option<PathBuf>,
    /// The subject that triggers are published with. Notes and probes have subjects below it.
    pub subject: String,
    /// The stream; empty for one that is named after the subject.
    pub stream: String,
    /// Timeout for a published trigger to be read back from the stream.
    pub publish_timeout: Duration,
    /// The stream retains messages of this age, if it is made here.
    pub retention: Duration,
    /// And at most so many bytes of them.
    pub retention_bytes: u64,
    /// Servers of the cluster that keep a copy of it.
    pub replicas: u8,
}

impl Default for NatsConfig {
    fn default() -> Self {
        Self {
            url: String::new(),
            username: None,
            password: None,
            token: None,
            nkey: None,
            credentials: None,
            tls_ca_file: None,
            tls_certificate_file: None,
            tls_key_file: None,
            subject: "hightemplar.triggers".to_owned(),
            stream: String::new(),
            publish_timeout: Duration::from_secs(5),
            retention: Duration::from_secs(3_600),
            retention_bytes: 1 << 30,
            replicas: 1,
        }
    }
}

/// How to reach a Redis or Valkey that holds the log.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisConfig {
    /// `redis://user:password@host:6379/0`, `rediss://` for TLS, or `unix:///path`. A secret: it is
    /// never logged whole.
    pub url: String,
    /// The user, instead of the one in the url.
    pub username: Option<String>,
    /// The password, instead of the one in the url. A secret.
    pub password: Option<String>,
    /// With `rediss://`, the server's certificate is checked.
    pub tls_verify: bool,
    /// By the certificate authorities in this file, instead of the system's.
    pub tls_ca_file: Option<PathBuf>,
    /// The key of the stream.
    pub stream: String,
    /// Timeout for a published trigger to be read back from the log.
    pub publish_timeout: Duration,
    /// Records older than this are dropped.
    pub retention: Duration,
    /// So many records are kept, or a few more.
    pub retention_entries: u64,
}

impl Default for RedisConfig {
    fn default() -> Self {
        Self {
            url: String::new(),
            username: None,
            password: None,
            tls_verify: true,
            tls_ca_file: None,
            stream: "high-templar.log".to_owned(),
            publish_timeout: Duration::from_secs(5),
            retention: Duration::from_secs(3_600),
            retention_entries: 250_000,
        }
    }
}

/// A stream of RabbitMQ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamConfig {
    /// Its name. Gateways of different exchanges must not share one.
    pub name: String,
    /// It retains messages of this age, if it is declared here.
    pub age: Duration,
    /// And at most so many bytes of them.
    pub bytes: u64,
    /// It is kept in segments of so many bytes; only whole ones are dropped.
    pub segment_bytes: u64,
}

impl StreamConfig {
    /// How long messages are retained by default.
    pub const AGE: Duration = Duration::from_secs(3_600);

    /// How many bytes by default.
    pub const BYTES: usize = 1 << 30;

    /// In segments of this size by default.
    pub const SEGMENT_BYTES: usize = 16 << 20;
}
