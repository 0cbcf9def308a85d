//! The bootstrap call for a client, and the handling of the API's response.

use std::sync::Arc;
use std::time::Duration;

use ht_backend::{Answer, Credentials, Failure, Permissions, Refusal};
use ht_edge::permits::{Permits, UserPermit};
use ht_edge::rejection::HandshakeError;
use ht_edge::request::RequestFacts;
use ht_proto::close::Close;
use ht_proto::subprotocol::Subprotocol;
use ht_telemetry::throttle::Throttles;
use uuid::Uuid;

use crate::counters::{BootstrapOutcome, Counters, TenantLimit};
use crate::interner::Interner;
use crate::live::LiveSettings;
use crate::memory::Memory;
use crate::meters::Meters;
use crate::permitted::{self, Permitted};
use crate::pipeline::Pipeline;
use crate::public::outcome::{Admitted, Outcome};
use crate::tenants::{Tenant, Tenants};
use crate::tickets::{Holder, Tickets};
use crate::verdict;

/// Reconnect span of clients that were rejected because memory is short, in ms.
const SPREAD: u32 = 20_000;

/// Authenticates clients by calling the API.
pub(crate) struct Bootstrap {
    pub(crate) tenants: Arc<Tenants>,
    pub(crate) interner: Arc<Interner>,
    pub(crate) tickets: Arc<Tickets>,
    pub(crate) permits: Arc<Permits>,
    pub(crate) memory: Arc<Memory>,
    pub(crate) meters: Arc<Meters>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) throttles: Arc<Throttles>,
    /// Whether the API is queried again about clients, for which their credentials are kept.
    pub(crate) rechecks: bool,
}

/// A client that asks to be admitted.
#[derive(Clone, Copy)]
pub(super) struct Asking<'a> {
    /// The settings in force.
    pub(super) settings: &'a LiveSettings,
    /// Whose client it is.
    pub(super) tenant: &'a Tenant,
    /// That of its tenant: the order that the API's answer has its place in.
    pub(super) pipeline: &'a Pipeline,
    /// What its request says.
    pub(super) facts: &'a RequestFacts,
    /// What is forwarded to the API.
    pub(super) credentials: &'a Credentials,
}

impl Bootstrap {
    /// Authenticates a client by its resume ticket or a call to the API, within
    /// `limits.handshake_timeout`. Counts and logs the result.
    pub(super) async fn ask(&self, asking: Asking<'_>) -> Outcome {
        asking.pipeline.until_open().await;
        if let Some(outcome) = self.resume(asking).await {
            return outcome;
        }
        let asked_at = asking.pipeline.node.call_time();
        let timeout = asking.settings.limits.handshake_timeout;
        let backend = asking.tenant.backend();
        let answer = backend.bootstrap(asking.credentials);
        match tokio::time::timeout(timeout, answer).await {
            Ok(Answer::Admitted(mut permissions)) => {
                // A call shared with others is older, one that was queued is newer.
                permissions.asked_at.get_or_insert(asked_at);
                self.admitted(asking, &permissions)
            }
            Ok(Answer::Refused(refusal)) => self.refused(asking, &refusal),
            Ok(Answer::Failed(failure)) => self.failed(asking, &failure),
            Err(_) => self.late(asking),
        }
    }

    fn admitted(&self, asking: Asking<'_>, permissions: &Permissions) -> Outcome {
        let facts = asking.facts;
        let Some(outcome) = self.admit(asking, permissions, None) else {
            return self.refused(asking, &Refusal::AllowedRooms);
        };
        self.count(asking, BootstrapOutcome::Admitted);
        verdict::warn_of_ignored(&self.throttles, Some(facts.id), &permissions.ignored);
        outcome
    }

