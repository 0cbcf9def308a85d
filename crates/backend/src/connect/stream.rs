//! One connection, whatever it runs over, that remembers whether it has carried an answer.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use hyper_util::client::legacy::connect::{Connected, Connection};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The first bytes of a TLS record that is an alert (RFC 8446 section 5.1), whatever the version:
/// what a TLS server sends to a client that does not use TLS. No HTTP response begins like this.
const TLS_ALERT: [u8; 2] = [21, 3];

/// Whether a connection has carried an answer before: if it has, and then ends without one, the
/// backend may just have closed it for being idle.
#[derive(Clone, Default)]
pub(crate) struct Served(Arc<Flags>);

#[derive(Default)]
struct Flags {
    /// There was an answer.
    served: AtomicBool,
    /// Bytes were received since the last bytes were sent.
    answering: AtomicBool,
    /// The first bytes received are a TLS alert, on a connection without TLS.
    tls_alert: AtomicBool,
}

impl Served {
    /// Notes an answer.
    pub(crate) fn set(&self) {
        self.0.served.store(true, Ordering::Relaxed);
    }

    /// Whether there was an answer.
    pub(crate) fn get(&self) -> bool {
        self.0.served.load(Ordering::Relaxed)
    }

    /// Whether a part of the response to the last request was received.
    pub(crate) fn is_answering(&self) -> bool {
        self.0.answering.load(Ordering::Relaxed)
    }

    /// Whether the server answered plain HTTP with a TLS alert.
    pub(crate) fn is_tls_only(&self) -> bool {
        self.0.tls_alert.load(Ordering::Relaxed)
    }

    fn note(&self, answering: bool) {
        self.0.answering.store(answering, Ordering::Relaxed);
    }
}

/// One connection.
pub(crate) struct Stream {
    io: Pin<Box<dyn Duplex>>,
    served: Served,
    /// It has no TLS of its own, and nothing was received yet.
    plain: bool,
}

trait Duplex: AsyncRead + AsyncWrite + Send {}

impl<T: AsyncRead + AsyncWrite + Send> Duplex for T {}

impl Stream {
    /// Wraps a fresh connection.
    pub(super) fn new(io: impl AsyncRead + AsyncWrite + Send + 'static) -> Self {
        Self {
            io: Box::pin(io),
            served: Served::default(),
            plain: false,
        }
    }

    /// Wraps a fresh TCP connection without TLS.
    pub(super) fn plain(io: impl AsyncRead + AsyncWrite + Send + 'static) -> Self {
        Self {
            plain: true,
            ..Self::new(io)
        }
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new().extra(self.served.clone())
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = self.io.as_mut().poll_read(cx, buffer);
        let came = &buffer.filled()[before..];
        if !came.is_empty() {
            self.served.note(true);
            if std::mem::take(&mut self.plain) && came.starts_with(&TLS_ALERT) {
                self.served.0.tls_alert.store(true, Ordering::Relaxed);
            }
        }
        read
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.served.note(false);
        self.io.as_mut().poll_write(cx, data)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.served.note(false);
        self.io.as_mut().poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.as_mut().poll_shutdown(cx)
    }
}
