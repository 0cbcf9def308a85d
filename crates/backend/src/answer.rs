//! Results of a call to the API, and the log sentences that explain them to the operator.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use ht_overload::CallTime;
use ht_proto::who::WhoError;
use ht_token::Refused;

use crate::kind::{FailureKind, RefusalKind};
pub use crate::redirect::Elsewhere;
use crate::tls::TlsFault;

/// Longest `Retry-After` of the API that is passed on; a longer one counts as this one.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);

/// Result of a bootstrap call.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Status 200 and a body that could be read.
    Admitted(Permissions),
    /// The API does not want this client, and asking again will not change that.
    Refused(Refusal),
    /// No usable response: the client should retry later.
    Failed(Failure),
}

/// What the API grants a client.
#[derive(Debug, Clone)]
pub struct Permissions {
    /// The JSON text of `allowed_rooms`, byte for byte as the API sent it; `[]` if it sent none.
    /// Known to be a valid JSON list; its elements are not parsed yet. A slice of the whole
    /// response, which stays in memory for as long as this is kept.
    pub allowed_rooms: Bytes,
    /// The user's id, found under `backend.user_id_path`: a string, or the digits of a number.
    pub user_id: Option<Box<str>>,
    /// The name of the sign-in that the client has.
    pub session: Option<Box<str>>,
    /// Labels of the client, sorted and without repetitions.
    pub labels: Box<[Box<str>]>,
    /// The view that the client has of publications.
    pub view: Option<Box<str>>,
    /// Validity of all of this; `None`: until the connection ends.
    pub expires_in: Option<Duration>,
    /// Reading of the clock of [`Backend::number_calls`](crate::Backend::number_calls) just before
    /// the call was sent; `None` without such a clock.
    pub asked_at: Option<CallTime>,
    /// Members that count as absent, because they have the wrong type.
    pub ignored: Vec<WhoError>,
}

impl Permissions {
    /// The permissions of a client about whom nothing else is known; `allowed_rooms` is the JSON
    /// text of a list.
    #[must_use]
    pub fn of(allowed_rooms: Bytes) -> Self {
        Self {
            allowed_rooms,
            user_id: None,
            session: None,
            labels: Box::default(),
            view: None,
            expires_in: None,
            asked_at: None,
            ignored: Vec::new(),
        }
    }

    /// Bytes of the texts in it.
    pub(crate) fn bytes(&self) -> usize {
        let texts = [&self.user_id, &self.session, &self.view];
        let texts = texts.into_iter().flatten().chain(&self.labels);
        self.allowed_rooms.len() + texts.map(|text| text.len()).sum::<usize>()
    }
}

/// Why the API's answer is a no.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// A status that is about this client: anything but 200, a server error (5xx), and 407, 408,
    /// 421, 425 and 429, which are a [`Failure::Status`].
    #[error("the backend answered with status {0}")]
    Status(u16),
    /// A redirect to another origin, or to something that is not an address. It is not followed:
    /// the forwarded headers are secrets of the client.
    #[error("the backend redirects the call to {location}, which is not followed")]
    Redirect {
        /// The target, without its query, shortened.
        location: String,
        /// Kind of target.
        elsewhere: Elsewhere,
    },
    /// A redirect within the backend's origin that ends in something other than JSON.
    #[error(
        "the backend redirects the call to {location}, which answers with {}, not application/json",
        ContentType(.content_type.as_deref())
    )]
    LoginPage {
        /// The last target, without its query, shortened.
        location: String,
        /// What it answered with.
        content_type: Option<String>,
    },
    /// Too many redirects within the backend's own origin.
    #[error("the backend redirects the call again and again, at last to {location}")]
    RedirectLoop {
        /// The last target, without its query, shortened.
        location: String,
    },
    /// `allowed_rooms` is there but is not a list.
    #[error("the backend's answer has an `allowed_rooms` that is not a list of objects")]
    AllowedRooms,
    /// A member that restricts what the client may access has the wrong type. Treated as absent, it
    /// would permit more than the API intends.
    #[error("a member of the backend's answer is wrong: {0}")]
    InvalidMember(WhoError),
    /// The client's token is not valid, or it has none where one is required.
    #[error("{}", TokenRefused(.0))]
    Token(Refused),
}