    /// Admits a client, unless memory or the connections of its user are at their limit. `resumed`:
    /// the id of its former connection, if its resume ticket lets it in. None: the rooms are not a
    /// list of objects.
    pub(super) fn admit(
        &self,
        asking: Asking<'_>,
        permissions: &Permissions,
        resumed: Option<Uuid>,
    ) -> Option<Outcome> {
        let Asking {
            settings,
            tenant,
            facts,
            credentials,
            ..
        } = asking;
        if self.memory.is_short() {
            self.counters.handshake_errors.add(HandshakeError::Memory);
            return Some(Outcome::Refused(Close::OVERLOADED.within(SPREAD)));
        }
        let list = permitted::rooms(permissions)?;
        let user = permissions.user_id.as_deref();
        let user = match user.map(|user| self.take_user(asking, user)).transpose() {
            Ok(user) => user,
            Err(close) => return Some(Outcome::Refused(close)),
        };
        let permitted = Permitted::new(
            &self.interner,
            &self.throttles,
            (credentials.tenant(), Some(facts.id)),
            (permissions, list),
            user.as_ref().and_then(UserPermit::user),
        );
        let name = || Some(tenant.name().clone());
        if permitted.is_too_much(&self.interner, &self.throttles, name) {
            return Some(Outcome::Refused(Close::OVERLOADED.within(SPREAD)));
        }
        let kept =
            (self.rechecks || tenant.has_hooks()).then(|| self.interner.credentials(credentials));
        let gets_tickets = facts.gets_tickets && self.tickets.are_given();
        let rules = tenant.rules(settings);
        let holder = gets_tickets
            .then(|| Box::new(Holder::new(tenant.name(), &rules.identity(credentials))));
        Some(Outcome::Admitted(Box::new(Admitted {
            tenant: tenant.id(),
            permitted,
            asked_at: permissions.asked_at.unwrap_or_default(),
            user,
            credentials: kept,
            holder,
            has_token: settings.permissions.recheck && rules.have_token(credentials),
            resumed,
        })))
    }

    fn count(&self, asking: Asking<'_>, outcome: BootstrapOutcome) {
        self.counters.bootstraps.add(outcome);
        let meter = self.meters.of(asking.credentials.tenant());
        meter.bootstraps.add(outcome);
    }

    /// Clients without our subprotocol get the same close code as ever.
    fn refused(&self, asking: Asking<'_>, refusal: &Refusal) -> Outcome {
        let facts = asking.facts;
        self.count(asking, BootstrapOutcome::Refused(refusal.kind()));
        verdict::log_refusal(&self.throttles, facts.id, refusal);
        Outcome::Refused(match facts.subprotocol {
            Some(Subprotocol::V1) => Close::REFUSED,
            None => Close::NORMAL,
        })
    }

    fn failed(&self, asking: Asking<'_>, failure: &Failure) -> Outcome {
        let Asking { tenant, facts, .. } = asking;
        self.count(asking, BootstrapOutcome::Failed(failure.kind()));
        let is_guarded = tenant.backend().guard().is_some();
        verdict::log_failure(&self.throttles, facts.id, failure, is_guarded);
        Outcome::Refused(match facts.subprotocol {
            // As Python 3.1 did with every response that it could parse.
            None if failure.is_answer() => Close::NORMAL,
            Some(Subprotocol::V1) | None => {
                Close::BACKEND.within(retry_within_ms(tenant, failure.retry_after()))
            }
        })
    }

    /// For a client whose handshake takes too long.
    fn late(&self, asking: Asking<'_>) -> Outcome {
        let Asking { tenant, facts, .. } = asking;
        let reason = HandshakeError::HandshakeTimeout;
        self.counters.handshake_errors.add(reason);
        if let Some(suppressed) = self.throttles.allow("handshake-timeout") {
            tracing::warn!(
                connection = %facts.id,
                suppressed,
                "no response from the backend within limits.handshake_timeout"
            );
        }
        Outcome::Refused(Close::OVERLOADED.within(retry_within_ms(tenant, None)))
    }

    /// Takes a permit among the connections of the user.
    fn take_user(&self, asking: Asking<'_>, user: &str) -> Result<UserPermit, Close> {
        let tenant = asking.tenant;
        let limit = tenant.connections_per_user(asking.settings);
        let permit = UserPermit::take(&self.permits, tenant.id().scope(user), limit);
        permit.ok_or_else(|| {
            let reason = HandshakeError::ConnectionsPerUser;
            self.counters.handshake_errors.add(reason);
            let refusals = &self.meters.of(tenant.id()).refusals;
            refusals.add(TenantLimit::ConnectionsPerUser);
            if let Some(suppressed) = self.throttles.allow("connections-per-user") {
                tracing::warn!(
                    user,
                    limit,
                    suppressed,
                    "limits.connections_per_user is reached: rejecting further connections of a user"
                );
            }
            Close::CONNECTIONS_PER_USER
        })
    }
}

/// The reconnect span of a client for whom the backend could not be called, in ms. Clients pick a
/// random moment of it; the backend's `Retry-After` is added to it, so that they are spread in any
/// case.
fn retry_within_ms(tenant: &Tenant, retry_after: Option<Duration>) -> u32 {
    let span = tenant.backend().come_back_within() + retry_after.unwrap_or_default();
    u32::try_from(span.as_millis()).unwrap_or(u32::MAX)
}
