//! The lanes of a shard: each tenant has a queue and hits of its own, and lanes take turns, so that
//! what one tenant publishes delays another one's deliveries by no more than a slice.
//!
//! Turns are given by deficit round robin: a lane that has its turn may do as much as
//! [`QUANTUM`](super::QUANTUM) writes, and what it did beyond, which cannot be divided, is taken from its next
//! turns. The order of publications and commands holds within a lane; entries of two tenants have no
//! connection in common.
//!
//! One lane is the *current* one, where fan-out works. With one tenant there is no other, and nothing
//! is looked up.

mod memory;
mod turns;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use ht_proto::entry::TenantId;

use crate::Hasher;
use crate::bucket::DeliveryBucket;
use crate::recent::Bounds;
use crate::session::Pending;
use crate::shard::fan_out::state::{Buffers, Lane};
use crate::shard::queue::Item;

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
    /// Tenants that were handed less than others.
    left: Vec<TenantId>,
    /// The lists of a round, of a lane that has none.
    spare: Option<Buffers>,
    /// How many lanes have sessions that wait for what is to be handed over.
    pub(in crate::shard) unhanded: usize,
    /// The buckets of tenants whose clients' messages have a bound.
    buckets: HashMap<TenantId, Arc<DeliveryBucket>, Hasher>,
    /// Lanes that wait because their buckets are empty, and when they are looked at next, in ms.
    dry: VecDeque<TenantId>,
    dry_until: u64,
    /// Tenants whose deliveries have waited for too long.
    pub(in crate::shard) late: Vec<TenantId>,
    /// The node shuts down: nothing waits.
    is_lifted: bool,
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
            left: Vec::new(),
            spare: None,
            unhanded: 0,
            buckets: HashMap::default(),
            dry: VecDeque::new(),
            dry_until: 0,
            late: Vec::new(),
            is_lifted: false,
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

    /// Whether there is one lane, which never waits.
    #[inline]
    pub(super) fn is_simple(&self) -> bool {
        self.parked.is_empty() && self.buckets.is_empty()
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
            if self.current.is_idle(u64::MAX)
                && self.current.recent.is_empty()
                && !self.current.is_listed
            {
                // Nobody uses it, so that there is still one.
                self.current = self.make(tenant);
                return &mut self.current;
            }
            self.list_current();
        }
        if !self.parked.contains_key(&tenant) {
            let lane = self.make(tenant);
            self.parked.insert(tenant, Box::new(lane));
        }
        self.parked.get_mut(&tenant).expect("it was made")
    }

    fn make(&self, tenant: TenantId) -> Lane {
        Lane {
            bucket: self.buckets.get(&tenant).cloned(),
            ..Lane::after(tenant, self.handed, self.bounds)
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
        if self.current.tenant == tenant && self.is_simple() {
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

    /// Whether any lane has something to do, and does not wait.
    #[inline]
    pub(in crate::shard) fn has_work(&self) -> bool {
        if self.is_simple() {
            return self.current.has_work();
        }
        !self.listed.is_empty()
    }

    /// Whether anything but publications is queued in any lane.
    pub(in crate::shard) fn has_tasks(&self) -> bool {
        let has_tasks = |lane: &Lane| lane.has_tasks() && !lane.must_wait();
        has_tasks(&self.current) || self.parked.values().any(|lane| has_tasks(lane))
    }

    /// How many batches of publications are queued for matching, and commands for execution, of all
    /// tenants.
    #[inline]
    pub(in crate::shard) fn backlog(&self) -> usize {
        let others = self.listed.iter().chain(&self.dry);
        let others = others.filter_map(|tenant| self.parked.get(tenant));
        self.current.backlog() + others.map(|lane| lane.backlog()).sum::<usize>()
    }

    /// Everything up to this position is in the queues, or does not concern the shard, but for what
    /// is of these tenants.
    pub(in crate::shard) fn handed_but(&mut self, position: u64, tenants: &[TenantId]) {
        if !tenants.is_empty() || !self.left.is_empty() {
            self.leave_behind(tenants);
        }
        self.handed = self.handed.max(position);
    }

    #[cold]
    fn leave_behind(&mut self, tenants: &[TenantId]) {
        for tenant in std::mem::replace(&mut self.left, tenants.into()) {
            if !tenants.contains(&tenant) && self.get(tenant).is_some() {
                self.get_mut(tenant).handed_only = None;
            }
        }
        let handed = self.handed;
        for tenant in tenants {
            self.get_mut(*tenant).handed_only.get_or_insert(handed);
        }
    }

    /// The last gap of a tenant alone.
    pub(in crate::shard) fn gap_of(&self, tenant: TenantId) -> u32 {
        self.get(tenant).map_or(0, |lane| lane.gap)
    }

    /// How many batches and commands of a tenant are queued.
    pub(in crate::shard) fn backlog_of(&self, tenant: TenantId) -> usize {
        self.get(tenant).map_or(0, |lane| lane.backlog())
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

    /// All tenants that have a lane.
    #[cfg(any(test, fuzzing))]
    pub(in crate::shard) fn tenants(&self) -> Vec<TenantId> {
        let parked = self.parked.keys().copied();
        parked.chain([self.current.tenant]).collect()
    }

    /// How many sets of lists for rounds there are.
    #[cfg(any(test, fuzzing))]
    pub(in crate::shard) fn buffers(&self) -> usize {
        let parked = self.parked.values().map(|lane| &**lane);
        let all = parked.chain([&self.current]);
        all.filter(|lane| !lane.lacks_buffers()).count() + usize::from(self.spare.is_some())
    }

    /// The tenants of lanes with sessions that wait for what is to be handed over.
    pub(in crate::shard) fn with_unhanded(&self) -> Vec<TenantId> {
        let parked = self.parked.values().map(|lane| &**lane);
        let all = parked.chain([&self.current]);
        let some = all.filter(|lane| !lane.unhanded.is_empty());
        some.map(|lane| lane.tenant).collect()
    }
}
