//! Which settings may change while the gateway runs, and which have.

use crate::config::Config;
use crate::config::kind::HeaderChange;
use crate::config::settings::Values;
use crate::config::settings::changed;

/// Settings that a reload changes. All others need a restart.
const LIVE: &[&str] = &[
    "websocket_path",
    "root_health",
    "trusted_proxies",
    "x_forwarded_for",
    "proxy_protocol",
    "origins.allow",
    "origins.require",
    "internal.api_key",
    "internal.hosts",
    "auth.first_frame",
    "auth.first_frame_timeout",
    "backend.headers",
    "backend.forward_bytes_max",
    "status.clients",
    "compression.enabled",
    "compression.threshold",
    "compression.level",
    "compression.max_bytes",
    "limits.connections",
    "limits.connections_per_address",
    "limits.connections_per_user",
    "limits.handshakes_per_second",
    "limits.handshake_timeout",
    "limits.head_timeout",
    "limits.head_bytes",
    "limits.idle_timeout",
    "limits.message_bytes",
    "limits.message_timeout",
    "limits.messages_per_second",
    "limits.inflated_bytes_per_second",
    "limits.subscriptions",
    "limits.names_per_room",
    "limits.request_id_bytes",
    "limits.room_bytes",
    "limits.room_depth",
    "limits.outbox_bytes",
    "limits.outbox_age",
    "limits.outbox_total_bytes",
    "limits.client_total_bytes",
    "limits.client_bytes_per_address",
    "limits.client_bytes_per_user",
    "limits.memory_bytes",
    "limits.trigger_bytes",
    "limits.triggers_per_request",
    "limits.rooms_per_trigger",
    "limits.triggers_in_flight",
    "keepalive.interval",
    "keepalive.timeout",
    "tcp.send_buffer",
    "tcp.user_timeout",
    "drain.delay",
    "drain.period",
    "drain.timeout",
    "recovery.gap_old",
    "recovery.gap_period",
    "log.level",
];

/// Whether a reload changes this setting.
pub(crate) fn is_live(key: &str) -> bool {
    LIVE.contains(&key)
}

/// What was written, to be compared with what is written later.
#[derive(Clone, Debug)]
pub struct Written {
    values: Values,
    /// What the variables of the Python version say of headers.
    legacy: Vec<HeaderChange>,
}

impl Written {
    pub(crate) fn new(values: Values, legacy: Vec<HeaderChange>) -> Self {
        Self { values, legacy }
    }

    /// The settings that differ, in the order of the documentation.
    fn changed(&self, other: &Self) -> Vec<&'static str> {
        let mut keys = changed(&self.values, &other.values);
        if self.legacy != other.legacy && !keys.contains(&"backend.headers") {
            keys.push("backend.headers");
        }
        keys
    }
}

/// What a reload comes to, by the names of settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// What is new since the last reload and holds from now on.
    pub live: Vec<&'static str>,
    /// What is other than at the start and needs a restart.
    pub fixed: Vec<&'static str>,
}

impl Config {
    /// What is other in `new`. Of `self`, the live settings are those in force and `started` is
    /// what the process began with.
    #[must_use]
    pub fn changes(&self, started: &Written, new: &Self) -> Changes {
        let mut live = self.written.changed(&new.written);
        live.retain(|key| is_live(key));
        let mut fixed = started.changed(&new.written);
        fixed.retain(|key| !is_live(key));
        Changes { live, fixed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::KEYS;

    #[test]
    fn every_live_setting_is_one() {
        for key in LIVE {
            assert!(KEYS.contains(key), "{key}");
        }
    }
}
