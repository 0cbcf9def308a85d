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
//!
//! Each tenant has a queue and hits of its own, its *lane*, and lanes take turns ([`lanes`]).

pub(super) mod lanes;
mod state;
pub(super) mod writer;

use std::collections::BTreeSet;
use std::sync::Arc;

use ht_proto::entry::TenantId;

use crate::budget::cost;
use crate::connection::ConnectionId;
use crate::peer::Peer;
use crate::publication::Publication;
use crate::registry::SubscriptionId;
use crate::session::{CLOSED, Pending};
use crate::shard::Shard;
use crate::shard::fan_out::state::Hit;
use crate::shard::fan_out::writer::Writer;
use crate::shard::queue::Item;
use crate::timer::NONE;
use crate::transport::Transport;
use crate::world::{Turn, World};

pub(super) use crate::shard::fan_out::lanes::Lanes;

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

/// What a lane may do before the next one has its turn, in writes: about an eighth of a
/// millisecond.
pub(super) const QUANTUM: usize = 32;

/// So many bytes beyond the first ones are as much work as a write.
const BYTES_PER_WRITE: usize = 16 << 10;

impl<P: Peer> Shard<P> {
    /// Queues publications for delivery by [`Self::fan_out`]. Those of several tenants are queued for
    /// each of them.
    pub fn publish(&mut self, batch: Arc<[Publication]>) {
        let Some(first) = batch.first().map(|first| first.tenant) else {
            return;
        };
        if batch[1..].iter().any(|other| other.tenant != first) {
            return self.publish_split(&batch);
        }
        self.lanes.push(first, Item::Publications(batch));
    }

    #[cold]
    #[inline(never)]
    fn publish_split(&mut self, batch: &Arc<[Publication]>) {
        let tenants: BTreeSet<_> = batch.iter().map(|one| one.tenant).collect();
        for tenant in tenants {
            let item = Item::Publications(Arc::clone(batch));
            self.lanes.push(tenant, item);
        }
    }

    /// Whether there is something to deliver.
    #[must_use]
    pub fn has_fan_out(&self) -> bool {
        self.lanes.has_work()
    }

    /// How many batches of publications are queued for matching, and commands for execution.
    #[must_use]
    pub fn backlog(&self) -> usize {
        self.lanes.backlog()
    }

    /// Whether there may be several tenants, or one waits for its bucket.
    #[must_use]
    pub fn takes_turns(&self) -> bool {
        !self.lanes.is_simple()
    }

    /// The same of one tenant.
    #[must_use]
    pub fn backlog_of(&self, tenant: TenantId) -> usize {
        self.lanes.backlog_of(tenant)
    }

    /// Whether anything but publications is queued: what is behind it is matched when it is done, so
    /// a connection that is closed before misses that.
    #[must_use]
    pub fn has_tasks(&self) -> bool {
        self.lanes.has_tasks()
    }

    /// Delivers, until the budget is spent or about as much was done as `writes_max` writes of a
    /// small message are, so that the caller can do other work in between. What cannot be divided
    /// exceeds it: one room with all its matches, or all deliveries of one connection. Tenants have
    /// their turns by what their deliveries cost.
    pub fn fan_out(&mut self, writes_max: usize, turn: &mut Turn<'_, impl World<P>>) {
        if self.lanes.is_simple() {
            self.fan_out_lane(writes_max, turn);
        } else {
            self.fan_out_in_turns(writes_max, turn);
        }
    }

    /// The same for several lanes, or one that may have to wait.
    #[inline(never)]
    fn fan_out_in_turns(&mut self, writes_max: usize, turn: &mut Turn<'_, impl World<P>>) {
        let mut writes = 0;
        while writes < writes_max && !self.budget.is_spent() && self.lanes.next_turn(turn.now) {
            let before = self.budget.total();
            writes += self.fan_out_lane(QUANTUM.min(writes_max - writes), turn);
            let units = self.budget.total() - before;
            self.lanes.charge(units / cost::WRITE);
        }
        if !self.lanes.late.is_empty() {
            self.relieve_late(turn);
        }
    }

