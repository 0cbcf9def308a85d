//! Messages of clients.

use crate::code::ErrorCode;
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
pub struct Envelope<'a>(Result<[Option<&'a str>; 4], ErrorCode>);

impl<'a> Envelope<'a> {
    /// Finds the members. The text is not read again except for their values.
    #[must_use]
    pub fn read(text: &'a str) -> Self {
        Self(
            match members(text, &["type", "room", "requestId", "token"]) {
                Ok(Members::Object(found)) => Ok(found),
                Ok(Members::NotAnObject) => Err(ErrorCode::MessageNotObject),
                Err(_) => Err(ErrorCode::NonJsonMessage),
            },
        )
    }

    /// The `requestId`, if the message has a valid one, whatever else is wrong with it.
    #[must_use]
    pub fn request_id(&self, limits: &MessageLimits) -> Option<RequestId> {
        let [_, _, request_id, _] = self.0.ok()?;
        RequestId::parse(request_id?, limits.request_id_bytes).ok()
    }

    /// The message.
    ///
    /// # Errors
    /// The code for the error reply to the client.
    pub fn message(&self, limits: &MessageLimits) -> Result<ClientMessage, ErrorCode> {
        let [kind, room, request_id, token] = self.0?;
        let name = request_id.map(|text| RequestId::parse(text, limits.request_id_bytes));
        match kind.map(unquote).as_deref() {
            Some("subscribe") => {
                let room = Room::parse(room.ok_or(ErrorCode::InvalidRoom)?, limits.room).map_err(
                    |error| match error {
                        RoomError::NotAnObject | RoomError::Number => ErrorCode::InvalidRoom,
                        RoomError::TooDeep => ErrorCode::RoomTooDeep,
                        RoomError::TooLong => ErrorCode::RoomTooLong,
                    },
                )?;
                Ok(ClientMessage::Subscribe {
                    room,
                    request_id: required(name)?,
                })
            }
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: MessageLimits = MessageLimits {
        request_id_bytes: 40,
        room: RoomLimits {
            bytes: 100,
            depth: 4,
        },
    };

    fn parse(text: &str) -> Result<ClientMessage, ErrorCode> {
        ClientMessage::parse(text, &LIMITS)
    }

    #[test]
    fn rejected_messages_have_a_code() {
        for (text, code) in [
            ("", "non-json-message"),
            ("PING", "non-json-message"),
            (" ping", "non-json-message"),
            ("{", "non-json-message"),
            ("{} x", "non-json-message"),
            ("NaN", "non-json-message"),
            ("[]", "message-not-object"),
            ("[{\"type\":\"status\"}]", "message-not-object"),
            ("1", "message-not-object"),
            ("-1", "message-not-object"),
            ("1.5", "message-not-object"),
            ("\"ping\"", "message-not-object"),
            ("\"\\u0000\"", "message-not-object"),
            ("null", "message-not-object"),
            ("true", "message-not-object"),
            ("{}", "message-type-not-allowed"),
            (r#"{"type":"publish"}"#, "message-type-not-allowed"),
            (r#"{"type":["subscribe"]}"#, "message-type-not-allowed"),
            (r#"{"type":null}"#, "message-type-not-allowed"),
            (r#"{"type":"subscribe"}"#, "invalid-room"),
            (
                r#"{"type":"subscribe","room":[],"requestId":1}"#,
                "invalid-room",
            ),
            (
                r#"{"type":"subscribe","room":"x","requestId":1}"#,
                "invalid-room",
            ),
            (
                r#"{"type":"subscribe","room":null,"requestId":1}"#,
                "invalid-room",
            ),
            (
                r#"{"type":"subscribe","room":{"a":1e400},"requestId":1}"#,
                "invalid-room",
            ),
            (
                r#"{"type":"subscribe","room":{"a":[{"b":-1e999}]},"requestId":1}"#,
                "invalid-room",
            ),
            (r#"{"type":"subscribe","room":{}}"#, "no-request-id"),
            (
                r#"{"type":"subscribe","room":{},"requestId":[]}"#,
                "invalid-request-id",
            ),
            (
                r#"{"type":"subscribe","room":{},"requestId":{"a":1}}"#,
                "invalid-request-id",
            ),
            (r#"{"type":"unsubscribe"}"#, "no-request-id"),
            (
                r#"{"type":"unsubscribe","requestId":[1]}"#,
                "invalid-request-id",
            ),
            (
                r#"{"type":"subscribe","room":{"a":[[[[1]]]]},"requestId":1}"#,
                "room-too-deep",
            ),
        ] {
            assert_eq!(parse(text).unwrap_err().as_str(), code, "{text}");
        }
        let long = "x".repeat(100);
        let room = format!(r#"{{"type":"subscribe","room":{{"a":"{long}"}},"requestId":1}}"#);
        assert_eq!(parse(&room), Err(ErrorCode::RoomTooLong));
        let id = format!(r#"{{"type":"unsubscribe","requestId":"{long}"}}"#);
        assert_eq!(parse(&id), Err(ErrorCode::RequestIdTooLong));
        let deep = format!(
            r#"{{"type":"subscribe","room":{}1{},"requestId":1}}"#,
            "[".repeat(100_000),
            "]".repeat(100_000)
        );
        assert!(parse(&deep).is_err());
    }

    #[test]
    fn request_ids_are_scalars_and_keep_their_text() {
        for id in [
            "0",
            "\"\"",
            "null",
            "true",
            "1.5",
            "1.50",
            "\"é\"",
            "12345678901234567890123",
        ] {
            let text = format!(r#"{{"requestId":{id},"extra":[{{}}],"type":"unsubscribe"}}"#);
            let ClientMessage::Unsubscribe { request_id } = parse(&text).unwrap() else {
                panic!("{text}");
            };
            assert_eq!(request_id.as_json(), id);
        }
    }

    #[test]
    fn escapes_in_request_ids_are_decoded() {
        let id = |text| RequestId::parse(text, 40).unwrap();
        assert_eq!(id(r#""\u0061""#), id("\"a\""));
        assert_eq!(id(r#""\ud800""#).as_json(), r#""\ud800""#);
    }

    #[test]
    fn a_message_that_is_wrong_may_have_a_name() {
        for (text, name) in [
            (r#"{"type":"no","requestId":5}"#, Some("5")),
            (r#"{"requestId":"\u0061"}"#, Some("\"a\"")),
            (r#"{"type":"subscribe","requestId":null}"#, Some("null")),
            (r#"{"type":"subscribe","requestId":[1]}"#, None),
            (r#"{"type":"subscribe"}"#, None),
            (r#"{"requestId":5"#, None),
            ("[5]", None),
        ] {
            let found = Envelope::read(text).request_id(&LIMITS);
            assert_eq!(found.as_ref().map(RequestId::as_json), name, "{text}");
        }
        let long = format!(r#"{{"requestId":"{}"}}"#, "x".repeat(39));
        assert_eq!(Envelope::read(&long).request_id(&LIMITS), None);
    }

    #[test]
    fn first_message_may_carry_a_token() {
        for (text, token) in [
            (r#"{"type":"authenticate","token":"a.b"}"#, Some("a.b")),
            (
                r#" {"token": "\u00e9\n", "x": [], "type": "authenticate"} "#,
                Some("é\n"),
            ),
            (r#"{"type":"authenticate","token":""}"#, None),
            (r#"{"type":"authenticate","token":5}"#, None),
            (r#"{"type":"authenticate","token":null}"#, None),
            (r#"{"type":"authenticate","token":["a"]}"#, None),
            (r#"{"type":"authenticate"}"#, None),
            (r#"{"type":"Authenticate","token":"a"}"#, None),
            (r#"{"token":"a"}"#, None),
            (r#"{"type":"subscribe","room":{},"requestId":1}"#, None),
            (r#"[{"type":"authenticate","token":"a"}]"#, None),
            (r#"{"type":"authenticate","token":"a""#, None),
            ("\"a\"", None),
            ("ping", None),
            ("", None),
        ] {
            assert_eq!(first_token(text).as_deref(), token, "{text}");
        }
    }

    #[test]
    fn the_last_of_equal_keys_counts() {
        assert_eq!(
            parse(r#"{"type":"subscribe","type":"st\u0061tus"}"#),
            Ok(ClientMessage::Status)
        );
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "\\PC*") {
            let _ = (parse(&text), Envelope::read(&text).request_id(&LIMITS), first_token(&text));
        }
    }
}
