//! One connection, whatever it runs over, that remembers whether it has carried an answer.

use std::io;
use std::io::IoSlice;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::task::Poll;

use hyper_util::client::legacy::connect::Connected;
use hyper_util::client::legacy::connect::Connection;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;

/// Whether a connection has carried an answer before: if it has, and then ends without one, the
/// backend may just have closed it for being idle.
#[derive(Clone, Default)]
pub(crate) struct Served(Arc<Flags>);

#[derive(Default)]
struct Flags {
    /// There was an answer.
    served: AtomicBool,
    /// Something came since the last bytes were sent.
    answering: AtomicBool,
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

    /// Whether a part of the answer to the last request came.
    pub(crate) fn is_answering(&self) -> bool {
        self.0.answering.load(Ordering::Relaxed)
    }

    fn note(&self, answering: bool) {
        self.0.answering.store(answering, Ordering::Relaxed);
    }
}

/// One connection.
pub(crate) struct Stream {
    io: Pin<Box<dyn Duplex>>,
    served: Served,
}

trait Duplex: AsyncRead + AsyncWrite + Send {}

impl<T: AsyncRead + AsyncWrite + Send> Duplex for T {}

impl Stream {
    /// Wraps a fresh connection.
    pub(super) fn new(io: impl AsyncRead + AsyncWrite + Send + 'static) -> Self {
        Self {
            io: Box::pin(io),
            served: Served::default(),
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
        if buffer.filled().len() > before {
            self.served.note(true);
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
