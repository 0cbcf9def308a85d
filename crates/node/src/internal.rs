//! The internal listener: triggers, metrics, health. Must never be reachable by browsers.

mod accept;
mod access;
mod answers;
mod body;
mod keys;
mod nodes;
mod path;
mod rate;
mod rejected;
mod routes;
mod tenant;
mod tenants;
mod trigger;

use std::convert::Infallible;
use std::sync::Arc;

use ht_edge::host::HostError;
use ht_edge::listener::Listener;
use ht_edge::respond::Body;
use ht_edge::{host, respond};
use ht_telemetry::throttle::Throttles;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use hyper::body::{Body as _, Incoming};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::config::Right;
use crate::counters::Counters;
use crate::identity::Identity;
use crate::in_flight::InFlight;
use crate::internal::access::Access;
use crate::internal::path::Endpoint;
use crate::lifecycle::Lifecycle;
use crate::live::Live;
use crate::memory::Memory;
use crate::metrics::{self, Sources};
use crate::pipelines::Pipelines;
use crate::readiness::Readiness;
use crate::tenants::Tenants;

/// The internal listener's service.
pub(crate) struct Internal {
    pub(crate) live: Live,
    pub(crate) counters: Arc<Counters>,
    pub(crate) throttles: Arc<Throttles>,
    pub(crate) lifecycle: Arc<Lifecycle>,
    pub(crate) memory: Arc<Memory>,
    pub(crate) triggers_in_flight: Arc<InFlight>,
    pub(crate) pipelines: Arc<Pipelines>,
    /// Source of `/metrics` and `/ready`.
    pub(crate) sources: Arc<Sources>,
    /// Identifies the gateway in responses to `/live`.
    pub(crate) identity: Identity,
}

impl Internal {
    fn tenants(&self) -> &Tenants {
        &self.sources.node.tenants
    }

    /// Accepts connections until `shutdown`.
    pub(crate) async fn run(self, listener: Listener, shutdown: CancellationToken) {
        accept::accept_all(Arc::new(self), listener, shutdown).await;
    }
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
        // The rest of the body is discarded with the connection: see `linger`.
        let close = http::HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
    }
    if !response.status().is_success() {
        let status = response.status().into();
        internal.counters.internal_errors.add(status);
    }
    Ok(response)
}

async fn route(internal: &Internal, request: Request<Incoming>, access: Access) -> Response<Body> {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    match path::find(request.uri().path()) {
        Endpoint::Trigger => match guard(internal, request.headers(), access, SENDING) {
            Err(response) => *response,
            Ok(()) if request.method() == Method::POST => {
                trigger::post(internal, request, access).await
            }
            Ok(()) => respond::method_not_allowed("POST"),
        },
        Endpoint::Metrics => match guard_node(internal, request.headers(), access) {
            Err(response) => *response,
            Ok(()) if reads => metrics::respond(&internal.sources, request.headers()).await,
            Ok(()) => respond::method_not_allowed("GET, HEAD"),
        },
        Endpoint::TenantMetrics(name) => {
            match guard(internal, request.headers(), access, &[Right::Read]) {
                Err(response) => *response,
                Ok(()) if reads => tenant::metrics(internal, request.headers(), access, &name),
                Ok(()) => respond::method_not_allowed("GET, HEAD"),
            }
        }
        Endpoint::Position => match guard(internal, request.headers(), access, &[Right::Publish]) {
            Err(response) => *response,
            Ok(()) if reads => answers::position(internal, request.headers(), access),
            Ok(()) => respond::method_not_allowed("GET, HEAD"),
        },
        Endpoint::Nodes => match guard_node(internal, request.headers(), access) {
            Err(response) => *response,
            Ok(()) if reads => nodes::respond(internal).await,
            Ok(()) => respond::method_not_allowed("GET, HEAD"),
        },
        Endpoint::Tenants(name) => {
            match guard(internal, request.headers(), access, &[Right::Admin]) {
                Err(response) => *response,
                Ok(()) => tenants::respond(internal, request, name.as_deref()).await,
            }
        }
        Endpoint::Live if reads => {
            let mut response = live(&internal.lifecycle);
            internal.identity.write(response.headers_mut());
            response
        }
        Endpoint::Ready if reads => {
            let is_operator = matches!(access, Access::Key(_, None));
            ready(&internal.sources.readiness, is_operator)
        }
        Endpoint::Live | Endpoint::Ready => respond::method_not_allowed("GET, HEAD"),
        Endpoint::Nothing(sentence) => error(StatusCode::NOT_FOUND, &sentence),
    }
}

