//! A lane: a tenant's publications and commands that have their turn, and the hits of those that are
//! matched.

mod bucket;

use std::collections::VecDeque;
use std::sync::Arc;

use ht_proto::entry::TenantId;
use smallvec::SmallVec;

use crate::bucket::DeliveryBucket;
use crate::connection::{ConnectionId, SessionKey};
use crate::index::Cursor;
use crate::publication::Publication;
use crate::recent::{Bounds, Recent};
use crate::registry::SubscriptionId;
use crate::session::Pending;
use crate::sessions::Sessions;
use crate::shard::entering::Ahead;
use crate::shard::queue::{Item, Running, Task};
use crate::timer::NONE;

/// A tenant's publications on their way to connections, and commands among them.
#[derive(Debug)]
pub(in crate::shard) struct Lane {
    pub(in crate::shard) tenant: TenantId,
    /// What the tenant's clients may be sent, if that has a bound.
    pub(super) bucket: Option<Arc<DeliveryBucket>>,
    /// It is empty.
    pub(super) is_dry: bool,
    /// What is at the front of the queue was there at these moments, in ms: positions of
    /// publications, and when they were the last ones. Of a lane that waits.
    pub(super) marks: VecDeque<(u64, u64)>,
    /// When connections may be closed because of the wait, in ms.
    pub(super) relieved_at: u64,
    /// The last gap of the tenant alone. Connections that opened before it get no cursor until they
    /// are told.
    pub(in crate::shard) gap: u32,
    /// How many admitted sessions the tenant has.
    pub(in crate::shard) sessions: usize,
    /// It is listed among those that have something to do, and what it may do before others have
    /// their turn, in writes.
    pub(super) is_listed: bool,
    pub(super) deficit: i64,
    /// Batches that are not matched yet, how many publications of the first were matched, and how
    /// many rooms of the one behind them. Commands that are not done yet.
    pub(super) queue: VecDeque<Item>,
    pub(super) matched: usize,
    pub(super) matched_rooms: usize,
    /// Progress of the matching of the next room.
    pub(super) cursor: Cursor,
    /// The batches that the hits are of.
    pub(super) batches: Vec<Arc<[Publication]>>,
    pub(super) hits: Vec<Hit>,
    /// Bytes of the publications that were hit.
    pub(super) bytes: usize,
    /// Connections that have hits, and how many of them were written to.
    pub(super) dirty: Vec<ConnectionId>,
    pub(super) written: usize,
    /// Connections with hits of the publication at this position, which wait until it is matched
    /// completely, and how many hits there were when the round began.
    pub(super) kept: Vec<ConnectionId>,
    pub(super) kept_for: u64,
    pub(super) before: usize,
    /// The connection that was written to last has hits left.
    pub(in crate::shard) leaves_hits: bool,
    /// The command at the front of the queue, once it has begun.
    pub(in crate::shard) running: Option<Box<Running>>,
    /// The position of the last publication or command whose turn is over or has begun: everything
    /// up to it is written, apart from the hits of this round.
    pub(in crate::shard) passed: u64,
    /// Everything up to this position is in the queue, or was, while that is less than of others.
    pub(super) handed_only: Option<u64>,
    /// How many items of the queue have a position.
    pub(super) positioned: usize,
    /// Items of the queue that the shard itself added, and how many of them are
    /// [`Item::CatchUp`].
    pub(super) own_items: usize,
    pub(super) catch_ups: usize,
    /// The publication that is matched in part, as the registry counts them.
    pub(super) pass: u64,
    /// The last commands, and what they take as it was last counted.
    pub(in crate::shard) recent: Recent,
    pub(super) command_bytes: usize,
    /// When the last one of them began, in ms.
    pub(in crate::shard) commanded_at: u64,
    /// Sessions admitted with knowledge of later commands.
    pub(in crate::shard) ahead: Ahead,
    /// Sessions that catch up, in the order of their turns, and some that have ended.
    pub(in crate::shard) catching: VecDeque<SessionKey>,
    /// Those that are live once what precedes it is in the queue.
    pub(in crate::shard) unhanded: Vec<SessionKey>,
    /// How far that was when the last of them was added.
    pub(in crate::shard) unhanded_at: u64,
}

/// The lists of a round, kept by a lane that has one.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    batches: Vec<Arc<[Publication]>>,
    hits: Vec<Hit>,
    dirty: Vec<ConnectionId>,
}

/// How long the commands of a tenant without clients are kept, in ms: longer than a handshake takes.
const COMMANDED: u64 = 60_000;

/// One publication for one subscription.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hit {
    pub(super) batch: u32,
    pub(super) publication: u32,
    pub(super) subscription: SubscriptionId,
    /// The connection's next hit.
    pub(super) next: u32,
}

impl Lane {
    /// An empty one, with everything up to this position behind it.
    pub(super) fn after(tenant: TenantId, passed: u64, bounds: Bounds) -> Self {
        Self {
            tenant,
            bucket: None,
            is_dry: false,
            marks: VecDeque::new(),
            relieved_at: 0,
            gap: 0,
            sessions: 0,
            is_listed: false,
            deficit: 0,
            queue: VecDeque::new(),
            matched: 0,
            matched_rooms: 0,
            cursor: Cursor::default(),
            batches: Vec::new(),
            hits: Vec::new(),
            bytes: 0,
            dirty: Vec::new(),
            written: 0,
            kept: Vec::new(),
            kept_for: 0,
            before: 0,
            leaves_hits: false,
            running: None,
            passed,
            handed_only: None,
            positioned: 0,
            own_items: 0,
            catch_ups: 0,
            pass: 0,
            recent: Recent::new(bounds),
            command_bytes: 0,
            commanded_at: 0,
            ahead: Ahead::default(),
            catching: VecDeque::new(),
            unhanded: Vec::new(),
            unhanded_at: 0,
        }
    }

