//! What the request of a handshake says.

use ht_frame::PerMessageDeflate;
use ht_proto::subprotocol::Subprotocol;
use ht_proto::token::Token;
use ht_telemetry::throttle::Throttles;
use http::{HeaderValue, Request, Response};
use uuid::Uuid;

use crate::address::{Arrival, Client};
use crate::config::PublicConfig;
use crate::rejection::{HandshakeError, Rejection};
use crate::respond::Body;
use crate::subprotocol::Offer;
use crate::{handshake, screening};

/// What is known of a client from its request, and what was agreed upon with it.
#[derive(Debug)]
pub struct RequestFacts {
    /// Id of the connection to come, for the log.
    pub id: Uuid,
    /// Where the client is.
    pub client: Client,
    /// Headers that only a proxy sends came from an address that is not trusted, and were dropped.
    pub dropped: bool,
    /// How messages may be compressed, if at all.
    pub deflate: Option<PerMessageDeflate>,
    /// The subprotocol, if the client offers ours.
    pub subprotocol: Option<Subprotocol>,
    /// The token that came as if it were a subprotocol.
    pub token: Option<Token>,
    /// A token will come in the first frame, whatever else the client brought.
    pub authenticate: bool,
    /// The client takes messages that it did not ask for.
    pub events: bool,
    /// Value of `Sec-WebSocket-Accept`.
    accept: HeaderValue,
}

impl RequestFacts {
    /// Reads the request for a websocket. Its headers then hold no address that may not be believed.
    /// `compression`: whether compressed messages may be agreed upon.
    ///
    /// # Errors
    /// When it is no such request, or comes from a page that may not connect.
    pub fn of<B>(
        request: &mut Request<B>,
        arrival: Arrival,
        config: &PublicConfig,
        compression: bool,
        throttles: &Throttles,
    ) -> Result<Self, Rejection> {
        let accept = handshake::check(request).map_err(|response| Rejection {
            reason: HandshakeError::Handshake,
            response,
        })?;
        let found = screening::check(request.headers_mut(), arrival, config, throttles)?;
        let headers = request.headers();
        let offer = Offer::of(headers)
            .map_err(|error| Rejection::bad_request(HandshakeError::Token, error))?;
        let deflate = compression.then(|| handshake::compression(headers));
        Ok(Self {
            id: Uuid::new_v4(),
            client: found.client,
            dropped: found.dropped,
            deflate: deflate.flatten(),
            subprotocol: offer.subprotocol,
            token: offer.token,
            authenticate: offer.authenticate,
            events: offer.events,
            accept,
        })
    }

    /// The response that ends HTTP.
    #[must_use]
    pub fn switching_protocols(&self) -> Response<Body> {
        handshake::switching(&self.accept, self.deflate, self.subprotocol)
    }
}
