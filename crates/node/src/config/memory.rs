//! How the memory of the process is divided.

use ht_core::window::WindowLimits;
use ht_edge::config::QuotaLimits;
use tokio::sync::Semaphore;

use crate::config::ServerLimits;

/// The smallest head buffer that the HTTP library accepts, in bytes.
pub(crate) const HEAD_BYTES_MIN: usize = 8 << 10;

/// Connections beyond `limits.handshakes` that may send a request or read a response.
const OTHER_CONNECTIONS: usize = 1_024;

/// `limits.memory_bytes`, and how it is divided. In bytes; 0 means no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryBounds {
    /// Of the process.
    pub process: usize,
    /// Of all outboxes.
    pub outboxes: usize,
    /// Of what all clients hold beside outboxes.
    pub clients: usize,
    /// Of publications queued for shards.
    pub inboxes: usize,
    /// Of the last publications, in the window.
    pub window: usize,
    /// Of these, of the connections of one address.
    pub address: usize,
    /// Of these, of the connections of one user.
    pub user: usize,
    /// Of answers that the APIs of tenants are sending.
    pub answers: usize,
    /// Of the rooms that clients of tenants are permitted. Beside all others.
    pub grants: usize,
    /// Read buffers of idle connections before the upgrade, beyond their quarter of `clients`.
    pub unfinished: usize,
    /// Default of `limits.triggers_in_flight`.
    pub triggers_default: usize,
    /// Default of `limits.handshakes`.
    pub handshakes_default: usize,
    /// Upper bound of `unfinished` with the default of `limits.handshakes`.
    pub unfinished_default: usize,
}

/// Maximum memory of outboxes by default, in bytes.
const OUTBOXES: usize = 256 << 20;

/// Maximum memory of publications queued for shards by default, in bytes.
const INBOXES: usize = 64 << 20;

/// Maximum memory of answers that the APIs of tenants are sending by default, in bytes.
const ANSWERS: usize = 64 << 20;

/// Bounds of the memory of the window by default, in bytes.
const WINDOW: (usize, usize) = (1 << 20, 64 << 20);

/// Lower bound of the default of `limits.handshakes`, however little memory there is.
const HANDSHAKES_MIN: usize = 256;

impl ServerLimits {
    /// Those of connections and handshakes.
    pub(crate) fn quotas(&self) -> QuotaLimits {
        QuotaLimits {
            connections: self.connections,
            connections_per_address: self.connections_per_address,
            handshakes_per_second: self.handshakes_per_second,
            handshakes: self.handshakes_max(),
            unfinished: self.unfinished_max(),
        }
    }

