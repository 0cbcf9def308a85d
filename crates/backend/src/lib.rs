//! The team's HTTP API behind one small trait: who may enter ([`Backend::bootstrap`]) and who
//! came, is there and went ([`Backend::hook`]).
//!
//! Everything here runs on the control runtime. No call ever holds a shard.

pub mod config;

use std::fmt;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::HeaderMap;

/// The API that decides who may enter which rooms.
///
/// Dropping a returned future abandons the call and frees its place.
pub trait Backend: Send + Sync + 'static {
    /// Asks who the visitor is. Waits for a free place, then at most the configured timeout;
    /// never fails: a failure is an [`Answer`].
    fn bootstrap<'a>(&'a self, credentials: &'a Credentials) -> BoxFuture<'a, Answer>;

    /// Whether `hook` is configured at all.
    fn has_hook(&self, hook: Hook) -> bool;

    /// Tells the API that a connection came, pinged or went. The answer's status is not looked
    /// at; an error means that no answer came.
    fn hook<'a>(
        &'a self,
        hook: Hook,
        credentials: &'a Credentials,
    ) -> BoxFuture<'a, Result<(), Failure>>;
}

/// The moments of a connection's life that the API may hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hook {
    /// After the user was admitted.
    Connect,
    /// After a client's `ping`.
    Ping,
    /// After the connection ended, however it ended.
    Disconnect,
}

/// What is forwarded to the API for one visitor: finished request headers.
///
/// They are secrets, so `Debug` shows the names only.
#[derive(Clone, Default)]
pub struct Credentials(pub(crate) HeaderMap);

impl Credentials {
    /// The headers, ready to be put on a request.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.0
    }
}

impl From<HeaderMap> for Credentials {
    fn from(headers: HeaderMap) -> Self {
        Self(headers)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// What the API said to a bootstrap call.
#[derive(Debug)]
pub enum Answer {
    /// Status 200 and a body that could be read.
    Admitted(Admission),
    /// The API does not want this visitor, and asking again will not change that.
    Refused(Refusal),
    /// No usable answer: the visitor should come back later.
    Failed(Failure),
}

/// An admitted visitor.
#[derive(Debug, Clone)]
pub struct Admission {
    /// The JSON text of `allowed_rooms`, byte for byte as the API sent it; `[]` if it sent none.
    /// Known to be valid JSON, not yet known to be a list of objects.
    pub allowed_rooms: Bytes,
    /// The user's id, found under `backend.user_id_path`.
    pub user_id: Option<Box<str>>,
}

/// Why the API's answer is a no.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Any status but 200.
    #[error("the backend answered with status {0}")]
    Status(u16),
}

/// Why there is no usable answer. The text is for the operator and holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// No connection could be made.
    #[error("no connection to the backend: {0}")]
    Connect(String),
}
