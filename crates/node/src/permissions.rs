//! Queries the API again about clients that are connected, because a command or the end of their
//! term requires it.
//!
//! Shards leave their requests in a [`Mailbox`]. [`Rechecks`] decides which calls are made; they
//! wait for their turn at the backend's guard like those of clients that connect. An answer is an
//! input of each shard that has a session it is about, in order with everything published.

mod mailbox;
mod report;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use ht_backend::{Answer, Backend, CallClock, CallTime, KeptCredentials, Refusal};
use ht_core::recheck::{RecheckOutcome, Rechecked, Rights};
use ht_core::shard::SessionKey;
use ht_overload::{Patience, RecheckId, RecheckOutput, Rechecks};
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

/// Queries the API again about open sessions.
pub(crate) struct Rechecker {
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) backend: Arc<dyn Backend>,
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
    rechecks: Rechecks<Arc<KeptCredentials>, Asker>,
    /// Since when sessions are held.
    held: HashMap<Asker, Instant>,
    calls: JoinSet<(CallTime, Answer)>,
    ids: HashMap<Id, RecheckId>,
    handles: HashMap<RecheckId, AbortHandle>,
    /// The last `Retry-After` of the API, until it gives a usable answer.
    retry_after: Duration,
    /// Origin of all times.
    begun: Instant,
    /// Source of randomness.
    hasher: RandomState,
}

