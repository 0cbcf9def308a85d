//! The public listener: websockets, streams and a health check, nothing that publishes or inspects.

mod admit;
mod authentication;
mod bootstrap;
mod connection;
mod credentials;
mod outcome;
mod resume;
mod stream;
mod upgrade;

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ht_edge::address::{Arrival, Peer};
use ht_edge::descriptors::Descriptors;
use ht_edge::listener::{ACCEPT_BACKOFF, Listener, Stream, descriptor};
use ht_edge::permits::AddressPermit;
use ht_edge::quotas::Quotas;
use ht_edge::rejection::{HandshakeError, Rejection};
use ht_edge::tcp;
use ht_proto::close::Close;
use ht_telemetry::throttle::Throttles;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

pub(crate) use self::bootstrap::Bootstrap;
use crate::charge::Charges;
use crate::counters::{Counters, ListenerKind, TenantLimit};
use crate::inbox::Input;
use crate::lifecycle::Lifecycle;
use crate::live::{Live, LiveSettings};
use crate::pipelines::Pipelines;
use crate::tenants::Tenant;
use crate::totals::Totals;

/// Time to finish requests in progress when the node shuts down.
const FAREWELL: Duration = Duration::from_secs(1);

/// The public listener's service.
pub(crate) struct Public {
    pub(crate) live: Live,
    pub(crate) counters: Arc<Counters>,
    pub(crate) throttles: Arc<Throttles>,
    pub(crate) lifecycle: Arc<Lifecycle>,
    pub(crate) totals: Arc<Totals>,
    pub(crate) descriptors: Arc<Descriptors>,
    /// Permits against the connection limits.
    pub(crate) quotas: Quotas,
    /// The memory account of handshakes.
    pub(crate) charges: Arc<Charges>,
    /// Authenticates clients by calling the API.
    pub(crate) bootstrap: Bootstrap,
    /// The shards that connections are handed to, and the logs that their clients hear.
    pub(crate) pipelines: Arc<Pipelines>,
    /// Cancelled when the node shuts down: no connection is accepted any more.
    pub(crate) leaving: CancellationToken,
}

impl Public {
    /// Accepts connections until shutdown; ready when the requests in progress have been answered.
    pub(crate) async fn run(self, listener: Listener) {
        let public = Arc::new(self);
        let connections = TaskTracker::new();
        // Meanwhile they wait in the system's queue.
        tokio::select! {
            () = public.pipelines.main().until_open() => {}
            () = public.leaving.cancelled() => {}
        }
        accept_all(&public, &listener, &connections).await;
        public.close_unauthenticated();
        // Its address is free from now on.
        drop(listener);
        connections.close();
        connections.wait().await;
    }

    /// Has the shards close the sessions that are not authenticated: the node shuts down.
    fn close_unauthenticated(&self) {
        for pipeline in self.pipelines.all() {
            for inbox in &pipeline.inboxes {
                // A shard that has ended has no connections.
                let _ = inbox.send(Input::CloseUnauthenticated(Close::RESTART));
            }
        }
    }

    /// Counts a handshake that the gateway itself rejected.
    fn rejected(&self, reason: HandshakeError) {
        self.counters.handshake_errors.add(reason);
    }

    /// Counts a handshake that a limit of its tenant rejected.
    fn count_refusal(&self, tenant: &Tenant, rejection: &Rejection) {
        let limit = if rejection.reason == HandshakeError::HandshakesPerSecond {
            TenantLimit::HandshakesPerSecond
        } else {
            TenantLimit::Connections
        };
        if rejection.is_of_tenant {
            self.bootstrap.meters.of(tenant.id()).refusals.add(limit);
        }
    }

    /// Logs that a socket could not be taken from the runtime: its connection is closed.
    fn not_handed_over(&self, connection: Uuid, error: &io::Error) {
        if let Some(suppressed) = self.throttles.allow("hand-over") {
            tracing::error!(%connection, %error, suppressed, "a socket could not be handed to its shard");
        }
    }

