//! Queries the API again about clients that are connected, because a command or the end of their
//! term requires it.
//!
//! Shards leave their requests in a [`Mailbox`]. [`Rechecks`] decides which calls are made; they
//! wait for their turn at the backend's guard like those of clients that connect. An answer is an
//! input of each shard that has a session it is about, in order with everything published.
//!
//! Each tenant has [`Rechecks`] of its own: an API that hangs delays no other's answers.

mod mailbox;
mod report;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use ht_backend::{Answer, CallClock, CallTime, KeptCredentials, Refusal};
use ht_core::recheck::{RecheckOutcome, Rechecked};
use ht_core::shard::SessionKey;
use ht_overload::{Patience, RecheckId, RecheckOutput, Rechecks};
use ht_proto::entry::TenantId;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub(crate) use crate::permissions::mailbox::{Asker, Mailbox, Request};
pub(crate) use crate::permissions::report::Reports;

use crate::config::Unreachable;
use crate::counters::BootstrapOutcome;
use crate::inbox::{self, Input};
use crate::interner::Interner;
use crate::live::Live;
use crate::permitted::{self, Permitted};
use crate::tenants::{Tenant, Tenants};

/// Queries the API again about open sessions.
pub(crate) struct Rechecker {
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) tenants: Arc<Tenants>,
    pub(crate) interner: Arc<Interner>,
    /// Numbers the calls.
    pub(crate) clock: CallClock,
    pub(crate) reports: Reports,
    pub(crate) live: Live,
    /// By shard.
    pub(crate) inboxes: Vec<inbox::Sender>,
}

/// The state of the queries.
struct Desk {
    parts: Rechecker,
    lines: HashMap<TenantId, Line>,
    /// Sessions that wait.
    waiting: HashMap<Asker, Waiting>,
    calls: JoinSet<(CallTime, Answer)>,
    ids: HashMap<Id, Call>,
    handles: HashMap<Call, AbortHandle>,
    /// Origin of all times.
    begun: Instant,
    /// Source of randomness.
    hasher: RandomState,
}

/// The queries of one tenant's API.
struct Line {
    rechecks: Rechecks<Arc<KeptCredentials>, Asker>,
    /// The last `Retry-After` of the API, until it gives a usable answer.
    retry_after: Duration,
}

/// A session that waits.
struct Waiting {
    tenant: TenantId,
    /// Since when it is held.
    held: Option<Instant>,
}

/// A call to the API of a tenant.
type Call = (TenantId, RecheckId);

impl Rechecker {
    /// Serves the mailbox until `shutdown`.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let mut desk = Desk {
            parts: self,
            lines: HashMap::new(),
            waiting: HashMap::new(),
            calls: JoinSet::new(),
            ids: HashMap::new(),
            handles: HashMap::new(),
            begun: Instant::now(),
            hasher: RandomState::new(),
        };
        let mailbox = Arc::clone(&desk.parts.mailbox);
        loop {
            let dues = desk.lines.values().map(|line| line.rechecks.deadline());
            let due = dues.flatten().min().map(|due| desk.begun + due);
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = mailbox.filled() => desk.take_messages(),
                Some(done) = desk.calls.join_next_with_id() => desk.done(done),
                () = sleep_until(due) => {}
            }
            desk.drop_removed();
            let permissions = desk.parts.live.now().permissions;
            let now = desk.now();
            for Line { rechecks, .. } in desk.lines.values_mut() {
                rechecks.set_hold_timeout(permissions.hold_timeout);
                rechecks.timeout(now);
            }
            desk.take_outputs(permissions.unreachable);
            desk.lines.retain(|_, line| !line.is_idle());
        }
    }
}

impl Desk {
    fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    fn take_messages(&mut self) {
        let now = self.now();
        for (asker, message) in self.parts.mailbox.take() {
            if message.is_cancelled
                && let Some(Waiting { tenant, .. }) = self.waiting.remove(&asker)
                && let Some(line) = self.lines.get_mut(&tenant)
            {
                line.rechecks.cancel(asker);
            }
            let Some(Request { credentials, due }) = message.request else {
                continue;
            };
            let Some(credentials) = credentials else {
                // They cannot be sent, so the API would not admit the client with them.
                self.send((None, due.not_before), &[asker], || RecheckOutcome::Refused);
                continue;
            };
            let tenant = credentials.tenant();
            let waiting = self.waiting.entry(asker);
            let waiting = waiting.or_insert(Waiting { tenant, held: None });
            if due.patience == Patience::Held {
                waiting.held.get_or_insert_with(Instant::now);
            }
            let parts = &self.parts;
            let line = self.lines.entry(tenant);
            let line = line.or_insert_with(|| Line::new(parts, tenant));
            line.rechecks.request(asker, &credentials, due, now);
        }
    }