impl Refusal {
    /// Its kind, for metrics and logs.
    #[must_use]
    pub fn kind(&self) -> RefusalKind {
        match self {
            Self::Status(_) => RefusalKind::Status,
            Self::Redirect { .. } | Self::LoginPage { .. } | Self::RedirectLoop { .. } => {
                RefusalKind::Redirect
            }
            Self::AllowedRooms => RefusalKind::AllowedRooms,
            Self::InvalidMember(_) => RefusalKind::InvalidMember,
            Self::Token(_) => RefusalKind::Token,
        }
    }
}

/// Why there is no usable answer. The text is for the operator and holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The host name of the backend has no address.
    #[error("no connection to the backend: {0}")]
    Resolve(String),
    /// No connection could be made.
    #[error("no connection to the backend: {0}")]
    Connect(String),
    /// The TLS handshake or a TLS record failed, or the port uses TLS and the request did not.
    #[error("TLS with the backend failed: {0}")]
    Tls(TlsFault),
    /// The connection was closed or reset before the head of a response arrived.
    #[error("the backend closed the connection before it answered")]
    Closed,
    /// The call exceeded its timeout.
    #[error("the backend did not {waiting} within {within:?}")]
    Timeout {
        /// How long the call may take.
        within: Duration,
        /// The phase that it reached.
        waiting: Waiting,
    },
    /// No permit became free in time, so the call was never made.
    #[error("no free slot for a call to the backend within {within:?}: it responds too slowly")]
    Busy {
        /// How long a call may wait for its permit.
        within: Duration,
    },
    /// The queue for permits is full, or the client's address has so many calls in it that this one
    /// was evicted to make room for another.
    #[error(
        "{waiting_max} clients wait for the backend, which is the maximum: it answers \
         too slowly"
    )]
    QueueFull {
        /// Capacity of the queue.
        waiting_max: usize,
    },
    /// Circuit breaker open: the backend failed too often in a row and gets no calls for a while.
    #[error("the backend circuit breaker is open")]
    CircuitOpen,
    /// A status that is not about this client: the backend, or a proxy in front of it, is
    /// broken, overloaded or restarting. See [`Failure::of_status`].
    #[error("the backend answered with status {status}")]
    Status {
        /// The status code.
        status: u16,
        /// The answer's `Retry-After` (RFC 9110 section 10.2.3), at most [`RETRY_AFTER_MAX`].
        retry_after: Option<Duration>,
    },
    /// The answer is not HTTP.
    #[error("the backend's answer is not valid HTTP: {0}")]
    Protocol(String),
    /// Status 200 with a content type other than JSON.
    #[error("the backend's answer has {}, not application/json", ContentType(.0.as_deref()))]
    ContentType(Option<String>),
    /// A content encoding that was not requested, or damaged data in one that was.
    #[error("the backend's answer cannot be decoded: {0}")]
    Encoding(String),
    /// The body, once decoded, is longer than configured.
    #[error("the backend's answer is longer than {bytes_max} bytes")]
    TooLarge {
        /// The configured bound.
        bytes_max: usize,
    },
    /// There is too little memory left for it: the APIs of all tenants send too much at once.
    #[error(
        "the answers that this node is reading from all backends together may take {limit} bytes, and \
         this backend has its share of them"
    )]
    NoRoom {
        /// The configured bound of all answers, in bytes.
        limit: usize,
    },
    /// The connection ended within the body.
    #[error("the backend's answer ends before it is complete")]
    Truncated,
    /// The body is not UTF-8.
    #[error("the backend's answer is not UTF-8")]
    NotUtf8,
    /// The body is not JSON.
    #[error("the backend's answer is not JSON (line {line}, column {column})")]
    NotJson {
        /// Line of the first mistake, from 1.
        line: usize,
        /// Column of the first mistake in bytes, from 1; 0 before the line's first byte.
        column: usize,
    },
    /// The body is JSON but no object.
    #[error("the backend's answer is JSON but not an object")]
    NotObject,
    /// The public keys of the issuer of a token could not be fetched, so that nobody knows whether it
    /// is valid.
    #[error("the public keys of the issuer {0} cannot be fetched")]
    Keys(Box<str>),
}

/// What a call that ran out of time was waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Waiting {
    /// For a connection, TLS included.
    Connection,
    /// For the head of the answer.
    Head,
    /// For the rest of the answer.
    Body,
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connection => "accept a connection",
            Self::Head => "answer",
            Self::Body => "finish its answer",
        })
    }
}

