//! How a client joins: its messages until it receives publications.

mod events;
mod high_templar;
pub(crate) mod nats;
mod socket_io;
mod subscribe;

use std::net::SocketAddr;

use uuid::Uuid;

use super::frame::{Frame, Unreadable};
use super::{deflate, frame};
use crate::workload::{Rooms, Workload};

/// The protocol of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// The floor: the client sends its number and has joined.
    Plain,
    /// WebSocket: a first frame with the grants, a `subscribe` and its reply.
    HighTemplar,
    /// WebSocket: a `subscribe` with a room's name and its reply. Used by the programs in
    /// `bench/peers/`.
    Subscribe,
    /// WebSocket with the room in the URL: the client has joined after the upgrade.
    Url,
    /// Socket.IO 5 over Engine.IO 4, over WebSocket only; the client joins with an event that the
    /// server acknowledges.
    SocketIo,
    /// The client protocol of NATS over WebSocket.
    Nats,
    /// Events of this gateway over HTTP, with the subscription in the request.
    Events,
    /// Events over HTTP, with the room in the URL.
    UrlEvents,
}

/// Progress of a client that joins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// TCP is being connected.
    Connecting,
    /// The upgrade was requested.
    Upgrading,
    /// The socket is a WebSocket; the first message has not arrived.
    Greeting,
    /// `subscribe` was sent.
    Subscribing,
    /// It receives deliveries.
    Joined,
}

/// Identity of a client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity {
    pub(crate) number: u32,
    /// The `requestId` of its first subscription; see [`Identity::id_of`].
    pub(crate) request_id: Uuid,
    /// Whether it offers compression.
    pub(crate) deflate: bool,
    /// Whether it sends what a browser does.
    pub(crate) browser: bool,
}

/// What a browser sends to a site with a login and visit statistics: the rest of its session, and
/// what is behind it.
const BROWSER_COOKIES: &str = "abcdefghijklmnopqrstuvwxyz; \
    csrftoken=0123456789abcdefghijABCDEFGHIJKL; _ga=GA1.1.1234567890.1700000000; \
    _ga_ABCDEFGHIJ=GS1.1.1700000000.1.1.1700000000.0.0.0";
