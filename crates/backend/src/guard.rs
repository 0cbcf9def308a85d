//! [`Guard`]: the API never gets more bootstrap calls than it can serve.
//!
//! A client first joins a call that waits with the very same credentials ([`calls`]). A call
//! waits in a fair queue ([`call_queue`]) for one of a bounded number of permits, of which one
//! address never has all. Where the backend fails, a circuit breaker opens
//! ([`circuit`]), and the gateway's own calls find out when it answers again. Whoever is sent away
//! gets a span within which to reconnect that grows with the crowd ([`pace`]).

mod call_queue;
mod calls;
mod circuit;
mod fair_queue;
mod pace;
mod reach;
#[cfg(test)]
mod tests;

use std::fmt;
use std::hash::{BuildHasher as _, Hash as _, Hasher as _, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::HeaderName;
use http::header::USER_AGENT;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::answer::{Answer, Failure};
use crate::client::HttpBackend;
use crate::config::{BackendConfig, GuardConfig};
use crate::credentials::Credentials;
use crate::guard::call_queue::CallQueue;
use crate::guard::calls::{Calls, Key, Ticket};
use crate::guard::circuit::{Change, Circuit, Source};
pub use crate::guard::fair_queue::{FairQueue, QueueEntry, QueueKey};
use crate::guard::pace::Pace;
use crate::guard::reach::{Reach, Report};
use crate::setup::BackendSetupError;
use crate::{Backend, Hook};

/// Forwarded, but no credential.
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// A [`Backend`] that asks another one, within bounds. Hooks pass through untouched. Its circuit
/// breaker needs [`Backend::upkeep`] to be running. It logs by itself when the backend cannot be
/// reached ([`Failure::is_unreachable`]) and when it can be again.
///
/// A bootstrap call is shared by clients with the same address and the same forwarded headers,
/// byte for byte, as long as it waits for its permit; `coalesce` extends that beyond the moment at
/// which it goes out. It lives for as long as one of them waits for it.
pub struct Guard(Arc<Parts>);

/// What a [`Guard`] does at this moment, and did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GuardCounts {
    /// Calls that have a permit.
    pub in_flight: usize,
    /// Calls that wait for one.
    pub waiting: usize,
    /// Clients that joined the call of another.
    pub shared: u64,
    /// The circuit breaker is open: no client's call is sent.
    pub circuit_open: bool,
    /// How often that began.
    pub circuit_opened: u64,
    /// The last attempt to reach the backend failed: no connection, or no trusted TLS.
    pub unreachable: bool,
}

struct Parts {
    backend: Arc<dyn Backend>,
    calls: Arc<Calls>,
    queue: Arc<CallQueue>,
    wait_timeout: Duration,
    circuit: Mutex<Circuit>,
    /// An own call may be due.
    probe: Notify,
    reach: Mutex<Reach>,
    /// Pauses between attempts to reach the backend after the start: the first and the longest.
    pauses: (Duration, Duration),
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
            queue: CallQueue::new(config.max_in_flight, config.max_waiting),
            wait_timeout: config.wait_timeout,
            circuit: Mutex::new(circuit),
            probe: Notify::new(),
            reach: Mutex::default(),
            pauses: (config.circuit_backoff, config.circuit_backoff_max),
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
            // Before anything is made or kept for a client who has no chance.
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

    fn probe(&self) -> BoxFuture<'_, Answer> {
        self.0.backend.probe()
    }

    fn reach(&self) -> BoxFuture<'_, Result<(), Failure>> {
        self.0.backend.reach()
    }

    fn upkeep(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            tokio::join!(self.0.first_contact(), self.0.probes());
        })
    }

    fn come_back_within(&self) -> Duration {
        let now = Instant::now();
        let away = self.0.circuit().check(now).err().unwrap_or_default();
        let (_, waiting) = self.0.queue.counts();
        self.0.pace().book(now, now + away, waiting)
    }

    fn guard(&self) -> Option<GuardCounts> {
        let (in_flight, waiting) = self.0.queue.counts();
        let unreachable = self.0.reach().is_lost();
        let circuit = self.0.circuit();
        Some(GuardCounts {
            in_flight,
            waiting,
            shared: self.0.calls.joined(),
            circuit_open: circuit.is_open(),
            circuit_opened: circuit.opened(),
            unreachable,
        })
    }
}

impl Parts {
    /// Waits for a permit and makes the call, unless the circuit opens meanwhile.
    async fn call(&self, key: &Key, ticket: Ticket) -> Answer {
        let permit = match self.queue.permit(key.queue_key(), self.wait_timeout).await {
            Ok(permit) => permit,
            Err(failure) => return Answer::Failed(failure),
        };
        let begun = Instant::now();
        if self.circuit().check(begun).is_err() {
            return Answer::Failed(Failure::CircuitOpen);
        }
        ticket.sent(begun);
        let answer = self.backend.bootstrap(key.credentials()).await;
        self.note_reach(&answer, begun);
        self.judge(key, &answer);
        let now = Instant::now();
        ticket.finished(&answer, now);
        if !matches!(answer, Answer::Failed(_)) {
            self.pace().served(now - begun);
        }
        drop(permit);
        answer
    }

