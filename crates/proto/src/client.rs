//! Messages of clients.

use serde_json::value::RawValue;

use crate::code::ErrorCode;
use crate::cursor::Cursor;
use crate::object::{Members, members};
use crate::room::{Room, RoomError, RoomLimits};
use crate::token::Token;

/// The text that requests a `pong`.
pub const PING: &str = "ping";

/// A client's message. `ping` is not among them: it is not JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientMessage {
    /// Subscribe to a room.
    Subscribe {
        /// The room.
        room: Room,
        /// The name for its publications.
        request_id: RequestId,
        /// Send first what was published after this, if it is there; the code for the error reply
        /// where it is invalid.
        since: Result<Option<Cursor>, ErrorCode>,
    },
    /// Subscribe to many rooms, and send first what was published after a cursor.
    Resume {
        /// The name of the request, or the code for the error reply where it has none.
        request_id: Result<RequestId, ErrorCode>,
        /// The cursor, or the code where it is invalid.
        cursor: Result<Cursor, ErrorCode>,
        /// The subscriptions, or the code where they are no list.
        subscriptions: Result<Vec<Resumed>, ErrorCode>,
    },
    /// Drop every subscription under a name.
    Unsubscribe {
        /// The name.
        request_id: RequestId,
    },
    /// Request the node's totals.
    Status,
    /// Request a cursor, and prove that the connection is alive.
    Ping {
        /// The name of the request, if it has one; the code for the error reply where that is
        /// invalid.
        request_id: Result<Option<RequestId>, ErrorCode>,
    },
    /// Replace the token that the client authenticated with.
    Authenticate {
        /// The new one; none if it is malformed.
        token: Option<Token>,
        /// The name of the request, or the code for the error reply where it has none.
        request_id: Result<RequestId, ErrorCode>,
    },
}

/// A subscription of a [`ClientMessage::Resume`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resumed {
    /// The name for its publications, or the code where it is invalid.
    pub request_id: Result<RequestId, ErrorCode>,
    /// The room, or the code where it is invalid.
    pub room: Result<Room, ErrorCode>,
    /// Its own cursor, if it has one, instead of that of the whole; the code where it is invalid.
    pub since: Result<Option<Cursor>, ErrorCode>,
}

/// A client's name for a subscription: the JSON text of a scalar.
///
/// Equal names have equal texts, but for numbers of one value in different spellings.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RequestId(Box<str>);

impl RequestId {
    /// The JSON text, ready to be put into a frame.
    #[must_use]
    pub fn as_json(&self) -> &str {
        &self.0
    }

    fn parse(text: &str, bytes_max: usize) -> Result<Self, ErrorCode> {
        if text.starts_with(['[', '{']) {
            return Err(ErrorCode::InvalidRequestId);
        }
        if text.len() > bytes_max {
            return Err(ErrorCode::RequestIdTooLong);
        }
        if text.contains('\\') {
            // One spelling per name. A lone surrogate has no other: it is kept as sent.
            if let Ok(name) = serde_json::from_str::<String>(text)
                && let Ok(text) = serde_json::to_string(&name)
            {
                return Ok(Self(text.into()));
            }
        }
        Ok(Self(text.into()))
    }
}

/// Bounds for a client's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageLimits {
    /// Longest `requestId`, in bytes of its JSON text.
    pub request_id_bytes: usize,
    /// Bounds of a room.
    pub room: RoomLimits,
}

/// The members of a client's message, found in one pass over its text.
#[derive(Clone, Copy, Debug)]
pub struct Envelope<'a>(Result<[Option<&'a str>; MEMBERS.len()], ErrorCode>);

/// The members that are read.
const MEMBERS: [&str; 7] = [
    "type",
    "room",
    "requestId",
    "token",
    "since",
    "cursor",
    "subscriptions",
];

impl<'a> Envelope<'a> {
    /// Finds the members. The text is not read again except for their values.
    #[must_use]
    pub fn read(text: &'a str) -> Self {
        Self(match members(text, &MEMBERS) {
            Ok(Members::Object(found)) => Ok(found),
            Ok(Members::NotAnObject) => Err(ErrorCode::MessageNotObject),
            Err(_) => Err(ErrorCode::NonJsonMessage),
        })
    }

    /// The `requestId`, if the message has a valid one, whatever else is wrong with it.
    #[must_use]
    pub fn request_id(&self, limits: &MessageLimits) -> Option<RequestId> {
        let [_, _, request_id, ..] = self.0.ok()?;
        RequestId::parse(request_id?, limits.request_id_bytes).ok()
    }