    /// Takes a permit for a connection that is not a websocket yet, if there is a limit.
    ///
    /// # Errors
    /// If there is none, which is counted and logged: the connection must be closed.
    fn admit_connection(
        &self,
        settings: &LiveSettings,
        arrival: Arrival,
    ) -> Result<Option<AddressPermit>, HandshakeError> {
        let (limits, trusted) = (settings.limits.quotas(), &settings.public.trusted_proxies);
        let permit = self.quotas.admit_connection(arrival, &limits, trusted);
        permit.inspect_err(|&reason| self.rejected(reason))
    }

    /// Ready when the node shuts down and the grace period for requests in progress is over.
    async fn overdue(&self) {
        self.leaving.cancelled().await;
        let timeout = self.live.now().drain.timeout;
        tokio::time::sleep(FAREWELL.min(timeout)).await;
    }

    /// Counts and logs that no client can be accepted for the moment.
    fn report_shortage(&self) {
        self.counters.accept_errors.fetch_add(1, Ordering::Relaxed);
        if let Some(suppressed) = self.throttles.allow("accept") {
            let trouble = self.descriptors.trouble().unwrap_or_default();
            tracing::warn!(
                suppressed,
                "{trouble}; new clients wait until connections end. Raise the limit, or lower \
                 limits.connections"
            );
        }
    }

    /// Counts and logs that no connection can be accepted for the moment.
    fn report_waits(&self) {
        self.counters.accept_waits.add(ListenerKind::Public);
        if let Some(suppressed) = self.throttles.allow("accept-waits") {
            tracing::warn!(
                suppressed,
                "every slot for a connection that is not a websocket yet is taken: new connections \
                 wait. The API answers too slowly (see backend_waiting), or many addresses open \
                 connections and send nothing. Raise limits.handshakes, or lower limits.head_timeout"
            );
        }
    }
}

async fn accept_all(public: &Arc<Public>, listener: &Listener, connections: &TaskTracker) {
    let permits = public.live.now().limits.unfinished_max();
    let permits = Arc::new(Semaphore::new(permits));
    loop {
        let accepted = tokio::select! {
            () = public.leaving.cancelled() => return,
            accepted = accept(public, listener, &permits) => accepted,
        };
        match accepted {
            Ok((stream, peer, permit)) => begin(public, stream, peer, permit, connections),
            // A connection that was closed before it was accepted: no back-off, or a client that
            // does so often would delay the others.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) if public.descriptors.record_error(&error) => public.report_shortage(),
            Err(error) => {
                let counters = &public.counters;
                counters.accept_errors.fetch_add(1, Ordering::Relaxed);
                if let Some(suppressed) = public.throttles.allow("accept-other") {
                    tracing::warn!(%error, suppressed, "cannot accept connections for the moment");
                }
                tokio::time::sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
}

/// A connection, once there is a permit for another one that is not a websocket yet, and a file
/// descriptor.
async fn accept(
    public: &Public,
    listener: &Listener,
    permits: &Arc<Semaphore>,
) -> io::Result<(Stream, Peer, OwnedSemaphorePermit)> {
    let permit = match Arc::clone(permits).try_acquire_owned() {
        Ok(permit) => permit,
        Err(_) => {
            public.report_waits();
            let permit = Arc::clone(permits).acquire_owned().await;
            permit.map_err(|_| io::Error::other("no permits for handshakes"))?
        }
    };
    let descriptors = &public.descriptors;
    while descriptors.are_short() && !descriptors.try_again(listener) {
        tokio::time::sleep(ACCEPT_BACKOFF).await;
    }
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, permit))
}

/// Serves a connection, unless its address has reached its limit.
fn begin(
    public: &Arc<Public>,
    stream: Stream,
    peer: Peer,
    permit: OwnedSemaphorePermit,
    connections: &TaskTracker,
) {
    let settings = public.live.now();
    if let Err(error) = tcp::set_options(&settings.tcp, &stream) {
        tracing::debug!(%error, "a socket option cannot be set");
    }
    if public.descriptors.record_opened(&descriptor(&stream)) {
        public.report_shortage();
    }
    let arrival = Arrival { peer, told: false };
    let Ok(of_address) = public.admit_connection(&settings, arrival) else {
        return;
    };
    let public = Arc::clone(public);
    connections.spawn(async move {
        tokio::select! {
            () = public.overdue() => {}
            () = connection::serve(&public, stream, peer, of_address) => {}
        }
        drop(permit);
    });
}
