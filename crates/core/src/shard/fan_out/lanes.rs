//! The lanes of a shard: each tenant has a queue and hits of its own, and lanes take turns, so that
//! what one tenant publishes delays another one's deliveries by no more than a slice.
//!
//! Turns are given by deficit round robin: a lane that has its turn may do as much as
//! [`QUANTUM`] writes, and what it did beyond, which cannot be divided, is taken from its next
//! turns. The order of publications and commands holds within a lane; entries of two tenants have no
//! connection in common.
//!
//! One lane is the *current* one, where fan-out works. With one tenant there is no other, and nothing
//! is looked up.

use std::collections::{HashMap, VecDeque};

use ht_proto::entry::TenantId;

use crate::Hasher;
use crate::recent::Bounds;
use crate::session::Pending;
use crate::shard::fan_out::QUANTUM;
use crate::shard::fan_out::state::{Buffers, Lane};
use crate::shard::queue::Item;

/// Lanes that are examined in one sweep.
const SWEPT: usize = 256;

/// The lanes of all tenants with sessions, or with something to do.
#[derive(Debug)]
pub(in crate::shard) struct Lanes {
    pub(in crate::shard) current: Lane,
    /// The others.
    parked: HashMap<TenantId, Box<Lane>, Hasher>,
    /// Tenants whose lanes have something to do, or had, in the order of their turns. Empty while
    /// there is one lane.
    listed: VecDeque<TenantId>,
    /// Everything up to this position is in the queues, or was.
    handed: u64,
    /// The lists of a round, of a lane that has none.
    spare: Option<Buffers>,
    /// How many lanes have sessions that wait for what is to be handed over.
    pub(in crate::shard) unhanded: usize,
    /// Tenants whose lanes are to be examined by the sweep.
    to_sweep: Vec<TenantId>,
    /// Bytes of the commands that all lanes keep.
    command_bytes: usize,
    bounds: Bounds,
}

impl Lanes {
    /// One lane, with everything up to this position behind it. Each one keeps commands up to these
    /// bounds.
    pub(in crate::shard) fn after(passed: u64, bounds: Bounds) -> Self {
        Self {
            current: Lane::after(TenantId::MAIN, passed, bounds),
            parked: HashMap::default(),
            listed: VecDeque::new(),
            handed: passed,
            spare: None,
            unhanded: 0,
            to_sweep: Vec::new(),
            command_bytes: 0,
            bounds,
        }
    }

    /// Whether there is one lane: it is that of every session.
    #[inline]
    pub(in crate::shard) fn is_alone(&self) -> bool {
        self.parked.is_empty()
    }

    /// A tenant's lane, if it has one.
    #[inline]
    pub(in crate::shard) fn get(&self, tenant: TenantId) -> Option<&Lane> {
        if self.current.tenant == tenant {
            return Some(&self.current);
        }
        self.parked.get(&tenant).map(|lane| &**lane)
    }

    /// A tenant's lane, which is made if it has none.
    #[inline]
    pub(in crate::shard) fn get_mut(&mut self, tenant: TenantId) -> &mut Lane {
        if self.current.tenant == tenant {
            return &mut self.current;
        }
        self.parked_mut(tenant)
    }

    fn parked_mut(&mut self, tenant: TenantId) -> &mut Lane {
        if self.parked.is_empty() {
            if self.current.is_idle(u64::MAX) && self.current.recent.is_empty() {
                // Nobody uses it, so that there is still one.
                self.current = Lane::after(tenant, self.handed, self.bounds);
                return &mut self.current;
            }
            self.list_current();
        }
        let (handed, bounds) = (self.handed, self.bounds);
        self.parked
            .entry(tenant)
            .or_insert_with(|| Box::new(Lane::after(tenant, handed, bounds)))
    }

    /// From now on there is more than one lane.
    fn list_current(&mut self) {
        if self.current.has_work() && !self.current.is_listed {
            self.current.is_listed = true;
            self.listed.push_back(self.current.tenant);
        }
    }

    /// Makes the lane of a tenant the current one. Returns the tenant of the one before.
    #[inline]
    pub(in crate::shard) fn enter(&mut self, tenant: TenantId) -> TenantId {
        let before = self.current.tenant;
        if before != tenant {
            self.switch(tenant);
        }
        before
    }

