//! Publications and commands that have their turn, and the hits of those that are matched.

use std::collections::VecDeque;
use std::sync::Arc;

use ht_proto::entry::TenantId;
use smallvec::SmallVec;

use crate::connection::ConnectionId;
use crate::index::Cursor;
use crate::publication::Publication;
use crate::registry::SubscriptionId;
use crate::session::Pending;
use crate::sessions::Sessions;
use crate::shard::queue::{Item, Running, Task};
use crate::timer::NONE;

/// Publications on their way to connections, and commands among them.
#[derive(Debug, Default)]
pub(in crate::shard) struct FanOut {
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
    /// Everything up to this position is in the queue, or was.
    pub(super) handed: u64,
    /// How many items of the queue have a position.
    pub(super) positioned: usize,
    /// Items of the queue that the shard itself added, and how many of them are
    /// [`Item::CatchUp`].
    pub(super) own_items: usize,
    pub(super) catch_ups: usize,
}

/// One publication for one subscription.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hit {
    pub(super) batch: u32,
    pub(super) publication: u32,
    pub(super) subscription: SubscriptionId,
    /// The connection's next hit.
    pub(super) next: u32,
}

impl FanOut {
    /// With everything up to this position behind it.
    pub(in crate::shard) fn after(passed: u64) -> Self {
        Self {
            passed,
            ..Self::default()
        }
    }

    pub(in crate::shard) fn push(&mut self, item: Item) {
        self.positioned += usize::from(item.has_position());
        self.queue.push_back(item);
    }

    /// Everything up to this position is in the queue, or does not concern the shard.
    pub(in crate::shard) fn handed(&mut self, position: u64) {
        self.handed = self.handed.max(position);
        self.pass_quiet();
    }

    /// With nothing in the queue everything that was handed over has had its turn.
    pub(super) fn pass_quiet(&mut self) {
        if self.positioned == 0 {
            self.passed = self.passed.max(self.handed);
        }
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
    pub(in crate::shard) fn known(&self, pending: Pending) -> u64 {
        let hit = self.hits.get(pending.first as usize);
        hit.map_or(self.passed, |hit| {
            self.publication(*hit).position.saturating_sub(1)
        })
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
    pub(in crate::shard) fn push_own(&mut self, item: Item) {
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

    /// The tenant of a hit, and so of its session.
    pub(in crate::shard) fn tenant(&self, at: u32) -> TenantId {
        self.publication(self.hits[at as usize]).tenant
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
