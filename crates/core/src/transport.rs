//! The transport of a session's messages.

mod websocket;

use ht_proto::subprotocol::Subprotocol;

pub(crate) use self::websocket::{TicketState, WebSocket};

/// The transport of a session. Code that reads or writes a message matches on it, so that the
/// compiler reports every position where another transport differs.
#[derive(Debug)]
pub(crate) enum Transport {
    /// RFC 6455.
    WebSocket(WebSocket),
}

impl Transport {
    /// Bytes of unfinished input.
    pub(crate) fn kept_bytes(&self) -> usize {
        match self {
            Self::WebSocket(websocket) => websocket.decoder.kept_bytes(),
        }
    }

    /// Forgets unfinished input: nothing more is read.
    pub(crate) fn forget_input(&mut self) {
        match self {
            Self::WebSocket(websocket) => websocket.decoder = Default::default(),
        }
    }

    /// Whether an unfinished message is accounted for.
    pub(crate) fn is_unfinished(&self) -> bool {
        match self {
            Self::WebSocket(websocket) => websocket.unfinished,
        }
    }

    /// Notes whether an unfinished message is accounted for.
    pub(crate) fn set_unfinished(&mut self, unfinished: bool) {
        match self {
            Self::WebSocket(websocket) => websocket.unfinished = unfinished,
        }
    }

    /// The subprotocol that decides the form of replies; none for clients older than subprotocols.
    pub(crate) fn subprotocol(&self) -> Option<Subprotocol> {
        match self {
            Self::WebSocket(websocket) => websocket.subprotocol,
        }
    }

    /// Whether the client accepts unsolicited messages.
    pub(crate) fn has_events(&self) -> bool {
        match self {
            Self::WebSocket(websocket) => websocket.client.has_events(),
        }
    }

    /// Whether the client authenticated with a token that it can replace.
    pub(crate) fn has_token(&self) -> bool {
        match self {
            Self::WebSocket(websocket) => websocket.client.has_token(),
        }
    }

    /// Notes whether the client authenticated with a token that it can replace.
    pub(crate) fn set_token(&mut self, has_token: bool) {
        match self {
            Self::WebSocket(websocket) => {
                websocket.client = websocket.client.with_token(has_token);
            }
        }
    }

    /// Whether the client may be let in again by a resume ticket.
    pub(crate) fn ticket(&self) -> TicketState {
        match self {
            Self::WebSocket(websocket) => websocket.ticket,
        }
    }

    /// Notes that of a client that gets tickets.
    pub(crate) fn set_ticket(&mut self, ticket: TicketState) {
        match self {
            Self::WebSocket(websocket) if websocket.ticket != TicketState::Never => {
                websocket.ticket = ticket;
            }
            Self::WebSocket(_) => {}
        }
    }

    /// Appends a text message to `out`, uncompressed.
    pub(crate) fn put_text(&self, out: &mut Vec<u8>, text: &[u8]) {
        match self {
            Self::WebSocket(_) => websocket::put_text(out, text),
        }
    }

    /// Appends a ping that every client answers.
    pub(crate) fn put_ping(&self, out: &mut Vec<u8>) {
        match self {
            Self::WebSocket(_) => websocket::put_ping(out),
        }
    }

    /// Appends the close frame with this code and reason.
    pub(crate) fn put_close(&self, out: &mut Vec<u8>, code: u16, reason: &str) {
        match self {
            Self::WebSocket(_) => websocket::put_close(out, code, reason),
        }
    }
}
