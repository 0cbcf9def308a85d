//! One request and the head of its answer, over a pool of connections.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use http::{Extensions, HeaderMap, Method, Request, Response, Uri};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::{CaptureConnection, capture_connection};
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::io::AsyncWriteExt as _;
use tokio::time::Instant;
use tower_service::Service as _;

use crate::answer::{Failure, Waiting};
use crate::connect::{Connector, Served};
use crate::{cause, fault};

/// An idle connection is not used again after this long, and closed within twice this time. Less
/// than any usual server keeps one (gunicorn 2 s, Node and Apache 5 s, nginx 75 s), so that a
/// request and the server's close do not pass each other.
const IDLE_TIMEOUT: Duration = Duration::from_millis(1_500);

/// The close of an idle connection arrives within this time of the request that it crossed: a round
/// trip. A server that closes later has received the request.
const CROSSING: Duration = Duration::from_secs(1);

/// Idle connections kept, however many calls may be under way.
const IDLE_MAX: usize = 64;

/// Longest head of an answer, and largest piece of a body, in bytes.
const BUFFER_BYTES_MAX: usize = 64 * 1024;

/// Longer timeouts are capped at this one.
const TIMEOUT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// When a call must be over.
#[derive(Clone, Copy)]
pub(crate) struct Deadline {
    at: Instant,
    within: Duration,
}

impl Deadline {
    /// A deadline that starts now.
    pub(crate) fn after(within: Duration) -> Self {
        Self {
            at: Instant::now() + within.min(TIMEOUT_MAX),
            within,
        }
    }

    /// Runs a part of the call up to the deadline.
    pub(crate) async fn bound<T>(
        self,
        part: impl Future<Output = T>,
        waiting: Waiting,
    ) -> Result<T, Failure> {
        tokio::time::timeout_at(self.at, part)
            .await
            .map_err(|_| self.missed(waiting))
    }

    fn missed(self, waiting: Waiting) -> Failure {
        Failure::Timeout {
            within: self.within,
            waiting,
        }
    }
}

/// The request. It never has a body.
pub(crate) struct Call<'a> {
    /// The method.
    pub(crate) method: &'a Method,
    /// The whole address.
    pub(crate) target: &'a Uri,
    /// All headers but `Host`.
    pub(crate) headers: &'a HeaderMap,
    /// Whether the call may be made twice (RFC 9110 section 9.2.2).
    pub(crate) repeatable: bool,
}

/// The HTTP client and its connections.
pub(crate) struct Exchange {
    pooled: Client<Connector, Empty<Bytes>>,
    /// For the second attempt: never uses a pooled connection.
    fresh: Client<Connector, Empty<Bytes>>,
    connector: Connector,
}

impl Exchange {
    /// A client without connections. At most `idle_max` idle ones are kept.
    pub(crate) fn new(connector: Connector, idle_max: usize) -> Self {
        let client = |idle_max| {
            Client::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .pool_idle_timeout(IDLE_TIMEOUT)
                .pool_max_idle_per_host(idle_max)
                .http1_max_buf_size(BUFFER_BYTES_MAX)
                .build(connector.clone())
        };
        Self {
            pooled: client(idle_max.clamp(1, IDLE_MAX)),
            fresh: client(0),
            connector,
        }
    }

    /// Makes a connection, TLS included, and closes it again without a request.
    pub(crate) async fn reach(&self, target: &Uri, deadline: Deadline) -> Result<(), Failure> {
        let connecting = self.connector.clone().call(target.clone());
        match deadline.bound(connecting, Waiting::Connection).await? {
            Ok(stream) => {
                // However it ends: it could be made.
                let closing = stream.into_inner();
                let closing = async { std::pin::pin!(closing).shutdown().await };
                let _ = deadline.bound(closing, Waiting::Connection).await;
                Ok(())
            }
            Err(error) => Err((&error).into()),
        }
    }

    /// Sends a request and waits for the head of its answer.
    ///
    /// If the connection came from the pool and ends without a response, the backend most likely
    /// closed it for being idle while the request was in flight. A repeatable call is then retried
    /// once on a fresh connection. Any other call only if nothing suggests that the backend
    /// received it: no byte of a response arrived, and the end came within [`CROSSING`]. If not a
    /// byte of it was sent, the HTTP client retries by itself.
    pub(crate) async fn send(
        &self,
        call: &Call<'_>,
        deadline: Deadline,
    ) -> Result<Response<Incoming>, Failure> {
        let sent = Instant::now();
        match Self::attempt(&self.pooled, call, deadline).await? {
            Ok(response) => Ok(response),
            Err((error, reused))
                if reused.get()
                    && cause::is_closed(&error)
                    && (call.repeatable || !reused.is_answering() && sent.elapsed() < CROSSING) =>
            {
                let second = Self::attempt(&self.fresh, call, deadline).await?;
                second.map_err(|(error, served)| fault::in_head(&error, &served))
            }
            Err((error, served)) => Err(fault::in_head(&error, &served)),
        }
    }

    /// One attempt. The inner error carries what its connection had served before.
    async fn attempt(
        client: &Client<Connector, Empty<Bytes>>,
        call: &Call<'_>,
        deadline: Deadline,
    ) -> Result<Result<Response<Incoming>, (legacy::Error, Served)>, Failure> {
        let mut request = Request::new(Empty::new());
        *request.method_mut() = call.method.clone();
        *request.uri_mut() = call.target.clone();
        *request.headers_mut() = call.headers.clone();
        let captured = capture_connection(&mut request);
        match deadline.bound(client.request(request), Waiting::Head).await {
            Ok(Ok(response)) => {
                if let Some(served) = response.extensions().get::<Served>() {
                    served.set();
                }
                Ok(Ok(response))
            }
            Ok(Err(error)) => Ok(Err((error, served(&captured)))),
            Err(_) if captured.connection_metadata().is_none() => {
                Err(deadline.missed(Waiting::Connection))
            }
            Err(failure) => Err(failure),
        }
    }
}

/// What the connection of a request had carried before.
pub(crate) fn served(captured: &CaptureConnection) -> Served {
    let mut extras = Extensions::new();
    if let Some(connected) = captured.connection_metadata().as_ref() {
        connected.get_extras(&mut extras);
    }
    extras.remove::<Served>().unwrap_or_default()
}
