//! The internal listener: triggers, metrics, health. Never to be reachable by browsers.

mod keys;
mod path;
mod trigger;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ht_broker::{Broker, Sequencer};
use ht_edge::address::Peer;
use ht_edge::host::HostError;
use ht_edge::linger::Lingering;
use ht_edge::listener::{ACCEPT_BACKOFF, Listener, Stream};
use ht_edge::peers::Peers;
use ht_edge::respond::Body;
use ht_edge::write_timeout::WriteTimeout;
use ht_edge::{host, quiet, respond};
use ht_telemetry::throttle::Throttles;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::counters::{Counters, ListenerKind};
use crate::identity::Identity;
use crate::in_flight::InFlight;
use crate::internal::path::Endpoint;
use crate::lifecycle::Lifecycle;
use crate::live::Live;
use crate::memory::Memory;
use crate::metrics::{self, Sources};
use crate::readiness::Readiness;

/// Connections at once; more wait in the system's queue.
const CONNECTIONS: usize = 1_024;

/// Of these, one address has three quarters at most.
const CONNECTIONS_PER_ADDRESS: usize = CONNECTIONS - CONNECTIONS / 4;

/// Time for a request's head, and so for a connection that is kept alive between requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);

/// The internal listener's service.
pub(crate) struct Internal {
    pub(crate) live: Live,
    pub(crate) counters: Arc<Counters>,
    pub(crate) throttles: Arc<Throttles>,
    pub(crate) lifecycle: Arc<Lifecycle>,
    pub(crate) memory: Arc<Memory>,
    pub(crate) triggers_in_flight: Arc<InFlight>,
    pub(crate) sequencer: Arc<dyn Sequencer>,
    pub(crate) broker: Option<Arc<Broker>>,
    /// What `/metrics` and `/ready` show.
    pub(crate) sources: Arc<Sources>,
    /// Triggers that are not ordered yet.
    pub(crate) triggers: TaskTracker,
    /// What `/live` tells about the gateway.
    pub(crate) identity: Identity,
}

impl Internal {
    /// Accepts connections until `shutdown`.
    pub(crate) async fn run(self, listener: Listener, shutdown: CancellationToken) {
        accept_all(Arc::new(self), listener, shutdown).await;
    }
}

async fn accept_all(internal: Arc<Internal>, listener: Listener, shutdown: CancellationToken) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    let peers = Arc::<Peers>::default();
    loop {
        let permit = match Arc::clone(&permits).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                accepting_waits(&internal);
                let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
                    return;
                };
                permit
            }
        };
        let accepted = tokio::select! {
            () = shutdown.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let Some(of_peer) = peers.take(peer, CONNECTIONS_PER_ADDRESS) else {
                    crowded(&internal, peer);
                    continue;
                };
                let (internal, shutdown) = (Arc::clone(&internal), shutdown.clone());
                tokio::spawn(async move {
                    serve_connection(internal, stream, shutdown).await;
                    drop((permit, of_peer));
                });
            }
            Err(error) => {
                let counters = &internal.counters;
                counters.accept_errors.fetch_add(1, Ordering::Relaxed);
                if let Some(suppressed) = internal.throttles.tell("accept-internal") {
                    tracing::warn!(%error, suppressed, "cannot accept internal connections");
                }
                tokio::time::sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
}

/// Counts and logs that nobody can be accepted for the moment.
fn accepting_waits(internal: &Internal) {
    internal.counters.accept_waits.add(ListenerKind::Internal);
    if let Some(suppressed) = internal.throttles.tell("accept-waits-internal") {
        tracing::warn!(
            suppressed,
            "all {CONNECTIONS} connections of the internal listener are taken: publishers and \
             probes wait. Reuse connections, or find who opens them and sends nothing"
        );
    }
}

/// Counts and logs that one address has its part of the connections.
fn crowded(internal: &Internal, peer: Peer) {
    let refused = &internal.counters.internal_connections_refused;
    refused.fetch_add(1, Ordering::Relaxed);
    if let Some(suppressed) = internal.throttles.tell("internal-per-address") {
        tracing::warn!(
            %peer,
            suppressed,
            "one address has {CONNECTIONS_PER_ADDRESS} connections to the internal listener: \
             closing further ones. Have its programs reuse connections"
        );
    }
}

async fn serve_connection(internal: Arc<Internal>, stream: Stream, shutdown: CancellationToken) {
    // No browser reaches a unix socket, and clients make up a Host for it.
    let check_host = match &stream {
        Stream::Left(_) => true,
        Stream::Right(_) => false,
    };
    let service = service_fn(|request| respond_to(&internal, request, check_host));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        // A trigger that came whole is done, also when its sender has said that it is finished.
        .half_close(true)
        .serve_connection(
            TokioIo::new(Lingering::new(WriteTimeout::new(stream))),
            service,
        );
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        // An error is a client that went away or spoke no HTTP: nothing to do about either.
        _ = quiet::connection(connection.as_mut()) => return,
        () = shutdown.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    let _ = quiet::connection(connection).await;
}

