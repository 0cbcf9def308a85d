//! The demo's two small HTTP servers, with limits on connections, head, body and time.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cross_site::is_cross_site;
use crate::reply::Reply;

/// Maximum connections; further ones wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 128;

/// Maximum request head, in bytes.
const HEAD_BYTES_MAX: usize = 32 << 10;

/// Maximum request body, in bytes.
pub(crate) const BODY_BYTES_MAX: usize = 16 << 10;

/// Timeout of a request head, and of a body.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// Time at shutdown after which open connections are dropped.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

/// Pause after a failed accept, for example because of too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Handles requests.
pub(crate) trait Handler: Send + Sync + 'static {
    /// Handles one request, whose body has been read.
    fn handle(&self, head: Parts, body: Bytes) -> impl Future<Output = Reply> + Send;
}

/// Serves until `stop`, then waits for requests in progress.
pub(crate) async fn serve<H: Handler>(
    listener: TcpListener,
    handler: Arc<H>,
    stop: CancellationToken,
) {
    let tracker = TaskTracker::new();
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let next = async {
            let permit = Arc::clone(&permits).acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            next = next => next,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, _)) => {
                let (handler, stop) = (Arc::clone(&handler), stop.clone());
                tracker.spawn(async move {
                    serve_connection(stream, handler, stop).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the demo cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    tracker.close();
    if tokio::time::timeout(SHUTDOWN_TIMEOUT, tracker.wait())
        .await
        .is_err()
    {
        tracing::debug!("the demo drops open requests");
    }
}

async fn serve_connection<H: Handler>(stream: TcpStream, handler: Arc<H>, stop: CancellationToken) {
    let service = service_fn(move |request| {
        let handler = Arc::clone(&handler);
        async move { Ok::<_, Infallible>(respond(&*handler, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(READ_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let done = tokio::select! {
        done = &mut connection => done,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = done {
        tracing::debug!(%error, "a connection to the demo ended");
    }
}

async fn respond<H: Handler>(handler: &H, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    if is_cross_site(&head.headers) {
        let sentence = "the demo accepts requests of its own page and of local programs only";
        return Reply::error(StatusCode::FORBIDDEN, sentence).into();
    }
    let body = Limited::new(body, BODY_BYTES_MAX).collect();
    let body = match tokio::time::timeout(READ_TIMEOUT, body).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(_)) => {
            let sentence = "the body is longer than 16 KiB, or incomplete";
            return Reply::error(StatusCode::PAYLOAD_TOO_LARGE, sentence).into();
        }
        Err(_) => {
            return Reply::error(StatusCode::REQUEST_TIMEOUT, "the body did not arrive").into();
        }
    };
    handler.handle(head, body).await.into()
}
