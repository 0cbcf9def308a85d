//! The team's HTTP API behind one small trait: admission ([`Backend::bootstrap`]) and notifications
//! that a connection was opened, pinged or closed ([`Backend::hook`]).
//!
//! [`ForwardRules`] turns a client's request into [`Credentials`]; [`HttpBackend`] adds them to its
//! calls; [`Guard`] limits the calls to what the API can serve. Everything here runs on the control
//! runtime. No call ever blocks a shard.

pub mod config;
pub mod tls;

mod advice;
mod answer;
mod body;
mod budget;
mod cause;
mod client;
mod connect;
mod credentials;
mod exchange;
mod fault;
mod fetch;
mod forward;
mod guard;
mod jwt;
mod kept;
mod kind;
mod parse;
mod post;
mod redirect;
mod setup;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
pub use ht_overload::{CallTime, FairQueue, QueueEntry, QueueKey};
pub use ht_proto::hook::Hook;

pub use crate::answer::{
    Answer, Elsewhere, Failure, Permissions, RETRY_AFTER_MAX, Refusal, Waiting,
};
pub use crate::budget::{Budget, Holding, Share};
pub use crate::client::HttpBackend;
pub use crate::credentials::Credentials;
pub use crate::fetch::{Fetch, FetchConfig, Fetched};
pub use crate::forward::{
    COOKIE_BYTES_MAX, FORWARD_BYTES_MAX, ForwardError, ForwardRules, HEADER_BYTES_MAX,
};
pub use crate::guard::{Guard, GuardCounts};
pub use crate::jwt::{DenyCheck, JwtBackend, JwtConfig, JwtIssuer, JwtUse, KeyState};
pub use crate::kept::KeptCredentials;
pub use crate::kind::{FailureKind, RefusalKind};
pub use crate::post::{PostConfig, PostFailure, PostSetupError, Poster};
pub use crate::setup::BackendSetupError;

/// The clock of the calls. None of its numbers ever shrinks.
pub type CallClock = Arc<dyn Fn() -> CallTime + Send + Sync>;

/// The API that decides which clients may enter which rooms.
///
/// Dropping a returned future abandons the call and releases its permit.
pub trait Backend: Send + Sync + 'static {
    /// Authenticates the client. Takes a bounded time and never fails: a failure is an [`Answer`].
    fn bootstrap<'a>(&'a self, credentials: &'a Credentials) -> BoxFuture<'a, Answer>;

    /// Makes a connection to the API and closes it again without a request: shows whether the API
    /// can be reached, and changes nothing there.
    fn reach(&self) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Whether `hook` is configured at all.
    fn has_hook(&self, hook: Hook) -> bool;

    /// Notifies the API that a connection was opened, pinged or closed. The status of the response
    /// is ignored; an error means that there was no response.
    fn hook<'a>(
        &'a self,
        hook: Hook,
        credentials: &'a Credentials,
    ) -> BoxFuture<'a, Result<(), Failure>>;

    /// A call of the gateway's own, without any client's credentials: shows whether the API
    /// responds at all.
    fn probe(&self) -> BoxFuture<'_, Answer>;

    /// From now on each response to a bootstrap call has in [`Permissions::asked_at`] the reading
    /// of `clock` just before the call was sent, also where clients share the call.
    fn number_calls(&self, _clock: CallClock) {}

    /// Background work beside the calls, for as long as calls are made. Never returns.
    fn upkeep(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::pending())
    }

    /// The interval in which a client whose call failed just now may retry, at a random moment of
    /// it. Each call counts as one such client, so that the intervals grow with a stampede.
    fn come_back_within(&self) -> Duration {
        COME_BACK_WITHIN
    }

    /// The limiter of the calls, if there is one.
    fn guard(&self) -> Option<GuardCounts> {
        None
    }
}

/// The retry interval of a backend that does not estimate one.
const COME_BACK_WITHIN: Duration = Duration::from_secs(5);
