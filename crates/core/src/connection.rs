//! One connection: a plain struct that holds all there is to know of it.

use std::io::IoSlice;
use std::sync::Arc;

use ht_frame::Decoder;
use ht_frame::PerMessageDeflate;
use ht_proto::close::Close;
use ht_proto::subprotocol::Subprotocol;
use uuid::Uuid;

use crate::grant::GrantSet;
use crate::peer::Peer;
use crate::peer::Sent;
use crate::rate::Rate;
use crate::registry::Own;
use crate::shard::Admission;
use crate::shard::Welcome;
use crate::timer::Link;
use crate::timer::Linked;
use crate::timer::NONE;

/// A connection's whole state. While it is idle it owns no buffer.
#[derive(Debug)]
pub(crate) struct Connection<P> {
    pub(crate) peer: P,
    pub(crate) id: Uuid,
    pub(crate) state: State,
    pub(crate) link: Link,
    pub(crate) own: Own,
    pub(crate) pending: Pending,
    pub(crate) decoder: Decoder,
    /// What was agreed upon about compression.
    pub(crate) deflate: Option<PerMessageDeflate>,
    /// The subprotocol that was chosen.
    pub(crate) subprotocol: Option<Subprotocol>,
    /// How often its client spoke.
    pub(crate) rate: Rate,
    outbox: Option<Box<Outbox>>,
}

/// Where a connection stands in its life.
#[derive(Clone, Debug)]
pub(crate) enum State {
    /// Admitted: may do what its grants permit.
    Open(Arc<GrantSet>),
    /// Told that it is not welcome; closed for this reason after a moment.
    Refused(Close),
    /// Our close frame was sent. With `deaf` the peer's bytes have no meaning any more.
    Closing {
        /// Nothing that comes is read.
        deaf: bool,
    },
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
}

/// What the socket did not take.
#[derive(Debug, Default)]
struct Outbox {
    bytes: Vec<u8>,
    sent: usize,
    publications: u64,
}

/// Why a connection cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The peer is gone.
    Gone,
    /// The peer reads too slowly.
    Slow,
}

impl<P: Peer> Connection<P> {
    /// A connection whose handshake is done.
    pub(crate) fn new(peer: P, welcome: Welcome) -> Self {
        Self {
            peer,
            id: welcome.id,
            state: match welcome.admission {
                Admission::Admitted(grants) => State::Open(grants),
                Admission::Refused(close) | Admission::TurnedAway(close) => State::Refused(close),
            },
            link: Link::new(),
            own: Own::default(),
            pending: Pending::EMPTY,
            decoder: Decoder::new(),
            deflate: welcome.deflate,
            subprotocol: welcome.subprotocol,
            rate: Rate::default(),
            outbox: None,
        }
    }

    /// Sends bytes after all that were sent before; what the socket does not take waits, up to
    /// `limit`. `publications` says how many publish frames they are. True: nothing waits.
    pub(crate) fn send<const PARTS: usize>(
        &mut self,
        parts: [&[u8]; PARTS],
        publications: u64,
        limit: usize,
    ) -> Result<bool, Broken> {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        if let Some(outbox) = &mut self.outbox {
            if outbox.len() + len > limit {
                return Err(Broken::Slow);
            }
            outbox.append(parts, 0, publications, limit);
            return Ok(false);
        }
        let sent = match *parts.as_slice() {
            [part] => self.peer.send(part),
            _ => self.peer.send_vectored(&parts.map(IoSlice::new)),
        };
        let Sent::Bytes(taken) = sent else {
            return Err(Broken::Gone);
        };
        if taken >= len {
            return Ok(true);
        }
        // The first message that does not fit is kept whatever its size: its bound is that of a
        // trigger. Only who stays behind is slow.
        let mut outbox = Box::new(Outbox::default());
        outbox.append(parts, taken, publications, limit);
        self.outbox = Some(outbox);
        Ok(false)
    }

    /// Sends what waits. True: nothing waits any more.
    pub(crate) fn flush(&mut self) -> Result<bool, Broken> {
        let Some(outbox) = &mut self.outbox else {
            return Ok(true);
        };
        while outbox.len() > 0 {
            match self.peer.send(&outbox.bytes[outbox.sent..]) {
                Sent::Bytes(0) => return Ok(false),
                Sent::Bytes(taken) => outbox.sent += taken,
                Sent::Gone => return Err(Broken::Gone),
            }
        }
        self.outbox = None;
        Ok(true)
    }

    /// Publish frames that wait.
    pub(crate) fn queued(&self) -> u64 {
        self.outbox.as_ref().map_or(0, |outbox| outbox.publications)
    }

    /// Bytes that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.outbox.as_ref().map_or(0, |outbox| outbox.len())
    }
}

impl Outbox {
    fn len(&self) -> usize {
        self.bytes.len() - self.sent
    }

    /// Adds `parts` but for their first `taken` bytes. At most `limit` bytes may wait.
    fn append<const PARTS: usize>(
        &mut self,
        parts: [&[u8]; PARTS],
        mut taken: usize,
        publications: u64,
        limit: usize,
    ) {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        self.make_room(len - taken, limit);
        for part in parts {
            let skipped = taken.min(part.len());
            taken -= skipped;
            self.bytes.extend_from_slice(&part[skipped..]);
        }
        self.publications += publications;
    }

    /// Makes room for `len` bytes. The buffer takes no more than four thirds of what may wait: so
    /// either a quarter of it was sent and is used again, for which at most three bytes are moved
    /// for each that was sent, or there is room to grow.
    fn make_room(&mut self, len: usize, limit: usize) {
        if self.bytes.capacity() - self.bytes.len() >= len {
            return;
        }
        if self.sent > 0 && self.sent >= self.bytes.capacity() / 4 {
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
        let needed = self.bytes.len() + len;
        if needed > self.bytes.capacity() {
            let most = limit.saturating_add(limit / 3);
            let doubled = self.bytes.capacity().saturating_mul(2);
            let capacity = doubled.min(most).max(needed);
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
    }
}

impl<P> Linked for Connection<P> {
    fn link(&mut self) -> &mut Link {
        &mut self.link
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_outbox_keeps_its_bytes_in_order_and_its_size_within_bounds(
            steps in prop::collection::vec((0usize..300, 0usize..400), 1..300),
        ) {
            const LIMIT: usize = 900;
            let mut outbox = Outbox::default();
            let mut expected = std::collections::VecDeque::<u8>::new();
            for (step, (len, sent)) in steps.into_iter().enumerate() {
                if outbox.len() + len <= LIMIT {
                    let message = vec![step as u8; len];
                    expected.extend(&message);
                    outbox.append([&message], 0, 0, LIMIT);
                }
                let sent = sent.min(outbox.len());
                outbox.sent += sent;
                expected.drain(..sent);
                prop_assert!(outbox.bytes.capacity() <= LIMIT + LIMIT / 3);
                prop_assert!(expected.iter().eq(&outbox.bytes[outbox.sent..]));
            }
        }
    }

    #[test]
    fn a_connection_stays_small() {
        // There may be a hundred thousand of them in a shard, most of them idle: what is not
        // needed by all of them belongs into a box.
        assert!(size_of::<Connection<()>>() <= 88);
    }
}
