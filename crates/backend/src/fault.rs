//! What the errors of the HTTP client mean for the operator.

use std::error::Error;
use std::io;

use hyper_util::client::legacy;

use crate::answer::Failure;
use crate::connect::{ConnectError, Served};
use crate::tls::TlsFault;

/// Longest part of a cause that is shown, in characters.
const SHOWN_CHARS_MAX: usize = 300;

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

/// Whether the peer ended the connection, politely or not.
pub(crate) fn is_closed(error: &(dyn Error + 'static)) -> bool {
    if let Some(error) = find::<hyper::Error>(error)
        && (error.is_incomplete_message() || error.is_closed() || error.is_canceled())
    {
        return true;
    }
    find::<io::Error>(error).is_some_and(|error| {
        matches!(
            error.kind(),
            io::ErrorKind::UnexpectedEof
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::NotConnected
        )
    })
}

/// The sentences of an error's causes, the error's own left out, shortened.
pub(crate) fn causes(error: &(dyn Error + 'static)) -> String {
    let texts: Vec<String> = chain(error).skip(1).map(ToString::to_string).collect();
    let text = match texts.as_slice() {
        [] => error.to_string(),
        texts => texts.join(": "),
    };
    text.chars().take(SHOWN_CHARS_MAX).collect()
}

/// A TLS error anywhere below an error. Streams carry it inside an I/O error, which does not name
/// it as its source.
pub(crate) fn find_tls<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e rustls::Error> {
    chain(error).find_map(|error| {
        let inner = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        inner
            .and_then(|inner| inner.downcast_ref())
            .or_else(|| error.downcast_ref())
    })
}

/// An error of type `E`, this one or below it.
fn find<'e, E: Error + 'static>(error: &'e (dyn Error + 'static)) -> Option<&'e E> {
    chain(error).find_map(|error| error.downcast_ref())
}

/// An error and its causes.
fn chain<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}
