//! The rules. `tests/servers/alerts` has an input for each that fires it, and one that does not.

use crate::metrics::alerts::{Alert, Severity};

/// A row: severity, name, metrics, how long, expression, summary, section of the runbook.
macro_rules! alerts {
    ($($severity:ident $name:literal on [$($metric:literal)*] $(for $hold:literal)?:
        $expr:literal
        $summary:literal see $runbook:literal;)*) => {
        /// Every rule, in the order of the file.
        pub(crate) static ALERTS: &[Alert] = &[$(Alert {
            name: $name,
            severity: Severity::$severity,
            metrics: &[$($metric),*],
            hold: concat!("" $(, $hold)?),
            expr: $expr,
            summary: $summary,
            runbook: $runbook,
        }),*];
    };
}

/// Metrics that say something only beside their usual value or beside other ones: panels of the
/// dashboard, and no rules.
#[cfg(test)]
pub(crate) static BY_EYE: &[&str] = &[
    "shard_connections",
    "subscriptions",
    "backend_calls_in_flight",
    "backend_circuit_opened",
    "messages",
    "client_errors",
    "deliveries",
    "undelivered",
    "queued_frames",
    "outbox_bytes",
    "deflate_output_bytes",
    "trigger_bytes_in_flight",
    "inbox_queued",
    "inbox_bytes",
    "subscriptions_lost",
    "triggers",
    "trigger_duplicates",
    "window_seconds",
    "replayed",
    "probe_lag_seconds",
    "hold_seconds",
    "permissions_asked",
    "gaps_told",
    "gap_closes",
    "broker_messages",
    "tenant_connections",
    "tenant_messages",
    "tenant_publications",
    "tenant_triggers",
    "tenant_deliveries",
    "tenant_sent_bytes",
    "tenant_window_trimmed",
    "tenant_log_messages",
    "tenant_log_rejected",
    "tenant_log_failures",
    "tenant_log_nodes",
    "tenant_log_window_bytes",
    "tenant_log_window_age_seconds",
    "streams",
    "polls",
    "poll_bootstraps",
    "broker_of_tenants",
    "tenant_waiting_bytes",
    "tenant_answers_refused",
    "tenant_grants_refused",
    "answer_bytes",
    "grant_bytes",
    "usage_post_failures",
    "memory_bytes",
    "memory_allocated_bytes",
    "client_bytes",
    "process_cpu_seconds",
    "process_resident_memory_bytes",
    "process_threads",
    "hooks",
];

