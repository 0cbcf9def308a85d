//! `POST /trigger/`: the HTTP endpoint on which the API publishes triggers and commands.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use ht_broker::AppendError;
use ht_edge::quiet;
use ht_edge::respond::Body;
use ht_proto::trigger::{self, Problem};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version, header};
use http_body_util::Limited;
use hyper::body::{Body as _, Incoming};
use tokio::time::Instant;

use crate::config::ServerLimits;
use crate::in_flight::{NoRoom, Share};
use crate::internal::access::Access;
use crate::internal::answers::Asked;
use crate::internal::body::{Unread, collect, let_pass};
use crate::internal::rejected::refused;
use crate::internal::routes::Routes;
use crate::internal::{Internal, access, answers, error, rate, tenant};
use crate::{offload, records};

/// Publishes the triggers of a request. 200 means that every trigger has its position in the order,
/// and that this node has executed every command.
pub(super) async fn post(
    internal: &Internal,
    request: Request<Incoming>,
    access: Access,
) -> Response<Body> {
    let most = internal.live.now().limits.trigger_bytes;
    // Before anything is read, and so before a client that expects 100 gets it.
    if request.body().size_hint().lower() > most as u64 {
        return refused(&Problem::TooLong(most).into());
    }
    if internal.lifecycle.is_deserted() {
        return before_body(request, most, leaving()).await;
    }
    if internal.memory.is_short() {
        let counters = &internal.counters;
        counters.triggers_shed.fetch_add(1, Ordering::Relaxed);
        let sentence = "This node is short of memory: send the trigger again in a moment.";
        let response = try_again(StatusCode::SERVICE_UNAVAILABLE, sentence);
        return before_body(request, most, response).await;
    }
    if awaits_continue(&request) && !has_room(internal, &request) {
        return before_body(request, most, overloaded(internal)).await;
    }
    if let Err(response) = check_headers(request.headers()) {
        return *response;
    }
    let scope = match tenant::of_request(internal, request.headers(), access) {
        Ok(scope) => scope,
        Err(response) => return before_body(request, most, *response).await,
    };
    if let Some(tenant) = &scope
        && let Err(response) = rate::check(internal, tenant)
    {
        return before_body(request, most, *response).await;
    }
    let live = internal.live.now();
    let (body, _share) = match read(internal, &live.limits, request).await {
        Ok(read) => read,
        Err(response) => return *response,
    };
    let limits = live.limits.trigger();
    let parsed = offload::parse(body, move |body| records::request(body, &limits)).await;
    if let Ok(request) = &parsed
        && let Err(response) = access::check(internal, access, request)
    {
        return *response;
    }
    let (mut records, is_array) = match parsed {
        Ok(trigger::Request::One(record)) => (vec![record], false),
        Ok(trigger::Request::Many(records)) => (records, true),
        Err(error) => return refused(&error),
    };
    let scope = scope.as_ref();
    let tenants = match tenant::assign(internal.tenants(), scope, &mut records, is_array, most) {
        Ok(tenants) => tenants,
        Err(response) => return *response,
    };
    let tokens = match rate::take(internal, &records, &tenants) {
        Ok(tokens) => tokens,
        Err(response) => return *response,
    };
    let Some(routes) = Routes::of(internal, &tenants) else {
        return leaving();
    };
    let asked = Asked::all(&records, &tenants, &routes);
    let ordered = Asked::ordered(records, &tenants, &routes);
    match routes.publish(ordered).await {
        Ok(places) => {
            rate::published(internal, &tokens);
            let pipelines = routes.end();
            answers::to(internal, &pipelines, asked, &places, is_array).await
        }
        Err(error) => unpublished(&error),
    }
}

/// Whether the client has sent nothing of the body yet and waits for 100 (RFC 9110 section 10.1.1).
/// It is sent with the first read of the body.
fn awaits_continue(request: &Request<Incoming>) -> bool {
    let expect = request.headers().get(header::EXPECT);
    let is_continue = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue");
    request.version() >= Version::HTTP_11 && expect.is_some_and(is_continue)
}

/// Whether a body of the announced length would be admitted now.
fn has_room(internal: &Internal, request: &Request<Incoming>) -> bool {
    let limit = internal.live.now().limits.triggers_in_flight as u64;
    let length = request.body().size_hint().lower();
    let in_flight = &internal.triggers_in_flight;
    in_flight.has_room(length, limit, Instant::now())
}

/// Responds to a request whose body is rejected. A client that waits for `100 Continue` is answered
/// at once; the connection is closed then, because the body may arrive all the same. For any other
/// client the body is read and discarded, so that it can reuse the connection.
async fn before_body(
    request: Request<Incoming>,
    most: usize,
    mut response: Response<Body>,
) -> Response<Body> {
    if awaits_continue(&request) {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
    } else {
        let_pass(Limited::new(request.into_body(), most)).await;
    }
    response
}

