//! Admission of a client whose request was read, whatever its transport: its tenant, its permits, and
//! the call to the API.

use std::sync::Arc;

use ht_control::tenants::host::HostName;
use ht_edge::quotas::{HandshakePermits, Load};
use ht_edge::rejection::{HandshakeError, Rejection};
use ht_edge::request::RequestFacts;
use ht_edge::{respond, route, tenant};
use ht_proto::close::Close;
use http::{HeaderMap, Request as HttpRequest, StatusCode};
use hyper::body::Incoming;

use crate::live::LiveSettings;
use crate::pipeline::Pipeline;
use crate::public::bootstrap::Asking;
use crate::public::outcome::Outcome;
use crate::public::upgrade::Entry;
use crate::public::{Public, credentials};
use crate::tenants::closer::SUSPENDED_MS;
use crate::tenants::{Choice, Tenant};

/// A client's request.
#[derive(Clone, Copy)]
pub(super) struct Request<'a> {
    /// What was read from it.
    pub(super) facts: &'a RequestFacts,
    pub(super) headers: &'a HeaderMap,
    pub(super) query: Option<&'a str>,
}

/// Finds the tenant whose client a request is of.
pub(super) fn find_tenant(
    public: &Public,
    settings: &LiveSettings,
    request: &HttpRequest<Incoming>,
) -> Result<Arc<Tenant>, Rejection> {
    let tenants = &public.bootstrap.tenants;
    let (host, path) = (tenant::host(request), request.uri().path());
    let is_named = host.and_then(HostName::of_header).is_some();
    if !is_named && tenants.are_enabled() {
        // Whose it is cannot be told, so that it would be of the default tenant.
        let sentence = "The header Host of this request is missing, there are several, or it is no \
                        host name.";
        return Err(Rejection::bad_request(HandshakeError::Handshake, sentence));
    }
    let stream = route::stream(path, &settings.public, |path| tenants.have_path(path));
    let websocket = stream.map(|(_, websocket)| websocket);
    let path = websocket.as_deref().unwrap_or(path);
    // One that took it would have the clients of `main`, and those of hosts would name two.
    let path = if route::is_websocket(path, &settings.public) {
        ""
    } else {
        path
    };
    match tenants.choose(host, path, tenant::keys(request)) {
        Choice::One(tenant) => Ok(tenant),
        Choice::Nobody => {
            if let Some(suppressed) = public.throttles.allow("no-tenant") {
                tracing::warn!(
                    host,
                    path,
                    suppressed,
                    "rejecting clients that belong to no tenant, with 404. If they should, add the \
                     host to `hosts` of their tenant, and have the proxy in front pass Host on \
                     (nginx: proxy_set_header Host $host;)"
                );
            }
            Err(no_tenant())
        }
        Choice::Disagree => {
            let sentence = "The host, the path and the key of this request name different tenants.";
            Err(Rejection::bad_request(HandshakeError::Handshake, sentence))
        }
    }
}

/// 404 for a client that belongs to no tenant.
fn no_tenant() -> Rejection {
    let sentence = "There is nothing here: the host, the path and the key of this request are no \
                    tenant's. They are `hosts`, `path` and `key` in the settings of a tenant.";
    let response = respond::text(StatusCode::NOT_FOUND, sentence);
    Rejection::new(HandshakeError::Handshake, response)
}

/// Takes permits for a client, then calls the backend to authenticate it, or leaves that to the first
/// frame.
pub(super) async fn admit(
    public: &Public,
    (settings, tenant): (&LiveSettings, &Tenant),
    request: Request<'_>,
) -> Result<(HandshakePermits, Arc<Pipeline>, Entry), Rejection> {
    let Request {
        facts,
        headers,
        query,
    } = request;
    let limits = settings.limits.quotas();
    let share = tenant.share(public.bootstrap.tenants.are_enabled());
    let load = Load {
        open: public.totals.connections_of_node(),
        memory_is_short: public.bootstrap.memory.is_short(),
    };
    let permits = public
        .quotas
        .admit_handshake(facts, &limits, load, &share)?;
    let rules = tenant.rules(settings);
    let credentials = credentials::collect(rules, facts, headers, query, &public.throttles)?;
    let credentials = credentials.of_tenant(tenant.id());
    // It has another log by now, or is removed.
    let pipeline = public.pipelines.of(tenant).ok_or_else(no_tenant)?;
    let entry = if tenant.is_suspended() {
        Entry::Asked(Outcome::Refused(Close::SUSPENDED.within(SUSPENDED_MS)))
    } else if credentials::await_token(&settings.auth, rules, facts, &credentials) {
        Entry::AwaitsToken(credentials)
    } else {
        let asking = Asking {
            settings,
            tenant,
            pipeline: &pipeline,
            facts,
            credentials: &credentials,
        };
        tokio::select! {
            outcome = public.bootstrap.ask(asking) => {
                Entry::Asked(outcome)
            }
            () = public.leaving.cancelled() => return Err(Rejection::leaving()),
            () = tenant.ended() => return Err(no_tenant()),
        }
    };
    Ok((permits, pipeline, entry))
}
