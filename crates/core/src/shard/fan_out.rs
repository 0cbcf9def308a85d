//! Delivery: publications in, one write per connection out.
//!
//! Publications that arrive together are matched first; each hit is appended to its connection's
//! list. Then every connection that has hits is written to once. A lone publication is written
//! at once, a burst becomes one write per connection.
//!
//! All of it goes in slices, however many rooms a publication names, however large it is and
//! however many hear it: the caller has other things to look after.

use std::collections::VecDeque;
use std::sync::Arc;

use ht_frame::DeflatedFrame;
use ht_frame::Deflater;
use ht_frame::FrameHeader;
use ht_frame::Opcode;

use crate::body::Body;
use crate::connection::Bounds;
use crate::connection::Broken;
use crate::connection::Connection;
use crate::connection::Pending;
use crate::peer::Effects;
use crate::peer::Peer;
use crate::publication::Publication;
use crate::registry::ConnectionId;
use crate::registry::SubscriptionId;
use crate::shard::Shard;
use crate::stats::Stats;
use crate::timer::NONE;

/// Hits that are gathered before they are written.
const HITS: usize = 64 << 10;

/// Rooms that are looked at before what was hit is written, even where that is little.
const LOOKED: usize = 4 << 10;

/// Rounds of matching before a client is answered; about 3 ms in all.
const BARRIER: usize = 8;

/// Looking at so many rooms is as much work as a write.
const ROOMS_PER_WRITE: usize = 64;

/// So many bytes beyond the first ones are as much work as a write.
const BYTES_PER_WRITE: usize = 16 << 10;

/// Compressing a byte is as much work as writing so many.
const DEFLATING: usize = 3;

/// Message heads up to so many bytes are copied next to their tail; larger ones are written from
/// where they are.
const COPIED: usize = 4 << 10;

/// Bytes that are gathered for one connection before they are written.
const GATHERED: usize = 64 << 10;

/// Publications on their way to connections.
#[derive(Debug, Default)]
pub(super) struct FanOut {
    /// Not matched yet: batches, how many publications of the first were matched, and how many
    /// rooms of the one behind them.
    queue: VecDeque<Arc<[Publication]>>,
    matched: usize,
    matched_rooms: usize,
    /// The batches that the hits are of.
    batches: Vec<Arc<[Publication]>>,
    hits: Vec<Hit>,
    /// Connections that have hits, and how many of them were written to.
    dirty: Vec<ConnectionId>,
    written: usize,
}

/// One publication for one subscription.
#[derive(Clone, Copy, Debug)]
struct Hit {
    batch: u32,
    publication: u32,
    subscription: SubscriptionId,
    /// The connection's next hit.
    next: u32,
}

impl FanOut {
    /// How many hits wait in a connection's list.
    pub(super) fn pending(&self, pending: Pending) -> u64 {
        let first = Some(pending.first);
        let next = |&at: &u32| self.hits.get(at as usize).map(|hit| hit.next);
        std::iter::successors(first, next)
            .filter(|&at| at != NONE)
            .count() as u64
    }

    /// What a hit is of.
    fn publication(&self, hit: Hit) -> &Publication {
        &self.batches[hit.batch as usize][hit.publication as usize]
    }

    fn is_written(&self) -> bool {
        self.written == self.dirty.len()
    }

    fn reset(&mut self) {
        self.batches.clear();
        self.hits.clear();
        self.dirty.clear();
        self.written = 0;
    }
}

impl<P: Peer> Shard<P> {
    /// Queues publications for delivery by [`Self::fan_out`].
    pub fn publish(&mut self, batch: Arc<[Publication]>) {
        self.fan_out.queue.push_back(batch);
    }

    /// Whether there is something to deliver.
    #[must_use]
    pub fn has_fan_out(&self) -> bool {
        !self.fan_out.queue.is_empty() || !self.fan_out.is_written()
    }

    /// How many batches of publications wait to be matched.
    #[must_use]
    pub fn backlog(&self) -> usize {
        self.fan_out.queue.len()
    }

