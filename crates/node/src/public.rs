//! The public listener: websockets and a health check, nothing that publishes or inspects.

pub(crate) mod limits;

mod bootstrap;
mod charge;
mod first_frame;
mod screening;
mod upgrade;
mod verdict;

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use ht_backend::Backend;
use ht_edge::address::{Arrival, Peer};
use ht_edge::handshake::Agreed;
use ht_edge::listener::{ACCEPT_BACKOFF, Listener, Stream, descriptor};
use ht_edge::permits::AddressPermit;
use ht_edge::respond::Body;
use ht_edge::route::Route;
use ht_edge::subprotocol::Offer;
use ht_edge::{handshake, respond, route, tcp};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::HEAD_BYTES_MIN;
use crate::counters::HandshakeError;
use crate::grants::GrantSets;
use crate::inbox;
use crate::live::{Live, LiveSettings};
use crate::node::Node;
use crate::public::bootstrap::Verdict;
use crate::public::charge::{Charge, Charged};
use crate::public::limits::Reserved;
use crate::public::upgrade::{Entry, Handover, HandoverCell};

/// When the node leaves, those who have asked for something get an answer within this time.
const FAREWELL: Duration = Duration::from_secs(1);

/// At its start the node waits so long at most for its broker before it accepts clients: those that
/// came earlier would have a gap at once, and be closed. Meanwhile they wait in the system's queue.
const BROKER_TIMEOUT: Duration = Duration::from_secs(3);

/// What every handshake needs.
pub(crate) struct Public {
    pub(crate) node: Arc<Node>,
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) live: Live,
    pub(crate) grants: GrantSets,
    pub(crate) shards: Vec<inbox::Sender>,
    /// Where the next connection goes if all shards have equally many.
    pub(crate) next_shard: AtomicUsize,
    /// A permit for each handshake that may be under way.
    pub(crate) handshakes: Arc<Semaphore>,
    pub(crate) told: Told,
    /// The node leaves: nobody comes in any more.
    pub(crate) leaving: CancellationToken,
    /// Whether any hook wants the credentials of admitted users.
    pub(crate) has_hooks: bool,
}

/// What was told of the proxies in front, which is told once.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// Somebody looks like a proxy that is not trusted.
    untrusted: AtomicBool,
    /// A trusted proxy does not say for whom it asks.
    unsaid: AtomicBool,
}

/// Accepts connections until the node leaves; ready when those who had asked are answered.
pub(crate) async fn serve(public: Arc<Public>, listener: Listener) {
    let visitors = TaskTracker::new();
    tokio::select! {
        () = public.node.connected.cancelled() => {}
        () = tokio::time::sleep(BROKER_TIMEOUT) => {}
        () = public.leaving.cancelled() => {}
    }
    accept_all(&public, &listener, &visitors).await;
    // Its address is free from now on.
    drop(listener);
    visitors.close();
    visitors.wait().await;
}