/// Admits requests that DNS rebinding cannot cause: the `Host` is a name that is served here, or
/// the API key is known.
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
            if matches!(access, Access::Key(..)) {
                return Ok(());
            }
            if let Some(suppressed) = internal.throttles.allow("internal-host") {
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

/// The rights of which a key needs one to use `/trigger/`. Which one depends on the triggers and
/// commands: a dry run only reads.
const SENDING: &[Right] = &[Right::Publish, Right::Command, Right::Read];

/// Authenticates the request, rejects browsers and checks that its key has one of these rights.
fn guard(
    internal: &Internal,
    headers: &HeaderMap,
    access: Access,
    rights: &[Right],
) -> Result<(), Box<Response<Body>>> {
    if headers.contains_key(header::ORIGIN) || headers.contains_key("sec-fetch-site") {
        // Any web page can make the browser of a developer or an operator send requests to a
        // loopback address.
        let sentence = "Browsers may not use the internal listener: send triggers from the API.";
        return Err(Box::new(error(StatusCode::FORBIDDEN, sentence)));
    }
    match (access, rights) {
        (Access::Unknown, _) => {}
        (Access::Key(..), [right, ..]) if !rights.iter().any(|right| access.may(*right)) => {
            return Err(Box::new(access::lacks_right(
                internal, access, *right, None,
            )));
        }
        (Access::Key(..) | Access::Open, _) => return Ok(()),
    }
    let settings = internal.live.now();
    let sentence = if settings.api_keys.is_empty() && settings.keys.is_empty() {
        "Send the key of a tenant as: Authorization: Bearer <key>. For requests about all tenants, set \
         internal.api_key"
    } else if internal.tenants().are_enabled() {
        "Send the key of a tenant, or one of internal.api_key or internal.keys, as: Authorization: \
         Bearer <key>. This request has none, or one that is not known"
    } else if settings.api_keys.is_empty() {
        "Send a key of internal.keys as: Authorization: Bearer <key>"
    } else {
        "Send the key of internal.api_key as: Authorization: Bearer <key>"
    };
    let mut response = error(StatusCode::UNAUTHORIZED, sentence);
    let challenge = http::HeaderValue::from_static("Bearer");
    response
        .headers_mut()
        .insert(header::WWW_AUTHENTICATE, challenge);
    Err(Box::new(response))
}

/// The same for a request that reads what concerns all tenants.
fn guard_node(
    internal: &Internal,
    headers: &HeaderMap,
    access: Access,
) -> Result<(), Box<Response<Body>>> {
    guard(internal, headers, access, &[Right::Read])?;
    if access.tenant().is_some() {
        let sentence = "this is about all tenants, and this key belongs to one: send a key of \
                        internal.api_key or internal.keys";
        return Err(Box::new(access::forbidden(sentence, None)));
    }
    Ok(())
}

/// Liveness: whether the process should be left running.
fn live(lifecycle: &Lifecycle) -> Response<Body> {
    if lifecycle.is_broken() {
        let sentence = "A shard ended by a bug; the log has it. Restart this node.";
        return respond::text(StatusCode::INTERNAL_SERVER_ERROR, sentence);
    }
    respond::text(StatusCode::OK, "ok")
}

/// Readiness: whether the node may receive traffic, and if not why.
fn ready(readiness: &Readiness, is_operator: bool) -> Response<Body> {
    let reasons = readiness.reasons();
    let status = if reasons.is_empty() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let mut body = json!({ "ready": reasons.is_empty(), "reasons": reasons });
    let notes = readiness.notes(is_operator);
    if !notes.is_empty() {
        body["notes"] = notes.into();
    }
    respond::json(status, &body)
}

/// A sentence that names what to fix.
fn error(status: StatusCode, sentence: &str) -> Response<Body> {
    respond::json(status, &json!({ "error": sentence }))
}

/// Whether a response with this status is to a request whose body was not read, or not completely.
fn is_before_body(status: StatusCode) -> bool {
    matches!(status.as_u16(), 401 | 403 | 404 | 405 | 413 | 415 | 421)
}
