//! Delivery: publications in, one write per connection out.
//!
//! Publications that arrive together are matched first; each hit is appended to its connection's
//! list. Then every connection that has hits is written to once. A lone publication is written
//! at once, a burst becomes one write per connection.
//!
//! All of it is done in slices, however many rooms a publication names, however large it is and
//! however many subscribers it has: the caller has other work to do.
//!
//! Commands are in the same queue ([`crate::shard::commands`]).

pub(super) mod writer;

use std::collections::VecDeque;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::budget::cost;
use crate::connection::ConnectionId;
use crate::index::Cursor;
use crate::peer::Peer;
use crate::publication::Publication;
use crate::registry::SubscriptionId;
use crate::session::{CLOSED, Pending};
use crate::sessions::Sessions;
use crate::shard::Shard;
use crate::shard::fan_out::writer::Writer;
use crate::shard::queue::{Item, Running};
use crate::timer::NONE;
use crate::world::{Turn, World};

/// Hits that are gathered before they are written.
const HITS: usize = 64 << 10;

/// Rooms that are examined before the hits are written, even where they are few.
const LOOKED: usize = 4 << 10;

/// Rounds of matching before a client is answered; about 3 ms in all.
const BARRIER: usize = 8;

/// Bytes of publications that are matched before they are written, in one round or several: all of
/// them may be for one connection, which may have to have them compressed.
const MATCHED: usize = 1 << 20;

/// Examining so many rooms is as much work as a write.
const ROOMS_PER_WRITE: usize = 64;

/// So many bytes beyond the first ones are as much work as a write.
const BYTES_PER_WRITE: usize = 16 << 10;

/// Publications on their way to connections, and commands among them.
#[derive(Debug, Default)]
pub(super) struct FanOut {
    /// Batches that are not matched yet, how many publications of the first were matched, and how
    /// many rooms of the one behind them. Commands that are not done yet.
    queue: VecDeque<Item>,
    matched: usize,
    matched_rooms: usize,
    /// Progress of the matching of the next room.
    cursor: Cursor,
    /// The batches that the hits are of.
    batches: Vec<Arc<[Publication]>>,
    hits: Vec<Hit>,
    /// Bytes of the publications that were hit.
    bytes: usize,
    /// Connections that have hits, and how many of them were written to.
    dirty: Vec<ConnectionId>,
    written: usize,
    /// Connections with hits of the publication at this position, which wait until it is matched
    /// completely, and how many hits there were when the round began.
    kept: Vec<ConnectionId>,
    kept_for: u64,
    before: usize,
    /// The command at the front of the queue, once it has begun.
    pub(super) running: Option<Box<Running>>,
    /// The position of the last publication or command whose turn is over or has begun: everything
    /// up to it is written, apart from the hits of this round.
    pub(super) passed: u64,
    /// Everything up to this position is in the queue, or was.
    handed: u64,
    /// How many items of the queue have a position.
    positioned: usize,
    /// Items of the queue that the shard itself added, and how many of them are
    /// [`Item::CatchUp`].
    own_items: usize,
    catch_ups: usize,
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
    /// With everything up to this position behind it.
    pub(super) fn after(passed: u64) -> Self {
        Self {
            passed,
            ..Self::default()
        }
    }

    pub(super) fn push(&mut self, item: Item) {
        self.positioned += usize::from(item.has_position());
        self.queue.push_back(item);
    }

    /// Everything up to this position is in the queue, or does not concern the shard.
    pub(super) fn handed(&mut self, position: u64) {
        self.handed = self.handed.max(position);
        self.pass_quiet();
    }

    /// With nothing in the queue everything that was handed over has had its turn.
    fn pass_quiet(&mut self) {
        if self.positioned == 0 {
            self.passed = self.passed.max(self.handed);
        }
    }

    /// The publication that is matched in part: its position.
    pub(super) fn unfinished(&self) -> Option<u64> {
        if self.matched_rooms == 0 && self.cursor.is_idle() {
            return None;
        }
        match self.queue.front() {
            Some(Item::Publications(batch)) => Some(batch.get(self.matched)?.position),
            _ => None,
        }
    }

    /// Up to which position a connection with this list was sent everything.
    pub(super) fn known(&self, pending: Pending) -> u64 {
        let hit = self.hits.get(pending.first as usize);
        hit.map_or(self.passed, |hit| {
            self.publication(*hit).position.saturating_sub(1)
        })
    }

    /// The publication of a hit, with all that its connection has of it in `hits`, and the hit after
    /// them.
    pub(super) fn next_hits(
        &self,
        at: u32,
        hits: &mut SmallVec<[SubscriptionId; 8]>,
    ) -> (&Publication, u32) {
        hits.clear();
        let first = self.hits[at as usize];
        let publication = self.publication(first);
        hits.push(first.subscription);
        let mut next = first.next;
        while let Some(hit) = self.hits.get(next as usize)
            && self.publication(*hit).position == publication.position
        {
            hits.push(hit.subscription);
            next = hit.next;
        }
        (publication, next)
    }

