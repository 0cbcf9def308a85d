//! The API of a tenant, which takes memory only while it is used: a guard, a pool of connections and
//! the roots of its certificates are made at the first call, and freed when there was none for long.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use ht_backend::{
    Answer, Backend, Budget, CallClock, Credentials, Failure, Guard, Hook, HttpBackend,
};
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::config::TenantConfig;

/// An API that got no call for so long is freed.
const IDLE: Duration = Duration::from_secs(600);

/// References to the API of a tenant that nobody uses: one here, and one of its background work.
const UNUSED: usize = 2;

/// The API of a tenant.
pub(super) struct Api {
    /// None for that of the node, which is always there.
    settings: Option<Settings>,
    made: Mutex<Option<Made>>,
}

/// How to make it.
struct Settings {
    tenant: Arc<TenantConfig>,
    shared: Shared,
}

/// What the APIs of all tenants share.
#[derive(Clone, Default)]
pub(super) struct Shared {
    /// Numbers the calls.
    pub(super) clock: Option<CallClock>,
    /// Memory of their answers.
    pub(super) answers: Arc<Budget>,
}

/// An API in use.
struct Made {
    backend: Arc<dyn Backend>,
    used_at: Instant,
    /// None for that of the node, whose background work is a service of its own.
    upkeep: Option<Upkeep>,
}

/// Background work, which ends when this is dropped.
struct Upkeep(AbortHandle);

impl Drop for Upkeep {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Api {
    /// The API of the node.
    pub(super) fn given(backend: Arc<dyn Backend>) -> Self {
        Self {
            settings: None,
            made: Mutex::new(Some(Made {
                backend,
                used_at: Instant::now(),
                upkeep: None,
            })),
        }
    }

    /// The API of a tenant, which nobody has used yet.
    pub(super) fn of(tenant: &Arc<TenantConfig>, shared: &Shared) -> Self {
        Self {
            settings: Some(Settings {
                tenant: Arc::clone(tenant),
                shared: shared.clone(),
            }),
            made: Mutex::default(),
        }
    }

    /// The API, which is made if it is not there.
    pub(super) fn get(&self) -> Arc<dyn Backend> {
        let mut made = self.lock();
        if let Some(made) = &mut *made {
            made.used_at = Instant::now();
            return Arc::clone(&made.backend);
        }
        let Some(settings) = &self.settings else {
            return Arc::new(Unusable(String::new()));
        };
        let TenantConfig { name, backend, .. } = &*settings.tenant;
        let Shared { clock, answers } = &settings.shared;
        match HttpBackend::new(backend.clone()) {
            Ok(http) => {
                let guard = Guard::new(Arc::new(http.within(answers)), &backend.guard);
                if let Some(clock) = clock {
                    guard.number_calls(Arc::clone(clock));
                }
                let backend: Arc<dyn Backend> = Arc::new(guard);
                let kept = Arc::clone(&backend);
                let span = tracing::error_span!("tenant", %name);
                let upkeep = async move { kept.upkeep().await }.instrument(span);
                let upkeep = tokio::spawn(upkeep);
                *made = Some(Made {
                    backend: Arc::clone(&backend),
                    used_at: Instant::now(),
                    upkeep: Some(Upkeep(upkeep.abort_handle())),
                });
                backend
            }
            Err(cause) => {
                tracing::error!(
                    tenant = %name,
                    %cause,
                    "the API of a tenant cannot be called: its clients are rejected. Correct \
                     `backend` of the tenant"
                );
                Arc::new(Unusable(cause.to_string()))
            }
        }
    }

    /// The API, if it is in use.
    pub(super) fn if_used(&self) -> Option<Arc<dyn Backend>> {
        let made = self.lock();
        made.as_ref().map(|made| Arc::clone(&made.backend))
    }

    /// Frees the API, unless it is that of the node.
    pub(super) fn free(&self) {
        if self.settings.is_some() {
            *self.lock() = None;
        }
    }

    /// Frees the API if it got no call for long.
    pub(super) fn free_if_idle(&self) {
        let mut made = self.lock();
        let is_idle = made.as_ref().is_some_and(|made| {
            made.upkeep.is_some()
                && made.used_at.elapsed() >= IDLE
                && Arc::strong_count(&made.backend) <= UNUSED
        });
        if is_idle {
            *made = None;
        }
    }

    /// Ends its background work.
    pub(super) fn end_upkeep(&self) {
        if let Some(made) = &mut *self.lock() {
            made.upkeep = None;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Made>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").finish_non_exhaustive()
    }
}

/// An API whose settings do not work.
struct Unusable(String);

impl Unusable {
    fn failure(&self) -> Failure {
        Failure::Connect(self.0.clone())
    }
}

impl Backend for Unusable {
    fn bootstrap<'a>(&'a self, _: &'a Credentials) -> BoxFuture<'a, Answer> {
        self.probe()
    }

    fn probe(&self) -> BoxFuture<'_, Answer> {
        Box::pin(std::future::ready(Answer::Failed(self.failure())))
    }

    fn has_hook(&self, _: Hook) -> bool {
        false
    }

    fn hook<'a>(&'a self, _: Hook, _: &'a Credentials) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(std::future::ready(Err(self.failure())))
    }
}
