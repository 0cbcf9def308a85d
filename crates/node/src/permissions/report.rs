//! What is logged and counted of the API's answers about clients that are connected.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use ht_backend::{Failure, Refusal};
use ht_proto::entry::TenantId;
use ht_telemetry::throttle::Throttles;

use crate::config::Unreachable;
use crate::counters::{BootstrapOutcome, Counters};
use crate::meters::Meters;

/// Logs and counts.
#[derive(Clone)]
pub(crate) struct Reports {
    pub(crate) meters: Arc<Meters>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) throttles: Arc<Throttles>,
}

impl Reports {
    /// The API has been queried about a client of a tenant.
    pub(super) fn answered(&self, tenant: TenantId, outcome: BootstrapOutcome) {
        self.counters.bootstraps.add(outcome);
        self.meters.of(tenant).bootstraps.add(outcome);
    }

    /// The API does not admit a client any more.
    pub(super) fn refused(&self, refusal: &Refusal) {
        let Some(suppressed) = self.throttles.allow("recheck-refused") else {
            return;
        };
        let (cause, advice) = (refusal, refusal.advice());
        let advice = &*advice;
        if matches!(refusal, Refusal::Status(_)) {
            tracing::info!(
                %cause,
                advice,
                suppressed,
                "the backend refused a client that is connected: closing its connections with 4002"
            );
        } else {
            tracing::warn!(
                %cause,
                advice,
                suppressed,
                "the backend refused a client that is connected: closing its connections with 4002"
            );
        }
    }

    /// The API gave no usable answer about a client. A guard has already logged that a circuit
    /// opened, or that the backend cannot be reached.
    pub(super) fn failed(&self, failure: &Failure, is_guarded: bool) {
        let (cause, kind) = (failure, failure.kind().as_str());
        if matches!(failure, Failure::CircuitOpen) || failure.is_unreachable() && is_guarded {
            tracing::debug!(kind, %cause, "no usable answer from the backend about a client that is connected");
            return;
        }
        if let Some(suppressed) = self.throttles.allow("recheck-failed") {
            let advice = failure.advice();
            let advice = advice.as_deref();
            tracing::warn!(
                kind,
                %cause,
                advice,
                suppressed,
                "no usable answer from the backend about a client that is connected: asking again"
            );
        }
    }

    /// The API gave no usable answer about so many connections for too long.
    pub(super) fn unreachable(&self, connections: usize, then: Unreachable) {
        if connections == 0 {
            return;
        }
        let counter = &self.counters.permissions_unreachable;
        counter.fetch_add(connections as u64, Ordering::Relaxed);
        let Some(suppressed) = self.throttles.allow("recheck-unreachable") else {
            return;
        };
        match then {
            Unreachable::Close => tracing::warn!(
                connections,
                suppressed,
                "no usable answer from the backend within permissions.hold_timeout about clients \
                 whose permissions may have changed: closing their connections with 1013. Restore the \
                 backend; its failures are logged and counted in bootstraps"
            ),
            Unreachable::Keep => tracing::warn!(
                connections,
                suppressed,
                "no usable answer from the backend within permissions.hold_timeout about clients \
                 whose permissions may have changed: they keep those that they had, as \
                 permissions.unreachable requires. Restore the backend, then send the command again"
            ),
        }
    }
}