    /// What is next.
    pub(super) fn next(&self) -> Option<&Item> {
        self.queue.front()
    }

    /// Queues an item of the shard itself.
    pub(super) fn push_own(&mut self, item: Item) {
        self.own_items += 1;
        self.catch_ups += usize::from(matches!(item, Item::CatchUp));
        self.queue.push_back(item);
    }

    /// Whether [`Item::CatchUp`] is queued.
    pub(super) fn has_catch_up(&self) -> bool {
        self.catch_ups > 0
    }

    /// What was next is done.
    pub(super) fn pop(&mut self) {
        let item = self.queue.pop_front();
        self.positioned -= usize::from(item.as_ref().is_some_and(Item::has_position));
        self.pass_quiet();
        match item {
            Some(Item::CatchUp) => {
                self.own_items -= 1;
                self.catch_ups -= 1;
            }
            Some(Item::Hold(..) | Item::Gap(..)) => self.own_items -= 1,
            Some(Item::Publications(_) | Item::Command(_) | Item::Rechecked(_) | Item::Lost(_))
            | None => {}
        }
    }

    /// Whether publications are next.
    fn has_publications(&self) -> bool {
        matches!(self.queue.front(), Some(Item::Publications(_)))
    }

    /// How many hits are in a connection's list.
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

    /// Keeps a connection whose hits are not all written, for its next turn.
    fn keep<P>(&mut self, id: ConnectionId, sessions: &Sessions<P>) {
        let pending = sessions.get(id.index()).map(|session| session.pending);
        if let Some(hit) = pending.and_then(|pending| self.hits.get(pending.first as usize)) {
            self.kept_for = self.publication(*hit).position;
            self.kept.push(id);
        }
    }

    /// Gives kept connections their turn, if what they wait for is matched.
    fn take_kept(&mut self) {
        if !self.kept.is_empty() && self.unfinished() != Some(self.kept_for) {
            self.dirty.append(&mut self.kept);
        }
    }

    fn is_written(&self) -> bool {
        self.written == self.dirty.len()
    }

    fn reset(&mut self) {
        if self.kept.is_empty() {
            self.batches.clear();
            self.hits.clear();
        }
        self.before = self.hits.len();
        self.bytes = 0;
        self.dirty.clear();
        self.written = 0;
    }
}

impl<P: Peer> Shard<P> {
    /// Queues publications for delivery by [`Self::fan_out`].
    pub fn publish(&mut self, batch: Arc<[Publication]>) {
        self.fan_out.push(Item::Publications(batch));
    }

    /// Whether there is something to deliver.
    #[must_use]
    pub fn has_fan_out(&self) -> bool {
        !self.fan_out.queue.is_empty() || !self.fan_out.is_written()
    }

    /// How many batches of publications are queued for matching, and commands for execution.
    #[must_use]
    pub fn backlog(&self) -> usize {
        self.fan_out.queue.len() - self.fan_out.own_items
    }

    /// Whether anything but publications is queued: what is behind it is matched when it is done, so
    /// a connection that is closed before misses that.
    #[must_use]
    pub fn has_tasks(&self) -> bool {
        let mut queue = self.fan_out.queue.iter();
        queue.any(|item| !matches!(item, Item::Publications(_)))
    }

    /// Delivers, until the budget is spent or about as much was done as `writes_max` writes of a
    /// small message are, so that the caller can do other work in between. What cannot be divided
    /// exceeds it: one room with all its matches, or all deliveries of one connection.
    pub fn fan_out(&mut self, writes_max: usize, turn: &mut Turn<'_, impl World<P>>) {
        let mut writes = 0;
        while writes < writes_max && self.has_fan_out() && !self.budget.is_spent() {
            writes += if self.fan_out.is_written() {
                if self.fan_out.has_publications() {
                    // Matching is work, too, even without subscribers.
                    1 + self.gather() / ROOMS_PER_WRITE
                } else {
                    self.carry_out(turn)
                }
            } else {
                let id = self.fan_out.dirty[self.fan_out.written];
                self.fan_out.written += 1;
                let bytes = self.flush_connection(id, turn);
                self.fan_out.keep(id, &self.sessions);
                1 + bytes / BYTES_PER_WRITE
            };
        }
        if !self.has_fan_out() {
            // Nothing may keep a publication alive once it is delivered.
            self.fan_out.reset();
            self.fan_out.hits.shrink_to(HITS);
        }
    }