    /// Ends the calls to APIs of tenants that are not served any more: their connections are about to
    /// be closed.
    fn drop_removed(&mut self) {
        let tenants = &self.parts.tenants;
        let is_served = |id| {
            tenants
                .get(id)
                .is_some_and(|it: Arc<Tenant>| !it.is_suspended())
        };
        let lines = self.lines.keys().copied();
        let gone: Vec<_> = lines.filter(|id| !is_served(*id)).collect();
        for tenant in gone {
            self.lines.remove(&tenant);
            self.waiting.retain(|_, waiting| waiting.tenant != tenant);
            for (_, handle) in self.handles.extract_if(|call, _| call.0 == tenant) {
                self.ids.remove(&handle.id());
                handle.abort();
            }
        }
    }

    fn take_outputs(&mut self, unreachable: Unreachable) {
        let mut outputs = Vec::new();
        for (tenant, line) in &mut self.lines {
            let polled = std::iter::from_fn(|| line.rechecks.poll_output());
            outputs.extend(polled.map(|output| (*tenant, output)));
        }
        for (tenant, output) in outputs {
            match output {
                RecheckOutput::Call(id, credentials) => self.call((tenant, id), credentials),
                RecheckOutput::Abandon(id) => {
                    if let Some(handle) = self.handles.remove(&(tenant, id)) {
                        self.ids.remove(&handle.id());
                        handle.abort();
                    }
                }
                RecheckOutput::Fail(askers) => self.fail(tenant, &askers, unreachable),
            }
        }
    }

    fn call(&mut self, call: Call, credentials: Arc<KeptCredentials>) {
        let tenant = self.parts.tenants.get(call.0);
        let asked_at = (self.parts.clock)();
        let handle = self.calls.spawn(async move {
            let answer = match tenant {
                Some(tenant) => tenant.backend().bootstrap(&credentials.restore()).await,
                // It was removed: its connections are about to be closed.
                None => std::future::pending().await,
            };
            (asked_at, answer)
        });
        self.ids.insert(handle.id(), call);
        self.handles.insert(call, handle);
    }

    /// A call has ended.
    fn done(&mut self, done: Result<(Id, (CallTime, Answer)), JoinError>) {
        let task = done.as_ref().map_or_else(JoinError::id, |(task, _)| *task);
        // An abandoned call is not known any more.
        let Some(id) = self.ids.remove(&task) else {
            return;
        };
        self.handles.remove(&id);
        let (asked_at, answer) = match done {
            Ok((_, done)) => done,
            Err(_) => {
                // Only a bug in a backend panics here.
                tracing::error!("a call to the backend panicked");
                debug_assert!(false, "a call to the backend panicked");
                return self.retry(id, None);
            }
        };
        let tenant = id.0;
        self.parts.reports.answered(tenant, outcome(&answer));
        match answer {
            Answer::Admitted(permissions) => match permitted::rooms(&permissions) {
                Some(list) => {
                    // A call shared with others is older, one that was queued is newer.
                    let asked_at = permissions.asked_at.unwrap_or(asked_at);
                    let user = permissions.user_id.as_deref().map(Arc::from);
                    let Reports { throttles, .. } = &self.parts.reports;
                    let interner = &self.parts.interner;
                    let answer = (&permissions, list);
                    let permitted =
                        Permitted::new(interner, throttles, (tenant, None), answer, user);
                    let name = || self.parts.tenants.name(tenant);
                    if permitted.is_too_much(interner, throttles, name) {
                        return self.retry(id, None);
                    }
                    let rights = permitted.rights();
                    self.answer(id, asked_at, || RecheckOutcome::Permitted(rights.clone()));
                }
                None => self.refused(id, asked_at, &Refusal::AllowedRooms),
            },
            Answer::Refused(refusal) => self.refused(id, asked_at, &refusal),
            Answer::Failed(failure) => {
                let tenant = self.parts.tenants.get(tenant);
                let is_guarded = tenant.is_some_and(|it| it.backend().guard().is_some());
                self.parts.reports.failed(&failure, is_guarded);
                self.retry(id, failure.retry_after());
            }
        }
    }

    fn refused(&mut self, id: Call, asked_at: CallTime, refusal: &Refusal) {
        self.parts.reports.refused(refusal);
        self.answer(id, asked_at, || RecheckOutcome::Refused);
    }

    /// The API gave a usable answer.
    fn answer(&mut self, id: Call, asked_at: CallTime, outcome: impl Fn() -> RecheckOutcome) {
        let (tenant, id) = id;
        let now = self.now();
        let Some(line) = self.lines.get_mut(&tenant) else {
            return;
        };
        line.retry_after = Duration::ZERO;
        let answered = line.rechecks.answered(id, asked_at, now);
        for asker in &answered {
            self.released(*asker);
        }
        self.send((Some(tenant), asked_at), &answered, outcome);
    }