    /// Queues an item. Everything up to `handed` was queued before.
    #[inline]
    pub(super) fn push(&mut self, item: Item, handed: u64) {
        if item.has_position() {
            self.passed = self.passed(handed);
            self.positioned += 1;
        }
        self.queue.push_back(item);
    }

    /// The position up to which everything has had its turn, or has begun to. With nothing in the
    /// queue that is everything that was handed over.
    #[inline]
    pub(super) fn passed(&self, handed: u64) -> u64 {
        match self.positioned {
            0 => self.passed.max(self.handed_only.unwrap_or(handed)),
            _ => self.passed,
        }
    }

    /// Whether there is something to match, to execute or to write.
    #[inline]
    pub(super) fn has_work(&self) -> bool {
        !self.queue.is_empty() || !self.is_written()
    }

    /// Whether anything but publications is queued.
    pub(super) fn has_tasks(&self) -> bool {
        let mut queue = self.queue.iter();
        queue.any(|item| !matches!(item, Item::Publications(_)))
    }

    /// How many batches of publications are queued for matching, and commands for execution.
    pub(super) fn backlog(&self) -> usize {
        self.queue.len() - self.own_items
    }

    /// Whether nothing is lost when the lane is forgotten, at this time in ms: commands of before
    /// matter to clients that are just coming in.
    pub(super) fn is_idle(&self, now: u64) -> bool {
        let is_quiet = self.recent.is_empty() || now.saturating_sub(self.commanded_at) > COMMANDED;
        let is_whole = self.handed_only.is_none();
        is_whole && self.sessions == 0 && !self.has_work() && self.unhanded.is_empty() && is_quiet
    }

    /// The lists of a round: of a lane without work.
    pub(super) fn take_buffers(&mut self) -> Buffers {
        Buffers {
            batches: std::mem::take(&mut self.batches),
            hits: std::mem::take(&mut self.hits),
            dirty: std::mem::take(&mut self.dirty),
        }
    }

    /// Whether it has no lists for a round.
    pub(super) fn lacks_buffers(&self) -> bool {
        self.hits.capacity() == 0 && self.dirty.is_empty()
    }

    pub(super) fn set_buffers(&mut self, buffers: Buffers) {
        let Buffers {
            batches,
            hits,
            dirty,
        } = buffers;
        (self.batches, self.hits, self.dirty) = (batches, hits, dirty);
    }

    /// The publication that is matched in part: its position.
    pub(in crate::shard) fn unfinished(&self) -> Option<u64> {
        if self.matched_rooms == 0 && self.cursor.is_idle() {
            return None;
        }
        match self.queue.front() {
            Some(Item::Publications(batch)) => Some(batch.get(self.matched)?.position),
            _ => None,
        }
    }

    /// Whether a command has begun that may not have reached all of its sessions.
    pub(in crate::shard) fn is_executing(&self) -> bool {
        let running = self.running.as_ref().map(|running| &running.task);
        matches!(running, Some(Task::Command(..) | Task::CloseAll(..)))
    }

    /// Up to which position a connection with this list was sent everything.
    pub(super) fn known(&self, pending: Pending, handed: u64) -> u64 {
        match self.hits.get(pending.first as usize) {
            Some(hit) => self.publication(*hit).position.saturating_sub(1),
            None => self.passed(handed),
        }
    }

    /// The publication of a hit, with all that its connection has of it in `hits`, and the hit after
    /// them.
    pub(in crate::shard) fn next_hits(
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
    pub(in crate::shard) fn next(&self) -> Option<&Item> {
        self.queue.front()
    }

    /// Queues an item of the shard itself.
    pub(super) fn push_own(&mut self, item: Item) {
        self.own_items += 1;
        self.catch_ups += usize::from(matches!(item, Item::CatchUp));
        self.queue.push_back(item);
    }

    /// Whether [`Item::CatchUp`] is queued.
    pub(in crate::shard) fn has_catch_up(&self) -> bool {
        self.catch_ups > 0
    }

    /// What was next is done.
    pub(in crate::shard) fn pop(&mut self) {
        let item = self.queue.pop_front();
        self.positioned -= usize::from(item.as_ref().is_some_and(Item::has_position));
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
    pub(super) fn has_publications(&self) -> bool {
        matches!(self.queue.front(), Some(Item::Publications(_)))
    }

    /// How many hits are in a connection's list.
    pub(in crate::shard) fn pending(&self, pending: Pending) -> u64 {
        let first = Some(pending.first);
        let next = |&at: &u32| self.hits.get(at as usize).map(|hit| hit.next);
        std::iter::successors(first, next)
            .filter(|&at| at != NONE)
            .count() as u64
    }

    /// What a hit is of.
    pub(super) fn publication(&self, hit: Hit) -> &Publication {
        &self.batches[hit.batch as usize][hit.publication as usize]
    }

    /// Keeps a connection whose hits are not all written, for its next turn.
    pub(super) fn keep<P>(&mut self, id: ConnectionId, sessions: &Sessions<P>) {
        let pending = sessions.get(id.index()).map(|session| session.pending);
        if let Some(hit) = pending.and_then(|pending| self.hits.get(pending.first as usize)) {
            self.kept_for = self.publication(*hit).position;
            self.kept.push(id);
        }
    }

    /// Gives kept connections their turn, if what they wait for is matched.
    pub(super) fn take_kept(&mut self) {
        if !self.kept.is_empty() && self.unfinished() != Some(self.kept_for) {
            self.dirty.append(&mut self.kept);
        }
    }

    pub(super) fn is_written(&self) -> bool {
        self.written == self.dirty.len()
    }

    pub(super) fn reset(&mut self) {
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
