//! What a client asks for over HTTP, as its session begins.

use ht_proto::stream::{Format, StreamRequest};

/// The request for an event stream or a long poll.
#[derive(Clone, Debug)]
pub struct Opening {
    /// How it is answered.
    pub kind: Kind,
    /// The client is a browser's `EventSource` without code of ours: it reads no ticket, never comes
    /// back after a status other than 200, and otherwise always does.
    pub is_plain: bool,
    /// Its subscriptions, and from where on.
    pub request: StreamRequest,
    /// The origin of the page that may read the answer, if it is not that of the gateway.
    pub origin: Option<Box<str>>,
    /// What it takes, in bytes: about the length of the request.
    pub bytes: usize,
}

/// How a request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// By a stream of messages.
    Stream(Format),
    /// By one answer, as soon as there is a message for it, or after so many milliseconds.
    Poll {
        /// How long it waits at most.
        wait_ms: u64,
    },
}