    /// Matches queued publications before a client is answered, up to [`BARRIER`] rounds of
    /// [`Self::gather`]: so the reply is sent after what was published before the request, unless
    /// the shard is further behind than that.
    pub(super) fn gather_queued(&mut self) {
        for _ in 0..BARRIER {
            let FanOut {
                hits,
                before,
                bytes,
                ..
            } = &self.fan_out;
            let hits = hits.len() - before;
            if !self.fan_out.has_publications() || hits >= HITS || *bytes >= MATCHED {
                return;
            }
            self.gather();
        }
    }

    /// Matches queued publications, room by room, until there are many hits or many rooms were
    /// examined. Returns the number of rooms examined.
    fn gather(&mut self) -> usize {
        if self.fan_out.is_written() {
            self.fan_out.reset();
        }
        let Self {
            registry,
            sessions,
            fan_out,
            stats,
            ..
        } = self;
        let (mut looked, hits, max) = (0, fan_out.hits.len(), fan_out.before + HITS);
        // What is behind a command is matched when the command is done.
        'queue: while let Some(Item::Publications(batch)) = fan_out.queue.front() {
            let (at, before) = (slot(fan_out.batches.len()), fan_out.hits.len());
            while let Some(publication) = batch.get(fan_out.matched) {
                if fan_out.hits.len() >= max || looked >= LOOKED || fan_out.bytes >= MATCHED {
                    // The rest is matched once these hits are written.
                    if fan_out.hits.len() > before {
                        fan_out.batches.push(Arc::clone(batch));
                    }
                    break 'queue;
                }
                if fan_out.matched_rooms == 0 && fan_out.cursor.is_idle() {
                    registry.next_publication(publication.position, publication.tenant);
                }
                if let Some(room) = publication.rooms.get(fan_out.matched_rooms) {
                    let place = (at, slot(fan_out.matched));
                    let (hits, dirty) = (&mut fan_out.hits, &mut fan_out.dirty);
                    let (cursor, hits_before) = (&mut fan_out.cursor, hits.len());
                    let max = (LOOKED - looked, max - hits_before);
                    looked += registry.for_each_receiver(room, cursor, max, |subscription, id| {
                        // An ended connection may have subscriptions that are still to be dropped.
                        if let Some(session) = sessions.get_mut(id.index()) {
                            let pending = &mut session.pending;
                            hit(hits, dirty, pending, place, subscription, id);
                        }
                    });
                    if hits.len() > hits_before {
                        fan_out.bytes += publication.head_len();
                    }
                    if !fan_out.cursor.is_idle() {
                        continue;
                    }
                    fan_out.matched_rooms += 1;
                }
                if fan_out.matched_rooms >= publication.rooms.len() {
                    fan_out.matched_rooms = 0;
                    fan_out.matched += 1;
                    fan_out.passed = publication.position;
                    stats.publications += 1;
                    looked += 1;
                }
            }
            fan_out.matched = 0;
            if let Some(Item::Publications(batch)) = fan_out.queue.pop_front() {
                fan_out.positioned -= 1;
                if fan_out.hits.len() > before {
                    fan_out.batches.push(batch);
                }
            }
        }
        fan_out.pass_quiet();
        fan_out.take_kept();
        let hits = fan_out.hits.len() - hits;
        let (looks, hits) = (looked as u64 * cost::LOOK, hits as u64 * cost::HIT);
        self.budget.spend(looks + hits);
        looked
    }

    /// Writes a connection's hits, before anything else is written to it. Returns their size in
    /// bytes, with the work of compressing them as bytes.
    pub(super) fn flush_connection(
        &mut self,
        id: ConnectionId,
        turn: &mut Turn<'_, impl World<P>>,
    ) -> usize {
        let bounds = self.settings.bounds();
        let Some(session) = self.sessions.get_mut(id.index()) else {
            return 0;
        };
        let mut at = session.pending.first;
        if at == NONE {
            return 0;
        }
        if session.transport.subprotocol().is_some() {
            return self.flush_with_cursors(id, turn);
        }
        session.pending = Pending::EMPTY;
        let mut writer = Writer {
            session,
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
            let compression = &self.settings.compression;
            result = writer.publish(publication, tail, compression, &mut self.deflater);
            at = hit.next;
        }
        result = result.and_then(|()| writer.flush());
        let waits = writer.session.outbox.is_some();
        let Writer { scratch, bytes, .. } = writer;
        self.budget.spend(cost::write(bytes));
        self.recycle(scratch);
        if let Err(broken) = result {
            let rest = Pending {
                first: at,
                last: NONE,
            };
            self.stats.undelivered += self.fan_out.pending(rest);
            self.broken(id, broken, turn);
        } else if waits {
            self.waits(id, turn);
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
    session: ConnectionId,
) {
    if pending.last == CLOSED {
        return;
    }
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
            dirty.push(session);
        }
        last => hits[last as usize].next = at,
    }
    pending.last = at;
}

/// An index as it is kept; all are bounded by [`HITS`] and the limits on connections.
fn slot(index: usize) -> u32 {
    u32::try_from(index).expect("fewer than 2^32 hits")
}