    #[cold]
    #[inline(never)]
    fn switch(&mut self, tenant: TenantId) {
        // Made, if there is none; it may be the current one then.
        self.get_mut(tenant);
        if let Some(mut lane) = self.parked.remove(&tenant) {
            std::mem::swap(&mut self.current, &mut *lane);
            self.parked.insert(lane.tenant, lane);
        }
    }

    /// Queues an item of a tenant.
    #[inline]
    pub(in crate::shard) fn push(&mut self, tenant: TenantId, item: Item) {
        let handed = self.handed;
        if self.current.tenant == tenant && self.parked.is_empty() {
            return self.current.push(item, handed);
        }
        self.get_mut(tenant).push(item, handed);
        self.list(tenant);
    }

    /// Queues an item of the shard itself.
    pub(in crate::shard) fn push_own(&mut self, tenant: TenantId, item: Item) {
        self.get_mut(tenant).push_own(item);
        self.list(tenant);
    }

    /// Lists a lane that has something to do.
    #[inline]
    fn list(&mut self, tenant: TenantId) {
        if self.parked.is_empty() {
            return;
        }
        let lane = self.get_mut(tenant);
        if !std::mem::replace(&mut lane.is_listed, true) {
            self.listed.push_back(tenant);
        }
    }

    /// Whether any lane has something to do.
    #[inline]
    pub(in crate::shard) fn has_work(&self) -> bool {
        self.current.has_work() || !self.listed.is_empty()
    }

    /// Whether anything but publications is queued in any lane.
    pub(in crate::shard) fn has_tasks(&self) -> bool {
        self.current.has_tasks() || self.parked.values().any(|lane| lane.has_tasks())
    }

    /// How many batches of publications are queued for matching, and commands for execution, of all
    /// tenants.
    #[inline]
    pub(in crate::shard) fn backlog(&self) -> usize {
        let others = self
            .listed
            .iter()
            .filter_map(|tenant| self.parked.get(tenant));
        self.current.backlog() + others.map(|lane| lane.backlog()).sum::<usize>()
    }

    /// Everything up to this position is in the queues, or does not concern the shard.
    pub(in crate::shard) fn handed(&mut self, position: u64) {
        self.handed = self.handed.max(position);
    }

    /// The position up to which everything of the current lane has had its turn, or has begun to.
    #[inline]
    pub(in crate::shard) fn passed(&self) -> u64 {
        self.current.passed(self.handed)
    }

    /// The same of a tenant's lane.
    pub(in crate::shard) fn passed_of(&self, tenant: TenantId) -> u64 {
        let lane = self.get(tenant);
        lane.map_or(self.handed, |lane| lane.passed(self.handed))
    }

    /// Up to which position a connection of the tenant with this list was sent everything.
    pub(in crate::shard) fn known(&self, tenant: TenantId, pending: Pending) -> u64 {
        let lane = self.get(tenant);
        lane.map_or(self.handed, |lane| lane.known(pending, self.handed))
    }

    /// How many hits are in the list of a connection of the tenant.
    pub(in crate::shard) fn pending(&self, tenant: TenantId, pending: Pending) -> u64 {
        self.get(tenant).map_or(0, |lane| lane.pending(pending))
    }

    /// Where the commands that all lanes keep take too much memory, the lane that keeps most forgets
    /// its own.
    pub(in crate::shard) fn bound_commands(&mut self) {
        let bytes = self.current.recent.bytes();
        self.command_bytes += bytes;
        self.command_bytes -= std::mem::replace(&mut self.current.command_bytes, bytes);
        if self.command_bytes <= 4 * self.bounds.bytes {
            return;
        }
        let parked = self.parked.values_mut().map(|lane| &mut **lane);
        let all = parked.chain([&mut self.current]);
        if let Some(largest) = all.max_by_key(|lane| lane.recent.bytes()) {
            largest.recent.forget_kept();
            self.command_bytes -= std::mem::take(&mut largest.command_bytes);
        }
    }

