//! What the errors of the HTTP client mean for the operator.

use hyper_util::client::legacy;

use crate::answer::Failure;
use crate::cause::{causes, find, find_tls, is_closed};
use crate::connect::{ConnectError, Served};
use crate::tls::TlsFault;

/// The meaning of an error before the head of an answer was complete, on a connection that
/// carried this.
pub(crate) fn in_head(error: &legacy::Error, served: &Served) -> Failure {
    if served.is_tls_only() {
        return Failure::Tls(TlsFault::TlsOnly);
    }
    if let Some(cause) = find::<ConnectError>(error) {
        return cause.into();
    }
    if let Some(cause) = find_tls(error) {
        return Failure::Tls(cause.into());
    }
    if is_closed(error) {
        return Failure::Closed;
    }
    if error.is_connect() {
        return Failure::Connect(causes(error));
    }
    Failure::Protocol(causes(error))
}

/// The meaning of an error within a body.
pub(crate) fn in_body(error: &hyper::Error) -> Failure {
    if let Some(cause) = find_tls(error) {
        return Failure::Tls(cause.into());
    }
    if is_closed(error) {
        return Failure::Truncated;
    }
    Failure::Protocol(causes(error))
}
