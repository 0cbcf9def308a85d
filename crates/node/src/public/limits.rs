//! How many may come in, and how often.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ht_backend::ForwardError;
use ht_edge::address::{Arrival, Client, Found, Peer};
use ht_edge::permits::{AddressPermit, Bounds, ConnectionPermit, Crowded, Stage};
use ht_edge::respond::{self, Body};
use http::{Response, StatusCode};
use tokio::sync::OwnedSemaphorePermit;

use crate::counters::{HandshakeError, ListenerKind};
use crate::live::LiveSettings;
use crate::node::Node;
use crate::public::Public;

/// When a rejected client should retry, where nothing better is known.
const AGAIN: Duration = Duration::from_secs(5);

/// Connections of one address, each with headers of a proxy, that make it look like a proxy.
const LIKE_A_PROXY: u32 = 8;

/// Connections through one proxy that does not say for whom, before the log says so.
const MANY_UNSAID: u32 = 100;

/// What a client takes up before it is a connection.
pub(super) struct Reserved {
    pub(super) handshake: (OwnedSemaphorePermit, AddressPermit),
    pub(super) permit: ConnectionPermit,
}

/// Takes a permit for a connection that is not a websocket yet, by the address that opened it, or
/// that a trusted balancer opened it for by the PROXY protocol. Nobody has them all: one address a
/// quarter at most. There is no such bound for a trusted proxy's own connections; an address in
/// its network that it opened one for has three quarters, as it may be a proxy itself.
///
/// # Errors
/// When the address has its part.
pub(super) fn knock(public: &Public, arrival: Arrival) -> Result<Option<AddressPermit>, Crowded> {
    let settings = public.live.now();
    let Peer::Ip(address) = arrival.peer else {
        return Ok(None);
    };
    let all = settings.limits.unfinished_max();
    let open = match settings.public.trusted_proxies.trust(arrival.peer) {
        false => all / 4,
        true if arrival.told => all - all / 4,
        true => return Ok(None),
    };
    let bounds = Bounds {
        open: open.max(1),
        per_second: 0,
    };
    let client = Client::At(address);
    let permit = AddressPermit::take(&public.node.permits, Stage::Unfinished, client, bounds);
    if permit.is_err() {
        let reason = HandshakeError::UnfinishedPerAddress;
        public.node.counters.handshake_errors.add(reason);
        if let Some(suppressed) = public.node.throttles.tell(reason.as_str()) {
            tracing::warn!(
                %address,
                open,
                suppressed,
                "one address has a quarter of all connections that are not websockets yet: closing \
                 further ones"
            );
        }
    }
    permit.map(|(permit, _)| Some(permit))
}

/// Counts and logs that nobody can be accepted for the moment.
pub(super) fn accepting_waits(node: &Node) {
    node.counters.accept_waits.add(ListenerKind::Public);
    if let Some(suppressed) = node.throttles.tell("accept-waits") {
        tracing::warn!(
            suppressed,
            "every slot for a connection that is not a websocket yet is taken: new connections \
             wait. The API answers too slowly (see backend_waiting), or many addresses open \
             connections and send nothing. Raise limits.handshakes, or lower limits.head_timeout"
        );
    }
}

/// Takes a permit for the client's address, for a handshake and for the connection to come.
///
/// # Errors
/// The answer to who finds none.
pub(super) fn reserve(
    public: &Public,
    settings: &LiveSettings,
    found: &Found,
) -> Result<Reserved, Box<Response<Body>>> {
    let limits = &settings.limits;
    let bounds = Bounds {
        open: limits.connections_per_address,
        per_second: limits.handshakes_per_second,
    };
    let (address, open) =
        AddressPermit::take(&public.node.permits, Stage::Open, found.client, bounds)
            .map_err(|crowded| crowd(public, found.client, crowded))?;
    warn_of_proxies(public, found, open);
    if public.node.memory.is_short() {
        return Err(short_of_memory(public));
    }
    // One address leaves half of the handshakes to others, also behind a proxy.
    let half = Bounds {
        open: (limits.handshakes_max() / 2).max(1),
        per_second: 0,
    };
    let (of_address, _) =
        AddressPermit::take(&public.node.permits, Stage::Handshake, found.client, half)
            .map_err(|_| crowd_of_handshakes(public, found.client))?;
    let Ok(handshake) = Arc::clone(&public.handshakes).try_acquire_owned() else {
        return Err(full(public, HandshakeError::Handshakes));
    };
    let handshake = (handshake, of_address);
    let Some(permit) = ConnectionPermit::take(&public.node.permits, limits.connections, address)
    else {
        return Err(full(public, HandshakeError::Connections));
    };
    Ok(Reserved { handshake, permit })
}

