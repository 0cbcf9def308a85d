//! The names that the table of settings needs.

pub(super) use std::path::PathBuf;
pub(super) use std::time::Duration;

pub(super) use ht_backend::FORWARD_BYTES_MAX;
pub(super) use ht_backend::config::{BackendConfig, HookCall};
pub(super) use ht_broker::config::{NatsConfig, PostgresConfig, RedisConfig, StreamConfig};
pub(super) use ht_core::limits::Limits;
pub(super) use ht_node::config::{
    AuthConfig, Compression, DrainConfig, GapPolicy, HookQueueConfig, HostPattern, KeepaliveConfig,
    Listen, Matching, MetricsConfig, NodesConfig, OriginPattern, OwnLogsConfig, PermissionsConfig,
    PublicConfig, ReadinessConfig, RecoveryConfig, RecoverySettings, RestrictedKey, ResumeConfig,
    Secret, ServerLimits, StreamsConfig, TcpOptions, Trusted, TrustedProxies, Unreachable,
    UsageConfig, WindowConfig,
};

pub(super) use crate::config::kind::{
    Address, AmqpUrl, ApiKeys, BaseUrl, Call, Choose, Credentials, DefaultTenant, File, Flag,
    HeaderChange, Headers, Listed, Memory, Mode, Name, NatsUrl, NodeName, Password, PostgresUrl,
    QueueName, RedisUrl, RelativePath, RestrictedKeys, SchemaName, ServiceUrl, Steps, StreamName,
    SubjectName, TenantDefault, TenantHost, TenantsFrom, UrlPath,
};
pub(super) use crate::config::log::{Format, Level, RabbitMqLog};
pub(super) use crate::config::python::PythonVariables;