    /// Delivers, with about as much work as `writes_max` writes of a small message are, so that
    /// the caller can look after other things in between. What cannot be parted goes beyond it:
    /// one room, with all that it meets, or all that one connection has to get.
    pub fn fan_out(&mut self, writes_max: usize, now: u64, effects: &mut impl Effects<P>) {
        let mut writes = 0;
        while writes < writes_max && self.has_fan_out() {
            writes += if self.fan_out.is_written() {
                // Matching is work, too, even where nobody listens.
                1 + self.gather() / ROOMS_PER_WRITE
            } else {
                let id = self.fan_out.dirty[self.fan_out.written];
                self.fan_out.written += 1;
                1 + self.flush_connection(id, now, effects) / BYTES_PER_WRITE
            };
        }
        if !self.has_fan_out() {
            // Nothing may keep a publication alive once it is delivered.
            self.fan_out.reset();
            self.fan_out.hits.shrink_to(HITS);
        }
    }

    /// Matches what is queued before a client is answered, up to [`BARRIER`] rounds of
    /// [`Self::gather`]: so its answer comes after what was published before it asked, unless the
    /// shard is further behind than that.
    pub(super) fn gather_queued(&mut self) {
        for _ in 0..BARRIER {
            if self.fan_out.queue.is_empty() || self.fan_out.hits.len() >= HITS {
                return;
            }
            self.gather();
        }
    }

    /// Matches queued publications, room by room, until there are many hits or many rooms were
    /// looked at. Answers how many that were.
    fn gather(&mut self) -> usize {
        if self.fan_out.is_written() {
            self.fan_out.reset();
        }
        let Self {
            registry,
            connections,
            fan_out,
            stats,
            ..
        } = self;
        let mut looked = 0;
        while let Some(batch) = fan_out.queue.front() {
            let (at, before) = (slot(fan_out.batches.len()), fan_out.hits.len());
            while let Some(publication) = batch.get(fan_out.matched) {
                if fan_out.hits.len() >= HITS || looked >= LOOKED {
                    // The rest has its turn when these hits are written.
                    if fan_out.hits.len() > before {
                        fan_out.batches.push(Arc::clone(batch));
                    }
                    return looked;
                }
                if fan_out.matched_rooms == 0 {
                    registry.next_publication(publication.position);
                }
                if let Some(room) = publication.rooms.get(fan_out.matched_rooms) {
                    let place = (at, slot(fan_out.matched));
                    let (hits, dirty) = (&mut fan_out.hits, &mut fan_out.dirty);
                    looked += registry.for_each_receiver(room, |subscription, id| {
                        let pending = &mut connections[id.index()].pending;
                        hit(hits, dirty, pending, place, subscription, id);
                    });
                    fan_out.matched_rooms += 1;
                }
                if fan_out.matched_rooms >= publication.rooms.len() {
                    fan_out.matched_rooms = 0;
                    fan_out.matched += 1;
                    stats.publications += 1;
                    looked += 1;
                }
            }
            fan_out.matched = 0;
            let batch = fan_out.queue.pop_front();
            if fan_out.hits.len() > before {
                fan_out.batches.extend(batch);
            }
        }
        looked
    }

    /// Writes a connection's hits, before anything else is written to it. Answers how many bytes
    /// they are, with the work of compressing them as bytes.
    pub(super) fn flush_connection(
        &mut self,
        id: ConnectionId,
        now: u64,
        effects: &mut impl Effects<P>,
    ) -> usize {
        let bounds = self.settings.bounds();
        let Some(connection) = self.connections.get_mut(id.index()) else {
            return 0;
        };
        let mut at = std::mem::replace(&mut connection.pending, Pending::EMPTY).first;
        if at == NONE {
            return 0;
        }
        let mut writer = Writer {
            connection,
            bounds,
            scratch: std::mem::take(&mut self.scratch),
            gathered: 0,
            bytes: 0,
            stats: &mut self.stats,
        };
        let mut result = Ok(());
        while at != NONE && result.is_ok() {
            let hit = self.fan_out.hits[at as usize];
            let publication = self.fan_out.publication(hit);
            let (_, tail) = self.registry.receiver(hit.subscription);
            let threshold = self.settings.compression.threshold;
            let head = writer.deflated(publication, tail, threshold, &mut self.deflater);
            result = if let Some(head) = head
                && let Some(frame) = DeflatedFrame::new(Opcode::Text, head, tail)
            {
                writer.put(frame.parts(), head)
            } else {
                let len = publication.head.len() + tail.len();
                let header = FrameHeader::new(Opcode::Text, len);
                writer.put([&header, &publication.head, tail], &publication.head)
            };
            at = hit.next;
        }
        result = result.and_then(|()| writer.flush());
        let waits = writer.connection.outbox.is_some();
        let Writer { scratch, bytes, .. } = writer;
        self.recycle(scratch);
        if let Err(broken) = result {
            let rest = Pending {
                first: at,
                last: NONE,
            };
            self.stats.undelivered += self.fan_out.pending(rest);
            self.broken(id, broken, now, effects);
        } else if waits {
            self.waits(id, now, effects);
        }
        bytes
    }
}

