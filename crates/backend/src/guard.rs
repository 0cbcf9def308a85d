//! [`Guard`]: the API never gets more bootstrap calls than it can serve.
//!
//! A visitor first joins a call that waits with the very same credentials ([`calls`]). A call
//! waits in a line in which addresses take turns ([`line`]) for one of a bounded number of places.
//! Where the backend fails again and again it is left alone, and one call now and then sees
//! whether it answers ([`circuit`]). Whoever is sent away is told a span within which to come
//! back that grows with the crowd ([`pace`]).

mod calls;
mod circuit;
mod lanes;
mod line;
mod pace;
#[cfg(test)]
mod tests;

use std::fmt;
use std::hash::BuildHasher as _;
use std::hash::RandomState;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use crate::Backend;
use crate::Hook;
use crate::answer::Answer;
use crate::answer::Failure;
use crate::client::HttpBackend;
use crate::config::BackendConfig;
use crate::config::GuardConfig;
use crate::credentials::Credentials;
use crate::guard::calls::Calls;
use crate::guard::calls::Key;
use crate::guard::calls::Ticket;
use crate::guard::circuit::Change;
use crate::guard::circuit::Circuit;
use crate::guard::circuit::Pass;
use crate::guard::line::Line;
use crate::guard::pace::Pace;
use crate::setup::BackendSetupError;

/// A [`Backend`] that asks another one, within bounds. Hooks pass through untouched.
///
/// A bootstrap call is shared by visitors with the same address and the same forwarded headers,
/// byte for byte, as long as it waits for its place; `coalesce` extends that beyond the moment at
/// which it goes out. It lives for as long as one of them waits for it.
pub struct Guard(Arc<Parts>);

/// What a [`Guard`] does at this moment, and did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GuardCounts {
    /// Calls that have a place.
    pub in_flight: usize,
    /// Calls that wait for one.
    pub waiting: usize,
    /// Visitors who joined the call of another.
    pub shared: u64,
    /// The backend is left alone at this moment, or tried by a single call.
    pub circuit_open: bool,
    /// How often that began.
    pub circuit_opened: u64,
}

struct Parts {
    backend: Arc<dyn Backend>,
    calls: Arc<Calls>,
    line: Arc<Line>,
    wait_timeout: Duration,
    circuit: Mutex<Circuit>,
    pace: Mutex<Pace>,
    /// Where chance comes from.
    hasher: RandomState,
}

impl Guard {
    /// Guards a backend.
    #[must_use]
    pub fn new(backend: Arc<dyn Backend>, config: &GuardConfig) -> Self {
        let circuit = Circuit::new(
            config.circuit_failures,
            config.circuit_backoff,
            config.circuit_backoff_max,
        );
        Self(Arc::new(Parts {
            backend,
            calls: Calls::new(config.coalesce),
            line: Line::new(config.max_in_flight, config.max_waiting),
            wait_timeout: config.wait_timeout,
            circuit: Mutex::new(circuit),
            pace: Mutex::new(Pace::new(config.max_in_flight)),
            hasher: RandomState::new(),
        }))
    }

    /// The API over HTTP, guarded.
    ///
    /// # Errors
    /// As [`HttpBackend::new`].
    pub fn http(config: BackendConfig) -> Result<Self, BackendSetupError> {
        let guard = config.guard.clone();
        Ok(Self::new(Arc::new(HttpBackend::new(config)?), &guard))
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Guard").field(&self.guard()).finish()
    }
}

impl Backend for Guard {
    fn bootstrap<'a>(&'a self, credentials: &'a Credentials) -> BoxFuture<'a, Answer> {
        Box::pin(async move {
            let now = Instant::now();
            // Before anything is made or kept for a visitor who has no chance.
            if self.0.circuit().check(now).is_err() {
                return Answer::Failed(Failure::CircuitOpen);
            }
            let key = Key::new(credentials.clone());
            let call = self.0.calls.join(&key, now, |ticket| {
                let (parts, key) = (Arc::clone(&self.0), key.clone());
                Box::pin(async move { parts.call(&key, ticket).await })
            });
            call.await
        })
    }

    fn has_hook(&self, hook: Hook) -> bool {
        self.0.backend.has_hook(hook)
    }

    fn hook<'a>(
        &'a self,
        hook: Hook,
        credentials: &'a Credentials,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        self.0.backend.hook(hook, credentials)
    }

    fn come_back_within(&self) -> Duration {
        let now = Instant::now();
        let away = self.0.circuit().check(now).err().unwrap_or_default();
        let (_, waiting) = self.0.line.counts();
        self.0.pace().book(now, now + away, waiting)
    }

    fn guard(&self) -> Option<GuardCounts> {
        let (in_flight, waiting) = self.0.line.counts();
        let circuit = self.0.circuit();
        Some(GuardCounts {
            in_flight,
            waiting,
            shared: self.0.calls.joined(),
            circuit_open: circuit.is_open(),
            circuit_opened: circuit.opened(),
        })
    }
}

impl Parts {
    /// Waits for a place and makes the call, unless the circuit opens meanwhile.
    async fn call(&self, key: &Key, ticket: Ticket) -> Answer {
        let place = match self.line.place(key.lane(), self.wait_timeout).await {
            Ok(place) => place,
            Err(failure) => return Answer::Failed(failure),
        };
        let begun = Instant::now();
        let Some(attempt) = Attempt::begin(self, begun) else {
            return Answer::Failed(Failure::CircuitOpen);
        };
        ticket.sent(begun);
        let answer = self.backend.bootstrap(key.credentials()).await;
        attempt.end(&answer);
        let now = Instant::now();
        ticket.finished(&answer, now);
        if !matches!(answer, Answer::Failed(_)) {
            self.pace().served(now - begun);
        }
        drop(place);
        answer
    }

    fn random(&self, now: Instant) -> u32 {
        // The upper half is as random as the whole.
        (self.hasher.hash_one(now) >> 32) as u32
    }

    fn circuit(&self) -> MutexGuard<'_, Circuit> {
        self.circuit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that the circuit let through. Dropping it without an end says that its visitors left.
struct Attempt<'a> {
    parts: &'a Parts,
    pass: Option<Pass>,
}

impl<'a> Attempt<'a> {
    fn begin(parts: &'a Parts, now: Instant) -> Option<Self> {
        let pass = parts.circuit().enter(now).ok()?;
        let pass = Some(pass);
        Some(Self { parts, pass })
    }

    /// Tells the circuit what came of it, and the operator what that changes.
    fn end(mut self, answer: &Answer) {
        let Some(pass) = self.pass.take() else {
            return;
        };
        let cause: Option<&dyn fmt::Display> = match answer {
            Answer::Failed(failure) if failure.is_outage() => Some(failure),
            Answer::Admitted(_) | Answer::Refused(_) | Answer::Failed(_) => None,
        };
        let change = match cause {
            Some(_) => {
                let now = Instant::now();
                let random = self.parts.random(now);
                self.parts.circuit().failed(pass, now, random)
            }
            None => self.parts.circuit().succeeded(),
        };
        match (change, cause) {
            (Some(Change::Opened(wait)), Some(cause)) => tracing::warn!(
                %cause, ?wait,
                "the backend fails again and again: it is left alone for a while, and visitors \
                 are told to come back later"
            ),
            (Some(Change::Closed(probes)), _) => tracing::info!(
                failed_probes = probes,
                "the backend answers again: visitors are let in"
            ),
            (Some(Change::Opened(_)) | None, _) => {}
        }
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if let Some(pass) = self.pass {
            self.parts.circuit().abandoned(pass);
        }
    }
}
