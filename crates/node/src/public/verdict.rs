//! The log lines about what the API says of a client.

use ht_backend::{Failure, Refusal};
use uuid::Uuid;

use crate::public::Public;

/// Logs why the API does not admit a client. That is the life of most APIs, and an operator's
/// mistake where all clients are refused.
pub(super) fn log_refusal(public: &Public, connection: Uuid, refusal: &Refusal) {
    let Some(suppressed) = public.node.throttles.tell(refusal.kind().as_str()) else {
        return;
    };
    let (cause, advice) = (refusal, refusal.advice());
    let advice = &*advice;
    if matches!(refusal, Refusal::Status(_)) {
        tracing::info!(%connection, %cause, advice, suppressed, "the backend refused a client");
    } else {
        tracing::warn!(%connection, %cause, advice, suppressed, "the backend refused a client");
    }
}

/// Logs why the API gave no usable answer. A guard has told already that a circuit opened, or that
/// the backend cannot be reached, with the cause.
pub(super) fn log_failure(public: &Public, connection: Uuid, failure: &Failure) {
    let (cause, kind) = (failure, failure.kind().as_str());
    if matches!(failure, Failure::CircuitOpen)
        || failure.is_unreachable() && public.backend.guard().is_some()
    {
        tracing::debug!(%connection, kind, %cause, "no usable answer from the backend");
        return;
    }
    if let Some(suppressed) = public.node.throttles.tell(kind) {
        let advice = failure.advice();
        let advice = advice.as_deref();
        tracing::warn!(%connection, kind, %cause, advice, suppressed, "no usable answer from the backend");
    }
}
