//! An input for each alert rule that fires it, and one that must not.

/// A series of samples, one each minute: name, with labels beside job and instance, and values in the
/// notation of `promtool test rules`.
pub(crate) type Series = (&'static str, &'static str);

pub(crate) struct Case {
    /// The rule, without what all begin with.
    pub(crate) alert: &'static str,
    /// When it is looked at.
    pub(crate) minutes: u32,
    pub(crate) fires: &'static [Series],
    pub(crate) silent: &'static [Series],
}

macro_rules! cases {
    ($($alert:ident after $minutes:literal {
        $(fires $fires:literal $values:literal;)+
        $(silent $silent:literal $quiet:literal;)+
    })*) => {
        pub(crate) static CASES: &[Case] = &[$(Case {
            alert: stringify!($alert),
            minutes: $minutes,
            fires: &[$(($fires, $values)),+],
            silent: &[$(($silent, $quiet)),+],
        }),*];
    };
}

cases! {
    Down after 3 {
        fires "up" "0x10";
        silent "up" "1x10";
    }
    Restarts after 15 {
        fires "process_start_time_seconds" "100x2 200x2 300x2 400x20";
        // Two nodes, each restarted by an upgrade.
        silent "process_start_time_seconds" "100x5 200x20";
        silent r#"process_start_time_seconds{instance="b:8002"}"# "100x8 200x20";
    }
    NotReady after 3 {
        fires "ready" "1 0x10";
        silent "ready" "1 1 0 1x10";
    }
    ProbeFailures after 10 {
        fires r#"probe_failures_total{reason="late"}"# "0x5 1x10";
        silent r#"probe_failures_total{reason="late"}"# "7x20";
    }
    ProbeSlow after 20 {
        fires r#"probe_seconds_bucket{le="1"}"# "0x30";
        fires r#"probe_seconds_bucket{le="2.5"}"# "0+10x30";
        fires r#"probe_seconds_bucket{le="+Inf"}"# "0+10x30";
        silent r#"probe_seconds_bucket{le="0.01"}"# "0+10x30";
        silent r#"probe_seconds_bucket{le="2.5"}"# "0+10x30";
        silent r#"probe_seconds_bucket{le="+Inf"}"# "0+10x30";
    }
    NodesMissing after 10 {
        fires "up" "1x20";
        fires r#"up{instance="b:8002"}"# "1x20";
        fires "nodes" "1x20";
        fires r#"nodes{instance="b:8002"}"# "2x20";
        fires "broker_up" "1x20";
        fires r#"broker_up{instance="b:8002"}"# "1x20";
        silent "up" "1x20";
        silent r#"up{instance="b:8002"}"# "1x20";
        silent "nodes" "2x20";
        silent r#"nodes{instance="b:8002"}"# "2x20";
        silent "broker_up" "1x20";
        silent r#"broker_up{instance="b:8002"}"# "1x20";
    }
    MixedVersions after 400 {
        fires r#"build_info{version="4.0.0"}"# "1x500";
        fires r#"build_info{version="4.1.0",instance="b:8002"}"# "1x500";
        silent r#"build_info{version="4.0.0"}"# "1x500";
        silent r#"build_info{version="4.0.0",instance="b:8002"}"# "1x500";
    }
    BrokerDown after 5 {
        fires "broker_up" "0x10";
        silent "broker_up" "1 1 0 1x10";
    }
    BrokerUnstable after 30 {
        fires "broker_failures_total" "0+1x40";
        silent "broker_failures_total" "0x10 1x10 2x20";
    }
    BrokerRejected after 10 {
        fires "broker_rejected_total" "0x5 3x10";
        silent "broker_rejected_total" "3x20";
    }
    WithoutBroker after 5 {
        fires "up" "1x20";
        fires r#"up{instance="b:8002"}"# "1x20";
        fires r#"broker_up{instance="b:8002"}"# "1x20";
        // One node needs none.
        silent "up" "1x20";
    }
    Gap after 10 {
        fires r#"gaps_total{reason="reconnected"}"# "0x5 1x10";
        silent r#"gaps_total{reason="reconnected"}"# "1x20";
    }
    PublicationsDropped after 10 {
        fires "publications_missed_total" "0x5 100x10";
        silent "publications_missed_total" "100x20";
    }
    CommandsLost after 10 {
        fires "commands_lost_total" "0x5 1x10";
        silent "commands_lost_total" "1x20";
    }
    WindowShort after 20 {
        fires "window_age_seconds" "20x30";
        fires "process_start_time_seconds" "0x30";
        // The node has just started.
        silent "window_age_seconds" "20x30";
        silent "process_start_time_seconds" "1000x30";
    }
    HeldTooLong after 10 {
        fires "window_gaps_total" "0x5 4x10";
        silent "window_gaps_total" "4x20";
    }
    RecoveryMisses after 30 {
        fires r#"recoveries_total{outcome="recovered"}"# "0+10x40";
        fires r#"recoveries_total{outcome="age"}"# "0+50x40";
        silent r#"recoveries_total{outcome="recovered"}"# "0+50x40";
        silent r#"recoveries_total{outcome="age"}"# "0+10x40";
    }
    ResumeSecret after 15 {
        fires r#"resumes_total{outcome="secret"}"# "0+5x20";
        silent r#"resumes_total{outcome="age"}"# "0+5x20";
    }
    CatchUpSlow after 20 {
        fires r#"catch_up_seconds_bucket{le="1"}"# "0+1x30";
        fires r#"catch_up_seconds_bucket{le="5"}"# "0+10x30";
        fires r#"catch_up_seconds_bucket{le="+Inf"}"# "0+10x30";
        silent r#"catch_up_seconds_bucket{le="0.1"}"# "0+10x30";
        silent r#"catch_up_seconds_bucket{le="1"}"# "0+10x30";
        silent r#"catch_up_seconds_bucket{le="+Inf"}"# "0+10x30";
    }
    BackendDown after 5 {
        fires "backend_circuit_open" "1x10";
        silent "backend_circuit_open" "0 0 1 0x10";
    }
    BackendErrors after 15 {
        fires r#"bootstraps_total{outcome="admitted"}"# "0+60x20";
        fires r#"bootstraps_total{outcome="server-error"}"# "0+20x20";
        // Users whose sessions have expired.
        silent r#"bootstraps_total{outcome="admitted"}"# "0+60x20";
        silent r#"bootstraps_total{outcome="status"}"# "0+60x20";
        silent r#"bootstraps_total{outcome="server-error"}"# "0+1x20";
    }
    BackendQueue after 15 {
        fires "backend_waiting" "50x20";
        silent "backend_waiting" "50x3 0 50x3 0 50x3 0 50x3 0";
    }
    Permissions after 10 {
        fires "permissions_unreachable_total" "0x5 2x10";
        silent "permissions_unreachable_total" "2x20";
    }
    ClientsHeld after 5 {
        fires "connections_held" "500x10";
        silent "connections_held" "0 500 0x10";
    }
    HookErrors after 20 {
        fires r#"hook_errors_total{reason="timeout"}"# "0+60x30";
        silent r#"hook_errors_total{reason="timeout"}"# "0+1x30";
    }
    HooksDropped after 10 {
        fires "hooks_dropped_total" "0x5 2x10";
        silent "hooks_dropped_total" "2x20";
    }
    ConnectionsDropped after 10 {
        fires "connections" "600x7 0x10";
        fires r#"connections{instance="b:8002"}"# "600x7 200x10";
        // A rolling restart moves them.
        silent "connections" "600x7 0x10";
        silent r#"connections{instance="b:8002"}"# "600x7 1200x10";
    }
    ClientsRejected after 20 {
        fires r#"handshake_errors_total{reason="origin"}"# "0+120x30";
        silent r#"handshake_errors_total{reason="origin"}"# "0+10x30";
    }
    ClientsRefused after 20 {
        fires "refused_total" "0+300x30";
        fires "admitted_total" "0+100x30";
        silent "refused_total" "0+100x30";
        silent "admitted_total" "0+300x30";
    }
    SlowConsumers after 20 {
        fires r#"evictions_total{reason="outbox_age"}"# "0+120x30";
        silent r#"evictions_total{reason="outbox_age"}"# "0+10x30";
    }
    Violations after 25 {
        fires "violations_total" "0+120x30";
        silent "violations_total" "0+10x30";
    }
    NoPings after 50 {
        fires "idle_timeouts_total" "0+90x60";
        fires "admitted_total" "0+100x60";
        silent "idle_timeouts_total" "0+20x60";
        silent "admitted_total" "0+100x60";
    }
    TriggersRefused after 10 {
        fires "trigger_overloads_total" "0x20";
        fires "triggers_shed_total" "0x5 9x10";
        silent "trigger_overloads_total" "9x20";
        silent "triggers_shed_total" "9x20";
    }
    BackPressure after 20 {
        fires "back_pressure_total" "0+120x30";
        silent "back_pressure_total" "0+10x30";
    }
    PublishErrors after 15 {
        fires r#"internal_errors_total{status="503"}"# "0+60x20";
        silent r#"internal_errors_total{status="503"}"# "0+1x20";
    }
    PublisherRejected after 15 {
        fires r#"internal_errors_total{status="401"}"# "0+1x20";
        silent r#"internal_errors_total{status="400"}"# "0+1x20";
    }
    PublisherConnections after 10 {
        fires "internal_connections_refused_total" "0x5 1x10";
        silent "internal_connections_refused_total" "1x20";
    }
    Memory after 10 {
        fires "memory_short" "1x20";
        silent "memory_short" "0 1 1 0x20";
    }
    SlowTurns after 20 {
        fires r#"shard_turn_seconds_max{shard="0"}"# "0.01x30";
        fires r#"shard_turn_seconds_max{shard="1"}"# "0.3x30";
        silent r#"shard_turn_seconds_max{shard="0"}"# "0.01x10 0.3x2 0.01x30";
    }
    FileDescriptors after 10 {
        fires "process_open_fds" "950x20";
        fires "process_max_fds" "1000x20";
        silent "process_open_fds" "500x20";
        silent "process_max_fds" "1000x20";
    }
    AcceptErrors after 10 {
        fires "accept_errors_total" "0x5 1x10";
        silent "accept_errors_total" "1x20";
    }
    AcceptWaits after 20 {
        fires r#"accept_waits_total{listener="public"}"# "0+120x30";
        silent r#"accept_waits_total{listener="public"}"# "0+10x30";
    }
    LogLost after 10 {
        fires "log_lines_dropped_total" "0x5 1x10";
        silent "log_lines_dropped_total" "1x20";
    }
    TenantBackend after 15 {
        fires r#"tenant_bootstraps_total{tenant="acme",outcome="timeout"}"# "0+20x20";
        fires r#"tenant_bootstraps_total{tenant="acme",outcome="admitted"}"# "0+60x20";
        // Users of the tenant whose sessions have expired.
        silent r#"tenant_bootstraps_total{tenant="acme",outcome="status"}"# "0+60x20";
        silent r#"tenant_bootstraps_total{tenant="acme",outcome="admitted"}"# "0+60x20";
    }
    TenantLimit after 20 {
        fires r#"tenant_refusals_total{tenant="acme",limit="connections"}"# "0+120x30";
        silent r#"tenant_refusals_total{tenant="acme",limit="connections"}"# "0+10x30";
    }
    TenantBusy after 10 {
        fires "tenant_busy_closes_total" "0x5 1x10";
        silent "tenant_busy_closes_total" "1x20";
    }
    TenantLogDown after 5 {
        fires r#"tenant_log_up{tenant="acme"}"# "0x10";
        silent r#"tenant_log_up{tenant="acme"}"# "1 1 0 1x10";
    }
    TenantsStale after 15 {
        fires "tenants_age_seconds" "0+60x20";
        silent "tenants_age_seconds" "0 60 120 180 240 0x20";
    }
    TenantsDiffer after 30 {
        fires "tenants" "5x40";
        fires r#"tenants{instance="b:8002"}"# "4x40";
        // One node takes a new list up before the other.
        silent "tenants" "5x10 6x40";
        silent r#"tenants{instance="b:8002"}"# "5x11 6x40";
    }
    UsageNotWritten after 10 {
        fires "usage_write_failures_total" "0x5 1x10";
        silent "usage_write_failures_total" "1x20";
    }
    UsageNotSent after 90 {
        fires "usage_unsent_files" "0x5 1x5 5x100";
        silent "usage_unsent_files" "0x5 1x100";
    }
}
