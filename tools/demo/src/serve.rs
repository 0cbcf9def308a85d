//! The demo's two little HTTP servers: bounded in connections, head, body and time.

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

use crate::guard::is_foreign;
use crate::reply::Reply;

/// Connections at once; a further one waits in the system's queue.
const CONNECTIONS_MAX: usize = 128;

/// Longest request head, in bytes.
const HEAD_BYTES_MAX: usize = 32 << 10;

/// Longest request body, in bytes.
pub(crate) const BODY_BYTES_MAX: usize = 16 << 10;

/// Time for a request head, and again for its body.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// Time until open connections are let go at the end.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);

/// Pause after the system refused a connection, such as for want of open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Answers requests.
pub(crate) trait Site: Send + Sync + 'static {
    /// Answers one request, whose body was read to its end.
    fn answer(&self, head: Parts, body: Bytes) -> impl Future<Output = Reply> + Send;
}

/// Serves until `stop`, then lets requests under way finish.
pub(crate) async fn serve<S: Site>(listener: TcpListener, site: Arc<S>, stop: CancellationToken) {
    let tracker = TaskTracker::new();
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            next = next => next,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, _)) => {
                let (site, stop) = (Arc::clone(&site), stop.clone());
                tracker.spawn(async move {
                    serve_connection(stream, site, stop).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the demo cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    tracker.close();
    if tokio::time::timeout(LEAVE_TIMEOUT, tracker.wait())
        .await
        .is_err()
    {
        tracing::debug!("the demo drops open requests");
    }
}

async fn serve_connection<S: Site>(stream: TcpStream, site: Arc<S>, stop: CancellationToken) {
    let service = service_fn(move |request| {
        let site = Arc::clone(&site);
        async move { Ok::<_, Infallible>(respond(&*site, request).await) }
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

async fn respond<S: Site>(site: &S, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    if is_foreign(&head.headers) {
        let sentence = "the demo answers only its own page and local programs";
        return Reply::error(StatusCode::FORBIDDEN, sentence).into();
    }
    let body = Limited::new(body, BODY_BYTES_MAX).collect();
    let body = match tokio::time::timeout(READ_TIMEOUT, body).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(_)) => {
            let sentence = "the body is longer than 16 KiB, or broke off";
            return Reply::error(StatusCode::PAYLOAD_TOO_LARGE, sentence).into();
        }
        Err(_) => {
            return Reply::error(StatusCode::REQUEST_TIMEOUT, "the body did not arrive").into();
        }
    };
    site.answer(head, body).await.into()
}