impl Failure {
    /// Its kind, for metrics and logs.
    #[must_use]
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::Resolve(_) | Self::Connect(_) => FailureKind::Connect,
            Self::Tls(_) => FailureKind::Tls,
            Self::Closed => FailureKind::Closed,
            Self::Timeout { .. } => FailureKind::Timeout,
            Self::Busy { .. } => FailureKind::Busy,
            Self::QueueFull { .. } => FailureKind::QueueFull,
            Self::CircuitOpen => FailureKind::CircuitOpen,
            Self::Status { .. } => FailureKind::ServerError,
            Self::Protocol(_) => FailureKind::Protocol,
            Self::ContentType(_) => FailureKind::ContentType,
            Self::Encoding(_) => FailureKind::Encoding,
            Self::TooLarge { .. } => FailureKind::TooLarge,
            Self::NoRoom { .. } => FailureKind::NoRoom,
            Self::Truncated => FailureKind::Truncated,
            Self::NotUtf8 => FailureKind::NotUtf8,
            Self::NotJson { .. } => FailureKind::NotJson,
            Self::NotObject => FailureKind::NotObject,
            Self::Keys(_) => FailureKind::Keys,
        }
    }

    /// What a response with this status indicates about the backend; `None` if it is about the
    /// client.
    ///
    /// Server errors (5xx) occur at every deployment of an API. Of the client errors, 407 (a proxy
    /// on the path wants credentials of the gateway), 408, 421, 425 and 429 do not depend on who
    /// the client is (RFC 9110 section 15.5, RFC 8470, RFC 6585).
    #[must_use]
    pub fn of_status(status: u16, retry_after: Option<Duration>) -> Option<Self> {
        matches!(status, 407 | 408 | 421 | 425 | 429 | 500..).then_some(Self::Status {
            status,
            retry_after,
        })
    }

    /// Whether the backend sent a complete response, if only a status: clients that did not choose
    /// our subprotocol are rejected then, as they always were.
    #[must_use]
    pub fn is_answer(&self) -> bool {
        matches!(self, Self::Status { .. })
    }

    /// The backend's `Retry-After`.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            Self::Resolve(_)
            | Self::Connect(_)
            | Self::Tls(_)
            | Self::Closed
            | Self::Timeout { .. }
            | Self::Busy { .. }
            | Self::QueueFull { .. }
            | Self::CircuitOpen
            | Self::Protocol(_)
            | Self::ContentType(_)
            | Self::Encoding(_)
            | Self::TooLarge { .. }
            | Self::NoRoom { .. }
            | Self::Truncated
            | Self::NotUtf8
            | Self::NotJson { .. }
            | Self::NotObject
            | Self::Keys(_) => None,
        }
    }

    /// Whether no connection could be made at all, regardless of the client: the name cannot be
    /// resolved, nothing listens, or TLS cannot be established with a trusted peer.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Resolve(_) | Self::Connect(_) | Self::Tls(_))
    }

    /// Whether the backend, or the network path to it, may be down for all clients: no response, or
    /// 502, 503 or 504, which is how a proxy or an overloaded server reports it (RFC 9110 section
    /// 15.6). Any other response shows that the backend works, whether it can be used or not.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Resolve(_)
            | Self::Connect(_)
            | Self::Tls(_)
            | Self::Closed
            | Self::Timeout { .. }
            | Self::Protocol(_)
            | Self::Truncated
            | Self::Status {
                status: 502..=504, ..
            } => true,
            Self::Busy { .. }
            | Self::QueueFull { .. }
            | Self::CircuitOpen
            | Self::Status { .. }
            | Self::ContentType(_)
            | Self::Encoding(_)
            | Self::TooLarge { .. }
            | Self::NoRoom { .. }
            | Self::NotUtf8
            | Self::NotJson { .. }
            | Self::NotObject
            | Self::Keys(_) => false,
        }
    }
}

/// The sentence for a token that is refused: why, and by which key.
struct TokenRefused<'a>(&'a Refused);

impl fmt::Display for TokenRefused<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Refused { reason, key_id, .. } = self.0;
        write!(f, "the token of the client is refused: {}", reason.as_str())?;
        match key_id {
            Some(id) => write!(f, " (kid {id:?})"),
            None => Ok(()),
        }
    }
}

/// Words for a content type that may be absent.
struct ContentType<'a>(Option<&'a str>);

impl fmt::Display for ContentType<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(found) => write!(f, "the content type {found:?}"),
            None => f.write_str("no content type"),
        }
    }
}