/// Appends a publication, given by its batch and its place therein, to what is pending for a
/// connection. Once for each delivery: a call would be 5 % of what a delivery costs here.
#[inline(always)]
fn hit(
    hits: &mut Vec<Hit>,
    dirty: &mut Vec<ConnectionId>,
    pending: &mut Pending,
    (batch, publication): (u32, u32),
    subscription: SubscriptionId,
    connection: ConnectionId,
) {
    let at = slot(hits.len());
    hits.push(Hit {
        batch,
        publication,
        subscription,
        next: NONE,
    });
    match pending.last {
        NONE => {
            pending.first = at;
            dirty.push(connection);
        }
        last => hits[last as usize].next = at,
    }
    pending.last = at;
}

/// Gathers small frames for one connection, so that they are written together.
struct Writer<'a, P> {
    connection: &'a mut Connection<P>,
    bounds: Bounds<'a>,
    scratch: Vec<u8>,
    /// How many frames the scratch holds.
    gathered: u64,
    /// Bytes of all frames so far, and the work of compressing as bytes.
    bytes: usize,
    stats: &'a mut Stats,
}

impl<P: Peer> Writer<'_, P> {
    /// The compressed head of a publication, where the receiver takes it and it is worth it. Once
    /// for each delivery, most often to say no.
    #[inline(always)]
    fn deflated<'p>(
        &mut self,
        publication: &'p Publication,
        tail: &[u8],
        threshold: usize,
        deflater: &mut Deflater,
    ) -> Option<&'p Body> {
        let (agreed, len) = (self.connection.deflate?, publication.head.len());
        if len < threshold || !agreed.may_compress(len + tail.len()) {
            return None;
        }
        let before = self.stats.deflated;
        let deflated = publication.deflated(deflater, self.stats);
        if self.stats.deflated > before {
            self.bytes += DEFLATING * len;
        }
        deflated
    }

    /// Takes the parts of a frame; the second is `head`.
    fn put<const PARTS: usize>(
        &mut self,
        parts: [&[u8]; PARTS],
        head: &Body,
    ) -> Result<(), Broken> {
        self.bytes += parts.iter().map(|part| part.len()).sum::<usize>();
        if parts[1].len() > COPIED {
            if let Err(broken) = self.flush() {
                self.stats.undelivered += 1;
                return Err(broken);
            }
            let result = self.connection.send(parts, Some(head), 1, &self.bounds);
            return self.count(1, result);
        }
        for part in parts {
            self.scratch.extend_from_slice(part);
        }
        self.gathered += 1;
        if self.scratch.len() > GATHERED {
            return self.flush();
        }
        Ok(())
    }

    /// Writes what was gathered.
    fn flush(&mut self) -> Result<(), Broken> {
        if self.scratch.is_empty() {
            return Ok(());
        }
        let result = self
            .connection
            .send([&self.scratch], None, self.gathered, &self.bounds);
        self.scratch.clear();
        let frames = std::mem::take(&mut self.gathered);
        self.count(frames, result)
    }

    /// Counts what became of `frames`.
    fn count(&mut self, frames: u64, result: Result<bool, Broken>) -> Result<(), Broken> {
        match result {
            Ok(true) => self.stats.deliveries += frames,
            Ok(false) => self.stats.queued += frames,
            Err(_) => self.stats.undelivered += frames,
        }
        result.map(|_| ())
    }
}

/// An index as it is kept; all are bounded by [`HITS`] and the limits on connections.
fn slot(index: usize) -> u32 {
    u32::try_from(index).expect("fewer than 2^32 hits")
}