    fn retry(&mut self, id: Call, retry_after: Option<Duration>) {
        let (now, retry_after) = (self.now(), retry_after.unwrap_or_default());
        let pause = self.come_back_within(id.0) + retry_after;
        // The upper half is as random as the whole.
        let random = (self.hasher.hash_one((id, now)) >> 32) as u32;
        let (tenant, id) = id;
        if let Some(line) = self.lines.get_mut(&tenant) {
            line.retry_after = retry_after;
            line.rechecks.failed(id, pause, random, now);
        }
    }

    /// The interval in which calls to the API of a tenant are repeated.
    fn come_back_within(&self, tenant: TenantId) -> Duration {
        let tenant = self.parts.tenants.get(tenant);
        tenant.map_or(Duration::ZERO, |it| it.backend().come_back_within())
    }

    /// There is no usable answer about these sessions.
    fn fail(&mut self, tenant: TenantId, askers: &[Asker], unreachable: Unreachable) {
        let held = askers.iter().filter(|asker| !asker.has_token);
        self.parts.reports.unreachable(held.count(), unreachable);
        for asker in askers {
            self.released(*asker);
        }
        let line = self.lines.get(&tenant);
        let retry_after = line.map_or(Duration::ZERO, |line| line.retry_after);
        let span = self.come_back_within(tenant) + retry_after;
        let within = u32::try_from(span.as_millis()).unwrap_or(u32::MAX);
        // The sessions are sorted by what the answer is about.
        for same in askers.chunk_by(|a, b| a.has_token == b.has_token) {
            let keeps = !same[0].has_token && unreachable == Unreachable::Keep;
            let outcome = || match keeps {
                true => RecheckOutcome::Keep,
                false => RecheckOutcome::Unreachable { within },
            };
            self.send((Some(tenant), (self.parts.clock)()), same, outcome);
        }
    }

    fn released(&mut self, asker: Asker) {
        let waiting = self.waiting.remove(&asker);
        if let Some(since) = waiting.and_then(|waiting| waiting.held) {
            let held = since.elapsed().as_secs_f64();
            self.parts.mailbox.hold_seconds().observe(held);
        }
    }

    /// Sends an answer to the shards of its sessions.
    fn send(
        &self,
        said: (Option<TenantId>, CallTime),
        askers: &[Asker],
        outcome: impl Fn() -> RecheckOutcome,
    ) {
        let (tenant, asked_at) = said;
        let mut askers = askers.to_vec();
        askers.sort_unstable();
        let of = |asker: &Asker| (asker.shard, asker.has_token);
        for same in askers.chunk_by(|a, b| of(a) == of(b)) {
            let (shard, has_token) = of(&same[0]);
            let keys: Vec<SessionKey> = same.iter().map(|asker| asker.key).collect();
            let rechecked = Rechecked {
                tenant,
                keys,
                asked_at: asked_at.commands,
                has_token,
                outcome: outcome(),
            };
            if let Some(inbox) = self.parts.inboxes.get(shard) {
                // A shard that has ended has no sessions.
                let _ = inbox.send(Input::Rechecked(Arc::new(rechecked)));
            }
        }
    }
}

impl Line {
    fn new(parts: &Rechecker, tenant: TenantId) -> Self {
        let permissions = parts.live.now().permissions;
        let (tenant, most) = (parts.tenants.get(tenant), permissions.calls_max);
        let most = tenant.map_or(most, |tenant| tenant.rechecks_max(most));
        Self {
            rechecks: Rechecks::new(most, permissions.hold_timeout),
            retry_after: Duration::ZERO,
        }
    }

    /// No session waits, and what the API last said matters to nobody.
    fn is_idle(&self) -> bool {
        let rechecks = &self.rechecks;
        rechecks.waiting() == 0 && rechecks.in_flight() == 0 && self.retry_after.is_zero()
    }
}

/// How the answer is counted.
fn outcome(answer: &Answer) -> BootstrapOutcome {
    match answer {
        Answer::Admitted(permissions) if permitted::rooms(permissions).is_none() => {
            BootstrapOutcome::Refused(Refusal::AllowedRooms.kind())
        }
        Answer::Admitted(_) => BootstrapOutcome::Admitted,
        Answer::Refused(refusal) => BootstrapOutcome::Refused(refusal.kind()),
        Answer::Failed(failure) => BootstrapOutcome::Failed(failure.kind()),
    }
}

/// Waits until a moment; forever if there is none.
async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