/// Says once what an operator has probably forgotten.
fn warn_of_proxies(public: &Public, found: &Found, open: u32) {
    let first = |told: &AtomicBool| !told.swap(true, Ordering::Relaxed);
    match found.client {
        Client::At(address)
            if found.dropped && open >= LIKE_A_PROXY && first(&public.told.untrusted) =>
        {
            tracing::warn!(
                %address,
                open,
                "this looks like a proxy that is not in trusted_proxies: what it says of its \
                 visitors' addresses is dropped, and for the API and the limits they are all one. \
                 If it is yours, add its address to trusted_proxies"
            );
        }
        Client::Behind(proxy) if open >= MANY_UNSAID && first(&public.told.unsaid) => {
            tracing::warn!(
                %proxy,
                open,
                "a trusted proxy does not say for whom it asks: limits.connections_per_address and \
                 limits.handshakes_per_second do not hold for its visitors. Have it send X-Real-IP \
                 (nginx: proxy_set_header X-Real-IP $remote_addr;), or set x_forwarded_for or \
                 proxy_protocol. If it is no proxy, take its network out of trusted_proxies"
            );
        }
        Client::At(_) | Client::Behind(_) => {}
    }
}

/// The answer to an address that has or wants too much.
fn crowd(public: &Public, client: Client, crowded: Crowded) -> Box<Response<Body>> {
    let (reason, setting, again) = match crowded {
        Crowded::Open => (
            HandshakeError::ConnectionsPerAddress,
            "connections_per_address",
            AGAIN,
        ),
        Crowded::Rate { again } => (
            HandshakeError::HandshakesPerSecond,
            "handshakes_per_second",
            again,
        ),
    };
    public.node.counters.handshake_errors.add(reason);
    if let Some(suppressed) = public.node.throttles.tell(reason.as_str()) {
        tracing::warn!(
            address = %client,
            suppressed,
            "limits.{setting} is reached: rejecting clients from this address"
        );
    }
    let sentence = match crowded {
        Crowded::Open => "Your address has too many connections. Retry later.",
        Crowded::Rate { .. } => "Your address connects too often. Retry later.",
    };
    let response = respond::text(StatusCode::TOO_MANY_REQUESTS, sentence);
    Box::new(respond::retry_after(response, again))
}

/// The answer to an address that has half of all handshakes under way.
fn crowd_of_handshakes(public: &Public, client: Client) -> Box<Response<Body>> {
    let reason = HandshakeError::HandshakesPerAddress;
    public.node.counters.handshake_errors.add(reason);
    if let Some(suppressed) = public.node.throttles.tell(reason.as_str()) {
        tracing::warn!(
            address = %client,
            suppressed,
            "one address has half of limits.handshakes in progress: rejecting further clients from it"
        );
    }
    let sentence = "Your address has too many handshakes in progress. Retry later.";
    let response = respond::text(StatusCode::TOO_MANY_REQUESTS, sentence);
    Box::new(respond::retry_after(response, AGAIN))
}

/// The answer to a client whose headers cannot be forwarded.
pub(super) fn unforwardable(
    public: &Public,
    client: Client,
    reason: HandshakeError,
    error: &ForwardError,
) -> Box<Response<Body>> {
    let ForwardError::TooLarge { bytes, .. } = *error else {
        public.node.counters.handshake_errors.add(reason);
        let response = respond::text(StatusCode::BAD_REQUEST, error.to_string());
        return Box::new(response);
    };
    let reason = HandshakeError::ForwardBytes;
    public.node.counters.handshake_errors.add(reason);
    if let Some(suppressed) = public.node.throttles.tell(reason.as_str()) {
        tracing::warn!(
            address = %client,
            bytes,
            suppressed,
            "refused a client whose forwarded headers are longer than backend.forward_bytes_max. \
             Usually old cookies: shorten them, or raise the limit here and in the API's server"
        );
    }
    let sentence = format!("Request header too long: {error}. Delete the cookies of this site.");
    let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
    Box::new(respond::text(status, sentence))
}

/// The answer while memory is short, of which the log has a line already.
fn short_of_memory(public: &Public) -> Box<Response<Body>> {
    public
        .node
        .counters
        .handshake_errors
        .add(HandshakeError::Memory);
    let sentence = "This node is short of memory. Retry later.";
    let response = respond::text(StatusCode::SERVICE_UNAVAILABLE, sentence);
    Box::new(respond::retry_after(response, AGAIN))
}

/// The answer to whom the API was being asked about when the node left.
pub(super) fn leaving(public: &Public) -> Box<Response<Body>> {
    public
        .node
        .counters
        .handshake_errors
        .add(HandshakeError::Leaving);
    let sentence = "This node is shutting down. Reconnect soon.";
    let response = respond::text(StatusCode::SERVICE_UNAVAILABLE, sentence);
    Box::new(respond::retry_after(response, Duration::ZERO))
}

/// The answer while a limit of the node is reached.
fn full(public: &Public, reason: HandshakeError) -> Box<Response<Body>> {
    public.node.counters.handshake_errors.add(reason);
    let limit = reason.as_str();
    if let Some(suppressed) = public.node.throttles.tell(limit) {
        let open = public.node.connections.load(Ordering::Relaxed);
        tracing::warn!(
            open,
            suppressed,
            "limits.{limit} is reached: rejecting clients"
        );
    }
    let sentence = format!("This node has reached limits.{limit}. Retry later.");
    let response = respond::text(StatusCode::SERVICE_UNAVAILABLE, sentence);
    Box::new(respond::retry_after(response, AGAIN))
}
