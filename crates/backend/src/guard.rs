//! [`Guard`]: the API never gets more bootstrap calls than it can serve.
//!
//! The decisions are those of [`CallGuard`]: which calls are made, which clients share them, how
//! long they wait and which are rejected. This is the shell around it. A call is driven by the
//! clients that wait for it ([`visit`]), and the gateway's own probe calls detect when a failed
//! backend responds again.

mod key;
mod log;
mod reach;
#[cfg(test)]
mod tests;
mod visit;

use std::fmt;
use std::hash::{BuildHasher as _, Hash as _, Hasher as _, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use ht_overload::{Arrival, CallGuard, CallId, Change, Refusal, Shows, Source};
use http::HeaderName;
use http::header::USER_AGENT;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::answer::{Answer, Failure};
use crate::client::HttpBackend;
use crate::config::{BackendConfig, GuardConfig};
use crate::credentials::Credentials;
use crate::guard::key::Key;
use crate::guard::reach::Reach;
use crate::guard::visit::{Begun, Desk, Visit};
use crate::setup::BackendSetupError;
use crate::{Backend, CallClock, Hook};

/// Forwarded, but no credential.
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// A [`Backend`] that wraps another one and limits its calls. Hooks pass through untouched. Its
/// circuit breaker needs [`Backend::upkeep`] to be running. It logs by itself when the backend
/// becomes unreachable ([`Failure::is_unreachable`]) and when it is reachable again.
///
/// A bootstrap call is shared by clients with the same address and the same forwarded headers, byte
/// for byte, as long as it waits for its permit; `coalesce` extends that beyond the moment at which
/// it is sent. It is dropped when the last of its clients stops waiting.
pub struct Guard(Arc<Parts>);

/// State and totals of a [`Guard`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GuardCounts {
    /// Calls that have a permit.
    pub in_flight: usize,
    /// Calls in the queue for one.
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
    desk: Mutex<Desk>,
    /// Origin of all times.
    since: Instant,
    /// Clients share calls in flight, or their results.
    coalesces: bool,
    waiting_max: usize,
    wait_timeout: Duration,
    /// An own call may be due.
    probe: Notify,
    reach: Mutex<Reach>,
    /// Pauses between attempts to reach the backend after the start: the first and the longest.
    pauses: (Duration, Duration),
    /// Numbers the calls.
    clock: Mutex<Option<CallClock>>,
    /// Source of randomness.
    hasher: RandomState,
}