alerts! {
    // The nodes.
    Critical "Down" on [] for "1m":
        r#"up{job="high-templar"} == 0"#
        "{{ $labels.instance }} cannot be scraped: it is down, or Prometheus has a wrong key." see "a-node-is-down";
    Warning "Restarts" on ["process_start_time_seconds"]:
        r#"changes(process_start_time_seconds{job="high-templar"}[15m]) > 2"#
        "{{ $labels.instance }} has restarted {{ $value }} times in 15 minutes." see "a-node-is-down";
    Critical "NotReady" on ["ready"] for "1m":
        "high_templar_ready == 0"
        "{{ $labels.instance }} is not ready; its /ready has the reasons." see "a-node-is-not-ready";
    Warning "ProbeFailures" on ["probe_failures"]:
        "sum by (job, instance, reason) (increase(high_templar_probe_failures_total[10m])) > 0"
        "Probes of {{ $labels.instance }} did not arrive in time: {{ $labels.reason }}." see "a-node-is-not-ready";
    Warning "ProbeSlow" on ["probe_seconds"] for "10m":
        "histogram_quantile(0.99, sum by (job, instance, le) (rate(high_templar_probe_seconds_bucket[5m]))) > 1"
        "Triggers take {{ $value | humanizeDuration }} to the threads of {{ $labels.instance }}." see "deliveries-are-slow";
    Warning "NodesMissing" on ["nodes" "broker_up"] for "5m":
        r#"(high_templar_nodes != on (job) group_left () count by (job) (up{job="high-templar"} == 1)) and on (job, instance) high_templar_broker_up == 1"#
        "{{ $labels.instance }} knows {{ $value }} nodes, and Prometheus scrapes another number." see "a-node-is-not-ready";
    Warning "MixedVersions" on ["build_info"] for "6h":
        "count by (job) (count by (job, version) (high_templar_build_info)) > 1"
        "The nodes have run {{ $value }} versions for hours: an upgrade is not finished." see "restarts-and-reloads";

    // The broker.
    Critical "BrokerDown" on ["broker_up"] for "2m":
        "high_templar_broker_up == 0"
        "{{ $labels.instance }} receives no triggers from the broker." see "broker-outages";
    Warning "BrokerUnstable" on ["broker_failures"]:
        "increase(high_templar_broker_failures_total[30m]) > 5"
        "{{ $labels.instance }} has lost its connection to the broker {{ $value | humanize }} times in 30 minutes." see "broker-outages";
    Warning "BrokerRejected" on ["broker_rejected"]:
        "increase(high_templar_broker_rejected_total[10m]) > 0"
        "Somebody publishes messages to the broker that are no triggers: they are dropped." see "publishers-get-errors";
    Warning "WithoutBroker" on ["broker_up"] for "1m":
        r#"(up{job="high-templar"} == 1 unless on (job, instance) high_templar_broker_up) and on (job) count by (job) (up{job="high-templar"}) > 1"#
        "{{ $labels.instance }} is one of several nodes, and has no broker: it receives only what is published to it." see "a-node-is-not-ready";

    // What clients may miss.
    Warning "Gap" on ["gaps"]:
        "sum by (job, instance, reason) (increase(high_templar_gaps_total[10m])) > 0"
        "{{ $labels.instance }} may have missed publications ({{ $labels.reason }}): its clients fetch again." see "publications-were-missed";
    Warning "PublicationsDropped" on ["publications_missed"]:
        "increase(high_templar_publications_missed_total[10m]) > 0"
        "A thread of {{ $labels.instance }} is too far behind and dropped publications: its clients fetch again." see "publications-were-missed";
    Critical "CommandsLost" on ["commands_lost"]:
        "increase(high_templar_commands_lost_total[10m]) > 0"
        "A thread of {{ $labels.instance }} dropped commands, and closed all its connections." see "clients-reconnect";
    Warning "WindowShort" on ["window_age_seconds"] for "5m":
        r#"high_templar_window_age_seconds < 60 and on (job, instance) (time() - process_start_time_seconds{job="high-templar"} > 300)"#
        "Clients of {{ $labels.instance }} that were away for a minute must fetch again." see "clients-are-not-sent-what-they-missed";
    Warning "HeldTooLong" on ["window_gaps"]:
        "increase(high_templar_window_gaps_total[10m]) > 0"
        "Connections of {{ $labels.instance }} were held for longer than the window reaches back." see "clients-receive-nothing-after-a-command";
    Warning "RecoveryMisses" on ["recoveries"] for "15m":
        r#"sum by (job) (rate(high_templar_recoveries_total{outcome!="recovered"}[10m])) / sum by (job) (rate(high_templar_recoveries_total[10m])) > 0.5 and sum by (job) (rate(high_templar_recoveries_total[10m])) > 0.1"#
        "{{ $value | humanizePercentage }} of the clients that come back cannot be sent what they missed, and fetch again." see "clients-are-not-sent-what-they-missed";
    Warning "ResumeSecret" on ["resumes"]:
        r#"sum by (job, instance) (increase(high_templar_resumes_total{outcome="secret"}[10m])) > 10"#
        "Nodes have different resume.secret, or none: every reconnect calls the API." see "rotate-the-secret-of-resume-tickets";
    Warning "CatchUpSlow" on ["catch_up_seconds"] for "10m":
        "histogram_quantile(0.99, sum by (job, instance, le) (rate(high_templar_catch_up_seconds_bucket[5m]))) > 1"
        "Clients of {{ $labels.instance }} need {{ $value | humanizeDuration }} to catch up after they came back." see "deliveries-are-slow";

    // The API.
    Critical "BackendDown" on ["backend_circuit_open"] for "2m":
        "high_templar_backend_circuit_open == 1"
        "The circuit breaker of {{ $labels.instance }} is open: the API is down, and new clients are not accepted." see "the-api-is-slow-or-down";
    Critical "BackendErrors" on ["bootstraps"] for "5m":
        r#"sum by (job) (rate(high_templar_bootstraps_total{outcome!~"admitted|status"}[3m])) / sum by (job) (rate(high_templar_bootstraps_total[3m])) > 0.1"#
        "{{ $value | humanizePercentage }} of the calls to bootstrap/ fail." see "the-api-is-slow-or-down";
    Warning "BackendQueue" on ["backend_waiting"] for "5m":
        "min_over_time(high_templar_backend_waiting[5m]) > 0"
        "Clients of {{ $labels.instance }} wait for the API all the time: it is slower than clients connect." see "the-api-is-slow-or-down";
    Critical "Permissions" on ["permissions_unreachable"]:
        "increase(high_templar_permissions_unreachable_total[10m]) > 0"
        "The API did not answer about changed permissions of clients of {{ $labels.instance }}." see "clients-reconnect";
    Critical "ClientsHeld" on ["connections_held"] for "1m":
        "high_templar_connections_held > 100"
        "{{ $value }} clients of {{ $labels.instance }} are sent nothing until the API answers." see "clients-receive-nothing-after-a-command";
    Warning "HookErrors" on ["hook_errors"] for "10m":
        "sum by (job, instance, reason) (rate(high_templar_hook_errors_total[5m])) > 0.1"
        "Hooks of {{ $labels.instance }} fail ({{ $labels.reason }}): presence is wrong." see "presence-is-wrong";
    Warning "HooksDropped" on ["hooks_dropped"]:
        "increase(high_templar_hooks_dropped_total[10m]) > 0"
        "Hooks of {{ $labels.instance }} were dropped, because the API is too slow: presence is wrong." see "presence-is-wrong";

    // Clients.
    Critical "ConnectionsDropped" on ["connections"]:
        "sum by (job) (high_templar_connections) < 0.5 * sum by (job) (high_templar_connections offset 5m) and sum by (job) (high_templar_connections offset 5m) > 100"
        "Half of the connections were lost within five minutes; {{ $value }} are left." see "clients-reconnect";
    Warning "ClientsRejected" on ["handshake_errors"] for "10m":
        "sum by (job, reason) (rate(high_templar_handshake_errors_total[5m])) > 1"
        "Handshakes are rejected: {{ $labels.reason }}." see "clients-are-rejected";
    Warning "ClientsRefused" on ["refused" "admitted"] for "10m":
        "sum by (job) (rate(high_templar_refused_total[5m])) > sum by (job) (rate(high_templar_admitted_total[5m])) and sum by (job) (rate(high_templar_refused_total[5m])) > 1"
        "More clients are refused than admitted: bootstraps_total has the outcome." see "the-api-is-slow-or-down";
    Warning "SlowConsumers" on ["evictions"] for "10m":
        "sum by (job, reason) (rate(high_templar_evictions_total[5m])) > 1"
        "Connections are evicted: {{ $labels.reason }}." see "clients-are-evicted";
    Warning "Violations" on ["violations"] for "15m":
        "sum by (job) (rate(high_templar_violations_total[5m])) > 1"
        "Clients, or a proxy in front, violate the WebSocket protocol or a size limit." see "clients-reconnect";
    Warning "NoPings" on ["idle_timeouts" "admitted"] for "30m":
        "sum by (job) (rate(high_templar_idle_timeouts_total[15m])) > 0.5 * sum by (job) (rate(high_templar_admitted_total[15m])) and sum by (job) (rate(high_templar_idle_timeouts_total[15m])) > 0.1"
        "Most connections end by the idle timeout: clients send no ping." see "clients-reconnect";

    // Publishers.
    Critical "TriggersRefused" on ["trigger_overloads" "triggers_shed"]:
        "increase(high_templar_trigger_overloads_total[10m]) + on (job, instance) increase(high_templar_triggers_shed_total[10m]) > 0"
        "{{ $labels.instance }} refused publications, because it had too many or too little memory." see "publishers-get-errors";
    Warning "BackPressure" on ["back_pressure"] for "10m":
        "rate(high_templar_back_pressure_total[5m]) > 1"
        "Publishers wait for a thread of {{ $labels.instance }}: more is published than it can deliver." see "deliveries-are-slow";
    Warning "PublishErrors" on ["internal_errors"] for "5m":
        "sum by (job, status) (rate(high_templar_internal_errors_total[5m])) > 0.1"
        "Requests of publishers are answered {{ $labels.status }}." see "publishers-get-errors";
    Warning "PublisherRejected" on ["internal_errors"]:
        r#"sum by (job, status) (increase(high_templar_internal_errors_total{status=~"401|403|421"}[15m])) > 2"#
        "A program has a wrong key or host name, and is answered {{ $labels.status }}." see "publishers-get-errors";
    Warning "PublisherConnections" on ["internal_connections_refused"]:
        "increase(high_templar_internal_connections_refused_total[10m]) > 0"
        "A program does not reuse its connections to the internal listener of {{ $labels.instance }}." see "publishers-get-errors";

    // The machine.
    Critical "Memory" on ["memory_short"] for "5m":
        "high_templar_memory_short == 1"
        "{{ $labels.instance }} is short of memory, and rejects clients and triggers." see "memory-is-short";
    Warning "SlowTurns" on ["shard_turn_seconds_max"] for "10m":
        "max by (job, instance) (high_templar_shard_turn_seconds_max) > 0.1"
        "Threads of {{ $labels.instance }} need {{ $value | humanizeDuration }} for a turn: the machine is overloaded." see "deliveries-are-slow";
    Warning "FileDescriptors" on ["process_open_fds" "process_max_fds"] for "5m":
        r#"process_open_fds{job="high-templar"} / process_max_fds{job="high-templar"} > 0.9"#
        "{{ $labels.instance }} has opened {{ $value | humanizePercentage }} of its file descriptors." see "clients-are-rejected";
    Critical "AcceptErrors" on ["accept_errors"]:
        "increase(high_templar_accept_errors_total[10m]) > 0"
        "{{ $labels.instance }} could not accept connections: most likely it is out of file descriptors." see "clients-are-rejected";
    Warning "AcceptWaits" on ["accept_waits"] for "10m":
        "sum by (job, instance, listener) (rate(high_templar_accept_waits_total[5m])) > 1"
        "New connections wait at the {{ $labels.listener }} listener of {{ $labels.instance }}." see "clients-are-rejected";
    Warning "LogLost" on ["log_lines_dropped"]:
        "increase(high_templar_log_lines_dropped_total[10m]) > 0"
        "Lines of the log of {{ $labels.instance }} were dropped." see "the-log-has-gaps";

    // Tenants.
    Warning "TenantBackend" on ["tenant_bootstraps"] for "5m":
        r#"sum by (job, tenant) (rate(high_templar_tenant_bootstraps_total{outcome!~"admitted|status"}[3m])) / sum by (job, tenant) (rate(high_templar_tenant_bootstraps_total[3m])) > 0.1"#
        "{{ $value | humanizePercentage }} of the calls to the API of tenant {{ $labels.tenant }} fail." see "the-api-is-slow-or-down";
    Warning "TenantLimit" on ["tenant_refusals"] for "10m":
        "sum by (job, tenant, limit) (rate(high_templar_tenant_refusals_total[5m])) > 1"
        "Tenant {{ $labels.tenant }} has reached its limit {{ $labels.limit }}." see "clients-of-one-tenant-are-rejected";
    Warning "TenantBusy" on ["tenant_busy_closes"]:
        "increase(high_templar_tenant_busy_closes_total[10m]) > 0"
        "Connections of a tenant on {{ $labels.instance }} were closed, because it is sent more than its limit." see "clients-of-one-tenant-are-rejected";
    Critical "TenantLogDown" on ["tenant_log_up"] for "2m":
        "high_templar_tenant_log_up == 0"
        "{{ $labels.instance }} does not read the log of tenant {{ $labels.tenant }}: what that publishes is refused." see "broker-outages";
    Warning "TenantsStale" on ["tenants_age_seconds"] for "1m":
        "high_templar_tenants_age_seconds > 300"
        "{{ $labels.instance }} has not read its tenants for {{ $value | humanizeDuration }}: none can be added, changed or removed." see "a-node-is-not-ready";
    Warning "TenantsDiffer" on ["tenants"] for "15m":
        "max by (job) (high_templar_tenants) != min by (job) (high_templar_tenants)"
        "Nodes serve different tenants: one of them has up to {{ $value }}." see "restarts-and-reloads";
    Critical "UsageNotWritten" on ["usage_write_failures"]:
        "increase(high_templar_usage_write_failures_total[10m]) > 0"
        "{{ $labels.instance }} cannot write the usage of tenants: a crash would lose it." see "usage-and-bills";
    Warning "UsageNotSent" on ["usage_unsent_files"] for "1h":
        "high_templar_usage_unsent_files > 2"
        "The receiver of usage has not accepted {{ $value }} hours of {{ $labels.instance }}." see "usage-and-bills";
}
