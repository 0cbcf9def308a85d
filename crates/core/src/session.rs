//! One session: what a client does on its connection, over any transport.

use std::io::IoSlice;
use std::sync::Arc;

use ht_proto::close::Close;
use uuid::Uuid;

use crate::body::Body;
use crate::grant::GrantSet;
use crate::outbox::{Gone, Outbox, Outboxes};
use crate::peer::{Peer, Sent};
use crate::rate::Rate;
use crate::registry::Own;
use crate::select::GroupId;
use crate::timer::{Link, NONE};
use crate::transport::{Transport, WebSocket};
use crate::welcome::Handshake;

/// The whole state of a connection. While it is idle it owns no buffer.
#[derive(Debug)]
pub(crate) struct Session<P> {
    pub(crate) peer: P,
    pub(crate) id: Uuid,
    pub(crate) stage: Stage,
    pub(crate) link: Link,
    pub(crate) own: Own,
    pub(crate) pending: Pending,
    pub(crate) transport: Transport,
    /// Bytes that its address and user are charged for, beside what the peer keeps.
    pub(crate) charged: u32,
    /// Bytes of it were read and wait to be processed.
    pub(crate) behind: bool,
    /// Subscriptions of it wait to be dropped.
    pub(crate) lingers: bool,
    /// How often its client spoke.
    pub(crate) rate: Rate,
    /// How many bytes its client made the gateway inflate.
    pub(crate) inflated: Rate,
    pub(crate) outbox: Option<Box<Outbox>>,
}

/// Stage of a session's life.
#[derive(Clone, Debug)]
pub(crate) enum Stage {
    /// Its client is to send a token, or the API is being asked about it. Boxed, because it is short.
    Authenticating(Box<Applicant>),
    /// Admitted.
    Open {
        /// What it may do, and whose rooms that are.
        grants: Arc<GrantSet>,
        /// Whose session it is, among those of whom something is known.
        group: GroupId,
    },
    /// Told that it is not welcome; closed for this reason after a moment.
    Refused(Close),
    /// Our close frame was sent. With `deaf` the peer's bytes have no meaning any more.
    Closing {
        /// Nothing that comes is read.
        deaf: bool,
        /// How long it has to take what waits for it, in ms.
        until: u64,
    },
}

/// A client of which the API has not said yet whether it is admitted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Applicant {
    /// Its token is there.
    pub(crate) asked: bool,
    /// What came behind the token.
    pub(crate) early: Vec<u8>,
}

/// The first and the last of a connection's publications that wait for the next flush.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pending {
    pub(crate) first: u32,
    pub(crate) last: u32,
}

impl Pending {
    pub(crate) const EMPTY: Self = Self {
        first: NONE,
        last: NONE,
    };

    /// Nothing waits, and nothing will: the connection is being closed. Its subscriptions that are
    /// still to be dropped are delivered nothing.
    pub(crate) const CLOSED: Self = Self {
        first: NONE,
        last: CLOSED,
    };
}

/// In the place of a last publication: none will come.
pub(crate) const CLOSED: u32 = NONE - 1;

/// How much may wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds<'a> {
    /// For one connection, in bytes.
    pub(crate) each: usize,
    /// What all outboxes hold.
    pub(crate) all: &'a Arc<Outboxes>,
}

/// Why a connection cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The peer is gone.
    Gone,
    /// The peer reads too slowly.
    Slow,
}

impl<P: Peer> Session<P> {
    /// A connection whose handshake is done.
    pub(crate) fn new(peer: P, handshake: Handshake, stage: Stage) -> Self {
        let Handshake {
            id,
            deflate,
            subprotocol,
            events,
        } = handshake;
        Self {
            peer,
            id,
            stage,
            link: Link::new(),
            own: Own::default(),
            pending: Pending::EMPTY,
            transport: Transport::WebSocket(WebSocket::new(deflate, subprotocol, events)),
            charged: 0,
            behind: false,
            lingers: false,
            rate: Rate::default(),
            inflated: Rate::default(),
            outbox: None,
        }
    }

    /// Sends bytes after all that were sent before; what the socket does not take waits. The
    /// second part is the bytes of `body`, if there is one; `publications` says how many publish
    /// frames they are. True: nothing waits.
    #[inline]
    pub(crate) fn send<const PARTS: usize>(
        &mut self,
        parts: [&[u8]; PARTS],
        body: Option<&Body>,
        publications: u64,
        bounds: &Bounds<'_>,
    ) -> Result<bool, Broken> {
        if self.outbox.is_some() {
            return self.keep(&parts, body, 0, publications, bounds);
        }
        let len: usize = parts.iter().map(|part| part.len()).sum();
        let sent = match *parts.as_slice() {
            [part] => self.peer.send(part),
            _ => self.peer.send_vectored(&parts.map(IoSlice::new)),
        };
        match sent {
            Sent::Bytes(taken) if taken >= len => Ok(true),
            Sent::Bytes(taken) => self.keep(&parts, body, taken, publications, bounds),
            Sent::Gone => Err(Broken::Gone),
        }
    }

    /// Keeps what the socket did not take. Out of the way of those whose sockets take all.
    #[cold]
    #[inline(never)]
    fn keep(
        &mut self,
        parts: &[&[u8]],
        body: Option<&Body>,
        taken: usize,
        publications: u64,
        bounds: &Bounds<'_>,
    ) -> Result<bool, Broken> {
        if let Some(outbox) = &self.outbox {
            let len: usize = parts.iter().map(|part| part.len()).sum();
            if outbox.waiting() + len > bounds.each {
                return Err(Broken::Slow);
            }
        }
        // The first message that does not fit is kept whatever its size: its bound is that of a
        // trigger. Only who stays behind is slow.
        let begin = || Box::new(Outbox::new(Arc::clone(bounds.all)));
        let outbox = self.outbox.get_or_insert_with(begin);
        outbox.append(parts, body, taken, publications);
        Ok(false)
    }

    /// Sends what waits.
    pub(crate) fn flush(&mut self) -> Result<(), Broken> {
        let Some(outbox) = &mut self.outbox else {
            return Ok(());
        };
        let flushed = outbox.flush(&mut self.peer);
        flushed.map_err(|Gone| Broken::Gone)
    }

    /// Publish frames that wait.
    pub(crate) fn queued(&self) -> u64 {
        self.outbox
            .as_ref()
            .map_or(0, |outbox| outbox.publications())
    }

    /// Bytes that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.outbox.as_ref().map_or(0, |outbox| outbox.waiting())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_stays_small() {
        // There may be a hundred thousand of them in a shard, most of them idle: what is not
        // needed by all of them belongs into a box.
        assert!(size_of::<Session<()>>() <= 104);
    }
}
