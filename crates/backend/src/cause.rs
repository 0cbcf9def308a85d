//! The causes of an error.

use std::error::Error;
use std::io;

/// Longest part of a cause that is shown, in characters.
const SHOWN_CHARS_MAX: usize = 300;

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
pub(crate) fn find<'e, E: Error + 'static>(error: &'e (dyn Error + 'static)) -> Option<&'e E> {
    chain(error).find_map(|error| error.downcast_ref())
}

/// An error and its causes.
fn chain<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}
