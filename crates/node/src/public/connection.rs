//! One connection of the public listener, until it ends or is handed to its shard.

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};

use ht_edge::address::{Arrival, Peer};
use ht_edge::listener::Stream;
use ht_edge::permits::AddressPermit;
use ht_edge::rejection::{HandshakeError, Rejection};
use ht_edge::request::RequestFacts;
use ht_edge::respond::{self, Body};
use ht_edge::route::{self, Route};
use ht_edge::screening;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tracing::Instrument as _;

use crate::charge::{Charged, HandshakeCharge};
use crate::config::HEAD_BYTES_MIN;
use crate::live::LiveSettings;
use crate::public::admit::{self, Request as Asked, find_tenant};
use crate::public::upgrade::{Handover, HandoverCell, Way};
use crate::public::{Public, stream};
use crate::tenants::Tenant;

/// Serves HTTP until the connection ends or becomes a websocket, which is then handed to its shard.
pub(super) async fn serve(
    public: &Public,
    mut stream: Stream,
    peer: Peer,
    of_address: Option<AddressPermit>,
) {
    let settings = public.live.now();
    let mut charge = HandshakeCharge::new(&public.charges, &settings.limits, of_address);
    let Some(arrival) = arrive(public, &settings, &mut stream, peer, &mut charge).await else {
        return;
    };
    let (pending, asked) = (HandoverCell::default(), AtomicBool::new(false));
    let service = service_fn(|request| {
        asked.store(true, Ordering::Relaxed);
        respond_to(public, &pending, arrival, request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(settings.limits.head_timeout)
        .max_buf_size(settings.limits.head_bytes.max(HEAD_BYTES_MIN))
        .serve_connection(TokioIo::new(Charged { stream, charge }), service)
        .with_upgrades();
    let mut connection = connection;
    let mut is_leaving = false;
    let ended = loop {
        tokio::select! {
            ended = &mut connection => break ended,
            () = pending.taken_over() => {
                // Nothing was written, and the request was read whole: a shard answers it.
                if let (Some(handover), Some(parts)) = (pending.take(), connection.into_parts()) {
                    handover.taken_over(public, parts.io.into_inner()).await;
                }
                return;
            }
            () = public.leaving.cancelled(), if !is_leaving => {
                if !asked.load(Ordering::Relaxed) {
                    return;
                }
                is_leaving = true;
            }
        }
    };
    match ended {
        Ok(()) => {
            if let Some(handover) = pending.take() {
                handover.upgraded(public).await;
            }
        }
        Err(error) if error.is_timeout() || error.is_parse_too_large() => {
            public.rejected(HandshakeError::Head);
        }
        // The client disconnected or did not speak HTTP: nothing to do about either.
        Err(_) => {}
    }
}

/// Determines who opened the connection. None: it must be closed.
async fn arrive(
    public: &Public,
    settings: &LiveSettings,
    stream: &mut Stream,
    peer: Peer,
    charge: &mut HandshakeCharge,
) -> Option<Arrival> {
    let (config, limits) = (&settings.public, &settings.limits);
    let arrival = screening::arrive(stream, peer, config, limits.head_timeout, &public.throttles);
    let arrival = tokio::select! {
        () = public.leaving.cancelled() => return None,
        arrival = arrival => arrival,
    };
    let arrival = arrival.map_err(|reason| public.rejected(reason)).ok()?;
    if !arrival.told {
        return Some(arrival);
    }
    // The address in the PROXY header is only known now.
    let permit = public.admit_connection(settings, arrival).ok()?;
    permit
        .into_iter()
        .for_each(|permit| charge.belongs_to(permit));
    Some(arrival)
}

async fn respond_to(
    public: &Public,
    pending: &HandoverCell,
    arrival: Arrival,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let settings = public.live.now();
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let tenants = &public.bootstrap.tenants;
    let response = match Route::of(&request, &settings.public, |path| tenants.have_path(path)) {
        _ if head_bytes(&request) > settings.limits.head_bytes => {
            public.rejected(HandshakeError::Head);
            let sentence = "The request head is longer than limits.head_bytes.";
            respond::text(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, sentence)
        }
        Route::Websocket if request.method() == Method::GET => {
            let admitted = match find_tenant(public, &settings, &request) {
                Ok(tenant) => {
                    let admitting = admit(public, &settings, arrival, &tenant, &mut request);
                    let admitted = admitting.instrument(tenant.span()).await;
                    admitted.inspect_err(|rejection| public.count_refusal(&tenant, rejection))
                }
                Err(rejection) => Err(rejection),
            };
            match admitted {
                Ok(handover) => {
                    let response = handover.facts.switching_protocols();
                    pending.put(handover);
                    response
                }
                Err(Rejection {
                    reason, response, ..
                }) => {
                    public.rejected(reason);
                    *response
                }
            }
        }
        Route::Websocket => respond::method_not_allowed("GET"),
        Route::Stream(endpoint) => {
            stream::respond(public, pending, arrival, endpoint, &mut request).await
        }
        Route::Health if reads => respond::text(StatusCode::OK, "ok"),
        Route::Root if reads => route::root_health(public.lifecycle.is_draining()),
        Route::Health | Route::Root => respond::method_not_allowed("GET, HEAD"),
        Route::Nothing => route::nothing(&request, &settings.public, tenants.are_enabled()),
    };
    Ok(last(response))
}

/// Closes a connection after its only response: a client that keeps it alive would take a permit
/// from new ones.
fn last(mut response: Response<Body>) -> Response<Body> {
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let headers = response.headers_mut();
        headers.append(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Length of a request's head as it was received, except for insignificant blanks. The HTTP library
/// only limits its buffer, which a head that arrives in one piece may exceed.
fn head_bytes<B>(request: &Request<B>) -> usize {
    let target = request
        .uri()
        .path_and_query()
        .map_or(1, |it| it.as_str().len());
    let line = request.method().as_str().len() + " ".len() + target + " HTTP/1.1\r\n".len();
    let headers = request.headers().iter();
    headers.fold(line + "\r\n".len(), |sum, (name, value)| {
        sum + name.as_str().len() + ": ".len() + value.len() + "\r\n".len()
    })
}

/// Checks the request for a websocket and admits its client.
async fn admit(
    public: &Public,
    settings: &LiveSettings,
    arrival: Arrival,
    tenant: &Tenant,
    request: &mut Request<Incoming>,
) -> Result<Handover, Rejection> {
    let (config, throttles) = (&settings.public, &public.throttles);
    let (origins, compression) = (tenant.origins(settings), settings.compression);
    let facts = RequestFacts::of(request, arrival, config, origins, compression, throttles)?;
    let asked = Asked {
        facts: &facts,
        headers: request.headers(),
        query: request.uri().query(),
    };
    let (permits, pipeline, entry) = admit::admit(public, (settings, tenant), asked).await?;
    Ok(Handover {
        way: Way::Upgrade(hyper::upgrade::on(request)),
        facts,
        permits,
        pipeline,
        entry,
    })
}
