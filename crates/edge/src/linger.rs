//! Lingering close: the end of a connection whose client is still sending.
//!
//! A request may be answered before its body was read, such as one that is too long. If the socket
//! were closed then, the system would respond to further data with a reset, and most clients would
//! report that instead of the response. So the sending side is closed, and incoming data is
//! discarded for a while.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// How long a client may continue sending after the response.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How much it may send, in bytes.
const BYTES_MAX: usize = 256 << 20;

/// Size of one discarding read, in bytes.
const PIECE: usize = 8 << 10;

/// A stream that lingers when it is shut down.
#[derive(Debug)]
pub struct Lingering<S> {
    stream: S,
    timeout: Duration,
    state: LingerState,
}

#[derive(Debug)]
enum LingerState {
    Open,
    /// The sending side is closed; bytes that may still be discarded, and until when.
    Discards(usize, Pin<Box<Sleep>>),
    Closed,
}

impl<S> Lingering<S> {
    /// Makes a stream linger.
    pub fn new(stream: S) -> Self {
        Self {
            stream,
            timeout: TIMEOUT,
            state: LingerState::Open,
        }
    }
}

impl<S: AsyncRead + Unpin> Lingering<S> {
    /// Ready when the client is done, or has used up the limits.
    fn poll_discard(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let LingerState::Discards(left, end) = &mut self.state else {
            return Poll::Ready(());
        };
        while *left > 0 && end.as_mut().poll(context).is_pending() {
            let mut piece = [0; PIECE];
            let mut piece = ReadBuf::new(&mut piece);
            match ready!(Pin::new(&mut self.stream).poll_read(context, &mut piece)) {
                Ok(()) if !piece.filled().is_empty() => {
                    *left = left.saturating_sub(piece.filled().len());
                }
                // A client that has disconnected is done as well.
                Ok(()) | Err(_) => break,
            }
        }
        self.state = LingerState::Closed;
        Poll::Ready(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lingering<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Lingering<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if let LingerState::Open = this.state {
            ready!(Pin::new(&mut this.stream).poll_shutdown(context))?;
            this.state = LingerState::Discards(BYTES_MAX, Box::pin(sleep(this.timeout)));
        }
        ready!(this.poll_discard(context));
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    #[tokio::test]
    async fn closing_discards_data_until_the_client_disconnects() {
        let (mut client, server) = duplex(1 << 10);
        let mut server = Lingering::new(server);
        let closing = tokio::spawn(async move {
            server.write_all(b"answer").await.unwrap();
            server.shutdown().await
        });
        // Far more than the buffers hold: it blocks unless it is read.
        client.write_all(&[0; 100_000]).await.unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"answer");
        drop(client);
        closing.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn closing_times_out_if_the_client_never_disconnects() {
        let (client, server) = duplex(1 << 10);
        let mut server = Lingering {
            timeout: Duration::from_millis(1),
            ..Lingering::new(server)
        };
        server.shutdown().await.unwrap();
        drop(client);
    }
}
