//! How a client joins: what it says and waits for until its room's messages reach it.

mod high_templar;
pub(crate) mod nats;
mod socket_io;
mod subscribe;

use std::net::SocketAddr;

use uuid::Uuid;

use super::frame::Frame;
use super::{deflate, frame};
use crate::workload::Rooms;

/// The language of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// The floor: the client says its number and has joined.
    Plain,
    /// A websocket, a first frame with the permissions, a `subscribe` and its answer.
    HighTemplar,
    /// A websocket, a `subscribe` with a room's name and its answer: what the small programs in
    /// `bench/peers/` speak.
    Subscribe,
    /// A websocket whose url names the room: who is upgraded has joined.
    Url,
    /// Socket.IO 5 over Engine.IO 4, on a websocket from the first moment; joining is an event
    /// that the server acknowledges.
    SocketIo,
    /// The client protocol of NATS in websocket frames.
    Nats,
}

/// Where a client stands on its way in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// TCP is being connected.
    Connecting,
    /// The upgrade was asked for.
    Upgrading,
    /// The socket is a websocket; the server has yet to say whether we may be here.
    Greeting,
    /// `subscribe` was sent.
    Subscribing,
    /// Deliveries come.
    Joined,
}

/// What a client needs to know about itself to join.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity {
    pub(crate) number: u32,
    /// Of its first subscription; see [`Identity::id_of`].
    pub(crate) request_id: Uuid,
    /// Whether it asks for compressed messages.
    pub(crate) deflate: bool,
}

impl Identity {
    pub(crate) fn new(number: u32, deflate: bool) -> Self {
        let mut bytes = Uuid::new_v4().into_bytes();
        bytes[14..].fill(0);
        Self {
            number,
            request_id: Uuid::from_bytes(bytes),
            deflate,
        }
    }

    /// The `requestId` of a subscription: the number of it stands in the last two bytes.
    pub(crate) fn id_of(&self, subscription: u32) -> Uuid {
        Uuid::from_u128(self.request_id.as_u128() ^ u128::from(subscription))
    }
}

/// Why a client could not join.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The server answered the upgrade with something else than 101.
    #[error("upgrade refused: {0}")]
    Upgrade(String),
    /// The server said something that does not belong here.
    #[error("unexpected while {stage}: {said}")]
    Unexpected {
        /// What the client was about to do.
        stage: String,
        /// The beginning of what the server said.
        said: String,
    },
    /// The server cannot do what the workload asks for.
    #[error("it cannot do this: {0}")]
    Unable(&'static str),
    /// The response head or a frame was longer than anything expected, or not readable.
    #[error("not understood while {stage}")]
    Garbled {
        /// What the client was about to do.
        stage: String,
    },
}