    /// The message.
    ///
    /// # Errors
    /// The code for the error reply to the client.
    pub fn message(&self, limits: &MessageLimits) -> Result<ClientMessage, ErrorCode> {
        let [kind, room, request_id, token, since, cursor, subscriptions] = self.0?;
        let name = request_id.map(|text| RequestId::parse(text, limits.request_id_bytes));
        match kind.map(unquote).as_deref() {
            Some("subscribe") => {
                let room = parse_room(room, limits)?;
                Ok(ClientMessage::Subscribe {
                    room,
                    request_id: required(name)?,
                    since: parse_since(since),
                })
            }
            Some("resume") => Ok(ClientMessage::Resume {
                request_id: required(name),
                cursor: match parse_since(cursor) {
                    Ok(Some(cursor)) => Ok(cursor),
                    Ok(None) | Err(_) => Err(ErrorCode::InvalidCursor),
                },
                subscriptions: parse_resumed(subscriptions, limits),
            }),
            Some("unsubscribe") => Ok(ClientMessage::Unsubscribe {
                request_id: required(name)?,
            }),
            Some("status") => Ok(ClientMessage::Status),
            Some("ping") => Ok(ClientMessage::Ping {
                request_id: name.transpose(),
            }),
            Some("authenticate") => Ok(ClientMessage::Authenticate {
                token: token.and_then(parse_token),
                request_id: required(name),
            }),
            _ => Err(ErrorCode::MessageTypeNotAllowed),
        }
    }
}

impl ClientMessage {
    /// Reads a message: [`Envelope::read`] and [`Envelope::message`] in one.
    ///
    /// # Errors
    /// The code for the error reply to the client.
    pub fn parse(text: &str, limits: &MessageLimits) -> Result<Self, ErrorCode> {
        Envelope::read(text).message(limits)
    }
}

fn parse_room(json: Option<&str>, limits: &MessageLimits) -> Result<Room, ErrorCode> {
    let json = json.ok_or(ErrorCode::InvalidRoom)?;
    Room::parse(json, limits.room).map_err(|error| match error {
        RoomError::NotAnObject | RoomError::Number => ErrorCode::InvalidRoom,
        RoomError::TooDeep => ErrorCode::RoomTooDeep,
        RoomError::TooLong => ErrorCode::RoomTooLong,
    })
}

/// A cursor in a JSON string, if there is one.
fn parse_since(json: Option<&str>) -> Result<Option<Cursor>, ErrorCode> {
    let Some(json) = json else {
        return Ok(None);
    };
    let text: String = serde_json::from_str(json).map_err(|_| ErrorCode::InvalidSince)?;
    let cursor = text.parse().map_err(|_| ErrorCode::InvalidCursor)?;
    Ok(Some(cursor))
}

fn parse_resumed(json: Option<&str>, limits: &MessageLimits) -> Result<Vec<Resumed>, ErrorCode> {
    let invalid = ErrorCode::InvalidSubscriptions;
    let texts: Vec<&RawValue> = serde_json::from_str(json.ok_or(invalid)?).map_err(|_| invalid)?;
    let each = texts.into_iter();
    each.map(|text| Resumed::parse(text.get(), limits))
        .collect()
}

impl Resumed {
    /// Reads one of a list of subscriptions.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidSubscriptions`] where it is no object.
    pub(crate) fn parse(text: &str, limits: &MessageLimits) -> Result<Self, ErrorCode> {
        let found = members(text, &["requestId", "room", "since"]);
        let Ok(Members::Object([request_id, room, since])) = found else {
            return Err(ErrorCode::InvalidSubscriptions);
        };
        let name = request_id.map(|text| RequestId::parse(text, limits.request_id_bytes));
        Ok(Self {
            request_id: required(name),
            room: parse_room(room, limits),
            since: parse_since(since),
        })
    }

    /// A subscription to a room without more, under a number.
    pub(crate) fn numbered(number: usize, room: &str, limits: &MessageLimits) -> Self {
        Self {
            request_id: Ok(number.into()),
            room: parse_room(Some(room), limits),
            since: Ok(None),
        }
    }
}

impl From<usize> for RequestId {
    fn from(number: usize) -> Self {
        Self(itoa::Buffer::new().format(number).into())
    }
}

/// The name of a request that must have one.
fn required(name: Option<Result<RequestId, ErrorCode>>) -> Result<RequestId, ErrorCode> {
    name.unwrap_or(Err(ErrorCode::NoRequestId))
}

/// The token in a client's first message, if one is expected there: `{"type": "authenticate",
/// "token": "..."}`. Other members are ignored.
#[must_use]
pub fn first_token(text: &str) -> Option<String> {
    let Ok(Members::Object([kind, token])) = members(text, &["type", "token"]) else {
        return None;
    };
    let token = serde_json::from_str::<String>(token?).ok()?;
    (unquote(kind?) == "authenticate" && !token.is_empty()).then_some(token)
}

/// A token in a JSON string.
fn parse_token(json: &str) -> Option<Token> {
    let text = serde_json::from_str::<String>(json).ok()?;
    Token::new(&text).ok()?
}

/// The content of a JSON string; none for anything else.
fn unquote(json: &str) -> String {
    serde_json::from_str(json).unwrap_or_default()
}

#[cfg(test)]
mod tests;