async fn accept_all(public: &Arc<Public>, listener: &Listener, visitors: &TaskTracker) {
    let permits = public.live.now().limits.unfinished_max();
    let permits = Arc::new(Semaphore::new(permits));
    loop {
        let accepted = tokio::select! {
            () = public.leaving.cancelled() => return,
            accepted = accept(&public.node, listener, &permits) => accepted,
        };
        match accepted {
            Ok(((stream, peer), permit)) => {
                if let Err(error) = tcp::set_options(&public.live.now().tcp, &stream) {
                    tracing::debug!(%error, "a socket option cannot be set");
                }
                if public.node.descriptors.see(&descriptor(&stream)) {
                    tell_of_shortage(&public.node);
                }
                let Ok(of_address) = limits::knock(public, Arrival { peer, told: false }) else {
                    continue;
                };
                let public = Arc::clone(public);
                visitors.spawn(async move {
                    tokio::select! {
                        () = overdue(&public) => {}
                        () = serve_connection(&public, stream, peer, of_address) => {}
                    }
                    drop(permit);
                });
            }
            // A connection that was gone before it was accepted: not to be waited for, or whoever
            // does so often would hold up the others.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) if public.node.descriptors.heed(&error) => tell_of_shortage(&public.node),
            Err(error) => {
                let counters = &public.node.counters;
                counters.accept_errors.fetch_add(1, Ordering::Relaxed);
                if let Some(suppressed) = public.node.throttles.tell("accept-other") {
                    tracing::warn!(%error, suppressed, "cannot accept connections for the moment");
                }
                tokio::time::sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
}

/// Ready when the node leaves and has waited long enough for those who had asked.
async fn overdue(public: &Public) {
    public.leaving.cancelled().await;
    let timeout = public.live.now().drain.timeout;
    tokio::time::sleep(FAREWELL.min(timeout)).await;
}

/// Counts and logs that no client can be accepted for the moment.
fn tell_of_shortage(node: &Node) {
    node.counters.accept_errors.fetch_add(1, Ordering::Relaxed);
    if let Some(suppressed) = node.throttles.tell("accept") {
        let trouble = node.descriptors.trouble().unwrap_or_default();
        tracing::warn!(
            suppressed,
            "{trouble}; new clients wait until connections end. Raise the limit, or lower \
             limits.connections"
        );
    }
}

/// A connection, once there is a permit for another one that is no websocket yet, and a file
/// descriptor.
async fn accept(
    node: &Node,
    listener: &Listener,
    permits: &Arc<Semaphore>,
) -> io::Result<((Stream, Peer), OwnedSemaphorePermit)> {
    let permit = match Arc::clone(permits).try_acquire_owned() {
        Ok(permit) => permit,
        Err(_) => {
            limits::accepting_waits(node);
            let permit = Arc::clone(permits).acquire_owned().await;
            permit.map_err(|_| io::Error::other("no permits for handshakes"))?
        }
    };
    while node.descriptors.are_short() && !node.descriptors.try_again(listener) {
        tokio::time::sleep(ACCEPT_BACKOFF).await;
    }
    Ok((listener.accept().await?, permit))
}

/// Speaks HTTP until the connection ends or becomes a websocket, which its shard then gets.
async fn serve_connection(
    public: &Public,
    mut stream: Stream,
    peer: Peer,
    of_address: Option<AddressPermit>,
) {
    let settings = public.live.now();
    let mut charge = Charge::new(&public.node, &settings.limits, of_address);
    let arrival = tokio::select! {
        () = public.leaving.cancelled() => return,
        arrival = screening::arrive(public, &settings, &mut stream, peer) => arrival,
    };
    let Some(arrival) = arrival else {
        return;
    };
    // What the PROXY header says of the address is only known now.
    if arrival.told {
        match limits::knock(public, arrival) {
            Ok(permit) => permit
                .into_iter()
                .for_each(|permit| charge.belongs_to(permit)),
            Err(_) => return,
        }
    }
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
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = public.leaving.cancelled() => {
            if !asked.load(Ordering::Relaxed) {
                return;
            }
            connection.await
        }
    };
    match ended {
        Ok(()) => {
            if let Some(handover) = pending.take() {
                handover.finish(public).await;
            }
        }
        Err(error) if error.is_timeout() || error.is_parse_too_large() => {
            public
                .node
                .counters
                .handshake_errors
                .add(HandshakeError::Head);
        }
        // A client that went away or spoke no HTTP: nothing to do about either.
        Err(_) => {}
    }
}

async fn respond_to(
    public: &Public,
    pending: &HandoverCell,
    arrival: Arrival,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let settings = public.live.now();
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let response = match Route::of(&request, &settings.public) {
        _ if head_bytes(&request) > settings.limits.head_bytes => {
            public
                .node
                .counters
                .handshake_errors
                .add(HandshakeError::Head);
            let sentence = "The request head is longer than limits.head_bytes.";
            respond::text(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, sentence)
        }
        Route::Websocket if request.method() == Method::GET => match handshake::check(&request) {
            Ok(accept) => {
                let upgrade = hyper::upgrade::on(&mut request);
                match admit(public, &settings, arrival, &mut request).await {
                    Ok((agreed, entry, reserved)) => {
                        pending.put(Handover {
                            upgrade,
                            agreed,
                            entry,
                            reserved,
                        });
                        handshake::switching(&accept, agreed)
                    }
                    Err(response) => *response,
                }
            }
            Err(response) => {
                public
                    .node
                    .counters
                    .handshake_errors
                    .add(HandshakeError::Handshake);
                *response
            }
        },
        Route::Websocket => respond::method_not_allowed("GET"),
        Route::Health if reads => respond::text(StatusCode::OK, "ok"),
        Route::Root if reads => route::root_health(public.node.draining.load(Ordering::Relaxed)),
        Route::Health | Route::Root => respond::method_not_allowed("GET, HEAD"),
        Route::Nothing => route::nothing(&request, &settings.public),
    };
    Ok(last(response))
}

/// Has a connection end behind its one answer: who goes on asking would take a permit from those
/// who come.
fn last(mut response: Response<Body>) -> Response<Body> {
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let headers = response.headers_mut();
        headers.append(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Length of a request's head as it came, but for blanks that mean nothing. The HTTP library only
/// bounds its buffer, which a head that comes in one piece may outgrow.
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

/// Looks at the client, finds a permit for it, then asks the backend who it is, or leaves that to
/// the first frame.
async fn admit(
    public: &Public,
    settings: &LiveSettings,
    arrival: Arrival,
    request: &mut Request<Incoming>,
) -> Result<(Agreed, Entry, Reserved), Box<Response<Body>>> {
    let found = screening::check(public, settings, arrival, request.headers_mut())?;
    let headers = request.headers();
    let offer = Offer::of(headers).map_err(|error| bad(public, HandshakeError::Token, error))?;
    let compression = settings
        .compression
        .then(|| handshake::compression(headers));
    let agreed = Agreed {
        deflate: compression.flatten(),
        subprotocol: offer.subprotocol,
    };
    let reserved = limits::reserve(public, settings, &found)?;
    let rules = &settings.rules;
    let mut credentials = rules
        .apply(headers, request.uri().query())
        .map_err(|error| {
            limits::unforwardable(public, found.client, HandshakeError::Forward, &error)
        })?
        .from_address(found.client.ip());
    if let Some(token) = offer.token {
        rules.add_token(&mut credentials, &token).map_err(|error| {
            limits::unforwardable(public, found.client, HandshakeError::Token, &error)
        })?;
    } else if settings.auth.first_frame && (offer.authenticate || !rules.identify(&credentials)) {
        return Ok((agreed, Entry::Waits(credentials), reserved));
    }
    tokio::select! {
        verdict = Verdict::ask(public, settings, credentials, agreed) => {
            Ok((agreed, Entry::Asked(verdict), reserved))
        }
        () = public.leaving.cancelled() => Err(limits::leaving(public)),
    }
}

/// The answer to what no client should send.
fn bad(public: &Public, reason: HandshakeError, error: impl ToString) -> Box<Response<Body>> {
    public.node.counters.handshake_errors.add(reason);
    Box::new(respond::text(StatusCode::BAD_REQUEST, error.to_string()))
}
