//! Whether the bounds of memory fit into each other.

use ht_node::config::{MemoryBounds, ServerLimits, WindowConfig};

use crate::config::kind::TenantsFrom;
use crate::config::mistake::{Mistakes, WrittenAt};
use crate::config::settings::Values;
use crate::config::table::Found;

/// `limits.handshakes`; the default depends on the memory.
pub(crate) fn handshakes(values: &Values) -> usize {
    let default = divided(values).handshakes_default;
    unless_written(&values.limits_handshakes, default)
}

/// `limits.triggers_in_flight`; the default depends on the memory.
pub(crate) fn triggers_in_flight(values: &Values) -> usize {
    let default = divided(values).triggers_default;
    unless_written(&values.limits_triggers_in_flight, default)
}

fn unless_written(found: &Found<usize>, default: usize) -> usize {
    match found.place {
        WrittenAt::Default => default,
        WrittenAt::File { .. }
        | WrittenAt::Variable(_)
        | WrittenAt::Dotenv { .. }
        | WrittenAt::Secret { .. } => found.value,
    }
}

/// The bounds of the window.
pub(crate) fn window(values: &Values) -> WindowConfig {
    WindowConfig {
        entries: values.window_entries.value,
        bytes: values.window_bytes.value,
        age: values.window_age.value,
    }
}

/// Divides the memory as configured.
fn divided(values: &Values) -> MemoryBounds {
    let limits = ServerLimits {
        memory_bytes: values.limits_memory_bytes.value,
        outbox_total_bytes: values.limits_outbox_total_bytes.value,
        client_total_bytes: values.limits_client_total_bytes.value,
        inbox_bytes: values.limits_inbox_bytes.value,
        window: window(values),
        handshakes: values.limits_handshakes.value,
        ..ServerLimits::default()
    };
    limits.memory_bounds(ht_node::memory_allowance())
}

/// A setting that reserves memory.
struct Part<'a> {
    key: &'static str,
    place: &'a WrittenAt,
    bytes: usize,
    /// Its value, to follow its name in a message.
    about: String,
}

impl<'a> Part<'a> {
    fn new<T>(key: &'static str, found: &'a Found<T>, bytes: usize) -> Self {
        Self {
            key,
            place: &found.place,
            bytes,
            about: format!("{bytes} bytes"),
        }
    }
}

/// Checks that the bounds of memory held for clients and publishers together are below
/// `limits.memory_bytes`: otherwise that memory could cause triggers to be rejected.
pub(crate) fn check(values: &Values, mistakes: &mut Mistakes) {
    let bounds = divided(values);
    let parts = parts(values, &bounds);
    let sum = parts.iter().map(|part| part.bytes);
    let sum = sum.fold(0, usize::saturating_add);
    if bounds.process == 0 || sum < bounds.process {
        return;
    }
    // The largest configured one is the one to change.
    let written = parts
        .iter()
        .filter(|part| *part.place != WrittenAt::Default);
    let (place, key) = written.max_by_key(|part| part.bytes).map_or(
        (&values.limits_memory_bytes.place, "limits.memory_bytes"),
        |part| (part.place, part.key),
    );
    let process = bounds.process;
    let named = parts.iter();
    let named: Vec<_> = named
        .map(|part| format!("{} ({})", part.key, part.about))
        .collect();
    let (last, others) = named.split_last().unzip();
    let (last, others) = (
        last.cloned().unwrap_or_default(),
        others.unwrap_or_default(),
    );
    let others = others.join(", ");
    mistakes.add(
        place,
        key,
        format!(
            "{others} and {last} together reach \
             limits.memory_bytes ({process} bytes): lower one of them or raise \
             limits.memory_bytes, so that what clients hold never turns triggers away"
        ),
    );
}

fn parts<'a>(values: &'a Values, bounds: &MemoryBounds) -> Vec<Part<'a>> {
    let handshakes = &values.limits_handshakes;
    // The default fits, except for its minimum on very small nodes.
    let unfinished = match handshakes.place {
        WrittenAt::Default => bounds.unfinished.min(bounds.unfinished_default),
        WrittenAt::File { .. }
        | WrittenAt::Variable(_)
        | WrittenAt::Dotenv { .. }
        | WrittenAt::Secret { .. } => bounds.unfinished,
    };
    let handshakes = Part {
        about: format!(
            "connections of 8 KiB each: {unfinished} bytes beyond a quarter of \
             limits.client_total_bytes"
        ),
        ..Part::new("limits.handshakes", handshakes, unfinished)
    };
    let mut parts = vec![
        Part::new(
            "limits.client_total_bytes",
            &values.limits_client_total_bytes,
            bounds.clients,
        ),
        Part::new(
            "limits.outbox_total_bytes",
            &values.limits_outbox_total_bytes,
            bounds.outboxes,
        ),
        Part::new(
            "limits.inbox_bytes",
            &values.limits_inbox_bytes,
            bounds.inboxes,
        ),
        Part::new("window.bytes", &values.window_bytes, bounds.window),
        Part {
            about: format!(
                "{} logs with a window and inboxes of {} bytes each",
                values.tenants_logs.value,
                bounds.window.saturating_add(bounds.inboxes),
            ),
            ..Part::new(
                "tenants.logs",
                &values.tenants_logs,
                (bounds.window.saturating_add(bounds.inboxes))
                    .saturating_mul(values.tenants_logs.value),
            )
        },
        Part::new(
            "limits.triggers_in_flight",
            &values.limits_triggers_in_flight,
            triggers_in_flight(values),
        ),
    ];
    if values.tenants_logs.value == 0 {
        parts.retain(|part| part.key != "tenants.logs");
    }
    if values.tenants_source.value != TenantsFrom::None {
        parts.push(Part::new(
            "limits.answer_total_bytes",
            &values.limits_answer_total_bytes,
            bounds.answers,
        ));
    }
    parts.push(handshakes);
    parts
}