const BROWSER: &str = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 \
    (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36";

impl Identity {
    pub(crate) fn new(number: u32, workload: &Workload) -> Self {
        let mut bytes = Uuid::new_v4().into_bytes();
        bytes[14..].fill(0);
        Self {
            number,
            request_id: Uuid::from_bytes(bytes),
            deflate: workload.deflate,
            browser: workload.browser,
        }
    }

    /// The `requestId` of a subscription. Its last two bytes are the number of the subscription.
    pub(crate) fn id_of(&self, subscription: u32) -> Uuid {
        Uuid::from_u128(self.request_id.as_u128() ^ u128::from(subscription))
    }
}

/// Why a client could not join.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The response to the upgrade was not 101.
    #[error("upgrade refused: {0}")]
    Upgrade(String),
    /// The server sent an unexpected message.
    #[error("unexpected while {stage}: {received}")]
    Unexpected {
        /// The stage of the client.
        stage: String,
        /// The beginning of the message.
        received: String,
    },
    /// The server does not support the workload.
    #[error("not supported: {0}")]
    Unable(&'static str),
    /// The response head or a frame was too long or invalid.
    #[error("invalid data while {stage}")]
    Garbled {
        /// The stage of the client.
        stage: String,
    },
}

impl Dialect {
    /// Appends the client's first bytes after connecting.
    pub(crate) fn open(
        self,
        identity: Identity,
        rooms: Rooms,
        server: SocketAddr,
        out: &mut Vec<u8>,
    ) -> Stage {
        let path = match self {
            Self::Plain => {
                out.extend_from_slice(&identity.number.to_le_bytes());
                return Stage::Joined;
            }
            Self::HighTemplar | Self::Subscribe => "/ws/".to_owned(),
            Self::Url => format!("/ws/?room={}", rooms.name(identity.number)),
            Self::SocketIo => "/socket.io/?EIO=4&transport=websocket".to_owned(),
            Self::Nats => "/".to_owned(),
            Self::Events => {
                let request = events::post(identity, rooms, server);
                out.extend_from_slice(request.as_bytes());
                return Stage::Upgrading;
            }
            Self::UrlEvents => {
                let request = events::get(identity, rooms, server);
                out.extend_from_slice(request.as_bytes());
                return Stage::Upgrading;
            }
        };
        let (agent, cookies) = match identity.browser {
            true => (BROWSER, BROWSER_COOKIES),
            false => ("ht-bench", "; csrftoken=bench"),
        };
        // A fixed key is sufficient: there is no cache.
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {server}\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Origin: http://{server}\r\nUser-Agent: {agent}\r\n\
             Cookie: sessionid={}{cookies}\r\n{}\r\n",
            identity.number,
            if identity.deflate { deflate::OFFER } else { "" }
        );
        out.extend_from_slice(request.as_bytes());
        Stage::Upgrading
    }

    /// Handles a successful upgrade: appends what to send and returns the next stage.
    pub(crate) fn upgraded(self, identity: Identity, rooms: Rooms, out: &mut Vec<u8>) -> Stage {
        match self {
            Self::Plain | Self::Url | Self::UrlEvents => Stage::Joined,
            Self::HighTemplar | Self::SocketIo | Self::Nats | Self::Events => Stage::Greeting,
            Self::Subscribe => {
                send(&subscribe::subscribe(rooms, identity), identity, out);
                Stage::Subscribing
            }
        }
    }

    /// Handles a frame while joining: appends what to send and returns the next stage.
    pub(crate) fn joining_frame(
        self,
        stage: Stage,
        identity: Identity,
        rooms: Rooms,
        frame: &Frame<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Stage, JoinError> {
        let expected = match self {
            // NATS uses binary frames only.
            Self::Nats => frame::BINARY,
            Self::Plain
            | Self::HighTemplar
            | Self::Subscribe
            | Self::Url
            | Self::SocketIo
            | Self::Events
            | Self::UrlEvents => frame::TEXT,
        };
        let next = (frame.opcode == expected)
            .then(|| match self {
                Self::HighTemplar => high_templar::joining(stage, identity, rooms, frame.payload),
                Self::Subscribe => subscribe::joining(stage, frame.payload),
                Self::SocketIo => socket_io::joining(stage, identity, rooms, frame.payload),
                Self::Nats => nats::joining(stage, identity, rooms, frame.payload),
                // They join before the first frame.
                Self::Events => events::joining(stage, frame.payload),
                Self::Plain | Self::Url | Self::UrlEvents => None,
            })
            .flatten();
        let Some((next, answer)) = next else {
            return Err(JoinError::Unexpected {
                stage: format!("{stage:?}"),
                received: beginning(frame.payload),
            });
        };
        if !answer.is_empty() {
            send(&answer, identity, out);
        }
        Ok(next)
    }

    /// The reply to a heartbeat of the protocol, apart from WebSocket pings.
    pub(crate) fn answer(self, payload: &[u8]) -> Option<&'static str> {
        match self {
            Self::SocketIo => socket_io::answer(payload),
            Self::Plain
            | Self::HighTemplar
            | Self::Subscribe
            | Self::Url
            | Self::Nats
            | Self::Events
            | Self::UrlEvents => None,
        }
    }

    /// Whether frames are parts of a stream of messages, see [`nats::next`]: a frame can contain
    /// several, and a message can be in two frames.
    pub(crate) fn is_stream(self) -> bool {
        self == Self::Nats
    }

    /// Appends a heartbeat. Returns false if the protocol has none.
    pub(crate) fn ping(self, identity: Identity, out: &mut Vec<u8>) -> bool {
        match self {
            Self::Plain | Self::Events | Self::UrlEvents => return false,
            Self::HighTemplar => send("ping", identity, out),
            Self::Subscribe | Self::Url | Self::SocketIo | Self::Nats => {
                frame::write_masked(frame::PING, b"", mask_key(identity), out);
            }
        }
        true
    }

    /// Whether a message is the reply to a heartbeat, apart from WebSocket pongs.
    pub(crate) fn is_pong(self, payload: &[u8]) -> bool {
        self == Self::HighTemplar && payload == b"pong"
    }

    /// Appends a request for a subscription after the first. Returns false if the protocol has only
    /// one.
    pub(crate) fn subscribe(
        self,
        identity: Identity,
        rooms: Rooms,
        subscription: u32,
        out: &mut Vec<u8>,
    ) -> bool {
        let several = self == Self::HighTemplar;
        if several {
            let text = high_templar::subscribe(identity, rooms, subscription);
            send(&text, identity, out);
        }
        several
    }

    /// Whether messages contain the receiver's `requestId`.
    pub(crate) fn has_request_ids(self) -> bool {
        matches!(self, Self::HighTemplar | Self::Events)
    }

    /// Whether it stays HTTP: there are no frames.
    pub(crate) fn is_http(self) -> bool {
        matches!(self, Self::Events | Self::UrlEvents)
    }

    /// The first message in `bytes`; `None` if it is incomplete.
    pub(crate) fn first(self, bytes: &[u8]) -> Result<Option<Frame<'_>>, Unreadable> {
        if self.is_http() {
            events::first(bytes)
        } else {
            frame::first(bytes)
        }
    }

    /// Whether a response begins what the client asked for.
    fn is_accepted(self, head: &[u8]) -> bool {
        match self.is_http() {
            true => head.starts_with(b"HTTP/1.1 200 "),
            false => head.starts_with(b"HTTP/1.1 101 "),
        }
    }
}

/// Appends a text frame.
pub(crate) fn send(text: &str, identity: Identity, out: &mut Vec<u8>) {
    frame::write_masked(frame::TEXT, text.as_bytes(), mask_key(identity), out);
}

/// Returns the length of the response to the upgrade, or `None` if it is incomplete.
pub(crate) fn upgrade_answer(dialect: Dialect, bytes: &[u8]) -> Result<Option<usize>, JoinError> {
    const HEAD_BYTES_MAX: usize = 16 << 10;
    let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") else {
        if bytes.len() > HEAD_BYTES_MAX {
            return Err(garbled(Stage::Upgrading));
        }
        return Ok(None);
    };
    if dialect.is_accepted(bytes) {
        return Ok(Some(end + 4));
    }
    Err(JoinError::Upgrade(beginning(&bytes[..end])))
}

/// Whether a reply confirms a request.
pub(crate) fn is_success(payload: &[u8]) -> bool {
    serde_json::from_slice(payload)
        .is_ok_and(|received: serde_json::Value| received["code"] == "success")
}

/// A key that differs between clients and is never zero in any byte.
pub(crate) fn mask_key(identity: Identity) -> [u8; 4] {
    let bytes = identity.request_id.into_bytes();
    [bytes[0] | 1, bytes[1] | 1, bytes[2] | 1, bytes[3] | 1]
}

pub(crate) fn garbled(stage: Stage) -> JoinError {
    JoinError::Garbled {
        stage: format!("{stage:?}"),
    }
}

/// The first 200 bytes as text, for error messages.
pub(crate) fn beginning(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned()
}

#[cfg(test)]
mod tests;
