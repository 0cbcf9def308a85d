//! The stable codes of error replies.

/// Why a client's message was not done, as the `message` of an error reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// Not JSON.
    NonJsonMessage,
    /// JSON, but not an object.
    MessageNotObject,
    /// `type` is missing or unknown.
    MessageTypeNotAllowed,
    /// `requestId` is missing.
    NoRequestId,
    /// `requestId` is a list or an object.
    InvalidRequestId,
    /// `requestId` is longer than allowed.
    RequestIdTooLong,
    /// `room` is missing or not an object.
    InvalidRoom,
    /// `room` is nested deeper than allowed.
    RoomTooDeep,
    /// `room` is longer than allowed.
    RoomTooLong,
    /// No grant permits the room.
    RoomNotFound,
    /// The connection has as many subscriptions as it may have.
    TooManySubscriptions,
    /// The connection has the room under as many other `requestId`s as it may.
    TooManyNames,
    /// The connection has `*` in as many combinations of this room's keys as it may, or all
    /// subscribers together have.
    TooManyWildcards,
    /// No subscription has this `requestId`.
    NotSubscribed,
}

impl ErrorCode {
    /// Every code, for metrics and documents.
    pub const ALL: [Self; 14] = [
        Self::NonJsonMessage,
        Self::MessageNotObject,
        Self::MessageTypeNotAllowed,
        Self::NoRequestId,
        Self::InvalidRequestId,
        Self::RequestIdTooLong,
        Self::InvalidRoom,
        Self::RoomTooDeep,
        Self::RoomTooLong,
        Self::RoomNotFound,
        Self::TooManySubscriptions,
        Self::TooManyNames,
        Self::TooManyWildcards,
        Self::NotSubscribed,
    ];

    /// The code as it stands on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NonJsonMessage => "non-json-message",
            Self::MessageNotObject => "message-not-object",
            Self::MessageTypeNotAllowed => "message-type-not-allowed",
            Self::NoRequestId => "no-request-id",
            Self::InvalidRequestId => "invalid-request-id",
            Self::RequestIdTooLong => "request-id-too-long",
            Self::InvalidRoom => "invalid-room",
            Self::RoomTooDeep => "room-too-deep",
            Self::RoomTooLong => "room-too-long",
            Self::RoomNotFound => "room-not-found",
            Self::TooManySubscriptions => "too-many-subscriptions",
            Self::TooManyNames => "too-many-names",
            Self::TooManyWildcards => "too-many-wildcards",
            Self::NotSubscribed => "not-subscribed",
        }
    }

    /// Whether the reply carries the connection's id as `requestId`, as it always did for
    /// messages that could not be understood at all.
    #[must_use]
    pub const fn names_connection(self) -> bool {
        matches!(
            self,
            Self::NonJsonMessage | Self::MessageNotObject | Self::MessageTypeNotAllowed
        )
    }
}