impl Rechecker {
    /// Serves the mailbox until `shutdown`.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let permissions = self.live.now().permissions;
        let mut desk = Desk {
            rechecks: Rechecks::new(permissions.calls_max, permissions.hold_timeout),
            parts: self,
            held: HashMap::new(),
            calls: JoinSet::new(),
            ids: HashMap::new(),
            handles: HashMap::new(),
            retry_after: Duration::ZERO,
            begun: Instant::now(),
            hasher: RandomState::new(),
        };
        let mailbox = Arc::clone(&desk.parts.mailbox);
        loop {
            let due = desk.rechecks.deadline().map(|due| desk.begun + due);
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = mailbox.filled() => desk.take_messages(),
                Some(done) = desk.calls.join_next_with_id() => desk.done(done),
                () = sleep_until(due) => {}
            }
            let permissions = desk.parts.live.now().permissions;
            desk.rechecks.set_hold_timeout(permissions.hold_timeout);
            desk.rechecks.timeout(desk.now());
            desk.take_outputs(permissions.unreachable);
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
            if message.is_cancelled {
                self.held.remove(&asker);
                self.rechecks.cancel(asker);
            }
            let Some(Request { credentials, due }) = message.request else {
                continue;
            };
            let Some(credentials) = credentials else {
                // They cannot be sent, so the API would not admit the client with them.
                self.send(&[asker], due.not_before, || RecheckOutcome::Refused);
                continue;
            };
            if due.patience == Patience::Held {
                self.held.entry(asker).or_insert_with(Instant::now);
            }
            self.rechecks.request(asker, &credentials, due, now);
        }
    }

    fn take_outputs(&mut self, unreachable: Unreachable) {
        while let Some(output) = self.rechecks.poll_output() {
            match output {
                RecheckOutput::Call(id, credentials) => self.call(id, credentials),
                RecheckOutput::Abandon(id) => {
                    if let Some(handle) = self.handles.remove(&id) {
                        self.ids.remove(&handle.id());
                        handle.abort();
                    }
                }
                RecheckOutput::Fail(askers) => self.fail(&askers, unreachable),
            }
        }
    }

    fn call(&mut self, id: RecheckId, credentials: Arc<KeptCredentials>) {
        let backend = Arc::clone(&self.parts.backend);
        let asked_at = (self.parts.clock)();
        let handle = self.calls.spawn(async move {
            let answer = backend.bootstrap(&credentials.restore()).await;
            (asked_at, answer)
        });
        self.ids.insert(handle.id(), id);
        self.handles.insert(id, handle);
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
        self.parts.reports.counters.bootstraps.add(outcome(&answer));
        match answer {
            Answer::Admitted(permissions) => match permitted::rooms(&permissions) {
                Some(list) => {
                    // A call shared with others is older, one that was queued is newer.
                    let asked_at = permissions.asked_at.unwrap_or(asked_at);
                    let user = permissions.user_id.as_deref().map(Arc::from);
                    let Reports { throttles, .. } = &self.parts.reports;
                    let interner = &self.parts.interner;
                    let permitted =
                        Permitted::new(interner, throttles, None, (&permissions, list), user);
                    let rights = permitted.rights();
                    self.answer(id, asked_at, || RecheckOutcome::Permitted(copy(&rights)));
                }
                None => self.refused(id, asked_at, &Refusal::AllowedRooms),
            },
            Answer::Refused(refusal) => self.refused(id, asked_at, &refusal),
            Answer::Failed(failure) => {
                let is_guarded = self.parts.backend.guard().is_some();
                self.parts.reports.failed(&failure, is_guarded);
                self.retry(id, failure.retry_after());
            }
        }
    }

    fn refused(&mut self, id: RecheckId, asked_at: CallTime, refusal: &Refusal) {
        self.parts.reports.refused(refusal);
        self.answer(id, asked_at, || RecheckOutcome::Refused);
    }

    /// The API gave a usable answer.
    fn answer(&mut self, id: RecheckId, asked_at: CallTime, outcome: impl Fn() -> RecheckOutcome) {
        let now = self.now();
        self.retry_after = Duration::ZERO;
        let answered = self.rechecks.answered(id, asked_at, now);
        for asker in &answered {
            self.released(*asker);
        }
        self.send(&answered, asked_at, outcome);
    }

    fn retry(&mut self, id: RecheckId, retry_after: Option<Duration>) {
        self.retry_after = retry_after.unwrap_or_default();
        let pause = self.parts.backend.come_back_within() + self.retry_after;
        let now = self.now();
        // The upper half is as random as the whole.
        let random = (self.hasher.hash_one((id, now)) >> 32) as u32;
        self.rechecks.failed(id, pause, random, now);
    }

    /// There is no usable answer about these sessions.
    fn fail(&mut self, askers: &[Asker], unreachable: Unreachable) {
        let held = askers.iter().filter(|asker| !asker.has_token);
        self.parts.reports.unreachable(held.count(), unreachable);
        for asker in askers {
            self.released(*asker);
        }
        let span = self.parts.backend.come_back_within() + self.retry_after;
        let within = u32::try_from(span.as_millis()).unwrap_or(u32::MAX);
        // The sessions are sorted by what the answer is about.
        for same in askers.chunk_by(|a, b| a.has_token == b.has_token) {
            let keeps = !same[0].has_token && unreachable == Unreachable::Keep;
            let outcome = || match keeps {
                true => RecheckOutcome::Keep,
                false => RecheckOutcome::Unreachable { within },
            };
            self.send(same, (self.parts.clock)(), outcome);
        }
    }

    fn released(&mut self, asker: Asker) {
        if let Some(since) = self.held.remove(&asker) {
            let held = since.elapsed().as_secs_f64();
            self.parts.mailbox.hold_seconds().observe(held);
        }
    }

    /// Sends an answer to the shards of its sessions.
    fn send(&self, askers: &[Asker], asked_at: CallTime, outcome: impl Fn() -> RecheckOutcome) {
        let mut askers = askers.to_vec();
        askers.sort_unstable();
        let of = |asker: &Asker| (asker.shard, asker.has_token);
        for same in askers.chunk_by(|a, b| of(a) == of(b)) {
            let (shard, has_token) = of(&same[0]);
            let keys: Vec<SessionKey> = same.iter().map(|asker| asker.key).collect();
            let rechecked = Rechecked {
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

/// The same for another shard.
fn copy(rights: &Rights) -> Rights {
    Rights {
        grants: Arc::clone(&rights.grants),
        who: rights.who.clone(),
        welcome: rights.welcome.clone(),
        event: rights.event.clone(),
        expires_in: rights.expires_in,
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
