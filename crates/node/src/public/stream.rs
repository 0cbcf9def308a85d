//! Requests for event streams and long polls. They stay HTTP until the API has answered; then the
//! socket is taken from the HTTP library, and a shard writes the whole response.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use ht_core::stream::{Kind, Opening};
use ht_edge::address::{Arrival, Found};
use ht_edge::page::Page;
use ht_edge::rejection::{HandshakeError, Rejection};
use ht_edge::request::RequestFacts;
use ht_edge::respond::{self, Body};
use ht_edge::screening;
use ht_edge::stream::{self, Endpoint, Wanted};
use ht_proto::close::{Advice, Close};
use ht_proto::stream::{
    BODY_BYTES_MAX, Format, Start, StreamRequest, StreamRequestError, close, put_event, put_retry,
    query_of, retry_ms,
};
use http::header::{CACHE_CONTROL, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use tracing::Instrument as _;
use uuid::Uuid;

use crate::live::LiveSettings;
use crate::public::Public;
use crate::public::admit::{self, Request as Asked, find_tenant};
use crate::public::outcome::Outcome;
use crate::public::upgrade::{Entry, Handover, HandoverCell, Way};
use crate::tenants::Tenant;

/// Span within which clients come back that a limit of the node keeps out, in ms.
const LATER: u32 = 30_000;

/// Answers a request of a page or a program, unless a shard is to do so: then this never returns.
pub(super) async fn respond(
    public: &Public,
    pending: &HandoverCell,
    arrival: Arrival,
    endpoint: Endpoint,
    request: &mut Request<Incoming>,
) -> Response<Body> {
    let settings = public.live.now();
    let is_preflight = *request.method() == Method::OPTIONS;
    if !is_preflight && !endpoint.answers(request.method()) {
        return respond::method_not_allowed(endpoint.methods());
    }
    let tenant = match find_tenant(public, &settings, request) {
        Ok(tenant) => tenant,
        Err(rejection) => return refuse(public, &Page::default(), rejection, false),
    };
    let (config, origins) = (&settings.public, tenant.origins(&settings));
    let headers = request.headers_mut();
    let checked = screening::check_page(headers, arrival, config, origins, &public.throttles);
    let (found, page) = match checked {
        Ok(checked) => checked,
        Err(rejection) => return refuse(public, &Page::default(), rejection, false),
    };
    if is_preflight {
        return page.preflight(endpoint.methods());
    }
    let wanted = match stream::wanted(request, endpoint) {
        Ok(wanted) => wanted,
        Err(rejection) => return refuse(public, &page, rejection, false),
    };
    let admitting = admit(
        public,
        (&settings, &tenant),
        (endpoint, wanted, &page),
        found,
        request,
    );
    match admitting.instrument(tenant.span()).await {
        Ok(handover) => {
            pending.take_over(handover);
            std::future::pending().await
        }
        Err(rejection) => {
            public.count_refusal(&tenant, &rejection);
            refuse(public, &page, rejection, wanted.is_plain)
        }
    }
}

/// Reads what a client asks for, takes permits for it, and calls the API.
async fn admit(
    public: &Public,
    (settings, tenant): (&LiveSettings, &Tenant),
    (endpoint, wanted, page): (Endpoint, Wanted, &Page),
    found: Found,
    request: &mut Request<Incoming>,
) -> Result<Handover, Rejection> {
    let mut facts = RequestFacts::of_stream(request.headers(), found, wanted, endpoint)?;
    let (mut asked, bytes) = read(settings, request).await?;
    asked.go_on_after(stream::last_event_id(request.headers()));
    let resume = asked.resume.take();
    facts.resume = resume.filter(|_| facts.gets_tickets);
    let (headers, query) = (request.headers(), request.uri().query());
    let (permits, pipeline, entry) = admit::admit(
        public,
        (settings, tenant),
        Asked {
            facts: &facts,
            headers,
            query,
        },
    )
    .await?;
    let entry = match entry {
        Entry::Asked(outcome) => outcome,
        // There is no first frame to wait for.
        Entry::AwaitsToken(_) => Outcome::Unauthenticated,
    };
    let is_new = asked.start == Start::Now;
    if endpoint == Endpoint::Poll && !is_new && !entry.is_resumed() {
        let counter = &public.counters.poll_bootstraps;
        counter.fetch_add(1, Ordering::Relaxed);
    }
    let wait_max = u64::try_from(settings.streams.wait_max.as_millis()).unwrap_or(u64::MAX);
    let opening = Opening {
        kind: match endpoint {
            Endpoint::Stream => Kind::Stream(wanted.format),
            Endpoint::Poll => Kind::Poll {
                wait_ms: asked.wait_ms.map_or(wait_max, |wait| wait.min(wait_max)),
            },
        },
        is_plain: wanted.is_plain,
        request: asked,
        origin: page.origin().map(Into::into),
        bytes,
    };
    Ok(Handover {
        way: Way::Stream(Box::new(opening)),
        facts,
        permits,
        pipeline,
        entry: Entry::Asked(entry),
    })
}

/// Reads what a client asks for, in the query or the body, within the time for a head. Also returns
/// how many bytes that are.
async fn read(
    settings: &LiveSettings,
    request: &mut Request<Incoming>,
) -> Result<(StreamRequest, usize), Rejection> {
    let refuse = |error: StreamRequestError| {
        let status = if error == StreamRequestError::TooLong {
            StatusCode::PAYLOAD_TOO_LARGE
        } else {
            StatusCode::BAD_REQUEST
        };
        reject(status, error.to_string())
    };
    let limits = &settings.messages;
    if *request.method() == Method::GET {
        let query = request.uri().query().unwrap_or_default();
        let asked = query_of(query, limits).map_err(refuse)?;
        return Ok((asked, query.len()));
    }
    let body = Limited::new(request.body_mut(), BODY_BYTES_MAX).collect();
    let body: Bytes = match tokio::time::timeout(settings.limits.head_timeout, body).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            return Err(refuse(StreamRequestError::TooLong));
        }
        Ok(Err(_)) => {
            let sentence = "The body of this request cannot be read.";
            return Err(reject(StatusCode::BAD_REQUEST, sentence));
        }
        Err(_) => {
            let sentence = "The body did not arrive within limits.head_timeout.";
            let response = respond::text(StatusCode::REQUEST_TIMEOUT, sentence);
            return Err(Rejection::new(HandshakeError::Head, response));
        }
    };
    let asked = StreamRequest::parse(&body, limits).map_err(refuse)?;
    Ok((asked, body.len()))
}

