//! Why a client is rejected before its connection is open, and the response to it.

use std::time::Duration;

use ht_proto::labels;
use http::{Response, StatusCode};

use crate::respond::{self, Body};

/// When a rejected client should retry, if nothing better is known.
const AGAIN: Duration = Duration::from_secs(5);

labels! {
    /// Why the gateway rejected a handshake.
    pub enum HandshakeError {
        /// Not a valid upgrade.
        Handshake = "handshake",
        /// The request head was too long, or did not arrive in time.
        Head = "head",
        /// Headers that cannot be forwarded.
        Forward = "forward",
        /// Headers longer than `backend.forward_bytes_max`.
        ForwardBytes = "forward-bytes",
        /// A malformed token, or two that differ.
        Token = "token",
        /// The first frame was no authentication.
        Authenticate = "authenticate",
        /// A page of another site.
        Origin = "origin",
        /// No PROXY protocol header where one is required.
        ProxyProtocol = "proxy-protocol",
        /// `limits.handshakes` was reached.
        Handshakes = "handshakes",
        /// Request heads and first frames held too much memory.
        HandshakeBytes = "handshake-bytes",
        /// The address had half of all handshakes.
        HandshakesPerAddress = "handshakes-per-address",
        /// `limits.connections` was reached.
        Connections = "connections",
        /// `limits.connections_per_address` was reached.
        ConnectionsPerAddress = "connections-per-address",
        /// The address had its share of connections before the upgrade.
        UnfinishedPerAddress = "unfinished-per-address",
        /// `limits.connections_per_user` was reached.
        ConnectionsPerUser = "connections-per-user",
        /// `limits.handshakes_per_second` was reached.
        HandshakesPerSecond = "handshakes-per-second",
        /// `limits.handshake_timeout` elapsed.
        HandshakeTimeout = "handshake-timeout",
        /// Memory was short.
        Memory = "memory",
        /// The node was shutting down.
        Leaving = "leaving",
    }
}

/// A request that is rejected.
#[derive(Debug)]
pub struct Rejection {
    /// The reason, for the counter.
    pub reason: HandshakeError,
    /// The response to the client.
    pub response: Box<Response<Body>>,
    /// The limit that was reached is one of the tenant's own.
    pub is_of_tenant: bool,
}

impl Rejection {
    /// With this response.
    #[must_use]
    pub fn new(reason: HandshakeError, response: Response<Body>) -> Self {
        Self {
            reason,
            response: Box::new(response),
            is_of_tenant: false,
        }
    }

    /// The same, because of a limit of the tenant's own.
    #[must_use]
    pub fn of_tenant(self) -> Self {
        Self {
            is_of_tenant: true,
            ..self
        }
    }

    /// 400: the request is invalid.
    #[must_use]
    pub fn bad_request(reason: HandshakeError, error: impl ToString) -> Self {
        let response = respond::text(StatusCode::BAD_REQUEST, error.to_string());
        Self::new(reason, response)
    }

    /// 429: the client's address has reached a limit; it may retry after `again`.
    #[must_use]
    pub fn too_many(reason: HandshakeError, sentence: &str, again: Option<Duration>) -> Self {
        let response = respond::text(StatusCode::TOO_MANY_REQUESTS, sentence);
        Self::new(
            reason,
            respond::retry_after(response, again.unwrap_or(AGAIN)),
        )
    }

    /// 503: the node admits no further client for now.
    #[must_use]
    pub fn unavailable(reason: HandshakeError, sentence: impl Into<String>) -> Self {
        let response = respond::text(StatusCode::SERVICE_UNAVAILABLE, sentence);
        Self::new(reason, respond::retry_after(response, AGAIN))
    }

    /// 503: the node is shutting down. Another one may admit the client at once.
    #[must_use]
    pub fn leaving() -> Self {
        let sentence = "This node is shutting down. Reconnect soon.";
        let response = respond::text(StatusCode::SERVICE_UNAVAILABLE, sentence);
        let response = respond::retry_after(response, Duration::ZERO);
        Self::new(HandshakeError::Leaving, response)
    }
}
