//! Kinds of refusals and failures, as words for metrics and logs.

ht_proto::labels! {
    /// Kind of a [`crate::Refusal`].
    pub enum RefusalKind {
        /// A status that concerns the client.
        Status = "status",
        /// `allowed_rooms` is not a list of objects.
        AllowedRooms = "allowed-rooms",
        /// `view` or `expires_in` has the wrong type.
        InvalidMember = "invalid-member",
        /// A redirect that is not followed, or leads nowhere.
        Redirect = "redirect",
        /// The client's token is not valid, or it has none.
        Token = "token",
    }
}

ht_proto::labels! {
    /// Kind of a [`crate::Failure`].
    pub enum FailureKind {
        /// No connection could be made, or the host name has no address.
        Connect = "connect",
        /// TLS failed.
        Tls = "tls",
        /// The connection was closed before the head of a response.
        Closed = "closed",
        /// The call exceeded its timeout.
        Timeout = "timeout",
        /// No call slot became free in time.
        Busy = "busy",
        /// The queue for call slots was full.
        QueueFull = "line-full",
        /// The circuit breaker was open.
        CircuitOpen = "circuit-open",
        /// A status that does not concern the client.
        ServerError = "server-error",
        /// The response was not HTTP.
        Protocol = "protocol",
        /// The response had another content type than JSON.
        ContentType = "content-type",
        /// The body could not be decoded.
        Encoding = "encoding",
        /// The body was longer than configured.
        TooLarge = "too-large",
        /// The bodies of all backends together took too much memory.
        NoRoom = "no-room",
        /// The body ended early.
        Truncated = "truncated",
        /// The body was not UTF-8.
        NotUtf8 = "not-utf-8",
        /// The body was not JSON.
        NotJson = "not-json",
        /// The body was JSON, but not an object.
        NotObject = "not-object",
        /// The public keys of an issuer of tokens could not be fetched.
        Keys = "keys",
    }
}