fn reject(status: StatusCode, sentence: impl Into<String>) -> Rejection {
    let response = respond::text(status, sentence);
    Rejection::new(HandshakeError::Handshake, response)
}

/// The response to a client that the gateway itself rejects, which its page may read.
fn refuse(public: &Public, page: &Page, rejection: Rejection, is_plain: bool) -> Response<Body> {
    public.rejected(rejection.reason);
    let mut response = *rejection.response;
    if is_plain
        && matches!(
            response.status(),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
        )
    {
        response = later(rejection.reason);
    }
    let no_store = HeaderValue::from_static("no-store");
    response.headers_mut().insert(CACHE_CONTROL, no_store);
    page.allow(&mut response);
    response
}

/// The same as an answer that a browser's `EventSource` comes back after, which it never does after
/// another status.
fn later(reason: HandshakeError) -> Response<Body> {
    let is_leaving = reason == HandshakeError::Leaving;
    let why = if is_leaving {
        Close::RESTART
    } else {
        Close::OVERLOADED.within(LATER)
    };
    let random = Uuid::new_v4().as_u64_pair().1;
    let within = (!is_leaving).then_some(LATER);
    let mut body = Vec::new();
    put_retry(&mut body, retry_ms(within, Advice::of(why.code()), random));
    let message = close(why.code(), &why.reason());
    put_event(&mut body, Format::Events, &message, None);
    respond::with_type(StatusCode::OK, Format::Events.content_type(), body)
}