    /// Gives the next lane its turn. Returns false if none has something to do.
    pub(super) fn next_turn(&mut self) -> bool {
        while let Some(tenant) = self.listed.pop_front() {
            let is_last = self.listed.is_empty();
            if self.get(tenant).is_none() {
                continue;
            }
            let lane = self.get_mut(tenant);
            if !lane.has_work() {
                lane.is_listed = false;
                lane.deficit = 0;
                continue;
            }
            lane.deficit = (lane.deficit + QUANTUM as i64).min(QUANTUM as i64);
            let has_turn = is_last || lane.deficit > 0;
            self.listed.push_back(tenant);
            if has_turn {
                self.enter(tenant);
                return true;
            }
        }
        false
    }

    /// The current lane did as much work as so many writes.
    pub(super) fn charge(&mut self, writes: u64) {
        let writes = i64::try_from(writes).unwrap_or(i64::MAX);
        self.current.deficit = self.current.deficit.saturating_sub(writes);
    }

    /// A round of the current lane begins.
    #[inline]
    pub(super) fn begin_round(&mut self) {
        self.current.reset();
        if !self.parked.is_empty() && self.current.lacks_buffers() {
            let buffers = self.spare.take();
            self.current.set_buffers(buffers.unwrap_or_default());
        }
    }

    /// The current lane has nothing to do. Where there are others it keeps no memory for rounds.
    #[inline]
    pub(super) fn rest(&mut self) {
        if !self.parked.is_empty() {
            self.give_back();
        }
    }

    fn give_back(&mut self) {
        let buffers = self.current.take_buffers();
        if self.spare.is_none() {
            self.spare = Some(buffers);
        }
        self.current.queue.shrink_to(KEPT);
    }

    /// Forgets some of the lanes that nobody needs, at this time in ms.
    pub(in crate::shard) fn sweep(&mut self, now: u64) {
        if self.parked.is_empty() {
            return;
        }
        if self.to_sweep.is_empty() {
            self.to_sweep = self.parked.keys().copied().collect();
        }
        for tenant in self
            .to_sweep
            .split_off(self.to_sweep.len().saturating_sub(SWEPT))
        {
            let lane = self.parked.get(&tenant);
            if lane.is_some_and(|lane| lane.is_idle(now) && !lane.is_listed) {
                self.forget(tenant);
            }
        }
        if self.current.is_idle(now)
            && !self.current.is_listed
            && let Some(&tenant) = self.parked.keys().next()
        {
            let idle = self.enter(tenant);
            self.forget(idle);
        }
        if self.parked.capacity() > 4 * (self.parked.len() + KEPT) {
            self.parked.shrink_to(2 * self.parked.len());
        }
        if self.parked.is_empty() {
            self.listed.clear();
            self.current.is_listed = false;
            self.current.deficit = 0;
            self.spare = None;
            self.to_sweep = Vec::new();
        }
    }

    /// All tenants that have a lane.
    #[cfg(any(test, fuzzing))]
    pub(in crate::shard) fn tenants(&self) -> Vec<TenantId> {
        let parked = self.parked.keys().copied();
        parked.chain([self.current.tenant]).collect()
    }

    /// How many sets of lists for rounds there are.
    #[cfg(test)]
    pub(in crate::shard) fn buffers(&self) -> usize {
        let parked = self.parked.values().map(|lane| &**lane);
        let all = parked.chain([&self.current]);
        all.filter(|lane| !lane.lacks_buffers()).count() + usize::from(self.spare.is_some())
    }

    fn forget(&mut self, tenant: TenantId) {
        if let Some(lane) = self.parked.remove(&tenant) {
            self.command_bytes -= lane.command_bytes;
        }
    }

    /// The tenants of lanes with sessions that wait for what is to be handed over.
    pub(in crate::shard) fn with_unhanded(&self) -> Vec<TenantId> {
        let parked = self.parked.values().map(|lane| &**lane);
        let all = parked.chain([&self.current]);
        let some = all.filter(|lane| !lane.unhanded.is_empty());
        some.map(|lane| lane.tenant).collect()
    }
}

/// Capacity that a lane or a table keeps.
const KEPT: usize = 16;
