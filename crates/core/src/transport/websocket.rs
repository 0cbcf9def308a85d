//! The state of a WebSocket, and the frames of what a session sends.

use ht_frame::{CloseCode, Decoder, Opcode, PerMessageDeflate, put_frame};
use ht_proto::subprotocol::Subprotocol;

/// What a WebSocket adds to a session. While it is idle it owns no buffer.
#[derive(Debug)]
pub(crate) struct WebSocket {
    pub(crate) decoder: Decoder,
    /// The compression that the handshake negotiated (RFC 7692).
    pub(crate) deflate: Option<PerMessageDeflate>,
    /// The subprotocol that the handshake selected.
    pub(crate) subprotocol: Option<Subprotocol>,
    /// What the client is able to do.
    pub(crate) client: Abilities,
    /// Whether the session is listed for an unfinished message.
    pub(crate) unfinished: bool,
    /// Whether the client may be let in again without a call to the API.
    pub(crate) ticket: TicketState,
}

/// Whether a client may be let in again by a resume ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TicketState {
    /// It gets no ticket.
    Never,
    /// It has one.
    Given,
    /// It is to be given one: it has none, or its permissions have changed.
    Due,
    /// Its permissions may have changed: it gets neither ticket nor proof.
    Suspended,
}

/// What a client is able to do beside what all are. One byte: there may be very many clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Abilities {
    /// Nothing.
    None,
    /// It accepts unsolicited messages.
    Events,
    /// It authenticated with a token, and can send another one.
    Token,
    /// Both.
    EventsAndToken,
}

impl Abilities {
    pub(super) const fn has_events(self) -> bool {
        matches!(self, Self::Events | Self::EventsAndToken)
    }

    pub(super) const fn has_token(self) -> bool {
        matches!(self, Self::Token | Self::EventsAndToken)
    }

    pub(super) const fn with_token(self, has_token: bool) -> Self {
        match (self.has_events(), has_token) {
            (false, false) => Self::None,
            (true, false) => Self::Events,
            (false, true) => Self::Token,
            (true, true) => Self::EventsAndToken,
        }
    }
}

impl WebSocket {
    /// A socket whose handshake is done.
    pub(crate) fn new(
        deflate: Option<PerMessageDeflate>,
        subprotocol: Option<Subprotocol>,
        events: bool,
    ) -> Self {
        Self {
            decoder: Decoder::new(),
            deflate,
            subprotocol,
            client: match events && subprotocol.is_some() {
                true => Abilities::Events,
                false => Abilities::None,
            },
            unfinished: false,
            ticket: match subprotocol {
                Some(Subprotocol::V1) => TicketState::Due,
                None => TicketState::Never,
            },
        }
    }
}

/// Never compressed: replies are small, and different for every connection.
pub(super) fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    put_frame(out, Opcode::Text, text);
}

/// A control ping (RFC 6455 §5.5.2).
pub(super) fn put_ping(out: &mut Vec<u8>) {
    put_frame(out, Opcode::Ping, &[]);
}

/// A close frame (RFC 6455 §5.5.1).
pub(super) fn put_close(out: &mut Vec<u8>, code: u16, reason: &str) {
    ht_frame::put_close(out, CloseCode(code), reason);
}
