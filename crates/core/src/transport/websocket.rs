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
    /// The client accepts unsolicited messages.
    pub(crate) events: bool,
    /// Whether the session is listed for an unfinished message.
    pub(crate) unfinished: bool,
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
            events: events && subprotocol.is_some(),
            unfinished: false,
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