async fn respond_to(
    internal: &Internal,
    request: Request<Incoming>,
    check_host: bool,
) -> Result<Response<Body>, Infallible> {
    let has_body = !request.body().is_end_stream();
    let access = Access::of(internal, request.headers());
    let admitted = if check_host {
        admit(internal, &request, access)
    } else {
        Ok(())
    };
    let mut response = match admitted {
        Ok(()) => route(internal, request, access).await,
        Err(response) => *response,
    };
    if has_body && is_before_body(response.status()) {
        // What is left of the body is discarded with the connection: see `linger`.
        let close = http::HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
    }
    if !response.status().is_success() {
        let status = response.status().into();
        internal.counters.internal_errors.add(status);
    }
    Ok(response)
}

/// Result of checking a request's API key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    /// It carries a configured key.
    Key,
    /// No key is configured.
    Open,
    /// It carries no key, or an unknown one.
    Unknown,
}

impl Access {
    /// Checks the request's key and counts its use.
    fn of(internal: &Internal, headers: &HeaderMap) -> Self {
        let settings = internal.live.now();
        if settings.api_keys.is_empty() {
            return Self::Open;
        }
        match keys::used(headers, &settings.api_keys) {
            Some(position) => {
                internal.counters.api_key_uses.add(position);
                Self::Key
            }
            None => Self::Unknown,
        }
    }
}

async fn route(internal: &Internal, request: Request<Incoming>, access: Access) -> Response<Body> {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    match path::find(request.uri().path()) {
        Endpoint::Trigger => match guard(request.headers(), access) {
            Err(response) => *response,
            Ok(()) if request.method() == Method::POST => trigger::post(internal, request).await,
            Ok(()) => respond::method_not_allowed("POST"),
        },
        Endpoint::Metrics => match guard(request.headers(), access) {
            Err(response) => *response,
            Ok(()) if reads => metrics::respond(&internal.sources, request.headers()).await,
            Ok(()) => respond::method_not_allowed("GET, HEAD"),
        },
        Endpoint::Live if reads => {
            let mut response = live(&internal.lifecycle);
            internal.identity.write(response.headers_mut());
            response
        }
        Endpoint::Ready if reads => ready(&internal.sources.readiness),
        Endpoint::Live | Endpoint::Ready => respond::method_not_allowed("GET, HEAD"),
        Endpoint::Nothing(sentence) => error(StatusCode::NOT_FOUND, &sentence),
    }
}

/// Admits requests that a rebound name cannot cause: the listener is addressed as what is served
/// here, or the key is known.
fn admit(
    internal: &Internal,
    request: &Request<Incoming>,
    access: Access,
) -> Result<(), Box<Response<Body>>> {
    let (headers, settings) = (request.headers(), internal.live.now());
    let checked = host::check(request.version(), request.uri(), headers, &settings.hosts);
    let Err(problem) = checked else {
        return Ok(());
    };
    let status = match &problem {
        HostError::Count(_) | HostError::Unreadable => StatusCode::BAD_REQUEST,
        HostError::Foreign(host) => {
            if access == Access::Key {
                return Ok(());
            }
            if let Some(suppressed) = internal.throttles.tell("internal-host") {
                tracing::warn!(
                    host,
                    suppressed,
                    "refused an internal request for a host that is not served. If it is the \
                     gateway's, add it to internal.hosts; otherwise a web page may be trying DNS \
                     rebinding"
                );
            }
            StatusCode::MISDIRECTED_REQUEST
        }
    };
    Err(Box::new(error(status, &problem.to_string())))
}

/// Authenticates the request and rejects browsers.
fn guard(headers: &HeaderMap, access: Access) -> Result<(), Box<Response<Body>>> {
    if headers.contains_key(header::ORIGIN) || headers.contains_key("sec-fetch-site") {
        // Any web page can make the browser of a developer or an operator send requests to a
        // loopback address.
        let sentence = "Browsers may not use the internal listener: send triggers from the API.";
        return Err(Box::new(error(StatusCode::FORBIDDEN, sentence)));
    }
    match access {
        Access::Key | Access::Open => return Ok(()),
        Access::Unknown => {}
    }
    let sentence = "Send the key of internal.api_key as: Authorization: Bearer <key>";
    let mut response = error(StatusCode::UNAUTHORIZED, sentence);
    let challenge = http::HeaderValue::from_static("Bearer");
    response
        .headers_mut()
        .insert(header::WWW_AUTHENTICATE, challenge);
    Err(Box::new(response))
}

/// Whether the process should be left running.
fn live(lifecycle: &Lifecycle) -> Response<Body> {
    if lifecycle.is_broken() {
        let sentence = "A shard ended by a bug; the log has it. Restart this node.";
        return respond::text(StatusCode::INTERNAL_SERVER_ERROR, sentence);
    }
    respond::text(StatusCode::OK, "ok")
}

/// Whether the node may get traffic, and if not why.
fn ready(readiness: &Readiness) -> Response<Body> {
    let reasons = readiness.reasons();
    let status = if reasons.is_empty() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let mut body = json!({ "ready": reasons.is_empty(), "reasons": reasons });
    let notes = readiness.notes();
    if !notes.is_empty() {
        body["notes"] = notes.into();
    }
    respond::json(status, &body)
}

/// A sentence that says what to fix.
fn error(status: StatusCode, sentence: &str) -> Response<Body> {
    respond::json(status, &json!({ "error": sentence }))
}

/// Whether this status answers a request whose body was not read, or not to its end.
fn is_before_body(status: StatusCode) -> bool {
    matches!(status.as_u16(), 401 | 403 | 404 | 405 | 413 | 415 | 421)
}
