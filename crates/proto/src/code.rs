//! The stable codes of error replies.

crate::labels! {
    /// Why a client's message was rejected, as the `message` of an error reply.
    pub enum ErrorCode {
        /// Not JSON.
        NonJsonMessage = "non-json-message",
        /// JSON, but not an object.
        MessageNotObject = "message-not-object",
        /// `type` is missing or unknown.
        MessageTypeNotAllowed = "message-type-not-allowed",
        /// `requestId` is missing.
        NoRequestId = "no-request-id",
        /// `requestId` is a list or an object.
        InvalidRequestId = "invalid-request-id",
        /// `requestId` is longer than allowed.
        RequestIdTooLong = "request-id-too-long",
        /// `room` is missing or not an object.
        InvalidRoom = "invalid-room",
        /// `room` is nested deeper than allowed.
        RoomTooDeep = "room-too-deep",
        /// `room` is longer than allowed.
        RoomTooLong = "room-too-long",
        /// No grant permits the room.
        RoomNotFound = "room-not-found",
        /// The connection has the maximum number of subscriptions.
        TooManySubscriptions = "too-many-subscriptions",
        /// The connection has the room under the maximum number of other `requestId`s.
        TooManyNames = "too-many-names",
        /// The connection has `*` in the maximum number of combinations of this room's keys, or all
        /// subscribers together have.
        TooManyWildcards = "too-many-wildcards",
        /// No subscription has this `requestId`.
        NotSubscribed = "not-subscribed",
        /// `cursor` or `since` is not a cursor.
        InvalidCursor = "invalid-cursor",
        /// `since` is not a string.
        InvalidSince = "invalid-since",
        /// `subscriptions` is not a list of objects.
        InvalidSubscriptions = "invalid-subscriptions",
        /// The new token is that of another user.
        OtherUser = "other-user",
        /// The new token is malformed, or the API refused it.
        TokenRefused = "token-refused",
        /// The API gave no usable answer about the new token, or has not answered about an earlier
        /// one.
        BackendUnavailable = "backend-unavailable",
    }
}

impl ErrorCode {
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
