//! Whether the bounds of memory fit into each other.

use ht_server::config::ServerLimits;

use crate::config::mistake::Mistakes;
use crate::config::settings::Values;

/// What clients may make the gateway keep is less than what it may have: else triggers and
/// newcomers would be turned away for what others hold.
pub(crate) fn check(values: &Values, mistakes: &mut Mistakes) {
    let limits = ServerLimits {
        memory_bytes: values.limits_memory_bytes.value,
        outbox_total_bytes: values.limits_outbox_total_bytes.value,
        client_total_bytes: values.limits_client_total_bytes.value,
        inbox_bytes: values.limits_inbox_bytes.value,
        ..ServerLimits::default()
    };
    let bounds = limits.memory_bounds(ht_server::memory_allowance());
    let sum = [bounds.outboxes, bounds.clients, bounds.inboxes]
        .into_iter()
        .fold(0, usize::saturating_add);
    if bounds.process == 0 || sum < bounds.process {
        return;
    }
    let parts = [
        (
            "limits.client_total_bytes",
            &values.limits_client_total_bytes,
            bounds.clients,
        ),
        (
            "limits.outbox_total_bytes",
            &values.limits_outbox_total_bytes,
            bounds.outboxes,
        ),
        (
            "limits.inbox_bytes",
            &values.limits_inbox_bytes,
            bounds.inboxes,
        ),
    ];
    // The largest that was written is what to change.
    let written = parts.iter().filter(|(_, found, _)| found.value.is_some());
    let (place, key) = written.max_by_key(|(.., bytes)| *bytes).map_or(
        (&values.limits_memory_bytes.place, "limits.memory_bytes"),
        |(key, found, _)| (&found.place, *key),
    );
    let [clients, outboxes, inboxes] =
        parts.map(|(key, _, bytes)| format!("{key} ({bytes} bytes)"));
    let process = bounds.process;
    mistakes.add(
        place,
        key,
        format!(
            "{clients}, {outboxes} and {inboxes} together reach limits.memory_bytes ({process} \
             bytes): lower one of them or raise limits.memory_bytes, so that what clients hold \
             never turns triggers away"
        ),
    );
}
