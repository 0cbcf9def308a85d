//! Log lines about the API's response for a client.

use ht_backend::{Failure, Refusal};
use ht_proto::grant::Unusable;
use ht_proto::page::{self, Unsendable};
use ht_proto::who::WhoError;
use ht_telemetry::throttle::Throttles;
use uuid::Uuid;

/// Longest room that is logged, in characters.
const ROOM_SHOWN: usize = 200;

/// Logs why the API does not admit a client. That is normal for most APIs, and a misconfiguration
/// if all clients are rejected.
pub(crate) fn log_refusal(throttles: &Throttles, connection: Uuid, refusal: &Refusal) {
    let Some(suppressed) = throttles.allow(refusal.kind().as_str()) else {
        return;
    };
    let (cause, advice) = (refusal, refusal.advice());
    let advice = &*advice;
    if matches!(refusal, Refusal::Status(_) | Refusal::Token(_)) {
        tracing::info!(%connection, %cause, advice, suppressed, "the backend refused a client");
    } else {
        tracing::warn!(%connection, %cause, advice, suppressed, "the backend refused a client");
    }
}

/// Logs why the API returned no usable response. A guard has already logged that a circuit opened,
/// or that the backend cannot be reached, with the cause.
pub(crate) fn log_failure(
    throttles: &Throttles,
    connection: Uuid,
    failure: &Failure,
    is_guarded: bool,
) {
    let (cause, kind) = (failure, failure.kind().as_str());
    if matches!(failure, Failure::CircuitOpen) || failure.is_unreachable() && is_guarded {
        tracing::debug!(%connection, kind, %cause, "no usable answer from the backend");
        return;
    }
    if let Some(suppressed) = throttles.allow(kind) {
        let advice = failure.advice();
        let advice = advice.as_deref();
        tracing::warn!(%connection, kind, %cause, advice, suppressed, "no usable answer from the backend");
    }
}

/// Logs a grant that permits nothing, because no request can name such a room.
pub(crate) fn warn_of_unusable(
    throttles: &Throttles,
    connection: Option<Uuid>,
    unusable: Option<&Unusable>,
) {
    let Some(Unusable { item, problem }) = unusable else {
        return;
    };
    if let Some(suppressed) = throttles.allow("unusable-grant") {
        let room: String = item.chars().take(ROOM_SHOWN).collect();
        tracing::warn!(
            connection = connection.map(tracing::field::display),
            room,
            suppressed,
            "a grant of the backend permits nothing: {problem}. Correct it in allowed_rooms, and in \
             the triggers for that room"
        );
    }
}

/// Logs invalid parts of the API's response for a client, which count as absent.
pub(crate) fn warn_of_ignored(
    throttles: &Throttles,
    connection: Option<Uuid>,
    ignored: &[WhoError],
) {
    for cause in ignored {
        if let Some(suppressed) = throttles.allow(cause.member()) {
            tracing::warn!(
                connection = connection.map(tracing::field::display),
                %cause,
                suppressed,
                "ignoring a member of the backend's answer. Correct it in the API, or leave it out"
            );
        }
    }
}

/// Logs a grant that no page can use, because JavaScript cannot send its number.
pub(crate) fn warn_of_unsendable(throttles: &Throttles, connection: Option<Uuid>, rooms: &str) {
    let Some(Unsendable { item, number, sent }) = page::unsendable(rooms) else {
        return;
    };
    if let Some(suppressed) = throttles.allow("unsendable") {
        let room: String = item.chars().take(ROOM_SHOWN).collect();
        tracing::warn!(
            connection = connection.map(tracing::field::display),
            room,
            suppressed,
            "no web page can ask for a room that the backend grants: JavaScript sends {number} as \
             {sent}, which is another room. Send ids beyond 2^53 as text, and whole numbers \
             without .0, in bootstrap and in triggers"
        );
    }
}
