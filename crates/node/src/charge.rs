//! Memory of a connection that is not a websocket in a shard yet: its request head, its first frame
//! and data that arrived early.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use ht_core::account::{Accounts, Kind};
use ht_core::shard::FIRST_MESSAGE_BYTES_MAX;
use ht_edge::listener::Stream;
use ht_edge::permits::AddressPermit;
use ht_edge::rejection::HandshakeError;
use ht_telemetry::throttle::Throttles;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::config::{HEAD_BYTES_MIN, ServerLimits};
use crate::counters::Counters;

/// Where all such connections are accounted.
pub(crate) struct Charges {
    pub(crate) accounts: Arc<Accounts>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) throttles: Arc<Throttles>,
}

/// The account of one such connection. It is charged for the read buffer of the HTTP library, and
/// for everything read beyond that: an upper estimate, as the library does not report how much it
/// still keeps. Released on drop.
pub(crate) struct HandshakeCharge {
    charges: Arc<Charges>,
    /// The connection's permit among those of its address, if the address is known that early.
    of_address: Option<AddressPermit>,
    /// Bytes that were read, up to the maximum that can be retained.
    read: usize,
    max: usize,
}

impl HandshakeCharge {
    pub(crate) fn new(
        charges: &Arc<Charges>,
        limits: &ServerLimits,
        of_address: Option<AddressPermit>,
    ) -> Self {
        charges
            .accounts
            .replace(Kind::Handshakes, 0, HEAD_BYTES_MIN);
        Self {
            charges: Arc::clone(charges),
            of_address,
            read: 0,
            max: limits.head_bytes.max(HEAD_BYTES_MIN) + FIRST_MESSAGE_BYTES_MAX,
        }
    }

    /// The client's address differs from that of the socket. Call before any bytes are added.
    pub(crate) fn belongs_to(&mut self, of_address: AddressPermit) {
        debug_assert_eq!(self.read, 0, "nothing is held of the address before");
        self.of_address = Some(of_address);
    }

    /// Adds bytes that were read.
    ///
    /// # Errors
    /// If this connection has more than the minimum buffer and either all of them together have
    /// used up their share of `limits.client_total_bytes`, or those of its address half of that. It
    /// is counted and logged.
    pub(crate) fn add(&mut self, bytes: usize) -> io::Result<()> {
        let before = self.charged();
        self.read = (self.read + bytes).min(self.max);
        let now = self.charged();
        if now == before {
            return Ok(());
        }
        let accounts = &self.charges.accounts;
        accounts.replace(Kind::Handshakes, before, now);
        let of_address = self.of_address.as_ref();
        let of_address = of_address.map_or(0, |permit| permit.hold(now - before));
        let all = accounts.handshakes_limit();
        if all != 0 && of_address > all / 2 {
            self.refuse("one address holds half of what request heads and first frames may hold");
        } else if accounts.handshakes_are_over() {
            self.refuse(
                "request heads and first frames hold a quarter of limits.client_total_bytes",
            );
        } else {
            return Ok(());
        }
        Err(io::Error::other("too much is held for handshakes"))
    }

    /// Counts and logs that the connection is closed.
    fn refuse(&self, cause: &'static str) {
        let Charges {
            accounts,
            counters,
            throttles,
        } = &*self.charges;
        counters
            .handshake_errors
            .add(HandshakeError::HandshakeBytes);
        // Each cause has its own log line.
        if let Some(suppressed) = throttles.allow(cause) {
            tracing::warn!(
                held = accounts.bytes(Kind::Handshakes),
                suppressed,
                "{cause}: closing connections that send long ones. Raise that limit, or lower \
                 limits.head_bytes or limits.head_timeout"
            );
        }
    }

    /// Bytes that count against the address: its idle connections are limited by number.
    fn of_address(&self) -> usize {
        self.charged() - HEAD_BYTES_MIN
    }

    fn charged(&self) -> usize {
        self.read.max(HEAD_BYTES_MIN)
    }
}

impl Drop for HandshakeCharge {
    fn drop(&mut self) {
        let accounts = &self.charges.accounts;
        accounts.replace(Kind::Handshakes, self.charged(), 0);
        if let Some(permit) = &self.of_address {
            permit.release(self.of_address());
        }
    }
}

/// A stream whose reads are charged.
pub(crate) struct Charged {
    pub(crate) stream: Stream,
    pub(crate) charge: HandshakeCharge,
}

impl AsyncRead for Charged {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, into))?;
        let read = into.filled().len() - before;
        Poll::Ready(self.charge.add(read))
    }
}

impl AsyncWrite for Charged {
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
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