impl Dialect {
    /// What is said once TCP is connected.
    pub(crate) fn open(
        self,
        who: Identity,
        rooms: Rooms,
        server: SocketAddr,
        out: &mut Vec<u8>,
    ) -> Stage {
        let path = match self {
            Self::Plain => {
                out.extend_from_slice(&who.number.to_le_bytes());
                return Stage::Joined;
            }
            Self::HighTemplar | Self::Subscribe => "/ws/".to_owned(),
            Self::Url => format!("/ws/?room={}", rooms.name(who.number)),
            Self::SocketIo => "/socket.io/?EIO=4&transport=websocket".to_owned(),
            Self::Nats => "/".to_owned(),
        };
        // A fixed key is enough: nobody caches these answers.
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {server}\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Origin: http://{server}\r\nUser-Agent: ht-bench\r\n\
             Cookie: sessionid={}; csrftoken=bench\r\n{}\r\n",
            who.number,
            if who.deflate { deflate::OFFER } else { "" }
        );
        out.extend_from_slice(request.as_bytes());
        Stage::Upgrading
    }

    /// The upgrade was granted: what is said next, and where that leads.
    pub(crate) fn upgraded(self, who: Identity, rooms: Rooms, out: &mut Vec<u8>) -> Stage {
        match self {
            Self::Plain | Self::Url => Stage::Joined,
            Self::HighTemplar | Self::SocketIo | Self::Nats => Stage::Greeting,
            Self::Subscribe => {
                say(&subscribe::subscribe(rooms, who), who, out);
                Stage::Subscribing
            }
        }
    }

    /// Takes a frame that came while joining; says the next stage and appends what is said.
    pub(crate) fn joining_frame(
        self,
        stage: Stage,
        who: Identity,
        rooms: Rooms,
        frame: &Frame<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Stage, JoinError> {
        let expected = match self {
            // NATS says everything in binary frames.
            Self::Nats => frame::BINARY,
            Self::Plain | Self::HighTemplar | Self::Subscribe | Self::Url | Self::SocketIo => {
                frame::TEXT
            }
        };
        let next = (frame.opcode == expected)
            .then(|| match self {
                Self::HighTemplar => high_templar::joining(stage, who, rooms, frame.payload),
                Self::Subscribe => subscribe::joining(stage, frame.payload),
                Self::SocketIo => socket_io::joining(stage, who, rooms, frame.payload),
                Self::Nats => nats::joining(stage, who, rooms, frame.payload),
                // They join before the first frame.
                Self::Plain | Self::Url => None,
            })
            .flatten();
        let Some((next, answer)) = next else {
            return Err(JoinError::Unexpected {
                stage: format!("{stage:?}"),
                said: beginning(frame.payload),
            });
        };
        if !answer.is_empty() {
            say(&answer, who, out);
        }
        Ok(next)
    }

    /// What a frame is answered with that keeps the connection alive and is no message; websocket
    /// pings are not meant.
    pub(crate) fn answer(self, payload: &[u8]) -> Option<&'static str> {
        match self {
            Self::SocketIo => socket_io::answer(payload),
            Self::Plain | Self::HighTemplar | Self::Subscribe | Self::Url | Self::Nats => None,
        }
    }

    /// Whether frames are pieces of a stream with messages of its own, see [`nats::next`]: a
    /// frame may hold several, and a message may lie in two frames.
    pub(crate) fn is_stream(self) -> bool {
        self == Self::Nats
    }

    /// Appends what keeps an idle connection alive; false where nothing does.
    pub(crate) fn ping(self, who: Identity, out: &mut Vec<u8>) -> bool {
        match self {
            Self::Plain => return false,
            Self::HighTemplar => say("ping", who, out),
            Self::Subscribe | Self::Url | Self::SocketIo | Self::Nats => {
                frame::write_masked(frame::PING, b"", mask_key(who), out);
            }
        }
        true
    }

    /// Whether a message answers such a ping; pongs of the websocket protocol are not meant.
    pub(crate) fn is_pong(self, payload: &[u8]) -> bool {
        self == Self::HighTemplar && payload == b"pong"
    }

    /// Appends a request for a subscription after the first; false where there can be only one.
    pub(crate) fn subscribe(
        self,
        who: Identity,
        rooms: Rooms,
        subscription: u32,
        out: &mut Vec<u8>,
    ) -> bool {
        let several = self == Self::HighTemplar;
        if several {
            let text = high_templar::subscribe(who, rooms, subscription);
            say(&text, who, out);
        }
        several
    }

    /// Whether the messages of a server carry the receiver's own `requestId`.
    pub(crate) fn has_request_ids(self) -> bool {
        self == Self::HighTemplar
    }
}

/// Appends a text frame.
pub(crate) fn say(text: &str, who: Identity, out: &mut Vec<u8>) {
    frame::write_masked(frame::TEXT, text.as_bytes(), mask_key(who), out);
}

/// Looks for the end of the answer to the upgrade. Says how long it is, `None` when it is not
/// whole yet.
pub(crate) fn upgrade_answer(bytes: &[u8]) -> Result<Option<usize>, JoinError> {
    const HEAD_BYTES_MAX: usize = 16 << 10;
    let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") else {
        if bytes.len() > HEAD_BYTES_MAX {
            return Err(garbled(Stage::Upgrading));
        }
        return Ok(None);
    };
    if bytes.starts_with(b"HTTP/1.1 101 ") {
        return Ok(Some(end + 4));
    }
    Err(JoinError::Upgrade(beginning(&bytes[..end])))
}

/// Whether the server grants a request.
pub(crate) fn is_success(payload: &[u8]) -> bool {
    serde_json::from_slice(payload).is_ok_and(|said: serde_json::Value| said["code"] == "success")
}

/// A key that differs between clients and is never zero in any byte.
pub(crate) fn mask_key(who: Identity) -> [u8; 4] {
    let bytes = who.request_id.into_bytes();
    [bytes[0] | 1, bytes[1] | 1, bytes[2] | 1, bytes[3] | 1]
}

pub(crate) fn garbled(stage: Stage) -> JoinError {
    JoinError::Garbled {
        stage: format!("{stage:?}"),
    }
}

/// The first 200 bytes as text, for messages to people.
pub(crate) fn beginning(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned()
}

#[cfg(test)]
mod tests;