/// Any content type is read as JSON, because old publishers send none; but a body that is clearly
/// something else is rejected with an explanation.
fn check_headers(headers: &HeaderMap) -> Result<(), Box<Response<Body>>> {
    let value = |name| headers.get(name).map_or(&b""[..], HeaderValue::as_bytes);
    let encoding = value(header::CONTENT_ENCODING);
    if !encoding.is_empty() && !encoding.eq_ignore_ascii_case(b"identity") {
        let sentence = "Send the body without Content-Encoding.";
        return Err(Box::new(error(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            sentence,
        )));
    }
    let (kind, multipart) = (value(header::CONTENT_TYPE), b"multipart/");
    let start = kind.get(..multipart.len()).unwrap_or_default();
    if start.eq_ignore_ascii_case(multipart) {
        let sentence = "Send the trigger as JSON, with Content-Type: application/json.";
        return Err(Box::new(error(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            sentence,
        )));
    }
    Ok(())
}

/// A body that was read, and its share of the memory of all requests.
type Read<'a> = (Bytes, Share<'a>);

async fn read<'a>(
    internal: &'a Internal,
    limits: &ServerLimits,
    request: Request<Incoming>,
) -> Result<Read<'a>, Box<Response<Body>>> {
    let most = limits.trigger_bytes;
    let mut body = request.into_body();
    let mut share = internal.triggers_in_flight.share();
    let limit = limits.triggers_in_flight as u64;
    match quiet::whole(collect(&mut body, &mut share, most, limit)).await {
        Ok(whole) => Ok((whole, share)),
        Err(unread) => {
            // No publisher waits for the memory of this one.
            drop(share);
            Err(Box::new(unread_answer(internal, unread, body, most).await))
        }
    }
}

/// The response to a request whose body was not read, once it may be sent.
async fn unread_answer(
    internal: &Internal,
    unread: Unread,
    body: Incoming,
    most: usize,
) -> Response<Body> {
    match unread {
        Unread::TooLong => refused(&Problem::TooLong(most).into()),
        Unread::Broken => error(
            StatusCode::BAD_REQUEST,
            "The body could not be read to its end.",
        ),
        Unread::Late => error(StatusCode::REQUEST_TIMEOUT, "The body did not arrive."),
        Unread::NoRoom(NoRoom::Full) => {
            let response = overloaded(internal);
            let_pass(Limited::new(body, most)).await;
            response
        }
        Unread::NoRoom(NoRoom::Evicted) => evicted(internal),
    }
}

/// Counts and logs a request that is rejected for lack of memory.
fn overloaded(internal: &Internal) -> Response<Body> {
    let overloads = &internal.counters.trigger_overloads;
    overloads.fetch_add(1, Ordering::Relaxed);
    if let Some(suppressed) = internal.throttles.allow("triggers-in-flight") {
        let bytes = internal.triggers_in_flight.bytes();
        tracing::warn!(
            bytes,
            suppressed,
            "limits.triggers_in_flight is reached: rejecting triggers"
        );
    }
    let sentence = "This node has as many triggers in flight as it may have \
                    (limits.triggers_in_flight): send it again in a moment.";
    try_again(StatusCode::SERVICE_UNAVAILABLE, sentence)
}

/// Counts and logs a request whose body stalled while others needed the memory.
fn evicted(internal: &Internal) -> Response<Body> {
    let overloads = &internal.counters.trigger_overloads;
    overloads.fetch_add(1, Ordering::Relaxed);
    if let Some(suppressed) = internal.throttles.allow("triggers-stalled") {
        tracing::warn!(
            suppressed,
            "limits.triggers_in_flight is reached: dropped a request to /trigger/ whose body had \
             stopped coming, to make room for others. Look at the machine that sends it"
        );
    }
    let sentence = "The body came too slowly while others needed the room \
                    (limits.triggers_in_flight): send it again in a moment.";
    try_again(StatusCode::SERVICE_UNAVAILABLE, sentence)
}

fn unpublished(cause: &AppendError) -> Response<Body> {
    let status = match cause {
        // Sending it again is of no use.
        AppendError::TooLong { .. } => {
            let sentence = format!("{cause}: send less, or raise the broker's limit.");
            return error(StatusCode::PAYLOAD_TOO_LARGE, &sentence);
        }
        AppendError::Unconfirmed { .. } => StatusCode::GATEWAY_TIMEOUT,
        AppendError::Unavailable(_) | _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    try_again(status, &cause.to_string())
}

fn leaving() -> Response<Body> {
    let sentence = "This node is shutting down: send the trigger to another one, or in a moment.";
    try_again(StatusCode::SERVICE_UNAVAILABLE, sentence)
}

/// A transient error.
fn try_again(status: StatusCode, sentence: &str) -> Response<Body> {
    let mut response = error(status, sentence);
    response
        .headers_mut()
        .insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}
