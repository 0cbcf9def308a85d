//! One session: what a client does on its connection, over any transport.

use std::io::IoSlice;
use std::sync::Arc;

use ht_proto::close::Close;
use ht_proto::entry::TenantId;
use uuid::Uuid;

use crate::body::Body;
use crate::grant::GrantSet;
use crate::outbox::{Gone, Outbox, Outboxes};
use crate::peer::{Peer, Sent};
use crate::rate::Rate;
use crate::registry::Own;
use crate::select::GroupId;
use crate::stream::Opening;
use crate::timer::{Link, NONE};
use crate::transport::{EventStream, Transport, WebSocket};
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
    /// Bytes of it were read and are queued for processing.
    pub(crate) behind: bool,
    /// Subscriptions of it are queued to be dropped.
    pub(crate) lingers: bool,
    /// Rate limit of its client's messages.
    pub(crate) rate: Rate,
    /// Rate limit of the bytes inflated for its client.
    pub(crate) inflated: Rate,
    pub(crate) outbox: Option<Box<Outbox>>,
}

/// Stage of a session's life.
#[derive(Clone, Debug)]
pub(crate) enum Stage {
    /// Its client is to send a token, or the API request about it is pending. Boxed, because it is
    /// short.
    Authenticating(Box<Applicant>),
    /// Admitted.
    Open {
        /// Its grants, and the tenant of those rooms.
        grants: Arc<GrantSet>,
        /// Its group, if its identity is known.
        group: GroupId,
    },
    /// Refused and notified; closed for this reason after a short delay.
    Refused(Close),
    /// Our close frame was sent. With `deaf` the peer's bytes are ignored.
    Closing {
        /// No input is read.
        deaf: bool,
        /// How long it has to accept its queued data, in ms.
        until: u64,
    },
}

/// A client whose admission the API has not decided yet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Applicant {
    /// Its token was received.
    pub(crate) asked: bool,
    /// Data received after the token.
    pub(crate) early: Vec<u8>,
}

/// The first and the last of a connection's publications queued for the next flush.
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

    /// Nothing is queued, and nothing will be: the connection is held, or being closed. Its
    /// subscriptions, some of which may be still to be dropped, are delivered nothing.
    pub(crate) const CLOSED: Self = Self {
        first: NONE,
        last: CLOSED,
    };

    /// Whether nothing will be queued.
    pub(crate) const fn is_closed(self) -> bool {
        self.last == CLOSED
    }
}

/// Instead of a last publication: none will follow.
pub(crate) const CLOSED: u32 = NONE - 1;

/// Limits of queued data.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds<'a> {
    /// For one connection, in bytes.
    pub(crate) each: usize,
    /// Total of all outboxes.
    pub(crate) all: &'a Arc<Outboxes>,
}

/// Why a connection has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The peer has disconnected.
    Gone,
    /// The peer is a slow consumer.
    Slow,
}

impl<P> Session<P> {
    /// The tenant of its rooms, while it is admitted.
    #[inline]
    pub(crate) fn tenant(&self) -> Option<TenantId> {
        match &self.stage {
            Stage::Open { grants, .. } => Some(grants.tenant()),
            Stage::Authenticating(_) | Stage::Refused(_) | Stage::Closing { .. } => None,
        }
    }

    /// Whether it is admitted and of this tenant.
    #[inline]
    pub(crate) fn is_of(&self, tenant: TenantId) -> bool {
        self.tenant() == Some(tenant)
    }
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

    /// The same over HTTP, with this request.
    pub(crate) fn over_http(self, opening: Opening) -> Self {
        Self {
            transport: Transport::EventStream(Box::new(EventStream::new(opening))),
            ..self
        }
    }

    /// A number that no two sessions have in common, other than by chance.
    pub(crate) fn random(&self) -> u64 {
        self.id.as_u64_pair().1
    }

    /// Sends bytes after all that were sent before; what the socket does not accept is queued. The
    /// second part is the bytes of `body`, if there is one; `publications` is the number of publish
    /// frames in it. Returns true if nothing is queued.
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

    /// Queues what the socket did not accept. Out of line, off the path of sockets that accept all.
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
        // The first message that does not fit is queued whatever its size: its bound is that of a
        // trigger. Only a client with a backlog is a slow consumer.
        let tenant = self.tenant().unwrap_or_default();
        let begin = || Box::new(Outbox::new(Arc::clone(bounds.all), tenant));
        let outbox = self.outbox.get_or_insert_with(begin);
        outbox.append(parts, body, taken, publications);
        Ok(false)
    }

    /// Sends queued data.
    pub(crate) fn flush(&mut self) -> Result<(), Broken> {
        let Some(outbox) = &mut self.outbox else {
            return Ok(());
        };
        let flushed = outbox.flush(&mut self.peer);
        flushed.map_err(|Gone| Broken::Gone)
    }

    /// Queued publish frames.
    pub(crate) fn queued(&self) -> u64 {
        self.outbox
            .as_ref()
            .map_or(0, |outbox| outbox.publications())
    }

    /// Queued bytes.
    pub(crate) fn waiting(&self) -> usize {
        self.outbox.as_ref().map_or(0, |outbox| outbox.waiting())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_stays_small() {
        // A shard may have a hundred thousand of them, most of them idle: what not all of them need
        // belongs in a box.
        assert!(size_of::<Session<()>>() <= 104);
    }
}
