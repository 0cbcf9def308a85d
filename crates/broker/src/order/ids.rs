//! The ids of the last triggers that had one, of all tenants.
//!
//! One that publishes much pushes out its own. Where a log assigns positions, every node must decide
//! alike, whenever it began to read: an id is remembered over so many positions, which each node reads
//! back when it starts, and among so many later triggers of its tenant with an id. Elsewhere the tenant
//! that has most loses its oldest one.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use ht_proto::entry::{Position, TenantId};
use ht_proto::tenant::Scoped;

/// Where several tenants share a log, an id is remembered over so many times as many of its positions.
const SHARED: u64 = 4;

/// How many ids are remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdLimits {
    /// Of one tenant, and where the log assigns no positions, of all together.
    most: usize,
    /// Over how many positions of a log.
    reach: u64,
}

impl IdLimits {
    /// So many of each tenant, of which there may be several.
    #[must_use]
    pub fn shared(most: usize) -> Self {
        let alone = Self::from(most);
        Self {
            reach: alone.reach.saturating_mul(SHARED),
            ..alone
        }
    }

    /// Over how many positions of a log they are remembered: a node that starts reads as many back.
    #[must_use]
    pub fn reach(&self) -> u64 {
        self.reach
    }
}

impl From<usize> for IdLimits {
    /// So many, of one tenant.
    fn from(most: usize) -> Self {
        Self {
            most,
            reach: most as u64,
        }
    }
}

/// The ids that are remembered.
#[derive(Debug)]
pub(super) struct Ids {
    pub(super) limits: IdLimits,
    positions: HashMap<Scoped<Arc<str>>, Position>,
    tenants: HashMap<TenantId, Own>,
    /// Of a log: whose there is one at which position, oldest first, also of those that were pushed out.
    order: VecDeque<(TenantId, Position)>,
    /// Without one: the tenants by how many they have, of equal ones that with the oldest id last.
    by_count: BTreeSet<(usize, Reverse<Position>, TenantId)>,
}

/// Those of a tenant.
#[derive(Debug, Default)]
struct Own {
    /// Triggers with an id so far, repeated ones included.
    seen: u64,
    /// Oldest first.
    ids: VecDeque<Remembered>,
}

#[derive(Debug)]
struct Remembered {
    id: Arc<str>,
    position: Position,
    /// How many its tenant had had.
    seen: u64,
}

impl Own {
    /// Its key in [`Ids::by_count`].
    fn rank(&self, tenant: TenantId) -> Option<(usize, Reverse<Position>, TenantId)> {
        let first = self.ids.front()?;
        Some((self.ids.len(), Reverse(first.position), tenant))
    }
}

impl Ids {
    pub(super) fn new(limits: IdLimits) -> Self {
        Self {
            limits,
            positions: HashMap::new(),
            tenants: HashMap::new(),
            order: VecDeque::new(),
            by_count: BTreeSet::new(),
        }
    }

    /// All of them, oldest first.
    pub(super) fn all(&self) -> Vec<(Scoped<Arc<str>>, Position)> {
        let tenants = self.tenants.iter();
        let all = tenants.flat_map(|(tenant, own)| {
            let ids = own.ids.iter();
            ids.map(|it| (tenant.scope(Arc::clone(&it.id)), it.position))
        });
        let mut all: Vec<_> = all.collect();
        all.sort_unstable_by_key(|(_, position)| *position);
        all
    }

    /// Where the trigger with this id was placed, if that is known.
    pub(super) fn position(&self, id: &Scoped<Arc<str>>) -> Option<Position> {
        self.positions.get(id).copied()
    }

    /// A trigger with an id comes at this position of a log: forgets what is too far from there.
    pub(super) fn come_to(&mut self, tenant: TenantId, position: Position) {
        let (most, reach) = (self.limits.most as u64, self.limits.reach);
        while let Some((of, at)) = self.order.front().copied()
            && position.get() - at.get() > reach
        {
            self.order.pop_front();
            self.forget_first(of, |first| first.position == at);
        }
        if let Some(own) = self.tenants.get_mut(&tenant) {
            own.seen += 1;
            let seen = own.seen;
            self.forget_first(tenant, |first| seen - first.seen > most);
        }
    }

    /// Forgets the oldest id of a tenant if it is meant.
    fn forget_first(&mut self, tenant: TenantId, is_meant: impl Fn(&Remembered) -> bool) {
        let Some(own) = self.tenants.get_mut(&tenant) else {
            return;
        };
        if let Some(first) = own.ids.pop_front_if(|first| is_meant(first)) {
            self.positions.remove(&tenant.scope(first.id));
        }
        if own.ids.is_empty() {
            self.tenants.remove(&tenant);
        }
    }

    /// Remembers an id that a log has at this position. It [came](Self::come_to) before.
    pub(super) fn remember(&mut self, id: Scoped<Arc<str>>, position: Position) {
        if self.limits.most > 0 {
            self.order.push_back((id.tenant, position));
            self.add(id, position);
        }
    }

    /// Remembers an id where no log gives positions.
    pub(super) fn remember_counted(&mut self, id: Scoped<Arc<str>>, position: Position) {
        if self.limits.most == 0 {
            return;
        }
        if self.positions.len() >= self.limits.most
            && let Some((.., loudest)) = self.by_count.pop_last()
        {
            self.forget_first(loudest, |_| true);
            self.rank(loudest);
        }
        let own = self.tenants.get(&id.tenant);
        if let Some(rank) = own.and_then(|own| own.rank(id.tenant)) {
            self.by_count.remove(&rank);
        }
        let tenant = id.tenant;
        self.add(id, position);
        self.rank(tenant);
    }

    fn rank(&mut self, tenant: TenantId) {
        let own = self.tenants.get(&tenant);
        self.by_count.extend(own.and_then(|own| own.rank(tenant)));
    }

    fn add(&mut self, id: Scoped<Arc<str>>, position: Position) {
        let own = self.tenants.entry(id.tenant).or_default();
        own.ids.push_back(Remembered {
            id: Arc::clone(&id.value),
            position,
            seen: own.seen,
        });
        self.positions.insert(id, position);
    }
}
