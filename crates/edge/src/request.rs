//! The facts that a handshake request contains.

use ht_frame::PerMessageDeflate;
use ht_proto::subprotocol::Subprotocol;
use ht_proto::ticket::ResumeOffer;
use ht_proto::token::Token;
use ht_telemetry::throttle::Throttles;
use http::{HeaderValue, Request, Response};
use uuid::Uuid;

use crate::address::{Arrival, Client};
use crate::config::PublicConfig;
use crate::origin::Origins;
use crate::rejection::{HandshakeError, Rejection};
use crate::respond::Body;
use crate::subprotocol::Offer;
use crate::{handshake, screening};

/// Facts about a client from its request, and what was negotiated with it.
#[derive(Debug)]
pub struct RequestFacts {
    /// Id of the pending connection, for the log.
    pub id: Uuid,
    /// The client's address.
    pub client: Client,
    /// Headers that only a proxy sends were received from an untrusted address, and were dropped.
    pub dropped: bool,
    /// How messages may be compressed, if at all.
    pub deflate: Option<PerMessageDeflate>,
    /// The subprotocol, if the client offers ours.
    pub subprotocol: Option<Subprotocol>,
    /// The token that was offered as a subprotocol.
    pub token: Option<Token>,
    /// A token will be sent in the first frame, whatever other credentials the client sent.
    pub authenticate: bool,
    /// The client accepts unsolicited messages.
    pub events: bool,
    /// The resume ticket that was offered, as a subprotocol beside ours or in the request.
    pub resume: Option<ResumeOffer>,
    /// The client can use resume tickets.
    pub gets_tickets: bool,
    /// The hooks report the client.
    pub is_reported: bool,
    /// Value of `Sec-WebSocket-Accept`; empty for a client over HTTP.
    pub(crate) accept: HeaderValue,
}

impl RequestFacts {
    /// Parses the request for a websocket. Its headers then contain no untrusted address.
    /// `origins`: those of its tenant; `compression`: whether compressed messages may be negotiated.
    ///
    /// # Errors
    /// If it is not a valid handshake, or is from a page that may not connect.
    pub fn of<B>(
        request: &mut Request<B>,
        arrival: Arrival,
        config: &PublicConfig,
        origins: &Origins,
        compression: bool,
        throttles: &Throttles,
    ) -> Result<Self, Rejection> {
        let accept = handshake::check(request).map_err(|response| Rejection {
            reason: HandshakeError::Handshake,
            response,
            is_of_tenant: false,
        })?;
        let found = screening::check(request.headers_mut(), arrival, config, origins, throttles)?;
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
            resume: offer.resume.filter(|_| offer.subprotocol.is_some()),
            gets_tickets: offer.subprotocol.is_some(),
            is_reported: true,
            accept,
        })
    }

    /// The response that ends HTTP.
    #[must_use]
    pub fn switching_protocols(&self) -> Response<Body> {
        handshake::switching(&self.accept, self.deflate, self.subprotocol)
    }
}