    /// Those of the window of a process that may have `allowance` bytes.
    pub(crate) fn window(&self, allowance: Option<usize>) -> WindowLimits {
        WindowLimits {
            entries: self.window.entries,
            bytes: self.memory_bounds(allowance).window,
            age: u64::try_from(self.window.age.as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// How many handshakes may be in progress.
    pub(crate) fn handshakes_max(&self) -> usize {
        self.handshakes.clamp(1, Semaphore::MAX_PERMITS)
    }

    /// How many connections may be before the upgrade.
    pub(crate) fn unfinished_max(&self) -> usize {
        (self.handshakes_max() + OTHER_CONNECTIONS).min(Semaphore::MAX_PERMITS)
    }

    /// The memory limits of a process that may have `allowance` bytes, if that is known. By default
    /// an eighth of `memory_bytes` is reserved for everything but clients and publications. Of the
    /// rest half is for triggers in flight, a quarter for connections that are not websockets yet,
    /// and the remainder for the process itself.
    #[must_use]
    pub fn memory_bounds(&self, allowance: Option<usize>) -> MemoryBounds {
        // Four fifths: more would leave too little for the system's own buffers.
        let part = allowance.map_or(0, |bytes| bytes / 5 * 4);
        let process = self.memory_bytes.unwrap_or(part);
        let whole = if process == 0 { part } else { process };
        let (outboxes, inboxes, window) = if whole == 0 {
            (OUTBOXES, INBOXES, self.window.bytes.unwrap_or(WINDOW.1))
        } else {
            let default = (whole / 32).clamp(WINDOW.0, WINDOW.1);
            let window = self.window.bytes.unwrap_or(default);
            // What is queued for shards is mostly in the window as well.
            let inboxes = (whole / 8).saturating_sub(window).max(whole / 32);
            (OUTBOXES.min(whole / 4), INBOXES.min(inboxes), window)
        };
        let clients = self.client_total_bytes.unwrap_or(whole / 2);
        // The share of handshakes, as in `Accounts`.
        let quarter = clients / 4;
        let unfinished = match clients {
            0 => 0,
            _ => (self.unfinished_max() * HEAD_BYTES_MIN).saturating_sub(quarter),
        };
        let answers = match whole {
            0 => ANSWERS,
            // Zero would mean no limit.
            _ => ANSWERS.min(whole / 64).max(1),
        };
        let usual = Self::default();
        let outboxes = self.outbox_total_bytes.unwrap_or(outboxes);
        let inboxes = self.inbox_bytes.unwrap_or(inboxes);
        let (triggers_default, handshakes_default, unfinished_default) = if whole == 0 {
            (usual.triggers_in_flight, usual.handshakes, usize::MAX)
        } else {
            let given = clients.saturating_add(outboxes).saturating_add(inboxes);
            let given = given.saturating_add(window);
            let left = whole.saturating_sub(given).min(whole / 8);
            let triggers = usual.triggers_in_flight.min(left / 2);
            let fit = ((quarter + left / 4) / HEAD_BYTES_MIN).saturating_sub(OTHER_CONNECTIONS);
            let handshakes = match clients {
                0 => usual.handshakes,
                _ => fit.clamp(HANDSHAKES_MIN, usual.handshakes),
            };
            // Zero would mean no limit.
            (triggers.max(1), handshakes, left / 4)
        };
        MemoryBounds {
            process,
            outboxes,
            clients,
            inboxes,
            window,
            address: self.client_bytes_per_address.unwrap_or(clients / 8),
            user: self.client_bytes_per_user.unwrap_or(clients / 8),
            answers: self.answer_total_bytes.unwrap_or(answers),
            grants: self.grant_total_bytes.unwrap_or(clients / 4),
            unfinished,
            triggers_default,
            handshakes_default,
            unfinished_default,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    #[test]
    fn the_defaults_fit_into_whatever_memory_there_is() {
        for (process, handshakes, triggers) in [
            (16 * MIB, HANDSHAKES_MIN, MIB),
            (100 * MIB, 976, 100 * MIB / 16),
            (400 * MIB, 6_976, 25 * MIB),
            (1_024 * MIB, 10_000, 64 * MIB),
            (16 << 30, 10_000, 64 * MIB),
        ] {
            let asked = ServerLimits {
                memory_bytes: Some(process),
                ..ServerLimits::default()
            };
            let bounds = asked.memory_bounds(None);
            assert_eq!(bounds.handshakes_default, handshakes, "{process}");
            assert_eq!(bounds.triggers_default, triggers, "{process}");
            let limits = ServerLimits {
                handshakes,
                triggers_in_flight: triggers,
                ..asked
            };
            let bounds = limits.memory_bounds(None);
            let unfinished = bounds.unfinished.min(bounds.unfinished_default);
            assert!(bounds.unfinished == unfinished || handshakes == HANDSHAKES_MIN);
            let publications = bounds.inboxes + bounds.window;
            let sum = bounds.clients + bounds.outboxes + publications + unfinished + triggers;
            let sum = sum + bounds.answers;
            assert!(sum < process, "{sum} of {process}");
        }
    }

    #[test]
    fn idle_connections_count_beyond_the_quarter_that_clients_have_for_them() {
        for (clients, handshakes, expected) in [
            (64 * MIB, 1_024, 0),
            (64 * MIB, 1_025, 8 << 10),
            (4 * MIB, 3_072, 31 * MIB),
            // Without a limit for clients there is none for these.
            (0, 3_072, 0),
        ] {
            let limits = ServerLimits {
                client_total_bytes: Some(clients),
                handshakes,
                ..ServerLimits::default()
            };
            let bounds = limits.memory_bounds(Some(1 << 30));
            assert_eq!(bounds.unfinished, expected, "{clients} {handshakes}");
        }
    }

    #[test]
    fn without_a_known_memory_size_fixed_defaults_apply() {
        let limits = ServerLimits::default();
        let bounds = limits.memory_bounds(None);
        assert_eq!(bounds.process, 0);
        assert_eq!(bounds.handshakes_default, limits.handshakes);
        assert_eq!(bounds.triggers_default, limits.triggers_in_flight);
    }
}