    /// Shows the circuit what came of a client's call.
    fn judge(&self, key: &Key, answer: &Answer) {
        match outage(answer) {
            None => self.log_circuit(self.circuit().answered(), None),
            Some(_) if self.circuit().failed(self.source(key), Instant::now()) => {
                self.probe.notify_one();
            }
            Some(_) => {}
        }
    }

    /// Who is behind a call. Where nothing tells who, the address does: such a call cannot have
    /// failed by its credentials.
    fn source(&self, key: &Key) -> Source {
        let address = self.hasher.hash_one(key.queue_key());
        let mut hasher = self.hasher.build_hasher();
        let mut is_known = false;
        for (name, value) in key.credentials().headers() {
            if *name != USER_AGENT && *name != X_REAL_IP {
                is_known = true;
                (name, value.as_bytes()).hash(&mut hasher);
            }
        }
        Source {
            address,
            credentials: if is_known { hasher.finish() } else { address },
        }
    }

    /// Finds out whether the backend can be reached at all, until it could be once: nobody has to
    /// connect first for the log to say that it cannot.
    async fn first_contact(&self) {
        let (mut pause, longest) = self.pauses;
        loop {
            let begun = Instant::now();
            let Err(failure) = self.backend.reach().await else {
                self.log_reach(self.reach().reached(begun, Instant::now()), None);
                return;
            };
            let report = self.reach().failed(failure.kind(), Instant::now());
            self.log_reach(report, Some(&failure));
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(longest.max(pause));
            if !self.reach().is_lost() {
                return;
            }
        }
    }

    /// Notes what an answer says about the way to the backend. A timeout says nothing: a client
    /// may have caused it.
    fn note_reach(&self, answer: &Answer, begun: Instant) {
        let now = Instant::now();
        match answer {
            Answer::Failed(failure) if failure.is_unreachable() => {
                let report = self.reach().failed(failure.kind(), now);
                self.log_reach(report, Some(failure));
            }
            Answer::Failed(failure) if !failure.is_answer() => {}
            Answer::Admitted(_) | Answer::Refused(_) | Answer::Failed(_) => {
                let report = self.reach().reached(begun, now);
                self.log_reach(report, None);
            }
        }
    }

    /// Makes the gateway's own calls when they are due.
    async fn probes(&self) {
        loop {
            let due = self.circuit().next_probe();
            match due {
                None => self.probe.notified().await,
                Some(at) if at > Instant::now() => tokio::select! {
                    () = tokio::time::sleep_until(at) => {}
                    () = self.probe.notified() => {}
                },
                Some(_) => self.probe().await,
            }
        }
    }

    async fn probe(&self) {
        let begun = Instant::now();
        let answer = self.backend.probe().await;
        self.note_reach(&answer, begun);
        let cause = outage(&answer);
        let now = Instant::now();
        let change = self
            .circuit()
            .probed(cause.is_none(), now, self.random(now));
        self.log_circuit(change, cause);
    }

    /// Logs what changed about the way to the backend.
    fn log_reach(&self, report: Option<Report>, failure: Option<&Failure>) {
        match report {
            Some(Report::Lost) => tracing::warn!(
                cause = failure.map(tracing::field::display),
                advice = failure.and_then(Failure::advice).as_deref(),
                "the backend cannot be reached: clients are told to retry later. There is no \
                 further line about it until it can be"
            ),
            Some(Report::Back { after, failures }) => {
                tracing::info!(
                    after_ms = millis(after),
                    failures,
                    "the backend can be reached again"
                )
            }
            None => {}
        }
    }

    /// Logs what changed about the circuit. Where the log has the outage already, that the circuit
    /// opened is no second warning.
    fn log_circuit(&self, change: Option<Change>, cause: Option<&Failure>) {
        const OPENED: &str = "backend circuit breaker opened: the gateway's own call, without credentials, fails, too. \
             Clients are told to retry later; the gateway probes until the API answers";
        let advice = cause.and_then(Failure::advice);
        let (advice, cause) = (advice.as_deref(), cause.map(tracing::field::display));
        match change {
            Some(Change::Opened(wait)) if self.reach().is_reported() => {
                tracing::info!(cause, retry_in_ms = millis(wait), "{OPENED}");
            }
            Some(Change::Opened(wait)) => {
                tracing::warn!(cause, advice, retry_in_ms = millis(wait), "{OPENED}");
            }
            Some(Change::Closed(probes)) => tracing::info!(
                failed_probes = probes,
                "backend circuit breaker closed: the API answers again"
            ),
            None => {}
        }
    }

    fn random(&self, now: Instant) -> u32 {
        // The upper half is as random as the whole.
        (self.hasher.hash_one(now) >> 32) as u32
    }

    fn reach(&self) -> MutexGuard<'_, Reach> {
        self.reach.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn circuit(&self) -> MutexGuard<'_, Circuit> {
        self.circuit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The failure that may mean that the backend is out of order for everybody.
fn outage(answer: &Answer) -> Option<&Failure> {
    match answer {
        Answer::Failed(failure) if failure.is_outage() => Some(failure),
        Answer::Admitted(_) | Answer::Refused(_) | Answer::Failed(_) => None,
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
