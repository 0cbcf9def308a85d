//! What the node has for its tenants, apart from the tenants themselves.

use ht_node::config::{HostName, OwnLogsConfig, TenantCaps};

use crate::config::settings::Values;

/// The hosts of `main`.
pub(crate) fn main_hosts(values: &Values) -> Vec<HostName> {
    let hosts = values.tenants_hosts.value.iter().cloned();
    hosts.map(Into::into).collect()
}

/// What there may be of logs of their own.
pub(crate) fn own_logs(values: &Values) -> OwnLogsConfig {
    OwnLogsConfig {
        max: values.tenants_logs.value,
        threads: values.tenants_log_threads.value,
        // By whoever can reach them.
        open: None,
    }
}

/// The most that tenants may have of settings of their APIs.
pub(crate) fn caps(values: &Values) -> TenantCaps {
    TenantCaps {
        timeout: values.backend_timeout.value,
        hooks_timeout: values.hooks_timeout.value,
        answer_bytes_max: values.backend_answer_bytes_max.value,
        max_in_flight: values.backend_max_in_flight.value,
        max_waiting: values.backend_max_waiting.value,
    }
}
