//! Our own WebSocket subprotocol, and other options that a client offers in the same header (RFC
//! 6455 section 1.9).

/// A subprotocol that was selected from a client's offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Subprotocol {
    /// Replies carry the `requestId` of their request, and a refused client is closed with 4300.
    V1,
}

impl Subprotocol {
    /// Its name, which is compared byte for byte.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::V1 => "high-templar.v1",
        }
    }
}

/// The prefix of a token that is offered as if it were a subprotocol: browsers let pages set no
/// other header. The token follows in base64url without padding (RFC 4648 section 5), whose
/// alphabet is that of a subprotocol's name. It is never selected.
pub const TOKEN_PREFIX: &str = "high-templar.token.";

/// The prefix of a [resume ticket](crate::ticket) that is offered beside [`Subprotocol::V1`], as if
/// it were a subprotocol. It is never selected.
pub const RESUME_PREFIX: &str = "high-templar.resume.";

/// The prefix of the public key of a tenant that is offered as if it were a subprotocol. It is never
/// selected.
pub const KEY_PREFIX: &str = "high-templar.key.";

/// Offered by a client that will send its token in its first frame. It is never selected.
pub const AUTHENTICATE: &str = "high-templar.authenticate";

/// Offered beside [`Subprotocol::V1`] by a client that ignores messages whose `type` it does not
/// know: it is sent unsolicited messages. It is never selected.
pub const EVENTS: &str = "high-templar.events";
