//! The public listener: websockets and a health check, nothing that publishes or inspects.

mod handshake;
mod upgrade;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use ht_backend::Backend;
use ht_backend::ForwardRules;
use http::Method;
use http::Request;
use http::Response;
use http::StatusCode;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::rt::TokioTimer;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::config::ServerLimits;
use crate::grants::GrantSets;
use crate::inbox;
use crate::listener::ACCEPT_BACKOFF;
use crate::listener::Listener;
use crate::listener::Stream;
use crate::node::Node;
use crate::public::upgrade::Handover;
use crate::public::upgrade::Pending;
use crate::respond;
use crate::respond::Body;

/// The smallest head buffer that the HTTP library accepts, in bytes.
const HEAD_BYTES_MIN: usize = 8 << 10;

/// What every handshake needs.
pub(crate) struct Public {
    pub(crate) node: Arc<Node>,
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) rules: ForwardRules,
    pub(crate) grants: GrantSets,
    pub(crate) shards: Vec<inbox::Sender>,
    /// Where the next connection goes.
    pub(crate) next_shard: AtomicUsize,
    pub(crate) limits: ServerLimits,
    /// Whether any hook wants the credentials of admitted users.
    pub(crate) has_hooks: bool,
}

/// Accepts connections until `shutdown`.
pub(crate) async fn serve(public: Arc<Public>, listener: Listener, shutdown: CancellationToken) {
    let places = Arc::new(Semaphore::new(
        public.limits.handshakes.clamp(1, Semaphore::MAX_PERMITS),
    ));
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => return,
            accepted = accept(&listener, &places) => accepted,
        };
        match accepted {
            Ok((stream, place)) => {
                let (public, shutdown) = (Arc::clone(&public), shutdown.clone());
                tokio::spawn(async move {
                    tokio::select! {
                        () = shutdown.cancelled() => {}
                        () = serve_connection(public, stream) => {}
                    }
                    drop(place);
                });
            }
            Err(error) => {
                public
                    .node
                    .counters
                    .accept_errors
                    .fetch_add(1, Ordering::Relaxed);
                if let Some(suppressed) = public.node.throttles.tell("accept") {
                    tracing::warn!(%error, suppressed, "cannot accept connections for the moment");
                }
                tokio::time::sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
}

/// A connection, once there is a place for another handshake.
async fn accept(
    listener: &Listener,
    places: &Arc<Semaphore>,
) -> std::io::Result<(Stream, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await;
    let place = place.map_err(|_| std::io::Error::other("no places for handshakes"))?;
    Ok((listener.accept().await?, place))
}

/// Speaks HTTP until the connection ends or becomes a websocket, which its shard then gets.
async fn serve_connection(public: Arc<Public>, stream: Stream) {
    let pending = Pending::default();
    let service = service_fn(|request| respond_to(&public, &pending, request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(public.limits.head_timeout)
        .max_buf_size(public.limits.head_bytes.max(HEAD_BYTES_MIN))
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    // An error here is a client that went away or spoke no HTTP: nothing to do about either.
    let ended = connection.await;
    if ended.is_ok()
        && let Some(handover) = pending.take()
    {
        handover.finish(&public).await;
    }
}

async fn respond_to(
    public: &Public,
    pending: &Pending,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path();
    let response = match path {
        "/ws/" | "/ws" if request.method() == Method::GET => match handshake::check(&request) {
            Ok(accept) => {
                let upgrade = hyper::upgrade::on(&mut request);
                match admit(public, &request).await {
                    Ok(welcome) => {
                        pending.put(Handover { upgrade, welcome });
                        handshake::switching(&accept)
                    }
                    Err(response) => *response,
                }
            }
            Err(response) => {
                public.node.counters.handshake_errors.add("handshake");
                *response
            }
        },
        "/ws/" | "/ws" => respond::method_not_allowed("GET"),
        "/health" if matches!(*request.method(), Method::GET | Method::HEAD) => {
            respond::text(StatusCode::OK, "ok")
        }
        "/health" => respond::method_not_allowed("GET, HEAD"),
        _ => respond::text(
            StatusCode::NOT_FOUND,
            "There is nothing here. Websockets: /ws/",
        ),
    };
    Ok(response)
}

/// Asks the backend who the visitor is.
async fn admit(
    public: &Public,
    request: &Request<Incoming>,
) -> Result<upgrade::Visitor, Box<Response<Body>>> {
    let open = public.node.connections.load(Ordering::Relaxed);
    let limit = public.limits.connections;
    if limit != 0 && open >= limit as u64 {
        public.node.counters.handshake_errors.add("connections");
        if let Some(suppressed) = public.node.throttles.tell("connections") {
            tracing::warn!(
                open,
                suppressed,
                "limits.connections is reached: refusing visitors"
            );
        }
        let sentence = "This node has as many connections as it may have. Come back later.";
        return Err(Box::new(respond::text(
            StatusCode::SERVICE_UNAVAILABLE,
            sentence,
        )));
    }
    let credentials = public
        .rules
        .apply(request.headers(), request.uri().query())
        .map_err(|error| {
            public.node.counters.handshake_errors.add("forward");
            Box::new(respond::text(StatusCode::BAD_REQUEST, error.to_string()))
        })?;
    let answer = public.backend.bootstrap(&credentials).await;
    Ok(upgrade::Visitor::new(public, answer, credentials))
}
