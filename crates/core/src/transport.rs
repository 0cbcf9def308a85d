//! The transport of a session's messages.

mod event_stream;
mod websocket;

use ht_frame::PerMessageDeflate;
use ht_proto::cursor::Cursor;
use ht_proto::subprotocol::Subprotocol;

pub(crate) use self::event_stream::{Begin, EventStream, Poll, State};
pub(crate) use self::websocket::{TicketState, WebSocket};

/// The transport of a session. Code that reads or writes a message matches on it, so that the
/// compiler reports every position where another transport differs.
#[derive(Debug)]
pub(crate) enum Transport {
    /// RFC 6455.
    WebSocket(WebSocket),
    /// The response to an HTTP request. Boxed, so that a WebSocket takes no more for it.
    EventStream(Box<EventStream>),
}

impl Transport {
    /// Bytes of what its client sent that are kept.
    pub(crate) fn kept_bytes(&self) -> usize {
        match self {
            Self::WebSocket(websocket) => websocket.decoder.kept_bytes(),
            Self::EventStream(stream) => stream.kept_bytes(),
        }
    }

    /// Bytes of unfinished input.
    pub(crate) fn unfinished_bytes(&self) -> usize {
        match self {
            Self::WebSocket(websocket) => websocket.decoder.kept_bytes(),
            Self::EventStream(_) => 0,
        }
    }

    /// Forgets unfinished input: nothing more is read.
    pub(crate) fn forget_input(&mut self) {
        match self {
            Self::WebSocket(websocket) => websocket.decoder = Default::default(),
            Self::EventStream(_) => {}
        }
    }

    /// Whether an unfinished message is accounted for.
    pub(crate) fn is_unfinished(&self) -> bool {
        match self {
            Self::WebSocket(websocket) => websocket.unfinished,
            Self::EventStream(_) => false,
        }
    }

    /// Notes whether an unfinished message is accounted for.
    pub(crate) fn set_unfinished(&mut self, unfinished: bool) {
        match self {
            Self::WebSocket(websocket) => websocket.unfinished = unfinished,
            Self::EventStream(_) => {}
        }
    }

    /// The compression that was negotiated.
    #[inline]
    pub(crate) fn deflate(&self) -> Option<PerMessageDeflate> {
        match self {
            Self::WebSocket(websocket) => websocket.deflate,
            Self::EventStream(_) => None,
        }
    }

    /// The subprotocol that decides the form of replies; none for clients older than subprotocols.
    #[inline]
    pub(crate) fn subprotocol(&self) -> Option<Subprotocol> {
        match self {
            Self::WebSocket(websocket) => websocket.subprotocol,
            Self::EventStream(_) => Some(Subprotocol::V1),
        }
    }

    /// Whether the client accepts unsolicited messages.
    pub(crate) fn has_events(&self) -> bool {
        match self {
            Self::WebSocket(websocket) => websocket.client.has_events(),
            Self::EventStream(_) => true,
        }
    }

    /// Whether the client authenticated with a token that it can replace.
    pub(crate) fn has_token(&self) -> bool {
        match self {
            Self::WebSocket(websocket) => websocket.client.has_token(),
            // It sends nothing any more: it opens another stream with the new one.
            Self::EventStream(_) => false,
        }
    }

    /// Notes whether the client authenticated with a token that it can replace.
    pub(crate) fn set_token(&mut self, has_token: bool) {
        match self {
            Self::WebSocket(websocket) => {
                websocket.client = websocket.client.with_token(has_token);
            }
            Self::EventStream(_) => {}
        }
    }

    /// Whether the client may be let in again by a resume ticket.
    pub(crate) fn ticket(&self) -> TicketState {
        match self {
            Self::WebSocket(websocket) => websocket.ticket,
            Self::EventStream(stream) => stream.ticket,
        }
    }

    /// Notes that of a client that gets tickets.
    pub(crate) fn set_ticket(&mut self, ticket: TicketState) {
        let known = match self {
            Self::WebSocket(websocket) => &mut websocket.ticket,
            Self::EventStream(stream) => &mut stream.ticket,
        };
        if *known != TicketState::Never {
            *known = ticket;
        }
    }

    /// What HTTP adds, if it is that.
    #[inline]
    pub(crate) fn stream(&self) -> Option<&EventStream> {
        match self {
            Self::WebSocket(_) => None,
            Self::EventStream(stream) => Some(stream),
        }
    }

    /// The same, to change it.
    #[inline]
    pub(crate) fn stream_mut(&mut self) -> Option<&mut EventStream> {
        match self {
            Self::WebSocket(_) => None,
            Self::EventStream(stream) => Some(stream),
        }
    }

    /// Appends a message of ours, uncompressed: a reply, or a message with a `type`, which alone is
    /// ever sent over HTTP. `cursor`: of a client that was sent it.
    pub(crate) fn put_message(&self, out: &mut Vec<u8>, text: &[u8], cursor: Option<Cursor>) {
        match self {
            Self::WebSocket(_) => websocket::put_text(out, text),
            Self::EventStream(stream) => stream.put_event(out, text, cursor),
        }
    }

    /// Appends a ping that every client answers. Over HTTP none can.
    pub(crate) fn put_ping(&self, out: &mut Vec<u8>) {
        match self {
            Self::WebSocket(_) => websocket::put_ping(out),
            Self::EventStream(_) => {}
        }
    }

    /// Appends the close frame with this code and reason, or what says the same. `random` spreads
    /// the clients that reconnect.
    pub(crate) fn put_close(&self, out: &mut Vec<u8>, code: u16, reason: &str, random: u64) {
        match self {
            Self::WebSocket(_) => websocket::put_close(out, code, reason),
            Self::EventStream(stream) => stream.put_close(out, code, reason, random),
        }
    }
}
