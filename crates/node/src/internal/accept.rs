//! Connections of the internal listener.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ht_edge::address::Peer;
use ht_edge::linger::Lingering;
use ht_edge::listener::{ACCEPT_BACKOFF, Listener, Stream};
use ht_edge::peers::Peers;
use ht_edge::quiet;
use ht_edge::write_timeout::WriteTimeout;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::counters::ListenerKind;
use crate::internal::{Internal, respond_to};

/// Maximum number of connections; more wait in the system's queue. One address may have as many of
/// them as it leaves free: alone half of them, and however many addresses fill up their share, there
/// is one left for an address that has none.
const CONNECTIONS: usize = 1_024;

/// Timeout of a request's head, and so of an idle keep-alive connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);

/// Accepts connections until `shutdown`.
pub(super) async fn accept_all(
    internal: Arc<Internal>,
    listener: Listener,
    shutdown: CancellationToken,
) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    let peers = Arc::<Peers>::default();
    loop {
        let permit = match Arc::clone(&permits).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                accepting_waits(&internal);
                let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
                    return;
                };
                permit
            }
        };
        let accepted = tokio::select! {
            () = shutdown.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let Some(of_peer) = peers.take(peer, permits.available_permits()) else {
                    crowded(&internal, peer);
                    continue;
                };
                let (internal, shutdown) = (Arc::clone(&internal), shutdown.clone());
                tokio::spawn(async move {
                    serve_connection(internal, stream, shutdown).await;
                    drop((permit, of_peer));
                });
            }
            Err(error) => {
                let counters = &internal.counters;
                counters.accept_errors.fetch_add(1, Ordering::Relaxed);
                if let Some(suppressed) = internal.throttles.allow("accept-internal") {
                    tracing::warn!(%error, suppressed, "cannot accept internal connections");
                }
                tokio::time::sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
}

/// Counts and logs that no connection can be accepted for the moment.
fn accepting_waits(internal: &Internal) {
    internal.counters.accept_waits.add(ListenerKind::Internal);
    if let Some(suppressed) = internal.throttles.allow("accept-waits-internal") {
        tracing::warn!(
            suppressed,
            "all {CONNECTIONS} connections of the internal listener are taken: publishers and \
             probes wait. Reuse connections, or find who opens them and sends nothing"
        );
    }
}

/// Counts and logs that one address has its share of the connections.
fn crowded(internal: &Internal, peer: Peer) {
    let refused = &internal.counters.internal_connections_refused;
    refused.fetch_add(1, Ordering::Relaxed);
    if let Some(suppressed) = internal.throttles.allow("internal-per-address") {
        tracing::warn!(
            %peer,
            suppressed,
            "one address has more connections to the internal listener than are left of \
             {CONNECTIONS}: closing further ones. Have its programs reuse connections"
        );
    }
}

async fn serve_connection(internal: Arc<Internal>, stream: Stream, shutdown: CancellationToken) {
    // No browser reaches a unix socket, and clients invent a Host for it.
    let check_host = match &stream {
        Stream::Left(_) => true,
        Stream::Right(_) => false,
    };
    let service = service_fn(|request| respond_to(&internal, request, check_host));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        // A trigger that arrived completely is published, also if its sender has closed its sending
        // side.
        .half_close(true)
        .serve_connection(
            TokioIo::new(Lingering::new(WriteTimeout::new(stream))),
            service,
        );
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        // An error means that the client disconnected or did not speak HTTP: nothing to do about
        // either.
        _ = quiet::connection(connection.as_mut()) => return,
        () = shutdown.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    let _ = quiet::connection(connection).await;
}