impl Guard {
    /// Guards a backend.
    #[must_use]
    pub fn new(backend: Arc<dyn Backend>, config: &GuardConfig) -> Self {
        Self(Arc::new(Parts {
            backend,
            desk: Mutex::new(Desk::new(CallGuard::new(config))),
            since: Instant::now(),
            coalesces: !config.coalesce.is_zero(),
            waiting_max: config.max_waiting,
            wait_timeout: config.wait_timeout,
            probe: Notify::new(),
            reach: Mutex::default(),
            pauses: (config.circuit_backoff, config.circuit_backoff_max),
            clock: Mutex::default(),
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
            match self.0.arrive(self.0.key(credentials.clone())) {
                Ok(visit) => visit.answer().await,
                Err(answer) => *answer,
            }
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

    fn number_calls(&self, clock: CallClock) {
        *self.0.clock() = Some(clock);
    }

    fn come_back_within(&self) -> Duration {
        self.0.step(CallGuard::come_back_within)
    }

    fn guard(&self) -> Option<GuardCounts> {
        let unreachable = self.0.reach().is_lost();
        let desk = self.0.desk();
        Some(GuardCounts {
            in_flight: desk.guard.in_flight(),
            waiting: desk.guard.waiting(),
            shared: desk.guard.joined(),
            circuit_open: desk.guard.is_circuit_open(),
            circuit_opened: desk.guard.circuit_opened(),
            unreachable,
        })
    }
}

impl Parts {
    /// The key that decides which call a client may share. A client that arrives after the clock of
    /// the calls advanced shares no call sent before, nor its result.
    fn key(&self, credentials: Credentials) -> Key {
        let came_at = self
            .coalesces
            .then(|| self.clock().as_ref().map(|clock| clock()));
        Key::new(credentials, came_at.flatten().unwrap_or_default())
    }

    /// A client arrives: it waits, or gets a result at once.
    fn arrive(self: &Arc<Self>, key: Key) -> Result<Visit, Box<Answer>> {
        let mut desk = self.desk();
        let (waiter, call) = match desk.guard.arrive(&key, self.now()) {
            Arrival::Waits { waiter, call } => (waiter, call),
            Arrival::Answered(answer) => return Err(Box::new(answer)),
            Arrival::Refused(refusal) => return Err(Box::new(self.refused(refusal))),
        };
        let (drive, answer) = desk.wait(waiter, call, |begun| {
            let parts = Arc::clone(self);
            Box::pin(async move { parts.call(call, begun, &key).await })
        });
        let orders = desk.orders();
        drop(desk);
        orders.follow(self);
        Ok(Visit {
            parts: Arc::clone(self),
            waiter,
            drive: Some(drive),
            answer,
        })
    }

    /// Runs one step of the state machine, and executes its output.
    fn step<T>(&self, step: impl FnOnce(&mut CallGuard<Key, Answer>, Duration) -> T) -> T {
        let mut desk = self.desk();
        let result = step(&mut desk.guard, self.now());
        let orders = desk.orders();
        drop(desk);
        orders.follow(self);
        result
    }

    /// Waits until the call may be sent, and sends it.
    async fn call(&self, call: CallId, mut begins: Begun, key: &Key) {
        let begun = match tokio::time::timeout(self.wait_timeout, &mut begins).await {
            Ok(begun) => begun,
            Err(_) => {
                self.step(CallGuard::timeout);
                // It may have begun at the last moment.
                begins.await
            }
        };
        if begun.is_err() {
            return;
        }
        let begun = Instant::now();
        let asked_at = self.clock().as_ref().map(|clock| clock());
        let mut answer = self.backend.bootstrap(key.credentials()).await;
        if let Answer::Admitted(permissions) = &mut answer {
            permissions.asked_at = asked_at;
        }
        self.note_reach(&answer, begun);
        let shows = match outage(&answer) {
            Some(_) => Shows::Outage(self.source(key)),
            None if matches!(answer, Answer::Failed(_)) => Shows::Answers,
            None => Shows::Works,
        };
        let change = self.answered(call, answer, shows);
        self.log_circuit(change, None);
    }

    /// Delivers a result to all clients that wait for it.
    fn answered(&self, call: CallId, answer: Answer, shows: Shows) -> Option<Change> {
        let mut desk = self.desk();
        let (waiters, change) = desk.guard.answered(call, &answer, shows, self.now());
        let clients = desk.clients(waiters);
        let orders = desk.orders();
        drop(desk);
        for client in clients {
            // The receiver is gone if the client is just disconnecting.
            let _ = client.send(answer.clone());
        }
        orders.follow(self);
        change
    }

    /// The answer to a client that is sent away.
    fn refused(&self, refusal: Refusal) -> Answer {
        Answer::Failed(match refusal {
            Refusal::Busy => Failure::Busy {
                within: self.wait_timeout,
            },
            Refusal::QueueFull => Failure::QueueFull {
                waiting_max: self.waiting_max,
            },
            Refusal::CircuitOpen => Failure::CircuitOpen,
        })
    }

    /// The identity behind a call. If no credential identifies the client, the address does: such a
    /// call cannot have failed because of its credentials.
    fn source(&self, key: &Key) -> Source {
        let address = self.hasher.hash_one(key.address());
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

    /// Probes whether the backend can be reached at all, until it succeeds once: the log reports an
    /// unreachable backend even before any client connects.
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

    /// Records what a response shows about the path to the backend. A timeout shows nothing: a
    /// client may have caused it.
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
            let due = self.desk().guard.next_probe();
            match due.map(|due| self.since + due) {
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
        let random = self.random(Instant::now());
        let change = self.step(|guard, now| guard.probed(cause.is_none(), now, random));
        self.log_circuit(change, cause);
    }

    fn random(&self, now: Instant) -> u32 {
        // The upper half is as random as the whole.
        (self.hasher.hash_one(now) >> 32) as u32
    }

    fn reach(&self) -> MutexGuard<'_, Reach> {
        self.reach.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn clock(&self) -> MutexGuard<'_, Option<CallClock>> {
        self.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.since.elapsed()
    }
}

/// The failure that may mean that the backend is out of order for everybody.
fn outage(answer: &Answer) -> Option<&Failure> {
    match answer {
        Answer::Failed(failure) if failure.is_outage() => Some(failure),
        Answer::Admitted(_) | Answer::Refused(_) | Answer::Failed(_) => None,
    }
}