    /// Does the same for the current lane. Returns the work done, in writes.
    #[inline(always)]
    fn fan_out_lane(&mut self, writes_max: usize, turn: &mut Turn<'_, impl World<P>>) -> usize {
        // What precedes their turn may have been matched before a client was answered.
        self.list_unhanded();
        let mut writes = 0;
        while writes < writes_max && self.lanes.current.has_work() && !self.budget.is_spent() {
            writes += if self.lanes.current.is_written() {
                if self.lanes.current.must_wait() {
                    break;
                }
                let work = if self.lanes.current.has_publications() {
                    // Matching is work, too, even without subscribers.
                    1 + self.gather_and_pay(turn.now) / ROOMS_PER_WRITE
                } else {
                    self.carry_out(turn)
                };
                self.list_unhanded();
                work
            } else {
                let lane = &mut self.lanes.current;
                let id = lane.dirty[lane.written];
                lane.written += 1;
                lane.leaves_hits = false;
                let bytes = self.flush_connection(id, turn);
                if self.lanes.current.leaves_hits {
                    self.lanes.current.keep(id, &self.sessions);
                }
                1 + bytes / BYTES_PER_WRITE
            };
        }
        if !self.lanes.current.has_work() {
            // Nothing may keep a publication alive once it is delivered.
            self.lanes.current.reset();
            self.lanes.current.hits.shrink_to(HITS);
            self.lanes.rest();
        }
        writes
    }

    /// Matches queued publications of the current lane before a client is answered, up to [`BARRIER`]
    /// rounds of [`Self::gather`]: so the reply is sent after what was published before the request,
    /// unless the shard is further behind than that.
    pub(super) fn gather_queued(&mut self, now: u64) {
        for _ in 0..BARRIER {
            let lane = &self.lanes.current;
            let hits = lane.hits.len() - lane.before;
            let is_full = hits >= HITS || lane.bytes >= MATCHED;
            if !lane.has_publications() || is_full || lane.is_dry {
                return;
            }
            self.gather_and_pay(now);
        }
    }

    /// Does so for all lanes.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn gather_all(&mut self) {
        for tenant in self.lanes.tenants() {
            self.lanes.enter(tenant);
            self.gather_queued(0);
        }
    }

    /// Matches queued publications of the current lane, room by room, until there are many hits or
    /// many rooms were examined. Returns the number of rooms examined.
    fn gather(&mut self) -> usize {
        if self.lanes.current.is_written() {
            self.lanes.begin_round();
        }
        let Self {
            registry,
            sessions,
            lanes,
            stats,
            ..
        } = self;
        let fan_out = &mut lanes.current;
        let tenant = fan_out.tenant;
        if let Some(position) = fan_out.unfinished() {
            // Another lane may have had its turn since.
            registry.resume_publication(fan_out.pass, position, tenant);
        }
        let (mut looked, hits) = (0, fan_out.hits.len());
        let max = match &fan_out.bucket {
            None => fan_out.before + HITS,
            Some(bucket) => hits + bucket.at_once(HITS),
        };
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
                    if publication.tenant != tenant {
                        // It is in another lane as well.
                        fan_out.matched += 1;
                        looked += 1;
                        continue;
                    }
                    fan_out.pass = registry.next_publication(publication.position, tenant);
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
        fan_out.take_kept();
        let hits = fan_out.hits.len() - hits;
        let (looks, hits) = (looked as u64 * cost::LOOK, hits as u64 * cost::HIT);
        self.budget.spend(looks + hits);
        looked
    }

    /// Writes the hits of a connection of the current lane, before anything else is written to it.
    /// Returns their size in bytes, with the work of compressing them as bytes.
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
        if !self.lanes.is_alone() && !session.is_of(self.lanes.current.tenant) {
            // It has the slot of one that has ended, and its own lane.
            return 0;
        }
        // One look at the transport for each connection, and none for each message.
        let deflate = match &session.transport {
            Transport::WebSocket(websocket) if websocket.subprotocol.is_none() => websocket.deflate,
            Transport::WebSocket(_) | Transport::EventStream(_) => {
                return self.flush_with_cursors(id, turn);
            }
        };
        session.pending = Pending::EMPTY;
        let tenant = self.lanes.current.tenant;
        self.tallies.enter(tenant, &self.stats);
        let scratch = std::mem::take(&mut self.scratch);
        let mut writer = Writer::new((session, deflate), bounds, scratch, &mut self.stats);
        let mut result = Ok(());
        while at != NONE && result.is_ok() {
            let hit = self.lanes.current.hits[at as usize];
            let publication = self.lanes.current.publication(hit);
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
            self.stats.undelivered += self.lanes.current.pending(rest);
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
